"""How `label` runs: what to ask, what it will take, the answers, the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import typer
from tqdm import tqdm

from er_distill import blocking
from er_distill.cli.console import Console
from er_distill.errors import InputError, TeacherError
from er_distill.records import Records
from er_distill.student import Student
from er_distill.training.database import FILE
from er_distill.training.elicit import Elicited, Forecast, Progress, elicit, forecast, sends_requests
from er_distill.training.kept import Kept, mark_current, read_kept
from er_distill.training.label_files import LABELS, verdicts, write_label_files
from er_distill.training.labels import Candidates
from er_distill.training.limits import Limits
from er_distill.training.prices import Price, Prices, read_prices
from er_distill.training.selection import NEED_A_STUDENT, select
from er_distill.training.spending import in_money, spending, total_cost
from er_distill.training.store import LabelStore
from er_distill.training.teachers.base import Answer, NoRecorder, Question, Recorder, Teacher, questions_of
from er_distill.training.teachers.ensemble import Rule
from er_distill.training.teachers.grammar import Asking, TeacherName, asked_at, kept_as, open_teacher

SHARE = 0.1
"""Share of the queries that is asked about where nobody says: that of DistillER."""

BLOCK = "topk:10:mutual"
"""How candidates are found where nobody says: lists that a teacher reads are paid for by their length."""


@dataclass(frozen=True)
class LabelPlan:
    """What a run is to do; the names are those of the options."""

    output: Path
    names: tuple[TeacherName, ...]
    asking: Asking
    limits: Limits
    prices: Path | None
    rule: Rule | None
    method: str
    number: int | None
    share: float
    round: int
    student: str
    blocking: list[blocking.Rule] | None
    dry_run: bool

    @cached_property
    def table(self) -> Prices:
        """The prices."""
        return read_prices(self.prices)

    def check(self) -> None:
        """Raise BadParameter for a budget in money that cannot be held."""
        for name in self.names:
            if self.limits.money is not None and name.kind == "openai" and self.price(name) is None:
                why = self.table.why_unknown(name.value, self.asking.endpoint)
                raise typer.BadParameter(
                    f"--budget needs a price for {name}: {why} Or set a limit with --max-calls or --max-tokens."
                )

    def price(self, name: TeacherName) -> Price | None:
        """What a teacher's tokens cost; None where nobody says."""
        if name.kind != "openai":
            return Price(0.0, 0.0, self.table.currency, source="runs here: nobody sends a bill")
        return self.table.of(name.value, self.asking.endpoint)


def run_plan(console: Console, plan: LabelPlan, left: Records, right: Records | None) -> None:
    """Label candidates of two tables, or of one."""
    teachers = {
        kept_as(name, plan.asking): (open_teacher(name, plan.asking, to_ask=not plan.dry_run), plan.price(name))
        for name in plan.names
    }
    _refuse_namesakes([teacher for teacher, _ in teachers.values()])
    task = "-".join(Path(records.name).name.partition(".")[0] for records in (left, right) if records is not None)
    blocks = blocking.candidates(left, right, rules=plan.blocking)
    candidates = Candidates(task, left, right, blocks.pairs)
    if plan.dry_run and not (plan.output / FILE).is_file():
        questions = _selected(plan, candidates, {})
        console.facts(_forecasts(plan, candidates, questions, teachers, NoRecorder()))
        return
    prices = {teacher.name: price for teacher, price in teachers.values() if price is not None}
    places = {
        teacher.name: asked_at(name, plan.asking)
        for name, (teacher, _) in zip(plan.names, teachers.values(), strict=True)
    }
    servers = {name: place for name, place in places.items() if place is not None}
    with LabelStore(
        plan.output, prices=prices, servers=servers, limits=plan.limits, secrets=plan.asking.secrets
    ) as store:
        _note_changes(console, plan, mark_current(store.database, candidates))
        earlier = _earlier(read_kept(store.database, task), candidates, plan) if plan.round > 1 else {}
        questions = _selected(plan, candidates, earlier)
        facts = _forecasts(plan, candidates, questions, teachers, store)
        if plan.dry_run:
            console.facts([*facts, *_limits(plan, store)])
            return
        for name, value in facts:
            console.note(f"{name}: {value}")
        asked = {name: teacher for name, (teacher, _) in teachers.items()}
        try:
            found = _asked(console, plan, store, asked, candidates, questions)
        except KeyboardInterrupt:
            _finish(console, plan, store, task, ())
            console.note("stopped. Every answer that came is kept: run the same command again to go on.")
            raise typer.Exit(130) from None
        except TeacherError:
            _finish(console, plan, store, task, ())
            raise
        _finish(console, plan, store, task, found.stopped)


