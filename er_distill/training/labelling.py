"""A plan for labels: which questions, of whom, within which limits. `er-distill label` and `distill` follow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from er_distill import artefact
from er_distill.blocking import TopK
from er_distill.errors import InputError
from er_distill.records import Records
from er_distill.student import Student
from er_distill.training.elicit import Forecast, Progress, forecast, sends_requests
from er_distill.training.kept import read_kept
from er_distill.training.label_files import verdicts
from er_distill.training.labels import Candidates
from er_distill.training.limits import Limits
from er_distill.training.prices import Price, Prices, read_prices
from er_distill.training.selection import NEED_A_STUDENT, select
from er_distill.training.spending import in_money
from er_distill.training.store import LabelStore
from er_distill.training.teachers.base import Answer, Question, Recorder, Teacher, questions_of
from er_distill.training.teachers.ensemble import Rule
from er_distill.training.teachers.grammar import Asking, TeacherName, asked_at, kept_as, open_teacher

SHARE = 0.1
"""Share of the queries that is asked about where nobody says: that of DistillER."""

BLOCKING = TopK(10, "mutual")
"""How candidates are found where nobody says: lists that a teacher reads are paid for by their length."""


@dataclass(frozen=True)
class LabelPlan:
    """What to ask of whom.

    Attributes
    ----------
    teachers : tuple of TeacherName or Teacher
        A teacher of your own is known by its name: one whose answers would be others needs another.
    asking : Asking
        How models are asked.
    limits : Limits
        Of all runs on the labels folder together.
    prices : Path or None
        A table of prices instead of the one that comes with the package.
    rule : str or None
        How several teachers are combined; see `er_distill.training.label_files.verdicts`.
    method : str
        How questions are chosen; see `er_distill.training.selection.select`.
    number : int or None
        Questions to ask; None: a share of them.
    share : float
        Of the queries that have candidates.
    round : int
        From 2 on, what earlier rounds have answered is not chosen again.
    student : str or Path
        Asked by the methods that choose what a student knows least.
    """

    teachers: tuple[TeacherName | Teacher, ...]
    asking: Asking = field(default_factory=Asking)
    limits: Limits = field(default_factory=Limits)
    prices: Path | None = None
    rule: Rule | None = None
    method: str = "blocking_max"
    number: int | None = None
    share: float = SHARE
    round: int = 1
    student: str | Path = "default"

    @cached_property
    def table(self) -> Prices:
        """The prices."""
        return read_prices(self.prices)

    @property
    def seed(self) -> int:
        """Of the selection, and of the order in which candidates are shown."""
        return self.asking.how.seed

    def check(self) -> None:
        """Raise InputError for a budget in money that cannot be held."""
        if self.limits.money is None:
            return
        for teacher in self.teachers:
            if self.price(teacher) is None:
                why = "it is a teacher of your own."
                if isinstance(teacher, TeacherName):
                    why = self.table.why_unknown(teacher.value, self.asking.endpoint)
                raise InputError(
                    f"budget= needs a price for {label_of(teacher)}: {why} "
                    "Or set a limit with max_calls= or max_tokens=."
                )

    def price(self, teacher: TeacherName | Teacher) -> Price | None:
        """Return what a teacher's tokens cost; None where nobody says."""
        if not may_send(teacher) or (isinstance(teacher, TeacherName) and teacher.kind != "openai"):
            return Price(0.0, 0.0, self.table.currency, source="runs here: nobody sends a bill")
        return self.table.of(teacher.value, self.asking.endpoint) if isinstance(teacher, TeacherName) else None


def may_send(teacher: TeacherName | Teacher) -> bool:
    """Return whether a teacher sends requests, and so can be stopped by a limit."""
    if isinstance(teacher, TeacherName):
        return teacher.kind not in ("labels", "student")
    return sends_requests(teacher)


def label_of(teacher: TeacherName | Teacher) -> str:
    """Return what messages call a teacher that is not opened yet."""
    return str(teacher) if isinstance(teacher, TeacherName) else teacher.name


@dataclass(frozen=True)
class Panel:
    """The teachers of a plan, opened.

    Attributes
    ----------
    teachers : mapping of str to Teacher
        By the name that their answers are kept under.
    prices : mapping of str to (Price or None)
        By the same.
    servers : mapping of str to str
        Where a teacher is asked, by its own name; see `LabelStore`.
    """

    teachers: Mapping[str, Teacher]
    prices: Mapping[str, Price | None]
    servers: Mapping[str, str]


def open_panel(plan: LabelPlan, *, to_ask: bool = True) -> Panel:
    """Open the teachers of a plan; see `open_teacher`.

    Raises
    ------
    InputError
        As `open_teacher`, and when two teachers that send requests have one name.
    """
    teachers: dict[str, Teacher] = {}
    prices: dict[str, Price | None] = {}
    servers: dict[str, str] = {}
    for one in plan.teachers:
        if isinstance(one, TeacherName):
            kept, teacher, place = kept_as(one, plan.asking), open_teacher(one, plan.asking, to_ask=to_ask), None
            place = asked_at(one, plan.asking)
        else:
            kept, teacher, place = one.name, one, None
        if kept in teachers or teacher.name in (other.name for other in teachers.values() if sends_requests(other)):
            raise InputError(f"two of the teachers call themselves {teacher.name!r}. Rename the folder of one of them.")
        teachers[kept], prices[kept] = teacher, plan.price(one)
        if place is not None:
            servers[teacher.name] = place
    return Panel(teachers, prices, servers)


