"""Ask teachers, and keep what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from er_distill.errors import BudgetSpent
from er_distill.training.kept import put_answer, put_questions
from er_distill.training.labels import Candidates
from er_distill.training.limits import NANO, worst_case
from er_distill.training.prices import Price
from er_distill.training.store import LabelStore
from er_distill.training.teachers.base import Answer, PaidTeacher, Question, Recorder, Teacher

CHARACTERS_A_TOKEN = 4
"""Of English text, roughly: for estimates; limits are held with the worst case."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes
    ----------
    teacher : str
        Who is being asked.
    done, total : int
        Answers, abstentions among them, and all that are wanted of all teachers.
    seconds : float
        Since the run began.
    spent, most : float or None
        Money that is known to be spent, by all runs on the folder, and with what may be spent besides; None where a
        teacher has no price.
    """

    teacher: str
    done: int
    total: int
    seconds: float
    spent: float | None
    most: float | None


@dataclass(frozen=True)
class Elicited:
    """What a run brought.

    Attributes
    ----------
    answers : mapping of str to (mapping of Question to Answer)
        By teacher.
    stopped : tuple of str
        Why teachers were not asked everything: limits that were reached.
    """

    answers: Mapping[str, Mapping[Question, Answer]]
    stopped: tuple[str, ...]


@dataclass(frozen=True)
class Forecast:
    """What asking would take.

    Attributes
    ----------
    questions : int
    calls : int
        At most, failed ones and their repeats left out.
    known : int
        Calls whose answers are kept already, and which cost nothing.
    tokens : int
        About so many: the prompts at `CHARACTERS_A_TOKEN`, and answers of the longest kind.
    most_tokens : int
        The worst case, which limits are held with.
    money, most_money : float or None
        The same in money; None where there is no price.
    """

    questions: int
    calls: int
    known: int
    tokens: int
    most_tokens: int
    money: float | None
    most_money: float | None


def elicit(
    teachers: Mapping[str, Teacher],
    candidates: Candidates,
    questions: Sequence[Question],
    store: LabelStore,
    *,
    round: int = 1,
    report: Callable[[Progress], None] | None = None,
) -> Elicited:
    """Ask each teacher each question, and keep every answer as it comes.

    What was answered before is not paid for again: teachers that send requests find their answers in the store. A run
    that is stopped, by a limit, an interrupt or a power cut, is taken up by asking the same again.

    Parameters
    ----------
    teachers : mapping of str to Teacher
        By the name that their answers are kept under.
    candidates : Candidates
    questions : sequence of Question
        In the order to ask. Where another run is at work on the folder, this one starts elsewhere among them, so that
        the two do not ask the same at the same time.
    store : LabelStore
    round : int
        That the questions belong to, from 1.
    report : callable, optional
        Called after each answer.

    Returns
    -------
    Elicited
        A limit that is reached stops the teacher, not the run: teachers that cost nothing are still asked.

    Raises
    ------
    TeacherError
        When a teacher refuses everything; what came before is kept.
    """
    began = time.perf_counter()
    start = int(len(questions) * _apart(store.other_runs))
    ordered = [*questions[start:], *questions[:start]]
    identities = put_questions(store.database, candidates, ordered, round)
    answers: dict[str, dict[Question, Answer]] = {name: {} for name in teachers}
    stopped: list[str] = []
    done, total = 0, len(questions) * len(teachers)
    priced = all(store.has_price(teacher.name) for teacher in teachers.values() if sends_requests(teacher))
    for name, teacher in teachers.items():
        if sends_requests(teacher):
            teacher.recorder = store
        try:
            for position, answer in teacher.answer(candidates, ordered):
                put_answer(store.database, name, teacher.licence, identities[position], answer)
                answers[name][ordered[position]] = answer
                done += 1
                if report is not None:
                    held, seconds = store.held, time.perf_counter() - began
                    money = (held.spent, held.money) if priced else (None, None)
                    report(Progress(name, done, total, seconds, *money))
        except BudgetSpent as error:
            stopped.append(str(error))
    return Elicited(answers, tuple(dict.fromkeys(stopped)))


def forecast(
    teacher: PaidTeacher,
    candidates: Candidates,
    questions: Sequence[Question],
    price: Price | None,
    recorder: Recorder,
) -> Forecast:
    """Say what asking a teacher would take, without a request."""
    calls = known = prompt = completion = most_tokens = most_money = 0
    for requests in teacher.requests(candidates, questions):
        for request in requests:
            if recorder.known(request) is not None:
                known += 1
                continue
            calls += 1
            characters = sum(len(message["content"]) for message in request.messages)
            prompt += min(characters // CHARACTERS_A_TOKEN + 1, request.max_prompt_tokens)
            completion += request.max_completion_tokens
            tokens, money = worst_case(request, price)
            most_tokens += tokens
            most_money += money or 0
    return Forecast(
        len(questions),
        calls,
        known,
        prompt + completion,
        most_tokens,
        None if price is None else price.money(prompt, completion),
        None if price is None else most_money / NANO,
    )


def sends_requests(teacher: Teacher) -> TypeGuard[PaidTeacher]:
    """Return whether a teacher sends requests, and so has something to record."""
    return hasattr(teacher, "recorder")


def _apart(number: int) -> float:
    """A place in [0, 1) far from those of all smaller numbers: 0, 1/2, 1/4, 3/4, ... (van der Corput's sequence)."""
    place, step = 0.0, 0.5
    while number:
        place += step * (number % 2)
        number, step = number // 2, step / 2
    return place
