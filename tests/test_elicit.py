"""Asking: what is kept, what is asked again, what a change of the tables does, who stops whom."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from er_distill.errors import BudgetSpent, TeacherError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.database import Database
from er_distill.training.elicit import Progress, elicit, forecast, sends_requests
from er_distill.training.kept import Kept, mark_current, read_kept
from er_distill.training.labels import Candidates
from er_distill.training.limits import Limits
from er_distill.training.prices import Price
from er_distill.training.store import LabelStore
from er_distill.training.teachers.base import (
    NONE,
    Answer,
    Attempt,
    Cost,
    NoRecorder,
    Question,
    Recorder,
    Request,
    questions_of,
)

PRICE = Price(1.0, 4.0, "USD")


def records(name: str, values: Mapping[str, Sequence[str]]) -> Records:
    ids = np.array(values["id"], dtype=object)
    fields = tuple(field for field in values if field != "id")
    return Records(name, ids, fields, tuple(np.array(values[field], dtype=object) for field in fields))


def task(n: int = 4, **changes: str) -> Candidates:
    """Query k has the candidates k and k + 1; `changes` rewrites names of left records, by id."""
    left = records(
        "a", {"id": [f"q{k}" for k in range(n)], "name": [changes.get(f"q{k}", f"toy {k}") for k in range(n)]}
    )
    right = records("b", {"id": [f"c{k}" for k in range(n + 1)], "name": [f"Toy {k}" for k in range(n + 1)],
                          "city": ["" if k % 2 else "Rome" for k in range(n + 1)]})  # fmt: skip
    rows = np.arange(n).repeat(2)
    return Candidates("a-b", left, right, Pairs(rows, rows + np.tile([0, 1], n), n, n + 1))


class Paid:
    """A teacher of one request a question, which answers with the first candidate."""

    name = "openai:tiny"
    licence = "unknown"

    def __init__(self, *, broken: bool = False) -> None:
        self.recorder: Recorder = NoRecorder()
        self.sent: list[str] = []
        self.broken = broken

    def requests(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[list[Request]]:
        for question in questions:
            query = candidates.left.texts[question.query]
            digest = hashlib.sha256(query.encode()).hexdigest()
            yield [
                Request(
                    self.name, "tiny", digest, ({"role": "user", "content": query},),
                    {}, candidates.name, str(candidates.left.ids[question.query]),
                    tuple(str(candidates.right.ids[row]) for row in question.candidates), 0, 100, 10,
                )
            ]  # fmt: skip

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for position, (request,) in enumerate(self.requests(candidates, questions)):
            attempt = self.recorder.known(request)
            if attempt is None:
                held = self.recorder.reserve(request)
                if self.broken:
                    raise TeacherError("openai:tiny refuses every request: HTTP 401")
                self.sent.append(request.query_id)
                attempt = Attempt(request, "1", None, 0, 20, 2, 0.5, "2026-01-01T00:00:00+00:00")
                self.recorder.record(held, attempt)
            yield position, Answer(attempt.choice, cost=Cost(1, 20, 2, None, attempt.seconds))


class Free:
    """A teacher that costs nothing: a probability, none, an abstention in turn."""

    name = "labels:file.csv"
    licence = "MIT"
    said = (
        Answer(0, (0.75, 0.0, 0.25), "because"),
        Answer(NONE),
        Answer(None, reason="no label"),
    )

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for position in reversed(range(len(questions))):
            yield position, self.said[questions[position].query % 3]


def kept_in(database: Database) -> Kept:
    return read_kept(database, "labels")


def queries(database: Database) -> list[str]:
    kept = kept_in(database)
    return [kept.candidates.left.ids[question.query] for question in kept.questions]


def test_every_answer_is_kept_as_given(tmp_path: Path) -> None:
    candidates, free = task(), Free()
    questions = questions_of(candidates)
    reports: list[Progress] = []
    with LabelStore(tmp_path) as store:
        found = elicit({"file": free}, candidates, questions, store, report=reports.append)
        assert found.answers == {"file": {question: free.said[question.query % 3] for question in questions}}
        assert found.stopped == ()
        kept = kept_in(store.database)
    left, right = kept.candidates.left, kept.candidates.right
    assert right is not None
    assert [left.ids[question.query] for question in kept.questions] == ["q0", "q1", "q2", "q3"]
    assert [right.ids[list(question.candidates)].tolist() for question in kept.questions][1] == ["c1", "c2"]
    assert [kept.answers["file"][question] for question in kept.questions] == [free.said[k % 3] for k in range(4)]
    assert kept.licences == {"file": "MIT"}
    assert kept.rounds == (1, 1, 1, 1)
    (teacher,) = kept.teachers()
    assert dict(teacher.answer(kept.candidates, kept.questions)) == {k: free.said[k % 3] for k in range(4)}
    assert {one.spent for one in reports} == {0.0}  # nobody sends a request
    assert [(one.done, one.total) for one in reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_records_can_be_read_without_the_tables(tmp_path: Path) -> None:
    candidates = task()
    with LabelStore(tmp_path) as store:
        elicit({"file": Free()}, candidates, questions_of(candidates), store)
        kept = kept_in(store.database).candidates
    assert kept.right is not None
    assert kept.left.fields == ("name",)
    assert dict(zip(kept.right.ids, zip(*kept.right.values, strict=True), strict=True)) == {
        "c0": ("Toy 0", "Rome"), "c1": ("Toy 1", ""), "c2": ("Toy 2", "Rome"), "c3": ("Toy 3", ""),
        "c4": ("Toy 4", "Rome"),
    }  # fmt: skip
    assert len(kept.pairs) == 8


def test_one_table_stays_one_table(tmp_path: Path) -> None:
    people = task().left
    candidates = Candidates("people", people, None, Pairs(np.array([0, 0, 1]), np.array([1, 2, 3]), 4, 4, True))
    with LabelStore(tmp_path) as store:
        elicit({"file": Free()}, candidates, questions_of(candidates), store)
        assert mark_current(store.database, candidates) == 0
        kept = kept_in(store.database)
    assert kept.candidates.right is None
    assert kept.candidates.pairs.one_table
    assert len(kept.candidates.left) == 4
    assert [kept.answers["file"][question] for question in kept.questions] == list(Free.said[:2])


def test_what_is_kept_is_not_asked_again(tmp_path: Path) -> None:
    candidates = task()
    questions = questions_of(candidates)
    with LabelStore(tmp_path, limits=Limits(calls=2)) as store:
        first = Paid()
        found = elicit({"tiny": first}, candidates, questions, store)
        assert found.stopped == ("the limit of 2 calls is reached",)
        assert first.sent == ["q0", "q1"]
        assert len(found.answers["tiny"]) == 2
    with LabelStore(tmp_path) as store:
        second = Paid()
        found = elicit({"tiny": second}, candidates, questions, store)
        assert second.sent == ["q2", "q3"]
        assert len(found.answers["tiny"]) == 4
        assert len(queries(store.database)) == 4


@pytest.mark.parametrize(("prices", "spent"), [({}, None), ({Paid.name: PRICE}, 4 * PRICE.money(20, 2))])
def test_progress_knows_what_is_spent_or_that_nobody_knows(
    tmp_path: Path, prices: dict[str, Price], spent: float | None
) -> None:
    candidates = task()
    reports: list[Progress] = []
    with LabelStore(tmp_path, prices=prices) as store:
        elicit({"tiny": Paid(), "file": Free()}, candidates, questions_of(candidates), store, report=reports.append)
    assert (reports[-1].done, reports[-1].total) == (8, 8)
    assert reports[-1].spent == reports[-1].most == (None if spent is None else pytest.approx(spent))


def test_a_limit_stops_only_those_who_cost(tmp_path: Path) -> None:
    candidates = task()
    with LabelStore(tmp_path, limits=Limits(calls=1)) as store:
        found = elicit({"tiny": Paid(), "file": Free()}, candidates, questions_of(candidates), store)
    assert {name: len(answers) for name, answers in found.answers.items()} == {"tiny": 1, "file": 4}


def test_a_teacher_that_refuses_everything_stops_the_run(tmp_path: Path) -> None:
    candidates = task()
    with LabelStore(tmp_path) as store:
        with pytest.raises(TeacherError):
            elicit({"file": Free(), "tiny": Paid(broken=True)}, candidates, questions_of(candidates), store)
        assert len(queries(store.database)) == 4
        assert store.held.calls == 1


def test_a_changed_record_is_asked_about_anew(tmp_path: Path) -> None:
    before, after = task(), task(q1="another toy")
    with LabelStore(tmp_path) as store:
        elicit({"tiny": Paid()}, before, questions_of(before), store)
        assert mark_current(store.database, before) == 0
        assert mark_current(store.database, after) == 1
        assert queries(store.database) == ["q0", "q2", "q3"]
        teacher = Paid()
        elicit({"tiny": teacher}, after, questions_of(after), store)
        assert teacher.sent == ["q1"]
        assert len(queries(store.database)) == 4
        assert mark_current(store.database, before) == 1  # nothing is thrown away
        assert len(queries(store.database)) == 4


def test_other_tables_leave_the_answers_alone(tmp_path: Path) -> None:
    candidates = task()
    smaller = replace(task(1), name="c-d")
    with LabelStore(tmp_path) as store:
        elicit({"file": Free()}, candidates, questions_of(candidates), store)
        assert mark_current(store.database, smaller) == 3
        assert queries(store.database) == ["q0"]
        assert mark_current(store.database, candidates) == 0
        assert len(queries(store.database)) == 4


def test_a_second_run_begins_elsewhere(tmp_path: Path) -> None:
    candidates = task()
    questions = questions_of(candidates)
    with LabelStore(tmp_path), LabelStore(tmp_path) as second:
        teacher = Paid()
        elicit({"tiny": teacher}, candidates, questions, second)
        assert teacher.sent == ["q2", "q3", "q0", "q1"]
        with LabelStore(tmp_path) as third:
            other = Paid()
            other.name = "openai:other"
            elicit({"other": other}, candidates, questions, third)
            assert other.sent == ["q1", "q2", "q3", "q0"]


def test_a_question_belongs_to_the_round_it_was_first_asked_in(tmp_path: Path) -> None:
    candidates = task()
    questions = questions_of(candidates)
    with LabelStore(tmp_path) as store:
        elicit({"file": Free()}, candidates, questions[:2], store)
        elicit({"file": Free()}, candidates, questions[1:], store, round=2)
        assert kept_in(store.database).rounds == (1, 1, 2, 2)


def test_a_forecast_sends_nothing_and_knows_what_is_known(tmp_path: Path) -> None:
    candidates = task()
    questions = questions_of(candidates)
    teacher = Paid()
    assert sends_requests(teacher)
    assert not sends_requests(Free())
    before = forecast(teacher, candidates, questions, PRICE, NoRecorder())
    assert (before.questions, before.calls, before.known, before.most_tokens) == (4, 4, 0, 440)
    assert before.most_money == pytest.approx(4 * PRICE.money(100, 10))
    assert before.tokens == 4 * (2 + 10)  # "toy 0" is two tokens, roughly
    assert before.money == pytest.approx(4 * PRICE.money(2, 10))
    assert forecast(teacher, candidates, questions, None, NoRecorder()).money is None
    assert teacher.sent == []
    with LabelStore(tmp_path, prices={teacher.name: PRICE}) as store:
        elicit({"tiny": teacher}, candidates, questions[:3], store)
        assert forecast(teacher, candidates, questions, PRICE, store).known == 3
        assert store.held.money <= before.most_money
        found = store.held
        with pytest.raises(BudgetSpent):
            LabelStore(tmp_path, prices={teacher.name: PRICE}, limits=Limits(money=found.money)).reserve(
                next(teacher.requests(candidates, questions[3:]))[0]
            )
