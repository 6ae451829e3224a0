"""The DistillER benchmark: a student of the published labels of all eight tasks, on all eight tasks' test tuples.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.distiller --configuration headline --seed 0

Writes ``results/distiller/<configuration>/seed<k>/<task>.csv.gz`` (query_id, candidate_id, score, match; every pair of
the test tuples) and ``seed<k>.json``. F1: the pairs called matches against the true pairs among the candidates; `raw`
before one-to-one. SELECT accuracy: share of queries whose chosen candidate, or none, is right. Only the four open
tasks have gold here. The order is fixed: predictions, then the gold-free criterion into ``log.jsonl``, then gold
(`--blind` stops before it).

`--share` trains on a share of each task's labelled queries, `--leave-one-out` scores each open task by a student that
saw no label of it. Neither is written as predictions.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
from collections.abc import Sequence
from typing import Any

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.distiller_configurations import CONFIGURATIONS, Configuration
from benchmarks.distiller_data import TaskData, load
from benchmarks.distiller_protocol import FOLDER, judged, measure, note_criterion, note_gold, write_predictions
from benchmarks.distiller_student import Problem, Scored, problems, score
from benchmarks.gold import TASKS, gold_of_all
from benchmarks.provenance import Benchmark, Target

Run = tuple[list[Problem], list[Scored]]

FLOORS = {"headline": 0.885, "headline-qwen32b": 0.88}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configuration", nargs="+", default=["headline"], choices=CONFIGURATIONS, metavar="NAME")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--share", type=float, default=1.0, help="of each task's labelled queries")
    parser.add_argument("--leave-one-out", action="store_true", help="labels of the other seven tasks alone")
    parser.add_argument("--blind", action="store_true", help="criterion only: gold is not read")
    args = parser.parse_args()
    tasks = load()
    # Fits this small gain nothing from a second thread, and crawl with one where another process is busy.
    with threadpool_limits(1):
        for name in args.configuration:
            for seed in args.seed:
                run(tasks, name, seed, share=args.share, leave_one_out=args.leave_one_out, blind=args.blind)


def run(
    tasks: Sequence[TaskData], name: str, seed: int, *, share: float, leave_one_out: bool, blind: bool
) -> dict[str, Any] | None:
    """Run one configuration with one seed; return its figures, or None where gold is not read."""
    configuration = CONFIGURATIONS[name]
    benchmark = Benchmark("distiller", None, ["scikit-learn"])
    what = "leave-one-out" if leave_one_out else "all" if share == 1.0 else f"share-{share:g}"
    label = f"{name}/seed{seed}" + ("" if what == "all" else f"/{what}")
    if leave_one_out:
        made, seconds, worth = _left_out(tasks, configuration, seed), {}, {}
    else:
        given = problems(tasks, configuration, seed=seed, share=share)
        scored, seconds = score(given, configuration, seed=seed)
        made = given, scored
        worth = judged(given, scored)
        note = f"{label} {dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}"
        note_criterion(note, configuration, worth)
        print(f"{label}: criterion {statistics.fmean(task['value'] or 0.0 for task in worth.values()):.4f}")
        if what == "all":
            for problem, own in zip(*made, strict=True):
                write_predictions(problem, own, FOLDER / name / f"seed{seed}" / f"{problem.data.name}.csv.gz")
    if blind:
        return None
    gold = gold_of_all(f"distiller: {label}")
    measured = {
        problem.data.name: measure(problem, own, gold[problem.data.name])
        for problem, own in zip(*made, strict=True)
        if problem.data.name in gold
    }
    mean = _means(measured)
    if not leave_one_out:
        note_gold(note, measured)
    print(f"{label}: F1 {mean['f1']:.4f}", *(f"{task} {row['f1']:.3f}" for task, row in measured.items()))
    figures = {
        "mean": mean,
        "tasks": measured,
        "criterion": worth,
        "seconds_of": seconds | {"features": sum(task.seconds for task in tasks)},
        "pairs": sum(len(task.pairs) for task in tasks),
        "labelled_queries": {p.data.name: len(set(p.data.pairs.left[p.known].tolist())) for p in made[0]},
    }
    targets = []
    if what == "all" and name in FLOORS:
        targets = [
            Target("mean pairwise F1 of the open tasks, after one-to-one", mean["f1"], at_least=FLOORS[name]),
            Target("SELECT accuracy of the open tasks", mean["select_accuracy_decided"], at_least=0.88),
        ]
    if leave_one_out:
        targets = [Target("mean pairwise F1 of the open tasks, without their own labels", mean["f1"], at_least=0.83)]
    file = f"seed{seed}.json" if what == "all" else f"seed{seed}-{what}.json"
    benchmark.write(figures, targets, FOLDER / name / file)
    return figures


def _left_out(tasks: Sequence[TaskData], configuration: Configuration, seed: int) -> Run:
    given, scored = [], []
    for name in tqdm(TASKS, desc="left out", unit="task"):
        others = problems(tasks, configuration, seed=seed, left_out=name)
        found, _ = score(others, configuration, seed=seed)
        at = [problem.data.name for problem in others].index(name)
        given.append(others[at])
        scored.append(found[at])
    return given, scored


def _means(measured: dict[str, dict[str, Any]]) -> dict[str, float]:
    rows = list(measured.values())
    mean = {
        part: statistics.fmean(row[part] for row in rows)
        for part in ("f1", "precision", "recall", "select_accuracy", "select_accuracy_decided", "calibration_error")
    }
    return mean | {f"{rule}_f1": statistics.fmean(row[rule]["f1"] for row in rows) for rule in ("raw", "one_to_one")}


if __name__ == "__main__":
    main()
