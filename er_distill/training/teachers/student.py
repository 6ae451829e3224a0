"""A student as a teacher: quick and free answers, and the rest of the labels from a part of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.student import Student
from er_distill.training.exclusion import at_most_one
from er_distill.training.labels import Candidates, Labels
from er_distill.training.teachers.base import NONE, Answer, Question
from er_distill.training.teachers.targets import labels_of


class StudentTeacher:
    """Answers with a student's probabilities.

    The student scores pairs. Since a query has one match or none, the odds of its pairs are the odds of its candidates
    against none (see `er_distill.training.exclusion.at_most_one`). The choice is the student's own: its best candidate
    where that reaches the student's threshold, else none.

    Parameters
    ----------
    student : Student
    name : str
        What the card and the label store call it.
    licence : str
    """

    def __init__(self, student: Student, *, name: str, licence: str = "unknown") -> None:
        self.student = student
        self.name = name
        self.licence = licence

    @classmethod
    def load(cls, source: str | Path, *, device: str = "auto", threads: int | None = None) -> StudentTeacher:
        """Take the student of a folder, or a bundled one by its name; see `Student.load`."""
        student = Student.load(source, device=device, threads=threads)
        return cls(student, name=f"student:{student.manifest.name}", licence=student.manifest.licence)

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer), in their order."""
        if not questions:
            return
        near = _pairs_around(candidates.pairs, questions)
        scores = self.student.score(candidates.left, candidates.right, near)
        score_of = dict(zip(near.keys().tolist(), scores.tolist(), strict=True))
        for position, question in enumerate(questions):
            listed = np.asarray(question.candidates, dtype=np.int64)
            asked = Pairs(np.full_like(listed, question.query), listed, near.n_left, near.n_right, near.one_table)
            pairs = np.array([score_of[key] for key in asked.keys().tolist()])
            best = int(pairs.argmax())
            choice = best if pairs[best] >= self.student.threshold else NONE
            yield position, Answer(choice, tuple(at_most_one(pairs).tolist()))


def label_the_rest(
    candidates: Candidates,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    learn: Callable[[Candidates, Labels], Student],
    *,
    share: float = 0.2,
    seed: int = 0,
) -> list[Answer]:
    """Let a student that learned from a part of the answers give the rest of them.

    The recipe of DistillER's SLM teacher (Zeakis et al. 2026, arXiv 2602.05452), which asks a large teacher for 20 % of
    the labels only.

    Parameters
    ----------
    candidates : Candidates
    questions : sequence of Question
    answers : sequence of Answer
        One a question. Those outside the part are not looked at, and may be abstentions.
    learn : callable
        Makes a student of candidates and labels, for instance ``lambda c, l: Student.load(fit_student(c, l, config))``.
    share : float
        Of the questions that have an answer, to learn from; drawn at random.
    seed : int

    Returns
    -------
    list of Answer
        One a question: in the part the answer given, elsewhere the student's.

    Raises
    ------
    InputError
        When the share is not in (0, 1] or leaves nothing to learn from.
    """
    if not 0 < share <= 1:
        raise InputError(f"share={share!r} must be above 0 and at most 1. Pass the share of the answers to learn from.")
    answered = np.array([row for row, answer in enumerate(answers) if not answer.abstained], dtype=np.int64)
    if not len(answered):
        raise InputError(f"{candidates.name} has no answers to learn from. Ask a teacher first.")
    n_part = max(round(share * len(answered)), 1)
    part = set(np.random.default_rng(seed).permutation(answered)[:n_part].tolist())
    known = [answer if row in part else Answer(None, reason="kept back") for row, answer in enumerate(answers)]
    student = learn(candidates, labels_of(candidates, questions, known, name="part", licence="unknown"))
    rest = [row for row in range(len(questions)) if row not in part]
    for position, answer in StudentTeacher(student, name="part").answer(candidates, [questions[row] for row in rest]):
        known[rest[position]] = answer
    return known


def _pairs_around(pairs: Pairs, questions: Sequence[Question]) -> Pairs:
    """The candidate pairs that bear on the questions: their own, and those that share a record with one of these.

    A student looks at a pair beside the other pairs of its two records and no further, so these give the same scores as
    all pairs do.
    """
    queries = np.zeros(pairs.n_left, dtype=bool)
    listed = queries if pairs.one_table else np.zeros(pairs.n_right, dtype=bool)
    for question in questions:
        queries[question.query] = True
        listed[list(question.candidates)] = True
    return pairs.take(np.flatnonzero(queries[pairs.left] | listed[pairs.right]))
