"""The plot of `budget`: mean F1 against the share of the labels, a line a method, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.svg import framed, line, text

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 24, 56
_COLOURS = ("#666666", "#d95f02", "#1b6ca8", "#2e8b57", "#8e44ad", "#b8860b", "#c0392b")
_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1)  # of F1, between two marks of the axis
_MARKS = 9  # at most
_APART = 15  # least distance of two names at the right end
_NUDGE = 3  # methods stand beside each other, so that the bars of their spread do not cover each other


def draw(summary: Sequence[Mapping[str, Any]]) -> str:
    """Draw the summary of `budget`: dots are means over the seeds, bars reach from the worst to the best of them."""
    ceiling = next(row for row in summary if row["method"] == "all")
    rows = [row for row in summary if row["method"] != "all"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lowest, highest = min(row["lowest"] for row in summary), max(row["highest"] for row in summary)
    step = next((step for step in _STEPS if (highest - lowest) / step < _MARKS - 2), _STEPS[-1])
    low, high = step * int(lowest / step), step * (int(highest / step) + 1)
    right_end = max(row["share"] for row in rows) * 1.06

    def x(share: float) -> float:
        return _LEFT + share / right_end * (_WIDTH - _LEFT - _RIGHT)

    def y(f1: float) -> float:
        return _TOP + (high - f1) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>']
    for k in range(round((high - low) / step) + 1):
        at = low + k * step
        parts.append(line(_LEFT, y(at), x(right_end), y(at), "#e4e4e4"))
        parts.append(text(_LEFT - 8, y(at) + 4, f"{at:.{2 if step >= 0.01 else 3}f}", "end"))
    for share in sorted({row["share"] for row in rows}):
        parts.append(text(x(share), _HEIGHT - _BOTTOM + 20, f"{share:.0%}", "middle"))
    parts.append(text(x(right_end / 2), _HEIGHT - 12, "share of the training tuples that were asked", "middle"))
    parts.append(text(_LEFT - 8, 14, "F1", "end"))
    parts.append(line(_LEFT, y(ceiling["f1"]), x(right_end), y(ceiling["f1"]), "black", 'stroke-dasharray="5 4"'))
    names = [(y(ceiling["f1"]), "all labels", "black")]
    for k, method in enumerate(methods):
        colour, nudge = _COLOURS[k % len(_COLOURS)], (k - (len(methods) - 1) / 2) * _NUDGE
        of = sorted((row for row in rows if row["method"] == method), key=lambda row: row["share"])
        for row in of:
            at = x(row["share"]) + nudge
            parts.append(line(at, y(row["lowest"]), at, y(row["highest"]), colour, 'stroke-opacity="0.55"'))
            parts.append(f'<circle cx="{at:.1f}" cy="{y(row["f1"]):.1f}" r="3.5" fill="{colour}"/>')
        points = " ".join(f"{x(row['share']) + nudge:.1f},{y(row['f1']):.1f}" for row in of)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        names.append((y(of[-1]["f1"]), method, colour))
    at = -float("inf")
    for wanted, name, colour in sorted(names):
        at = max(wanted, at + _APART)
        parts.append(text(x(right_end) + 8, at + 4, name, "start", colour))
    title = "F1 on the open tasks by the share of the labels that was asked for, and by how the questions were chosen"
    return framed(title, parts, _WIDTH, _HEIGHT)
