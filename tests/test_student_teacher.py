"""A student as a teacher: its probabilities over lists, and the labels it gives after learning from a part of them."""

from __future__ import annotations

import numpy as np
import pytest

from er_distill.artefact import Teacher
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.student import Student
from er_distill.training.exclusion import at_most_one
from er_distill.training.labels import Candidates, Labels
from er_distill.training.teachers.base import NONE, Answer, Question, questions_of
from er_distill.training.teachers.student import StudentTeacher, label_the_rest
from tests.fake_student import WordOverlap, needs_bundled_student

WORDS = ["red", "green", "blue", "lamp", "chair", "table", "small", "large"]


def make(seed: int, *, one_table: bool = False, n: int = 12) -> Candidates:
    rng = np.random.default_rng(seed)

    def table(name: str) -> Records:
        texts = [" ".join(rng.choice(WORDS, size=3, replace=False)) for _ in range(n)]
        return Records(name, np.arange(n), ("title",), (np.array(texts, dtype=object),))

    left = table("left")
    right = None if one_table else table("right")
    i, j = np.divmod(rng.choice(n * n, size=4 * n, replace=False), n)
    if one_table:
        i, j = np.minimum(i, j)[i != j], np.maximum(i, j)[i != j]
    return Candidates("things", left, right, Pairs(i, j, n, n, one_table).unique()[0])


def ask(teacher: StudentTeacher, candidates: Candidates, questions: list[Question]) -> list[Answer]:
    answers = dict(teacher.answer(candidates, questions))
    return [answers[position] for position in range(len(questions))]


@pytest.mark.parametrize("one_table", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_answers_are_the_scores_of_all_pairs(seed: int, one_table: bool) -> None:
    candidates = make(seed, one_table=one_table)
    student = WordOverlap()
    scores = dict(
        zip(
            candidates.pairs.keys().tolist(),
            student.score(candidates.left, candidates.right, candidates.pairs).tolist(),
            strict=True,
        )
    )
    questions = questions_of(candidates)
    for part in (questions, questions[::4], questions[:1]):  # a part is answered as the whole is
        for question, answer in zip(part, ask(StudentTeacher(student, name="s"), candidates, part), strict=True):
            n = candidates.pairs.n_right
            pairs = [scores[question.query * n + candidate] for candidate in question.candidates]
            assert answer.probabilities == pytest.approx(at_most_one(pairs).tolist())
            assert answer.choice == (int(np.argmax(pairs)) if max(pairs) >= student.threshold else NONE)
    assert {answer.choice == NONE for answer in ask(StudentTeacher(student, name="s"), candidates, questions)} == {
        True,
        False,
    }


def test_only_pairs_that_bear_on_the_questions_are_scored() -> None:
    candidates = make(0)
    student = WordOverlap()
    scored: list[Pairs] = []
    score = student.score
    student.score = lambda left, right, pairs, **more: (scored.append(pairs), score(left, right, pairs, **more))[1]  # type: ignore[method-assign]
    question = questions_of(candidates)[0]
    ask(StudentTeacher(student, name="s"), candidates, [question])
    assert len(question.candidates) < len(scored[0]) < len(candidates.pairs)
    assert list(StudentTeacher(student, name="s").answer(candidates, [])) == []
    assert len(scored) == 1


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_a_student_folder_is_a_teacher() -> None:
    candidates = make(1)
    teacher = StudentTeacher.load("default", device="cpu", threads=1)
    assert isinstance(teacher.student, Student)
    assert teacher.name == f"student:{teacher.student.manifest.name}"
    assert teacher.licence == teacher.student.manifest.licence
    questions = questions_of(candidates)
    whole, alone = ask(teacher, candidates, questions), ask(teacher, candidates, questions[:2])
    for answer, again in zip(whole, alone, strict=False):
        assert again.choice == answer.choice
        assert again.probabilities == pytest.approx(answer.probabilities)
        assert sum(answer.probabilities or ()) == pytest.approx(1)


def test_a_student_labels_the_rest() -> None:
    candidates = make(2)
    questions = questions_of(candidates)
    answers = [Answer(0) for _ in questions]
    answers[1] = Answer(None, reason="timeout")
    learned: list[Labels] = []

    def learn(task: Candidates, labels: Labels) -> Student:
        assert task is candidates
        learned.append(labels)
        return WordOverlap()  # type: ignore[return-value]

    found = label_the_rest(candidates, questions, answers, learn, share=0.3, seed=4)
    n_part = round(0.3 * (len(questions) - 1))
    (labels,) = learned
    assert labels.teachers == (Teacher("part", "unknown", n_part),)
    asked = [
        row for row, question in enumerate(questions) if labels.known[candidates.pairs.left == question.query].any()
    ]
    assert len(asked) == n_part
    assert 1 not in asked
    students = ask(StudentTeacher(WordOverlap(), name="s"), candidates, questions)  # type: ignore[arg-type]
    assert found == [answers[row] if row in asked else students[row] for row in range(len(questions))]
    assert found == label_the_rest(candidates, questions, answers, learn, share=0.3, seed=4)
    others = label_the_rest(candidates, questions, answers, learn, share=0.3, seed=5)
    assert others != found
    # What the teacher says outside the part is not looked at.
    blind = [answers[row] if row in asked else Answer(NONE) for row in range(len(questions))]
    blind[1] = answers[1]
    assert label_the_rest(candidates, questions, blind, learn, share=0.3, seed=4) == found


def test_a_part_must_hold_something() -> None:
    candidates = make(3)
    questions = questions_of(candidates)
    silent = [Answer(None, reason="timeout")] * len(questions)
    learn = WordOverlap
    with pytest.raises(InputError, match="things has no answers to learn from"):
        label_the_rest(candidates, questions, silent, learn)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"share=0 must be above 0"):
        label_the_rest(candidates, questions, silent, learn, share=0)  # type: ignore[arg-type]
