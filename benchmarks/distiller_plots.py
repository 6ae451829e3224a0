"""The plots of docs/benchmark.md: F1 against labels and against speed, and calibration."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.distiller_results import HEADLINES, PUBLISHED, by_share, read, runs
from benchmarks.svg import COLOURS, Axis, Series, plot

_SHORT = ("Qwen-32B", "Llama-8B", "RoBERTa", "Unicorn", "MiniLM")


def plots(results: Path) -> dict[str, tuple[str, str]]:
    """The plots that there are results for, by name: title and SVG."""
    drawn = {}

    def draw(name: str, title: str, *content: Any) -> None:
        drawn[name] = title, plot(title, *content)

    lines = [
        Series(whose, points, colour)
        for (name, whose), colour in zip(HEADLINES.items(), COLOURS, strict=False)
        if len(points := by_share(results, name)) > 1
    ]
    if lines:
        for (f1, _), name, colour in zip(PUBLISHED.values(), _SHORT[:2], COLOURS[-2:], strict=False):
            lines.append(Series(name, [(share, statistics.fmean(f1)) for share in (0.0, 1.0)], colour, dashed=True))
        up = _f1_axis([f1 for one in lines for _, f1 in one.points])
        across = Axis(
            {0.0: "0", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 1.0: "100 %"}, "share of the labelled queries"
        )
        draw("labels", "F1 on the open tasks by the share of the labels", across, up, lines)
    speed = _speeds(results)
    if speed:
        published = [(float(rate), statistics.fmean(f1)) for f1, rate in PUBLISHED.values()]
        series = [
            Series("published", published, COLOURS[1], joined=False, names=_SHORT),
            Series("ours", list(speed.values()), COLOURS[0], joined=False, names=list(speed)),
        ]
        where = "pairs a second; published models on an RTX 4090, ours on two CPU cores"
        across = Axis({10.0**k: f"{10**k:,}" for k in range(1, 6)}, where, logarithmic=True)
        up = _f1_axis([f1 for one in series for _, f1 in one.points])
        draw("speed", "F1 on the open tasks by speed", across, up, series)
    curves = [
        Series(whose, _reliability(of[0]), colour)
        for (name, whose), colour in zip(HEADLINES.items(), COLOURS, strict=False)
        if (of := runs(results, name))
    ]
    if curves:
        marks = {k / 5: f"{k / 5:.1f}" for k in range(6)}
        diagonal = Series("calibrated", [(0.0, 0.0), (1.0, 1.0)], COLOURS[-1], dashed=True)
        across, up = Axis(marks, "probability; upwards the share of true matches"), Axis(marks, "share")
        draw("calibration", "Share of true matches by probability", across, up, [diagonal, *curves])
    return drawn


def _f1_axis(values: Sequence[float]) -> Axis:
    low, high = int(min(values) * 50), int(max(values) * 50) + 1
    step = max(1, (high - low) // 6)
    return Axis({k / 50: f"{k / 50:.2f}" for k in range(low, high + step, step)}, "F1")


def _speeds(results: Path) -> dict[str, tuple[float, float]]:
    """The bundled student on two cores: pairs a second and mean F1, whole and its trees alone."""
    figures = read(results / "open_tasks.json")
    if figures is None:
        return {}
    tasks = [task["test_tuples"] for task in figures["tasks"].values()]
    return {
        name: (
            sum(task[tier]["pairs"] for task in tasks) / sum(task[tier]["seconds"] for task in tasks),
            figures["mean"][f"{tier}_one_to_one"],
        )
        for tier, name in (("student", "bundled student"), ("trees_alone", "its trees"))
    }


def _reliability(run: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Ten ranges of the score over the open tasks' pairs: mean score and share of matches."""
    by_range: dict[int, list[Mapping[str, float]]] = {}
    for task in run["tasks"].values():
        for row in task["calibration"]:
            by_range.setdefault(min(int(row["score"] * 10), 9), []).append(row)
    points = []
    for _, rows in sorted(by_range.items()):
        pairs = sum(row["pairs"] for row in rows)
        points.append(
            (
                sum(row["score"] * row["pairs"] for row in rows) / pairs,
                sum(row["matches"] * row["pairs"] for row in rows) / pairs,
            )
        )
    return points
