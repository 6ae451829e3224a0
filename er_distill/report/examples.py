"""The parts of the report that show records: pairs side by side, differing words marked."""

from __future__ import annotations

from html import escape
from itertools import groupby
from string import punctuation

import numpy as np

from er_distill.records import Records
from er_distill.report.run import Run

EXAMPLES = 6
"""Pairs shown of each kind."""

_VALUE_CHARS = 300
_SEED = 0


def examples(run: Run, band: tuple[float, float]) -> list[str]:
    """Sections of pairs: matches, closest non-matches, the uncertain band, and mistakes if truth is known."""
    chance = np.random.default_rng(_SEED)
    matched, score = run.matched, run.scores
    below = ~matched & ~run.contested
    closest = _best(score, below)
    inside = (score >= band[0]) & (score <= band[1])
    inside[closest] = False
    groups = [
        (
            "Matches" if run.right is not None else "Pairs in one entity",
            "A random sample.",
            _sample(score, matched, chance),
            "No match was found.",
        ),
        ("Closest non-matches", "The highest scores that were not enough.", closest, "There is none."),
        (
            "The uncertain band",
            f"A random sample of other pairs with a score from {band[0]:g} to {band[1]:g}: what a person might look "
            "at first (see --review).",
            _sample(score, inside, chance),
            "No other pair has such a score.",
        ),
    ]
    if run.labels is not None:
        wrong, missed = matched & ~run.labels, ~matched & run.labels
        groups += [
            (
                f"Wrong matches: {wrong.sum():,}",
                "Not in the truth, highest scores first.",
                _best(score, wrong),
                "None.",
            ),
            (
                f"Missed matches: {missed.sum():,}",
                "True matches among the candidates that were not chosen, highest scores first.",
                _best(score, missed),
                "None.",
            ),
        ]
    return [
        f"<section><h2>{title}</h2><p>{text}</p>{_cards(run, rows, none)}</section>"
        for title, text, rows, none in groups
    ]


def conflicts(run: Run) -> str:
    """The section of pairs that lost a record to a better pair; empty where there is none."""
    if not run.contested.any():
        return ""
    return (
        f"<section><h2>Conflicts: {run.contested.sum():,}</h2><p>Pairs above the threshold that lost a record to "
        f"a better pair, because matching is {escape(run.matching.replace('_', ' '))}. Highest scores first.</p>"
        f"{_cards(run, _best(run.scores, run.contested), 'None.', winners=True)}</section>"
    )


def _best(score: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows[np.argsort(-score[rows], kind="stable")[:EXAMPLES]]


def _sample(score: np.ndarray, mask: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(mask)
    drawn = chance.choice(rows, min(EXAMPLES, len(rows)), replace=False)
    return drawn[np.argsort(-score[drawn], kind="stable")]


def _cards(run: Run, rows: np.ndarray, none: str, *, winners: bool = False) -> str:
    if not len(rows):
        return f'<p class="none">{none}</p>'
    return f'<div class="pairs">{"".join(_card(run, int(row), winners) for row in rows)}</div>'


def _card(run: Run, row: int, winners: bool) -> str:
    right = run.left if run.right is None else run.right
    left_values, right_values = _record(run.left, run.pairs.left[row]), _record(right, run.pairs.right[row])
    rows = []
    for field in dict.fromkeys((*run.left.fields, *right.fields)):
        one, other = left_values.get(field, ""), right_values.get(field, "")
        if one or other:
            rows.append(
                f'<tr><th scope="row">{escape(field).replace("_", "_<wbr>")}</th>'
                f"{_value(one, other)}{_value(other, one)}</tr>"
            )
    left_id, right_id = run.left.ids[run.pairs.left[row]], right.ids[run.pairs.right[row]]
    head = [f'<span class="score">{run.scores[row]:.3f}</span>']
    if run.labels is not None:
        good = run.labels[row] == run.matched[row]
        truth = "a true match" if run.labels[row] else "no match in truth"
        head.append(f'<span class="{"right" if good else "wrong"}">{truth}</span>')
    head.append(f'<span class="ids">{escape(str(left_id))} &harr; {escape(str(right_id))}</span>')
    if winners:
        better = run.winner(row)
        ids = f"{run.left.ids[run.pairs.left[better]]} and {right.ids[run.pairs.right[better]]}"
        head.append(f'<span class="note">lost to {escape(ids)} ({run.scores[better]:.3f})</span>')
    return f'<article class="card pair"><h3>{"".join(head)}</h3><table><tbody>{"".join(rows)}</tbody></table></article>'


def _record(records: Records, code: int) -> dict[str, str]:
    return {field: values[code] for field, values in zip(records.fields, records.values, strict=True)}


def _value(text: str, other: str) -> str:
    """One cell, with the words that the other record does not have marked."""
    if not text:
        return '<td class="missing">missing</td>'
    shown = text if len(text) <= _VALUE_CHARS else text[:_VALUE_CHARS] + "\u2026"
    known = {_folded(word) for word in other.split()} | {""}
    if not other or all(_folded(word) in known for word in text.split()):
        return f'<td dir="auto" class="{"same" if other else ""}">{escape(shown)}</td>'
    runs = (
        (same, escape(" ".join(words))) for same, words in groupby(shown.split(), lambda word: _folded(word) in known)
    )
    return f'<td dir="auto">{" ".join(words if same else f"<mark>{words}</mark>" for same, words in runs)}</td>'


def _folded(word: str) -> str:
    """A word without case and the punctuation around it; of punctuation alone, nothing."""
    return word.casefold().strip(punctuation)
