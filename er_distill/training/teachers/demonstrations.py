"""Labelled tuples as examples in a prompt, the most alike first.

Retrieval by similarity of the attributes rather than of the whole text is EL4NER's idea (arXiv 2505.23038).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from er_distill.errors import InputError
from er_distill.records import Records
from er_distill.training import prompts
from er_distill.training.labels import Candidates
from er_distill.training.prompts import Prompt
from er_distill.training.teachers.base import NONE, Question
from er_distill.training.teachers.sheet import Sheet
from er_distill.values import value_similarity
from er_distill.vectors import normalise


class Demonstrations:
    """A pool of labelled tuples to show to a model.

    Parameters
    ----------
    candidates : Candidates
        The task that the tuples belong to; its fields are compared by name with those of the task that is asked about.
    labelled : iterable of (Question, int)
        Each question with the position of its match in its list, or NONE.
    n : int
        How many to show.

    Raises
    ------
    InputError
        When there is no labelled tuple, `n` is below 1, or a choice is not in its list.
    """

    def __init__(self, candidates: Candidates, labelled: Iterable[tuple[Question, int]], n: int = 3) -> None:
        pool = list(labelled)
        if not pool or n < 1:
            raise InputError(f"demonstrations from {candidates.name}: give n of 1 or more, and tuples with a label.")
        if any(choice != NONE and not 0 <= choice < len(question.candidates) for question, choice in pool):
            raise InputError(f"demonstrations from {candidates.name}: a label is not in its question's list.")
        self.candidates, self.pool, self.n = candidates, tuple(pool), n
        self._rows = np.array([question.query for question, _ in pool], dtype=np.int64)
        self._values = _normalised(candidates.left, self._rows)

    def nearest(self, candidates: Candidates, question: Question) -> list[tuple[Question, int]]:
        """Return the tuples whose query is most like the question's, the most alike last: next to the question.

        Likeness is the mean similarity of the fields that both have. A tuple about the very same query is left out.
        """
        own = _normalised(candidates.left, np.array([question.query]))
        total, compared = np.zeros(len(self.pool)), np.zeros(len(self.pool))
        for field, values in self._values.items():
            there = np.flatnonzero(values != "")
            if field in own and own[field][0] and len(there):
                total[there] += value_similarity(values[there], np.repeat(own[field], len(there)))
                compared[there] += 1
        alike = np.divide(total, compared, out=np.zeros(len(total)), where=compared > 0)
        if candidates.name == self.candidates.name:
            alike[self._rows == question.query] = -1
        best = [at for at in np.argsort(-alike, kind="stable").tolist() if alike[at] >= 0][: self.n]
        return [self.pool[at] for at in reversed(best)]

    def examples(
        self, labelled: tuple[Question, int], kind: str, variant: str, value_chars: int, most: int | None = None
    ) -> list[tuple[Prompt, int]]:
        """Return what a labelled tuple shows in prompts of a kind.

        Parameters
        ----------
        labelled : (Question, int)
        kind : {"select", "match", "compare"}
        variant : str
        value_chars : int
            Characters of one value that are shown.
        most : int, optional
            Candidates that a `select` shows at most.

        Returns
        -------
        list of (Prompt, int)
            Each prompt with the position of the right one among its options; of a match, a pair that is one and a pair
            that is not. A tuple without a match shows nothing in a `compare`.
        """
        question, right = labelled
        sheet = Sheet(self.candidates, value_chars)
        query = sheet.query(question)
        wrong = [position for position in range(len(question.candidates)) if position != right]
        if kind == "match":
            pairs = [(position, 0) for position in [right] if right != NONE] + [(at, 1) for at in wrong[:1]]
            return [(prompts.match(query, sheet.candidate(question, at), at, variant), option) for at, option in pairs]
        kept = ([] if right == NONE else [right]) + wrong
        kept = sheet.shuffled(question, kept[: 2 if kind == "compare" else most], 0, variant)
        records = [sheet.candidate(question, position) for position in kept]
        if kind == "compare":
            complete = right != NONE and len(kept) == 2
            return [(prompts.compare(query, records, kept, variant), kept.index(right))] if complete else []
        return [(prompts.select(query, records, kept, variant), len(kept) if right == NONE else kept.index(right))]


def _normalised(records: Records, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {
        field: np.array([normalise(value) for value in values[rows]], dtype=object)
        for field, values in zip(records.fields, records.values, strict=True)
    }
