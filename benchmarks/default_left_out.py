"""What a new user may expect of the bundled student: its trees, made without the labels of the task they then match.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.default_left_out

Four times, once for each open task: trees by the recipe of ``benchmarks.build_default_student`` learn the labels of the
other seven tasks and the made-up ones, are calibrated on their labels, and match the task's test tuples one-to-one from
a probability of 0.5. Without the encoder, which the student asks about one pair in a hundred. Other tasks of the same
kind are learned all the same: of products, publications and films there are two or three each. Two cores take about
three minutes. ``build_default_student`` puts the figures on the card, `readme_figures` into the README.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.build_default_student import labelled, recipe
from benchmarks.gold import TASKS, Task, gold_of_all
from benchmarks.open_tasks import measure_tuples
from benchmarks.provenance import Benchmark, Target
from er_distill import lexical, matching
from er_distill.student import CHUNK_SIZE, sigmoid
from er_distill.training import calibrate, folds, revision
from er_distill.training.folds import HELD_OUT_FOLD, LabelledTask
from er_distill.training.recipe import DistillConfig
from er_distill.vectors import vectorise

HOW = (
    "trees alone, learned without any label of the task but with those of other tasks of its kind, on the task's "
    "published test candidates, one-to-one, against the true matches among these"
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/default_left_out.json")
    args = parser.parse_args(arguments)
    benchmark = Benchmark("default_left_out", None, ["scikit-learn"])
    config = recipe(Path())
    learned = [_learned(folds.cut(*one, config.folds, config.seed), config) for one in tqdm(labelled(), unit="task")]
    # Everything is decided before gold is read.
    scores = {name: _scores(name, learned, config) for name in tqdm(TASKS, desc="left out", unit="task")}
    gold = gold_of_all("default_left_out")
    tasks: dict[str, dict[str, Any]] = {}
    for name, own in scores.items():
        measured = measure_tuples(Task(name).test_pairs, gold[name], own, matching.DEFAULT_THRESHOLD, seconds=0.0)
        del measured["seconds"]
        tasks[name] = {"f1": measured["one_to_one"]["f1"], **measured}
    mean = {"f1": statistics.fmean(task["f1"] for task in tasks.values())}
    target = Target("without a label of the task: mean pairwise F1 of its trees", mean["f1"], at_least=0.83)
    benchmark.write({"how": HOW, "mean": mean, "tasks": tasks}, [target], args.output)


@dataclass(frozen=True)
class Learned:
    """A task as its teachers labelled it and as it is learned, with the features of the learned pairs."""

    task: LabelledTask
    revised: LabelledTask
    features: np.ndarray


def _learned(task: LabelledTask, config: DistillConfig) -> Learned:
    described = np.union1d(task.known, task.unlabelled) if config.self_training is not None else task.known
    features = task.features(described)

    def of(rows: np.ndarray) -> np.ndarray:
        return features[np.searchsorted(described, rows)]

    if not config.revises:
        return Learned(task, task, of(task.known))
    with tempfile.TemporaryDirectory() as folder:
        revision.write([revision.revise(task, of, config)], [task], Path(folder))
        (revised,), _ = revision.read(Path(folder), [task])
    return Learned(task, revised, of(revised.known))


def _scores(name: str, learned: Sequence[Learned], config: DistillConfig) -> np.ndarray:
    """Probabilities of a task's test pairs by trees that learned all tasks but this."""
    given = [one for one in learned if one.task.candidates.name != name]
    tasks, revised = [one.task for one in given], [one.revised for one in given]
    # One fold to calibrate on is enough, and a third of the work of five.
    trees, logits = folds.cross_fit(tasks, revised, [one.features for one in given], 1, config.trees)
    unseen = [np.flatnonzero(task.fold == HELD_OUT_FOLD) for task in tasks]
    settled = calibrate.fit_settled(
        [own[rows] for own, rows in zip(logits, unseen, strict=True)],
        [task.target[rows] for task, rows in zip(tasks, unseen, strict=True)],
        [task.labels.weight for task in tasks],
    )
    task = Task(name)
    corpus, pairs = vectorise(*task.records), task.test_pairs
    values = np.concatenate([part for _, part in lexical.features(corpus, pairs, chunk_size=CHUNK_SIZE)])
    return sigmoid(trees.decision_function(values), 0.0, settled)


if __name__ == "__main__":
    main()
