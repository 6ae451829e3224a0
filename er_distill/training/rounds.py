"""Label, train, select again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from er_distill.errors import BudgetSpent
from er_distill.training.labels import Candidates
from er_distill.training.selection import ACCURACY, blocking_similarity, select
from er_distill.training.teachers.base import Answer, Question, Teacher


@dataclass(frozen=True)
class Round:
    """One round of labels.

    Attributes
    ----------
    asked : tuple of Question
        In this round.
    answers : mapping of Question to Answer
        All so far.
    """

    asked: tuple[Question, ...]
    answers: Mapping[Question, Answer]


def rounds(
    candidates: Candidates,
    teacher: Teacher,
    train: Callable[[Mapping[Question, Answer]], np.ndarray],
    sizes: Sequence[int],
    *,
    method: str = "uncertainty",
    first: str = "random",
    seed: int = 0,
    similarity: np.ndarray | None = None,
    accuracy: float = ACCURACY,
) -> Iterator[Round]:
    """Label, train, select again.

    Parameters
    ----------
    candidates : Candidates
    teacher : Teacher
    train : callable
        Takes all answers so far and returns the match probability of each pair, shape (m,), of a student that learned
        from them. Called before each round but the first.
    sizes : sequence of int
        Questions of each round.
    method : str
        Of all rounds but the first.
    first : str
        Of the first round: a method that needs no student. By default random, since a student that has seen nothing
        but the extremes of the similarities is a poor judge of what it does not know.
    seed : int
    similarity : ndarray, shape (m,), optional
    accuracy : float
        See :func:`select`.

    Yields
    ------
    Round
        When its answers are there. To stop early is to ask for no more.

    Raises
    ------
    BudgetSpent
        When the teacher's budget ends within a round: after that round was yielded with the answers that came.
    """
    if similarity is None:
        similarity = blocking_similarity(candidates)
    answers: dict[Question, Answer] = {}
    for number, size in enumerate(sizes):
        asked = select(
            candidates,
            size,
            method=method if number else first,
            seed=seed + number,
            similarity=similarity,
            probability=train(answers) if number else None,
            answered=answers,
            accuracy=accuracy,
        )
        stopped: BudgetSpent | None = None
        try:
            for position, answer in teacher.answer(candidates, asked):
                answers[asked[position]] = answer
        except BudgetSpent as error:
            stopped = error
        yield Round(tuple(asked), dict(answers))
        if stopped is not None:
            raise stopped
