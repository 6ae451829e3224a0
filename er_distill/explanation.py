"""Why a pair has the score it has: what `er_distill.explain` returns, and how it reads when printed."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, Literal

_SHOWN = 5  # other candidates printed
_BAR = 16


@dataclass(frozen=True)
class Attribute:
    """What one attribute adds to a pair's log-odds; `left` and `right` are its values, "" where there is none."""

    name: str
    left: str
    right: str
    contribution: float


@dataclass(frozen=True)
class Word:
    """By how much the pair's log-odds exceed what they are without one word, all else in its place."""

    attribute: str
    word: str
    side: Literal["both", "left", "right"]
    effect: float


@dataclass(frozen=True)
class Candidate:
    """Another candidate of one of the pair's records: its id, its score with that record, and its text."""

    id: Any
    score: float
    text: str


@dataclass(frozen=True)
class Explanation:
    """Why a pair has its score.

    Attributes
    ----------
    left_id, right_id : object
    score : float
        Probability that the pair is a match.
    threshold : float
        From which the student calls a pair a match.
    base : float
        Log-odds of the pair with every attribute empty.
    attributes : tuple of Attribute
        Largest contribution first, in either direction. `base` and the contributions add up to the score's log-odds.
    exact : bool
        Whether every combination of attributes was scored; else the contributions are means over a sample of orders.
    words : tuple of Word
        Of the attributes that contribute most; largest effect first. Words act together, so these do not add up.
    candidates_of_left, candidates_of_right : tuple of Candidate
        The other candidates of either record, best first.
    generated : str or None
        What a generative student says of its choice among the left record's candidates, where it can: ``[1]`` is the
        pair's right record, ``[2]`` the first of `candidates_of_left`, ``[0]`` none of them.
    """

    left_id: Any
    right_id: Any
    score: float
    threshold: float
    base: float
    attributes: tuple[Attribute, ...]
    exact: bool
    words: tuple[Word, ...]
    candidates_of_left: tuple[Candidate, ...]
    candidates_of_right: tuple[Candidate, ...]
    generated: str | None = None

    @property
    def log_odds(self) -> float:
        """The score's log-odds: `base` and the contributions together."""
        return self.base + sum(one.contribution for one in self.attributes)

    @property
    def is_match(self) -> bool:
        """Whether the score reaches the student's threshold; a matching, such as one-to-one, may decide otherwise."""
        return self.score >= self.threshold

    @property
    def margin(self) -> float | None:
        """The score less that of the best other candidate of either record; None where there is no other."""
        others = [candidate.score for candidate in (*self.candidates_of_left, *self.candidates_of_right)]
        return self.score - max(others) if others else None

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(why: Explanation) -> list[str]:
    decision = "match" if why.is_match else "no match"
    lines = [
        f"{why.left_id} and {why.right_id}: {decision}, probability {why.score:.3f} (threshold {why.threshold:.2f})",
        "",
        "What each attribute adds to the log-odds" + ("" if why.exact else " (a sample of their orders)"),
    ]
    names = [one.name for one in why.attributes]
    width = max(len(name) for name in [*names, "(all empty)", "score"])
    most = max([abs(one.contribution) for one in why.attributes if one.contribution], default=1.0)
    lines.append(f"  {'(all empty)':<{width}}  {why.base:+7.2f}")
    for one in why.attributes:
        bar = ("+" if one.contribution > 0 else "-") * round(abs(one.contribution) / most * _BAR)
        both = f"{_short(one.left)} | {_short(one.right)}"
        lines.append(f"  {one.name:<{width}}  {one.contribution:+7.2f}  {bar:<{_BAR}}  {both}")
    lines.append(f"  {'score':<{width}}  {why.log_odds:+7.2f}  probability {why.score:.3f}")
    if why.words:
        lines += ["", "What it would lose without a word"]
        lines += [f"  {one.effect:+7.2f}  {one.word}  ({one.attribute}, {one.side})" for one in why.words]
    for record, others in ((why.left_id, why.candidates_of_left), (why.right_id, why.candidates_of_right)):
        lines += ["", f"Other candidates of {record}: {len(others) or 'none'}"]
        lines += [f"  {one.score:.3f}  {one.id}  {_short(one.text, 80)}" for one in others[:_SHOWN]]
    if why.margin is not None:
        lines += ["", f"Margin to the best of them: {why.margin:+.3f}"]
    if why.generated is not None:
        lines += ["", f"The student says: {why.generated}"]
        lines.append(f"  ([1] is {why.right_id}, [2] and on the other candidates of {why.left_id}, [0] none)")
    return lines


def _short(text: str, chars: int = 36) -> str:
    return textwrap.shorten(text, chars, placeholder=" ...") if text else "-"
