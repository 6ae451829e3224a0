"""From answers to what students learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from er_distill import artefact
from er_distill.training.labels import Candidates, Labels
from er_distill.training.teachers.base import Answer, Question


def labels_of(
    candidates: Candidates,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    *,
    name: str,
    licence: str,
    weight: float = 1.0,
) -> Labels:
    """Label candidate pairs with the answers to questions about them.

    Parameters
    ----------
    candidates : Candidates
    questions : sequence of Question
        Of these candidates.
    answers : sequence of Answer
        One a question.
    name, licence : str
        Of the teacher.
    weight : float
        How much the task counts beside others in training.

    Returns
    -------
    Labels
        A candidate's probability under the answer; NaN where nobody was asked, or the teacher abstained. A pair of one
        table that was asked about from both ends has the mean.
    """
    pairs = candidates.pairs
    width = pairs.n_right
    keys = pairs.keys()
    order = np.argsort(keys, kind="stable")
    total, asked = np.zeros(len(pairs)), np.zeros(len(pairs))
    for question, answer in zip(questions, answers, strict=True):
        if answer.abstained:
            continue
        listed = np.asarray(question.candidates, dtype=np.int64)
        wanted = question.query * width + listed
        if pairs.one_table:
            wanted = np.minimum(question.query, listed) * width + np.maximum(question.query, listed)
        rows = order[np.searchsorted(keys, wanted, sorter=order)]
        total[rows] += answer.votes(len(listed))[:-1]
        asked[rows] += 1
    with np.errstate(invalid="ignore"):
        target = (total / asked).astype(np.float32)
    n_answered = sum(not answer.abstained for answer in answers)
    return Labels(target, (artefact.Teacher(name, licence, n_answered),), weight)
