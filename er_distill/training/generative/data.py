"""Candidate lists and labels as choices: a query, its candidates in the order they are shown, and the right number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from er_distill.errors import InputError
from er_distill.selecting import MAX_OPTIONS
from er_distill.training.labels import Candidates, Labels

NO_CANDIDATE = -1
"""In place of a candidate's row: none of them."""

_BRACKETS = re.compile(r"\s?\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]")
# Numbers without brackets that count candidates: they cannot be told from others for sure, so such a text is not used.
_BARE = re.compile(
    r"\b(?:candidates?|records?|options?|index)\s+(?:record\s+|number\s+|is\s+)?\(?\d{1,2}\b(?![.,]?\d)", re.I
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Explanation:
    """Why a teacher gave an answer.

    Attributes
    ----------
    text : str
    answer : int
        Row of the candidate it speaks for, :data:`NO_CANDIDATE` for none.
    shown : tuple of int or None
        Rows of the candidates in the order in which they were numbered from 1 for the teacher; None where unknown.
    """

    text: str
    answer: int
    shown: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Choice:
    """One question with its answer.

    Attributes
    ----------
    query : str
        The query record's text.
    candidates : tuple of str
        Texts of 1 to `MAX_OPTIONS` candidates in the order they are numbered, from 1.
    answer : int
        The right number; 0 for none of them.
    explanation : str or None
        Why, in words; its numbers are those of `candidates`, and none stands in brackets.
    """

    query: str
    candidates: tuple[str, ...]
    answer: int
    explanation: str | None = None

    @property
    def wrong(self) -> tuple[int, ...]:
        """The other numbers that could be said: none and the last one too."""
        return tuple(option for option in range(len(self.candidates) + 1) if option != self.answer)


def choices_of(
    candidates: Candidates,
    labels: Labels,
    *,
    seed: int = 0,
    explanations: Mapping[int, Explanation] | None = None,
) -> list[Choice]:
    """Return the labelled candidate lists as choices.

    The candidates stand in an order drawn from `seed`, so that their position tells nothing. Lists longer than a
    question can be are cut into several, all but one of which have no right candidate. Where several candidates are
    right (dedup), each gets a question of its own without the others. A query whose votes favour nothing is left out.

    Parameters
    ----------
    candidates : Candidates
    labels : Labels
    seed : int
    explanations : mapping of int to Explanation, optional
        By row of the query. One is used where it speaks for the answer that the labels give.

    Returns
    -------
    list of Choice

    Raises
    ------
    InputError
        When labels and pairs do not fit, or no query has a label.
    """
    pairs, name = candidates.pairs, candidates.name
    if len(pairs) != len(labels.target):
        raise InputError(
            f"{name} has {len(pairs)} pairs and {len(labels.target)} labels. Give a label, or NaN, for each."
        )
    rng = np.random.default_rng(seed)
    texts = candidates.left.texts, (candidates.left if candidates.right is None else candidates.right).texts
    known = np.flatnonzero(labels.known)
    order = known[np.argsort(pairs.left[known], kind="stable")]
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(pairs.left[order])) + 1):
        if not len(rows):
            continue
        query = int(pairs.left[rows[0]])
        votes = dict(zip(pairs.right[rows].tolist(), labels.target[rows].tolist(), strict=True))
        explanation = None if explanations is None else explanations.get(query)
        for right in _right_ones(votes):
            others = [row for row, vote in votes.items() if vote <= 0.5]
            listed = others if right == NO_CANDIDATE else [*others, right]
            shown = rng.permutation(_without_repeats(listed, right, texts[1])).tolist()
            for part in np.array_split(np.array(shown, dtype=int), math.ceil(len(shown) / MAX_OPTIONS)):
                found.append(_choice(query, part.tolist(), right, texts, explanation))
    if not found:
        raise InputError(
            f"{name} has no labelled candidate list to train on. Join the labels to the candidate pairs first."
        )
    return found


def renumber(text: str, shown: Sequence[int] | None, now: Sequence[int]) -> str | None:
    """Return `text` with its bracketed numbers counting another order, in round brackets.

    Parameters
    ----------
    text : str
    shown : sequence of int or None
        Rows in the order that the numbers count, from 1; 0 is none. None where the order is unknown.
    now : sequence of int
        Rows in the order they shall count. A number of a row that is not in it is left out.

    Returns
    -------
    str or None
        None where numbers without brackets count candidates as well, which cannot be put right.
    """
    if _BARE.search(text):
        return None

    def replaced(match: re.Match[str]) -> str:
        numbers = [_place(int(number), shown, now) for number in match[1].split(",")]
        kept = ", ".join(str(number) for number in numbers if number is not None)
        return f"{' ' if match[0][0].isspace() else ''}({kept})" if kept else ""

    return _BRACKETS.sub(replaced, text).replace("[", "(").replace("]", ")").strip()


def shortened(text: str, fits: Callable[[str], bool]) -> str:
    """Return the first sentences of `text` that together still fit; the empty string where the first does not."""
    kept = ""
    for sentence in _SENTENCE.split(" ".join(text.split())):
        longer = f"{kept} {sentence}".strip()
        if not fits(longer):
            break
        kept = longer
    return kept


def check_choices(choices: Sequence[Choice]) -> None:
    """Raise InputError where the choices hold nothing to tell apart."""
    matches = sum(choice.answer > 0 for choice in choices)
    if not matches:
        raise InputError(f"None of the {len(choices):,} choices to train on has a right candidate: label more.")
    single = matches == len(choices) and all(len(choice.candidates) == 1 for choice in choices)
    if single:
        raise InputError(
            f"All {len(choices):,} choices have one candidate, and it is right: there is nothing to tell apart."
        )


def _right_ones(votes: Mapping[int, float]) -> list[int]:
    """Return the rows that are right, [NO_CANDIDATE] where none is, and [] where the votes do not say."""
    right = [row for row, vote in votes.items() if vote > 0.5]
    if right:
        return right
    return [NO_CANDIDATE] if 1 - sum(votes.values()) > max(votes.values()) else []


def _without_repeats(rows: Sequence[int], right: int, texts: Sequence[str]) -> list[int]:
    """Leave out records that read like another one: they could not be told apart. The right one stays."""
    by_text = {texts[row]: row for row in rows}
    if right != NO_CANDIDATE:
        by_text[texts[right]] = right
    return sorted(by_text.values())


def _choice(
    query: int,
    shown: Sequence[int],
    right: int,
    texts: tuple[Sequence[str], Sequence[str]],
    explanation: Explanation | None,
) -> Choice:
    answer = shown.index(right) + 1 if right in shown else 0
    # Of a list that was cut, only the part with the right candidate is what the explanation speaks of.
    fits = explanation is not None and explanation.answer == right and (answer > 0 or right == NO_CANDIDATE)
    why = renumber(explanation.text, explanation.shown, shown) if explanation is not None and fits else None
    return Choice(texts[0][query], tuple(texts[1][row] for row in shown), answer, why or None)


def _place(number: int, shown: Sequence[int] | None, now: Sequence[int]) -> int | None:
    if number == 0:
        return 0
    if shown is None or number > len(shown) or shown[number - 1] not in now:
        return None
    return list(now).index(shown[number - 1]) + 1
