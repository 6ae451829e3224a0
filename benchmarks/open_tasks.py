"""The four open DistillER tasks, with the bundled student and no labels: test tuples, and whole tables end to end.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.open_tasks

Test tuples: the published candidate pairs of the test queries, scored together (their context is each other). Measures
count only the true matches among these candidates. End to end: `er_distill.link` with default settings on both whole
tables, measured against all of gold, so that what blocking misses counts as missed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import er_distill
from benchmarks.gold import TASKS, Task
from benchmarks.provenance import Benchmark, Target
from benchmarks.tiers import share_to_encoder, trees_alone
from er_distill import matching
from er_distill.blocking import candidates
from er_distill.metrics import blocking_scores, expected_calibration_error, pair_scores, select_accuracy
from er_distill.pairs import Pairs
from er_distill.student import Student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="default")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/open_tasks.json")
    args = parser.parse_args()
    benchmark = Benchmark("open_tasks", args.student)
    student = Student.load(args.student)
    trees = trees_alone(student)
    tasks: dict[str, dict[str, Any]] = {}
    for name in args.tasks:
        task = Task(name)
        # Everything is decided before gold is read.
        tuples = {"student": _scored(task, student), "trees_alone": _scored(task, trees)}
        linked = _linked(task, student)
        gold = task.gold("open_tasks")
        tasks[name] = {
            "test_tuples": {tier: measure_tuples(task.test_pairs, gold, **scored) for tier, scored in tuples.items()},
            "share_to_encoder": share_to_encoder(student, tuples["trees_alone"]["scores"]),
            "end_to_end": measure_linked(gold, **linked),
        }
    mean = {
        f"{tier}_{measure}": statistics.fmean(task["test_tuples"][tier][measure]["f1"] for task in tasks.values())
        for tier in ("student", "trees_alone")
        for measure in ("raw", "one_to_one")
    }
    for measure in ("select_accuracy", "calibration_error"):
        mean[measure] = statistics.fmean(task["test_tuples"]["student"][measure] for task in tasks.values())
    mean["end_to_end"] = statistics.fmean(task["end_to_end"]["f1"] for task in tasks.values())
    targets = [
        Target("test tuples: mean pairwise F1 after one-to-one", mean["student_one_to_one"], at_least=0.84),
        Target("end to end: mean F1", mean["end_to_end"], at_least=0.78),
    ]
    benchmark.write({"mean": mean, "tasks": tasks, "threshold": student.threshold}, targets, args.output)


def _scored(task: Task, student: Student) -> dict[str, Any]:
    started = time.perf_counter()
    scores = student.score(*task.records, task.test_pairs)
    return {"scores": scores, "threshold": student.threshold, "seconds": time.perf_counter() - started}


def measure_tuples(pairs: Pairs, gold: Pairs, scores: np.ndarray, threshold: float, seconds: float) -> dict[str, Any]:
    """Measure scores of the test tuples' pairs."""
    is_match = np.isin(pairs.keys(), gold.keys())
    true = pairs.take(is_match)

    def pairwise(chosen: np.ndarray) -> dict[str, float]:
        found = pairs.take(chosen)
        scored = pair_scores(found.left, found.right, true.left, true.right)
        return {"precision": scored.precision, "recall": scored.recall, "f1": scored.f1}

    selected = matching.select(pairs.left, scores, threshold, right=pairs.right)
    return {
        "raw": pairwise(matching.threshold(scores, threshold)),
        "one_to_one": pairwise(matching.one_to_one(pairs.left, pairs.right, scores, threshold)),
        "select_accuracy": select_accuracy(pairs.left, pairs.right, selected, true.left, true.right),
        "calibration_error": expected_calibration_error(is_match, scores),
        "pairs": len(pairs),
        "matches_among_them": int(is_match.sum()),
        "seconds": seconds,
    }


def _linked(task: Task, student: Student) -> dict[str, Any]:
    left, right = task.tables
    started = time.perf_counter()
    matches = er_distill.link(left, right, id="id", student=student)
    seconds = time.perf_counter() - started
    found = Pairs.from_ids(matches["left_id"].to_pylist(), matches["right_id"].to_pylist(), *task.records)
    return {"found": found, "blocked": candidates(*task.records).pairs, "seconds": seconds}


def measure_linked(gold: Pairs, found: Pairs, blocked: Pairs, seconds: float) -> dict[str, Any]:
    """Measure the matches of whole tables against all of gold, and the default blocking that `link` used."""
    kept = blocking_scores(blocked.left, blocked.right, gold.left, gold.right, n_left=gold.n_left, n_right=gold.n_right)
    return {
        **vars(pair_scores(found.left, found.right, gold.left, gold.right)),
        "blocking": vars(kept),
        "seconds": seconds,
        "pairs_per_second": len(blocked) / seconds,
    }


if __name__ == "__main__":
    main()
