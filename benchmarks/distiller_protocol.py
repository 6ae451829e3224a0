"""Judge first, read gold after: the criterion of a configuration goes to the log before its F1 is known.

``benchmarks/results/distiller/log.jsonl`` has two kinds of lines. ``criterion``: what a run was judged to be worth, and
beside it the plain agreement with its teachers. ``gold``: what it was worth on the open tasks; `run` ties it to the
line above it.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import gzip
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_labels import likely, mean_votes
from benchmarks.distiller_problem import Problem
from benchmarks.distiller_student import Scored
from benchmarks.open_tasks import measure_tuples
from benchmarks.provenance import RESULTS, commit
from er_distill import matching
from er_distill.metrics import pair_scores, select_accuracy
from er_distill.pairs import Pairs
from er_distill.training.criterion import judge

FOLDER = RESULTS / "distiller"
DEFINITION = 1
"""Of the criterion, `er_distill.training.judge`; a line of the log that names none has the first, too.

The second was in force from commit ee1bcdb to 0d1ddb2 (``docs/benchmark.md``); runs of then have its parts.
"""
_DIGITS = 4  # of a score in the predictions


def judged(scored: Sequence[tuple[Problem, Scored]]) -> dict[str, dict[str, float | None]]:
    """Each labelled task's criterion, its parts, and the plain F1 against the teachers' majority."""
    found = {}
    for (problem, own), truth in zip(scored, likely([problem for problem, _ in scored]), strict=True):
        if not problem.known.any():
            continue
        # Labelled pairs that some tier has learned tell nothing.
        use = own.unseen | ~problem.known
        worth = judge(
            problem.data.pairs.take(use),
            truth[use],
            own.scores[use],
            own.matched[use],
            own.refits[:, use],
            threshold=own.threshold,
        )
        rows = own.unseen & problem.known
        said = mean_votes(problem)[rows] > 0.5
        both = int((said & own.matched[rows]).sum())
        agreement = 2 * both / max(int(said.sum() + own.matched[rows].sum()), 1)
        found[problem.data.name] = dataclasses.asdict(worth) | {"agreement": agreement}
    return found


def note_criterion(run: str, configuration: Configuration, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Log what a run is judged to be worth."""
    mean = {
        part: statistics.fmean(task[part] for task in tasks.values() if task[part] is not None)
        for part in next(iter(tasks.values()))
    }
    _append(
        {
            "kind": "criterion",
            "definition": DEFINITION,
            "run": run,
            "mean": mean,
            "tasks": tasks,
            "settings": _settings(configuration),
        }
    )


def note_gold(run: str, measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Log what a run is worth."""
    f1 = {name: task["f1"] for name, task in measured.items()}
    _append({"kind": "gold", "run": run, "mean_f1": statistics.fmean(f1.values()), "f1": f1})


def _settings(configuration: Configuration) -> dict[str, Any]:
    return dataclasses.asdict(configuration)


def _log() -> Path:
    return FOLDER / "log.jsonl"


def _append(entry: Mapping[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    when = {"when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "commit": commit()}
    with _log().open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(when | _short(entry), ensure_ascii=False) + "\n")


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _short(one) for name, one in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def read_log() -> list[dict[str, Any]]:
    """Return the runs whose criterion and whose gold are in the log: both lines in one."""
    entries = [json.loads(line) for line in _log().read_text(encoding="utf-8").splitlines()]
    gold = {entry["run"]: entry for entry in entries if entry["kind"] == "gold"}
    return [
        entry | {"gold": gold[entry["run"]]}
        for entry in entries
        if entry["kind"] == "criterion" and entry["run"] in gold
    ]


def write_predictions(problem: Problem, own: Scored, path: Path) -> None:
    """Write the test tuples' pairs; the same bytes for the same scores."""
    left, right = problem.data.candidates.left, problem.data.candidates.right
    pairs, rows = problem.data.pairs, np.flatnonzero(~problem.data.labelled)
    assert right is not None  # every task of the benchmark has two tables
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("query_id", "candidate_id", "score", "match"))
    for row in rows.tolist():
        query, candidate = left.ids[pairs.left[row]], right.ids[pairs.right[row]]
        writer.writerow((query, candidate, f"{own.scores[row]:.{_DIGITS}f}", int(own.matched[row])))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


def measure(problem: Problem, own: Scored, gold: Pairs) -> dict[str, Any]:
    """Measure the decisions on the test tuples of an open task."""
    rows = ~problem.data.labelled
    pairs, scores, matched = problem.data.pairs.take(rows), own.scores[rows], own.matched[rows]
    true = pairs.take(is_match := np.isin(pairs.keys(), gold.keys()))
    found = pairs.take(matched)
    # Where a query may have several matches, the best of them is what it chose.
    chosen = matched & matching.select(pairs.left, np.where(matched, scores, 0.0), 0.0, right=pairs.right)
    decided = pair_scores(found.left, found.right, true.left, true.right)
    measured = measure_tuples(pairs, gold, scores, own.threshold, seconds=0.0)
    del measured["seconds"]
    return {
        "f1": decided.f1,
        "precision": decided.precision,
        "recall": decided.recall,
        "select_accuracy_decided": select_accuracy(pairs.left, pairs.right, chosen, true.left, true.right),
        **measured,
        "calibration": _reliability(is_match, scores),
    }


def _reliability(is_match: np.ndarray, scores: np.ndarray) -> list[dict[str, float]]:
    """Ten ranges of the score: pairs, mean score, share of matches."""
    place = np.minimum((scores * 10).astype(int), 9)
    return [
        {"pairs": int(rows.sum()), "score": float(scores[rows].mean()), "matches": float(is_match[rows].mean())}
        for rows in (place == k for k in range(10))
        if rows.any()
    ]
