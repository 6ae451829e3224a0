"""The protocol of teachers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from er_distill.training.labels import Candidates

NONE = -1
"""The choice "none of the candidates"."""


@dataclass(frozen=True)
class Question:
    """One query record and the candidates to choose from.

    Attributes
    ----------
    query : int
        Row of the query record in the left table.
    candidates : tuple of int
        Rows of the candidate records in the right table (in dedup: in the one table), in ascending order.
    """

    query: int
    candidates: tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What an answer took; None where it is unknown, which is not 0.

    Attributes
    ----------
    requests : int
        Requests made, failed ones included.
    prompt_tokens, completion_tokens : int or None
    money : float or None
        In the currency of the price table.
    seconds : float or None
    """

    requests: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    money: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a teacher said to one question.

    Attributes
    ----------
    choice : int or None
        Position in the question's candidates; :data:`NONE` for "none of them"; None when the teacher abstained.
    probabilities : tuple of float or None
        Of each candidate and, last, of none, summing to 1; None where the teacher gives no probability.
    explanation : str or None
        Where one was asked for.
    cost : Cost
    reason : str or None
        Why the teacher abstained: "timeout", "unreadable answer", ...
    """

    choice: int | None
    probabilities: tuple[float, ...] | None = None
    explanation: str | None = None
    cost: Cost = Cost()
    reason: str | None = None

    @property
    def abstained(self) -> bool:
        """Whether the teacher gave no usable answer."""
        return self.choice is None

    def votes(self, n_candidates: int) -> np.ndarray:
        """The answer as probabilities: those given, else all on the choice; NaN when the teacher abstained.

        Returns
        -------
        ndarray of float64, shape (n_candidates + 1,)
            Of each candidate and, last, of none.
        """
        if self.choice is None:
            return np.full(n_candidates + 1, np.nan)
        if self.probabilities is not None:
            return np.asarray(self.probabilities, dtype=np.float64)
        votes = np.zeros(n_candidates + 1)
        votes[self.choice] = 1.0  # NONE is -1: the last place
        return votes


class Teacher(Protocol):
    """Anything that answers questions.

    Attributes
    ----------
    name : str
        What the card and the label store call it: ``"openai:gpt-4o-mini"``.
    licence : str
        What its answers stand under; ``"unknown"`` where nobody says.
    """

    name: str
    licence: str

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer) as answers arrive, each question once, in any order."""
        ...


def questions_of(candidates: Candidates) -> list[Question]:
    """Each query of the candidate pairs with its list, in the order of the left table."""
    pairs = candidates.pairs
    order = np.lexsort((pairs.right, pairs.left))
    queries, starts = np.unique(pairs.left[order], return_index=True)
    lists = np.split(pairs.right[order], starts[1:])
    return [Question(int(query), tuple(rows.tolist())) for query, rows in zip(queries, lists, strict=True)]