def _refuse_namesakes(teachers: Sequence[Teacher]) -> None:
    names = [teacher.name for teacher in teachers if sends_requests(teacher)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two of the teachers call themselves {name!r}. Rename the folder of one of them.")


def _selected(plan: LabelPlan, candidates: Candidates, earlier: Mapping[Question, Answer]) -> list[Question]:
    n = plan.number or max(1, round(plan.share * len(questions_of(candidates))))
    probability = None
    if plan.method in NEED_A_STUDENT:
        probability = Student.load(plan.student).score(candidates.left, candidates.right, candidates.pairs)
    return select(
        candidates,
        n,
        method=plan.method,
        seed=plan.asking.how.seed,
        probability=None if probability is None else np.clip(probability, 0.0, 1.0),
        answered=earlier,
    )


def _earlier(kept: Kept, candidates: Candidates, plan: LabelPlan) -> dict[Question, Answer]:
    """What earlier rounds have answered, about the rows of the tables at hand."""
    left, right = (
        {str(value): row for row, value in enumerate(records.ids.tolist())}
        for records in (candidates.left, candidates.right or candidates.left)
    )
    left_ids, right_ids = kept.candidates.left.ids, (kept.candidates.right or kept.candidates.left).ids
    return {
        Question(left[left_ids[question.query]], tuple(right[right_ids[row]] for row in question.candidates)): answer
        for question, round, answer in zip(kept.questions, kept.rounds, verdicts(kept, plan.rule).answers, strict=True)
        if round < plan.round
    }


def _forecasts(
    plan: LabelPlan,
    candidates: Candidates,
    questions: Sequence[Question],
    teachers: Mapping[str, tuple[Teacher, Price | None]],
    recorder: Recorder,
) -> list[tuple[str, str]]:
    queries = len(np.unique(candidates.pairs.left))
    facts = [("questions", f"{len(questions):,} of {queries:,} queries with candidates ({plan.method})")]
    for name, (teacher, price) in teachers.items():
        if sends_requests(teacher):
            facts.append((name, _in_words(forecast(teacher, candidates, questions, price, recorder), price)))
        else:
            facts.append((name, "no calls"))
    return facts


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


def _limits(plan: LabelPlan, store: LabelStore) -> list[tuple[str, str]]:
    held, limits = store.held, plan.limits
    rows = [
        ("budget", limits.money, in_money(held.money, plan.table.currency)),
        ("calls", limits.calls, f"{held.calls:,}"),
        ("tokens", limits.tokens, f"{held.tokens:,}"),
    ]
    return [
        (name, f"{limit:,} in all, of which {used} are spent or set aside")
        for name, limit, used in rows
        if limit is not None
    ]


def _asked(
    console: Console,
    plan: LabelPlan,
    store: LabelStore,
    teachers: Mapping[str, Teacher],
    candidates: Candidates,
    questions: Sequence[Question],
) -> Elicited:
    with tqdm(total=len(questions) * len(teachers), unit="answer", disable=not console.progress) as bar:

        def report(now: Progress) -> None:
            bar.set_description(now.teacher, refresh=False)
            bar.set_postfix_str(_spent(now, plan.table.currency), refresh=False)
            bar.update(now.done - bar.n)

        return elicit(teachers, candidates, questions, store, round=plan.round, report=report)


def _spent(now: Progress, currency: str) -> str:
    if now.spent is None or now.most is None:
        return "cost unknown"
    at_most = f", {in_money(now.most, currency)} at most" if now.most > now.spent else ""
    return f"spent {in_money(now.spent, currency)}{at_most}"


def _finish(console: Console, plan: LabelPlan, store: LabelStore, task: str, stopped: Iterable[str]) -> None:
    kept = read_kept(store.database, task)
    pairs = write_label_files(plan.output, kept, combined := verdicts(kept, plan.rule))
    facts = [(name, answers_in_words(answers.values())) for name, answers in kept.answers.items()]
    facts.append(("cost", total_cost(spending(store.database))))
    facts.append(("labels", f"{plan.output / LABELS} ({pairs:,} pairs, {combined.rule.replace('_', ' ')})"))
    console.facts(facts)
    for why in stopped:
        console.note(f"stopped: {why}. Every answer is kept: raise the limit and run the same command again to go on.")


def answers_in_words(answers: Iterable[Answer]) -> str:
    """Say how many answers there are, how many of them are none, and why others abstained."""
    listed = list(answers)
    given = [answer for answer in listed if not answer.abstained]
    none = sum(answer.choice is not None and answer.choice < 0 for answer in given)
    share = f" ({none / len(given):.0%} none)" if given else ""
    reasons = Counter((answer.reason or "no reason").partition(":")[0] for answer in listed if answer.abstained)
    why = "; ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(5))
    return f"{len(given):,} answers{share}" + (f", {len(listed) - len(given):,} abstentions: {why}" if reasons else "")


def _note_changes(console: Console, plan: LabelPlan, outdated: int) -> None:
    if outdated:
        console.note(
            f"note: {outdated:,} questions answered in {plan.output} are about records that these tables do not hold, "
            f"or hold otherwise. Their answers stay in {FILE}, and out of {LABELS}."
        )


def open_folder(folder: Path) -> Path:
    """Return the store of a labels folder, or raise InputError where there is none."""
    store = folder / FILE
    if not store.is_file():
        raise InputError(f"{folder} is no labels folder: it holds no {FILE}. Make one with er-distill label.")
    return store
