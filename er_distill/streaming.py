"""Candidate lists scored as they come, against statistics that were taken of all of them.

A score depends on the other candidates of a pair's records, and yet needs only a few numbers of each record: the best
and the second-best similarities of its list, and the list's length. These are O(records); the pairs themselves need
never be in memory together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from er_distill import lexical
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.records import Records, RecordTexts
from er_distill.student import Student, probability, warn_if_not_latin
from er_distill.vectors import Corpus, vectorise


class ListStatistics(lexical.ListContext):
    """The context of candidate lists, which can be put down as arrays and taken up again."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is kept of each record; arrays of shape (n, similarities) and (n,)."""
        sides = {"left": self._left} if self._left is self._right else {"left": self._left, "right": self._right}
        return {f"{part}_{side}": getattr(own, part) for side, own in sides.items() for part in _PARTS}

    def take_up(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take what `arrays` gave, of tables to which records may have been added since, at their end."""
        for name, own in self.arrays().items():
            own[: len(arrays[name])] = arrays[name]


_PARTS = ("best", "second", "count")


class Stream:
    """Scores candidate pairs of two tables, or of one, in chunks.

    Parameters
    ----------
    student : Student
    left : Records
    right : Records or None
        None when both sides are one table.
    context : bool
        Whether a pair is judged beside the other candidates of its records.
    corpus : Corpus, optional
        The tables' vectors, when they have been made already.
    similarity : Similarity, optional
        What compares the tables' records, instead of `corpus`: streams that come one after the other can share it.

    Raises
    ------
    InputError
        When the student reads whole candidate lists and there is one table: a record's list is then no part of the
        pairs that begin with it.
    """

    def __init__(
        self,
        student: Student,
        left: Records,
        right: Records | None,
        *,
        context: bool = True,
        corpus: Corpus | None = None,
        similarity: lexical.Similarity | None = None,
    ) -> None:
        if right is None and context and student.manifest.reader == "lists":
            raise InputError(
                f"student {student.manifest.name!r} reads whole candidate lists, and those of one table ({left.name}) "
                "cannot be had in chunks. Score all pairs at once (score_pairs), or use context=False."
            )
        warn_if_not_latin(left, right)
        self._student = student
        self._texts = RecordTexts(left), None if right is None else RecordTexts(right)
        if similarity is None:
            corpus = vectorise(left, right) if corpus is None else corpus
            similarity = lexical.Similarity(corpus, threads=student.threads)
        self._similarity = similarity
        self.statistics = (
            ListStatistics(len(left), len(left if right is None else right), right is None) if context else None
        )

    def add(self, pairs: Pairs) -> None:
        """Pass 1: take candidate lists into the statistics. No pair may come in two calls."""
        if self.statistics is not None:
            pairs = pairs.unique()[0]
            self.statistics.add(pairs.left, pairs.right, self._similarity(pairs.left, pairs.right))

    def score(self, pairs: Pairs, progress: Callable[[int], object] = lambda done: None) -> np.ndarray:
        """Pass 2: return the probabilities of pairs that have all been added.

        Parameters
        ----------
        pairs : Pairs
            Whole lists of left records where the student reads lists; else any pairs.
        progress : callable
            Called with numbers of pairs done.

        Returns
        -------
        ndarray of float64, shape (len(pairs),)
            What `Student.score` gives for all pairs together.
        """
        unique, inverse = pairs.unique()
        values = self._similarity(unique.left, unique.right)
        around = (
            np.full((len(unique), len(lexical.CONTEXT)), np.nan, np.float32)
            if self.statistics is None
            else self.statistics.of(unique.left, unique.right, values)
        )
        read = self._student.reader.over(*self._texts, unique, context=self.statistics is not None)
        logits = self._student.tiers(np.hstack([values, around]), read, progress)
        probabilities = probability(self._student.variant, *logits)
        return probabilities if inverse is None else probabilities[inverse]