def open_store(plan: LabelPlan, panel: Panel, folder: Path) -> LabelStore:
    """Open a labels folder for a run of the plan; see `LabelStore`."""
    prices = {panel.teachers[kept].name: price for kept, price in panel.prices.items() if price is not None}
    return LabelStore(folder, prices=prices, servers=panel.servers, limits=plan.limits, secrets=plan.asking.secrets)


def earlier_answers(plan: LabelPlan, store: LabelStore, candidates: Candidates) -> dict[Question, Answer]:
    """Return what rounds before the plan's have answered about these tables, all teachers together."""
    if plan.round == 1:
        return {}
    kept = read_kept(store.database, candidates.name, candidates)
    combined = verdicts(kept, plan.rule).answers
    return {
        question: answer
        for question, round, answer in zip(kept.questions, kept.rounds, combined, strict=True)
        if round < plan.round
    }


def chosen_questions(
    plan: LabelPlan, candidates: Candidates, answered: Mapping[Question, Answer], *, progress: bool = False
) -> list[Question]:
    """Choose the questions of a plan."""
    probability = None
    if plan.method in NEED_A_STUDENT:
        scores = Student.load(plan.student).score(
            candidates.left, candidates.right, candidates.pairs, progress=progress
        )
        probability = np.clip(scores, 0.0, 1.0)
    return select(
        candidates,
        plan.number or max(1, round(plan.share * len(questions_of(candidates)))),
        method=plan.method,
        seed=plan.seed,
        probability=probability,
        answered=answered,
    )


def inputs_of_questions(plan: LabelPlan) -> dict[str, Any]:
    """Return what the choice of questions depends on besides candidates and answers; see `runs.fingerprint`."""
    by_student = plan.method in NEED_A_STUDENT
    return {
        "method": plan.method,
        "number": plan.number,
        "share": None if plan.number else plan.share,
        "seed": plan.seed,
        "student": artefact.locate(plan.student) / artefact.MANIFEST if by_student else None,
    }


def inputs_of_teachers(plan: LabelPlan) -> dict[str, Any]:
    """Return what the answers depend on besides the questions; see `runs.fingerprint`."""
    teachers: list[Any] = []
    for teacher in plan.teachers:
        if not isinstance(teacher, TeacherName):
            teachers.append(teacher.name)
            continue
        content: Path | None = None
        if teacher.kind == "labels":
            content = Path(teacher.value)
        elif teacher.kind == "student":
            content = artefact.locate(teacher.value) / artefact.MANIFEST
        teachers.append([kept_as(teacher, plan.asking), asked_at(teacher, plan.asking), content])
    return {"teachers": teachers, "limits": plan.limits}


def task_name(left: Records, right: Records | None) -> str:
    """Return what to call the task of two tables, or of one: their names without folders and endings."""
    return "-".join(Path(records.name).name.partition(".")[0] for records in (left, right) if records is not None)


def forecast_facts(
    plan: LabelPlan, panel: Panel, candidates: Candidates, questions: Sequence[Question], recorder: Recorder
) -> list[tuple[str, str]]:
    """Say in words how many questions there are, and what asking each teacher will take; nothing is sent."""
    queries = len(np.unique(candidates.pairs.left))
    facts = [("questions", f"{len(questions):,} of {queries:,} queries with candidates ({plan.method})")]
    for name, teacher in panel.teachers.items():
        words = "no calls"
        if sends_requests(teacher):
            price = panel.prices[name]
            words = _in_words(forecast(teacher, candidates, questions, price, recorder), price)
        facts.append((name, words))
    return facts


def reporter(bar: tqdm, currency: str) -> Callable[[Progress], None]:
    """Return what shows the progress of `elicit` on a bar of answers, with what it has cost so far."""

    def report(now: Progress) -> None:
        bar.set_description(now.teacher, refresh=False)
        bar.set_postfix_str(_spent(now, currency), refresh=False)
        bar.update(now.done - bar.n)

    return report


def _in_words(expected: Forecast, price: Price | None) -> str:
    known = f" ({expected.known:,} more are answered already)" if expected.known else ""
    calls = f"{expected.calls:,} calls{known}, about {expected.tokens:,} tokens, {expected.most_tokens:,} at most"
    if price is None or expected.money is None or expected.most_money is None:
        return f"{calls}; cost unknown: no price"
    if not price.prompt and not price.completion:
        return f"{calls}; free of charge"
    dated = f" (prices of {price.date})" if price.date else ""
    most = in_money(expected.most_money, price.currency)
    return f"{calls}; about {in_money(expected.money, price.currency)}, {most} at most{dated}"


def _spent(now: Progress, currency: str) -> str:
    if now.spent is None or now.most is None:
        return "cost unknown"
    at_most = f", {in_money(now.most, currency)} at most" if now.most > now.spent else ""
    return f"spent {in_money(now.spent, currency)}{at_most}"
