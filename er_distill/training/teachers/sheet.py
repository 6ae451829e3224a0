"""A task's records as prompts show them, and as a cheap ranker orders them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from er_distill.lexical import SIMILARITIES, Similarity
from er_distill.training.labels import Candidates
from er_distill.training.prompts import Record, record_of
from er_distill.training.teachers.base import Question
from er_distill.vectors import vectorise

_RANKED_BY = [SIMILARITIES.index("word_cosine"), SIMILARITIES.index("gram_cosine")]


class Sheet:
    """Looks records up for questions.

    Parameters
    ----------
    candidates : Candidates
    value_chars : int
        Characters of one value that are shown.
    """

    def __init__(self, candidates: Candidates, value_chars: int) -> None:
        self.candidates = candidates
        self._left, self._right = candidates.left, candidates.right
        self._value_chars = value_chars

    def query(self, question: Question) -> Record:
        """Return the query record."""
        row, left = question.query, self._left
        return record_of(left.fields, [values[row] for values in left.values], self._value_chars)

    def candidate(self, question: Question, position: int) -> Record:
        """Return the candidate record at a position of the question's list."""
        row, right = question.candidates[position], self._right or self._left
        return record_of(right.fields, [values[row] for values in right.values], self._value_chars)

    def query_id(self, question: Question) -> str:
        """Return the id of the query record."""
        return str(self._left.ids[question.query])

    def candidate_ids(self, question: Question) -> tuple[str, ...]:
        """Return the ids of the candidates, in the question's order."""
        ids = (self._right or self._left).ids
        return tuple(str(ids[row]) for row in question.candidates)

    def ranked(self, question: Question) -> list[int]:
        """Return the positions of the candidates, the most similar to the query first: words and trigrams, TF-IDF."""
        rows = np.asarray(question.candidates, dtype=np.int64)
        similar = self._similarity(np.full(len(rows), question.query), rows)[:, _RANKED_BY]
        return np.argsort(-np.nan_to_num(similar).mean(axis=1), kind="stable").tolist()

    def shuffled(self, question: Question, positions: Sequence[int], seed: int, variant: str) -> list[int]:
        """Return the positions in an order that depends on the task, the query, the seed and the variant alone."""
        order = random.Random(repr((seed, self.candidates.name, self.query_id(question), variant)))
        return order.sample(positions, len(positions))

    @cached_property
    def _similarity(self) -> Similarity:
        return Similarity(vectorise(self._left, self._right))
