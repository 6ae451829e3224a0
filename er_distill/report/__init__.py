"""A run's HTML report: one file without scripts or anything from elsewhere.

It shows what was found, how sure the student was, what blocking cut, examples to look at, and what is needed to repeat
the run. Everything that comes from the tables is escaped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from html import escape

import numpy as np

from er_distill.report.charts import histogram, lines
from er_distill.report.examples import conflicts, examples
from er_distill.report.parts import facts, figure, page, tile_row
from er_distill.report.run import Run

BAND = (0.3, 0.8)
"""Scores called uncertain when the caller names no other."""

_BINS = 20


def render(run: Run, settings: Mapping[str, str], *, band: tuple[float, float] = BAND) -> str:
    """Write the report of a run.

    Parameters
    ----------
    run : Run
        What was compared and found.
    settings : mapping of str to str
        What is needed to repeat the run, shown as it stands.
    band : (float, float)
        Lowest and highest score of the pairs called uncertain.

    Returns
    -------
    str
        A whole HTML page.
    """
    sections = [
        _header(run, settings),
        _tiles(run),
        _scores(run),
        _blocking(run),
        *examples(run, band),
        conflicts(run),
        _settings(settings),
    ]
    return page(run.title, sections)


def _header(run: Run, settings: Mapping[str, str]) -> str:
    now = dt.datetime.now().astimezone().strftime("%d %B %Y, %H:%M")
    kind = "Deduplication" if run.right is None else "Linkage"
    return (
        f'<header><p class="eyebrow">{kind} report</p><h1>{escape(run.title)}</h1>'
        f"<p>{now} &middot; student {escape(settings.get('student', ''))} &middot; {escape(run.device)}</p></header>"
    )


def _tiles(run: Run) -> str:
    if run.right is None:
        records = [("records", f"{len(run.left):,}")]
        found = [("entities", f"{run.n_entities:,}"), ("duplicates found", f"{len(run.left) - run.n_entities:,}")]
    else:
        records = [("left records", f"{len(run.left):,}"), ("right records", f"{len(run.right):,}")]
        found = [("matches", f"{run.matched.sum():,}")]
    found += [(name, f"{value:.4f}") for name, value in run.quality.items()]
    cost = [
        ("candidate pairs", f"{len(run.pairs):,}"),
        ("pairs a second", f"{run.pairs_per_second:,.0f}"),
        ("seconds in all", f"{run.seconds:,.1f}"),
    ]
    return tile_row("found", found) + tile_row("cost", [*records, *cost])


def _scores(run: Run) -> str:
    shown = run.labels if run.labels is not None else run.matched
    found = "matches" if run.right is not None else "pairs in one entity"
    names = ("true matches" if run.labels is not None else found, "other candidates")
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    counts = {
        "match": np.histogram(run.scores[shown], edges)[0],
        "other": np.histogram(run.scores[~shown], edges)[0],
    }
    chart = histogram(
        "Candidate pairs by score",
        f"{shown.sum():,} {names[0]} and {(~shown).sum():,} {names[1]}, on a logarithmic scale",
        counts,
        threshold=run.threshold,
        label="score (probability of a match)",
    )
    keys = f'<span class="key match">{names[0]}</span><span class="key other">{names[1]}</span>'
    rows = [
        (f"{edges[i]:.2f} to {edges[i + 1]:.2f}", f"{counts['match'][i]:,}", f"{counts['other'][i]:,}")
        for i in range(_BINS)
    ]
    figures = [figure("Scores", chart, keys + "logarithmic scale", ("score", *names), rows), _curve(run)]
    return (
        "<section><h2>How sure the student is</h2><p>Scores are probabilities. Many pairs at both ends and few between "
        f'mean clear decisions.</p><div class="charts">{"".join(figures)}</div></section>'
    )


def _curve(run: Run) -> str:
    curve = run.curve
    if curve is None:
        return ""
    series = {"precision": curve.precision, "recall": curve.recall, "f1": curve.f1}
    best = f"highest F1 {curve.f1[curve.best]:.3f} at {curve.thresholds[curve.best]:.2f}"
    chart = lines(
        "Precision, recall and F1 by threshold",
        best,
        curve.thresholds,
        series,
        threshold=run.threshold,
        label="threshold",
    )
    keys = "".join(f'<span class="key {name}">{text}</span>' for name, text in _CURVES.items())
    rows = [
        (f"{curve.thresholds[i]:.2f}", *("-" if np.isnan(line[i]) else f"{line[i]:.3f}" for line in series.values()))
        for i in range(5, 100, 5)
    ]
    return figure("Threshold", chart, keys + best, ("threshold", *_CURVES.values()), rows)


_CURVES = {"precision": "precision", "recall": "recall", "f1": "F1"}


def _blocking(run: Run) -> str:
    report = run.blocking
    if report is None:
        return ""
    rows = [("possible pairs", f"{report.possible:,}"), ("candidate pairs", f"{report.pairs:,}")]
    rows.append(("cut (reduction)", f"{report.reduction:.4%}"))
    if run.truth is not None and run.labels is not None and len(run.truth):
        found = int(run.labels.sum())
        rows.append(("true matches among the candidates (completeness)", f"{found / len(run.truth):.2%}"))
        rows.append(("true matches lost", f"{len(run.truth) - found:,}"))
    if run.right is None:
        rows.append(("records without a candidate", f"{report.left_without:,}"))
    else:
        rows.append(("left records without a candidate", f"{report.left_without:,}"))
        rows.append(("right records without a candidate", f"{report.right_without:,}"))
    rows += [(f"found by rule: {rule}", f"{pairs:,}") for rule, pairs in report.rules]
    return (
        "<section><h2>Blocking</h2><p>Which pairs were looked at. A match that blocking cuts cannot be found later.</p>"
        f'<div class="card">{facts(rows)}</div></section>'
    )


def _settings(settings: Mapping[str, str]) -> str:
    return (
        "<section><h2>Settings</h2><p>What is needed to repeat this run.</p>"
        f'<div class="card">{facts(settings.items())}</div></section>'
    )
