"""How well the gold-free criterion ranks configurations: its rank correlation with gold F1, over the log.

    python -m benchmarks.criterion_correlation

Reads ``results/distiller/log.jsonl`` (no gold of its own): each configuration once, as the mean of its seeds. Both
sides are means over the four open tasks, where gold is. Beside the criterion stand its parts, and what it is to beat:
plain F1 against the teachers' own answers.

The criterion has had two definitions; the first is `er_distill.training.judge`. A run stands under each that it was
judged by. Under the first, the runs judged before their gold was read stand apart; under the second, those whose gold
was read before it was frozen. The *second round* is what the second chose among; the first judged it when its gold was
known.

A correlation is given over all configurations, and over those with the same teachers: a criterion is a number about one
set of votes, and is meant to choose between students of those votes. Students trained on the likely truth were judged
by what they learned, under the first definition; that they have to be left out was seen only when gold had shown it, so
the figure with them is the one that counts. Last, of all pairs of configurations with the same teachers, the share that
the criterion puts in the right order, by how far they are apart.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import distiller_protocol, gold
from benchmarks.distiller_configurations import SECOND_ROUND
from benchmarks.provenance import Benchmark, Target

PARTS = {1: ("value", "truth", "consistency", "stability", "agreement"), 2: ("value", "second_view", "majority")}
"""Of each definition: the criterion, parts, and agreement with the teachers, which is nearly a part of the second."""

NAMES = {1: "first criterion", 2: "second criterion"}
AIM = 0.6
APART = (0.0, 0.005, 0.02, 0.05, 1.0)
"""Bounds of the difference in F1 that pairs of configurations are counted by."""
_FEWEST = 4  # configurations a correlation is given for


def main() -> None:
    benchmark = Benchmark("criterion_correlation", None)
    rows = configurations(distiller_protocol.read_log())
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        which = NAMES[row["definition"]]
        names = ["all", f"{len(row['teachers'])} teachers" if len(row["teachers"]) > 1 else row["teachers"][0]]
        if row["configuration"] in SECOND_ROUND:
            names.append("second round")
        if row["definition"] == 2:
            names.append("known before" if row["known_before"] else "new")
        elif not row["after_gold"]:
            names.append("judged before gold")
        if row["definition"] == 1 and row["labels"] != "likely":
            names.append("all but those trained on the likely truth")
        for name in names:
            groups.setdefault(f"{which}: {name}", []).append(row)
    found = {name: correlations(group) for name, group in sorted(groups.items()) if len(group) >= _FEWEST}
    for name, group in found.items():
        print(f"{name} ({group['configurations']})")
        for part, values in group["open"].items():
            print(f"  {part:12} Spearman {values['spearman']:6.3f}  Kendall {values['kendall']:6.3f}")
    pairs = {which: ordered([row for row in rows if row["definition"] == of]) for of, which in NAMES.items()}
    for which, counts in pairs.items():
        print(which, *(f"{one['right']:.0%} of {one['pairs']} up to {one['to']:g} apart" for one in counts), sep=", ")
    targets = [
        Target(f"Spearman correlation with gold F1, {name}", found[name]["open"]["value"]["spearman"], AIM)
        for name in (f"{which}: all" for which in NAMES.values())
        if name in found
    ]
    benchmark.write(
        {"groups": found, "pairs": pairs, "configurations": rows},
        targets,
        distiller_protocol.FOLDER / "criterion_correlation.json",
    )


def configurations(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each configuration with all labels: its parts and gold F1, means over the open tasks and the seeds.

    A name is one configuration only at one commit, and a seed that was run again at the same commit opens another:
    whoever tries things runs them before they are committed.
    """
    found: dict[tuple[str, str, int, int], list[Mapping[str, Any]]] = {}
    before = {_settings(run) for run in runs if _definition(run) == 1 and not _after_gold(run)}
    times: Counter[tuple[str, str, int]] = Counter()
    for run in runs:
        label = run["run"].split(" ")[0]
        name, _, variation = label.partition("/")
        if "/" in variation:
            continue  # a share of the labels
        if _definition(run) == 1 and run["settings"].get("encoder"):
            continue  # an encoder is trained once: how stable a student with it is was not measured
        which = label, run["commit"], _definition(run)
        found.setdefault((name, *which[1:], times[which]), []).append(run)
        times[which] += 1
    rows = []
    for (name, commit, definition, _), of in found.items():
        row = {
            "configuration": name,
            "commit": commit,
            "definition": definition,
            "known_before": _settings(of[0]) in before,
            "after_gold": _after_gold(of[0]),
            **{key: of[0]["settings"][key] for key in ("teachers", "labels")},
        }
        row["f1"] = {task: statistics.fmean(run["gold"]["f1"][task] for run in of) for task in gold.TASKS}
        for part in PARTS[row["definition"]]:
            row[part] = {task: statistics.fmean(run["tasks"][task][part] for run in of) for task in gold.TASKS}
        rows.append(row)
    return rows


def _definition(run: Mapping[str, Any]) -> int:
    return int(run.get("definition", 1))


def _after_gold(run: Mapping[str, Any]) -> bool:
    return bool(run["when"] > run["gold"]["when"])


def _settings(run: Mapping[str, Any]) -> str:
    """What a run was of; a line of the log may be older than a setting."""
    return json.dumps({"made_up": 0.0} | dict(run["settings"]), sort_keys=True)


def correlations(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rank correlations with gold: of the means over the open tasks, and the mean of those task by task."""

    def mean(part: str) -> list[float]:
        return [statistics.fmean(row[part].values()) for row in rows]

    def of(part: str, task: str) -> list[float]:
        return [row[part][task] for row in rows]

    parts = PARTS[rows[0]["definition"]]
    by_task = {part: {task: _rank(of(part, task), of("f1", task))["spearman"] for task in gold.TASKS} for part in parts}
    return {
        "configurations": len(rows),
        "open": {part: _rank(mean(part), mean("f1")) for part in parts},
        "by_task": by_task,
    }


def ordered(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Of two configurations with the same teachers, how often the better has the higher criterion, by how much better.

    A half is chance.
    """
    found = []
    f1, value = (np.array([statistics.fmean(row[part].values()) for row in rows]) for part in ("f1", "value"))
    one, other = np.triu_indices(len(rows), 1)
    teachers = np.array([" ".join(row["teachers"]) for row in rows])
    same = teachers[one] == teachers[other]
    better, higher = f1[one] - f1[other], value[one] - value[other]
    for least, most in itertools.pairwise(APART):
        use = same & (np.abs(better) > least) & (np.abs(better) <= most)
        if use.any():
            right = float((better * higher > 0)[use].mean())
            found.append({"f1_apart_over": least, "to": most, "pairs": int(use.sum()), "right": right})
    return found


def _rank(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return {"spearman": 0.0, "kendall": 0.0}  # nothing is ranked
    return {
        "spearman": float(stats.spearmanr(one, other).statistic),
        "kendall": float(stats.kendalltau(one, other).statistic),
    }


if __name__ == "__main__":
    main()
