"""How well the gold-free criterion ranks configurations: its rank correlation with gold F1, over the log.

    python -m benchmarks.criterion_correlation

Reads ``results/distiller/log.jsonl`` (no gold of its own): each configuration once, as the mean of its seeds. Both
sides are means over the four open tasks, where gold is. Beside the criterion stand its parts, and what it is to beat:
plain F1 against the teachers' own answers. A correlation is given over all configurations, and over those with the
same teachers: a criterion is a number about one set of votes, and is meant to choose between students of those votes.
Students trained on the likely truth are judged by what they learned; that they have to be left out was seen only when
gold had shown it, so the figure with them is the one that counts.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from benchmarks import distiller_protocol, gold
from benchmarks.provenance import Benchmark, Target

PARTS = ("value", "truth", "consistency", "stability", "agreement")
AIM = 0.6
_FEWEST = 4  # configurations a correlation is given for


def main() -> None:
    benchmark = Benchmark("criterion_correlation", None)
    rows = configurations(distiller_protocol.read_log())
    groups = {
        "all": rows,
        "all but those trained on the likely truth": [row for row in rows if row["labels"] != "likely"],
    }
    for row in rows:
        groups.setdefault(", ".join(row["teachers"]), []).append(row)
    found = {name: correlations(group) for name, group in groups.items() if len(group) >= _FEWEST}
    for name, group in found.items():
        print(f"{name} ({group['configurations']})")
        for part, values in group["open"].items():
            print(f"  {part:12} Spearman {values['spearman']:6.3f}  Kendall {values['kendall']:6.3f}")
    target = Target(
        "Spearman correlation with gold F1, all configurations", found["all"]["open"]["value"]["spearman"], AIM
    )
    benchmark.write(
        {"groups": found, "configurations": rows}, [target], distiller_protocol.FOLDER / "criterion_correlation.json"
    )


def configurations(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each configuration with all labels: its parts and gold F1, means over the open tasks and the seeds.

    A name is one configuration only at one commit, and a seed that was run again at the same commit opens another:
    whoever tries things runs them before they are committed.
    """
    found: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    times: Counter[tuple[str, str]] = Counter()
    for run in runs:
        label = run["run"].split(" ")[0]
        name, _, variation = label.partition("/")
        if "/" in variation:
            continue  # a share of the labels
        found.setdefault((name, run["commit"], times[label, run["commit"]]), []).append(run)
        times[label, run["commit"]] += 1
    rows = []
    for (name, commit, _), of in found.items():
        row = {
            "configuration": name,
            "commit": commit,
            **{key: of[0]["settings"][key] for key in ("teachers", "labels")},
        }
        row["f1"] = {task: statistics.fmean(run["gold"]["f1"][task] for run in of) for task in gold.TASKS}
        for part in PARTS:
            row[part] = {task: statistics.fmean(run["tasks"][task][part] for run in of) for task in gold.TASKS}
        rows.append(row)
    return rows


def correlations(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rank correlations with gold: of the means over the open tasks, and the mean of those task by task."""

    def mean(part: str) -> list[float]:
        return [statistics.fmean(row[part].values()) for row in rows]

    def of(part: str, task: str) -> list[float]:
        return [row[part][task] for row in rows]

    by_task = {part: {task: _rank(of(part, task), of("f1", task))["spearman"] for task in gold.TASKS} for part in PARTS}
    return {
        "configurations": len(rows),
        "open": {part: _rank(mean(part), mean("f1")) for part in PARTS},
        "by_task": by_task,
    }


def _rank(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return {"spearman": 0.0, "kendall": 0.0}  # nothing is ranked
    return {
        "spearman": float(stats.spearmanr(one, other).statistic),
        "kendall": float(stats.kendalltau(one, other).statistic),
    }


if __name__ == "__main__":
    main()
