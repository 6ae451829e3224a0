"""The plots of a card, from the curves that `er_distill.training.checks` leaves in a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from er_distill.report import charts
from er_distill.training.card.blocks import Chart, Table

_LINES = {"precision": "precision", "recall": "recall", "f1": "F1"}


def plots(curves: Mapping[str, Any], threshold: float) -> tuple[Chart, ...]:
    """Return the threshold plot, the calibration plot and the score histogram.

    Parameters
    ----------
    curves : mapping
        ``training["checks"][variant]["curves"]``.
    threshold : float
        The variant's.
    """
    return (
        _thresholds(curves["thresholds"], threshold),
        _calibration(curves["calibration"]),
        _scores(curves["scores"], threshold),
    )


def _thresholds(rows: list[list[float]], threshold: float) -> Chart:
    columns = np.array(rows, dtype=np.float64).T
    series = {name: columns[k + 1] for k, name in enumerate(_LINES)}
    best = int(np.nanargmax(columns[3]))
    note = f"highest F1 {columns[3][best]:.3f} at {columns[0][best]:.2f}"
    svg = charts.lines(
        "Estimated precision, recall and F1 by threshold",
        note,
        columns[0],
        series,
        threshold=threshold,
        label="threshold",
    )
    keys = "".join(f'<span class="key {name}">{text}</span>' for name, text in _LINES.items())
    header = ("match from", *_LINES.values(), "share called a match")
    table = tuple((f"{at:.2f}", f"{p:.3f}", f"{r:.3f}", f"{f1:.3f}", f"{share:.1%}") for at, p, r, f1, share in rows)
    return Chart("Thresholds, as estimated", svg, keys + note, Table(header, table), in_markdown=True)


def _calibration(rows: list[list[float]]) -> Chart:
    points = [(mean, share, int(count)) for mean, share, count in rows]
    svg = charts.calibration(
        "Share of matches by probability",
        f"{len(points)} bins of held-out pairs",
        points,
        label="mean probability of a bin",
    )
    keys = (
        '<span class="key dots">share of matches; larger: more pairs</span>'
        '<span class="key ideal">as probable as said</span>'
    )
    table = tuple((f"{mean:.3f}", f"{share:.3f}", f"{count:,}") for mean, share, count in points)
    header = ("mean probability", "share of matches", "pairs")
    return Chart("Calibration", svg, keys, Table(header, table), in_markdown=True)


def _scores(scores: Mapping[str, list[float]], threshold: float) -> Chart:
    counts = {"match": np.array(scores["match"]), "other": np.array(scores["non_match"])}
    names = ("labelled match", "labelled no match")
    svg = charts.histogram(
        "Held-out pairs by score",
        f"{counts['match'].sum():,} {names[0]} and {counts['other'].sum():,} {names[1]}, on a logarithmic scale",
        counts,
        threshold=threshold,
        label="score (probability of a match)",
    )
    keys = f'<span class="key match">{names[0]}</span><span class="key other">{names[1]}</span>logarithmic scale'
    edges = scores["edges"]
    table = tuple(
        (f"{edges[k]:.2f} to {edges[k + 1]:.2f}", f"{counts['match'][k]:,}", f"{counts['other'][k]:,}")
        for k in range(len(edges) - 1)
    )
    return Chart("Scores", svg, keys, Table(("score", *names), table), in_markdown=True)
