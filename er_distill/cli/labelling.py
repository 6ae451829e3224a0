"""How `label` runs: what it will take, the answers, the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import typer
from tqdm import tqdm

from er_distill import blocking
from er_distill.cli.console import Console
from er_distill.errors import InputError, TeacherError
from er_distill.records import Records
from er_distill.training.database import FILE
from er_distill.training.elicit import elicit
from er_distill.training.kept import mark_current, read_kept
from er_distill.training.label_files import LABELS, verdicts, write_label_files
from er_distill.training.labelling import (
    LabelPlan,
    chosen_questions,
    earlier_answers,
    forecast_facts,
    open_panel,
    open_store,
    reporter,
    task_name,
)
from er_distill.training.labels import Candidates
from er_distill.training.spending import in_money, spending, total_cost
from er_distill.training.store import LabelStore
from er_distill.training.teachers.base import Answer, NoRecorder


@dataclass(frozen=True)
class LabelRun:
    """What a run of `label` is to do besides its plan."""

    output: Path
    blocking: list[blocking.Rule]
    dry_run: bool


def run_plan(console: Console, plan: LabelPlan, run: LabelRun, left: Records, right: Records | None) -> None:
    """Label candidates of two tables, or of one."""
    panel = open_panel(plan, to_ask=not run.dry_run)
    blocks = blocking.candidates(left, right, rules=run.blocking)
    candidates = Candidates(task_name(left, right), left, right, blocks.pairs)
    if run.dry_run and not (run.output / FILE).is_file():
        questions = chosen_questions(plan, candidates, {})
        console.facts(forecast_facts(plan, panel, candidates, questions, NoRecorder()))
        return
    with open_store(plan, panel, run.output) as store:
        _note_changes(console, run, mark_current(store.database, candidates))
        questions = chosen_questions(plan, candidates, earlier_answers(plan, store, candidates))
        facts = forecast_facts(plan, panel, candidates, questions, store)
        if run.dry_run:
            console.facts([*facts, *_limits(plan, store)])
            return
        for name, value in facts:
            console.note(f"{name}: {value}")
        try:
            total = len(questions) * len(panel.teachers)
            with tqdm(total=total, unit="answer", disable=not console.progress) as bar:
                report = reporter(bar, plan.table.currency)
                found = elicit(panel.teachers, candidates, questions, store, round=plan.round, report=report)
        except KeyboardInterrupt:
            _finish(console, plan, run, store, candidates.name, ())
            console.note("stopped. Every answer that came is kept: run the same command again to go on.")
            raise typer.Exit(130) from None
        except TeacherError:
            _finish(console, plan, run, store, candidates.name, ())
            raise
        _finish(console, plan, run, store, candidates.name, found.stopped)


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


def _finish(
    console: Console, plan: LabelPlan, run: LabelRun, store: LabelStore, task: str, stopped: Iterable[str]
) -> None:
    kept = read_kept(store.database, task)
    pairs = write_label_files(run.output, kept, combined := verdicts(kept, plan.rule))
    facts = [(name, answers_in_words(answers.values())) for name, answers in kept.answers.items()]
    facts.append(("cost", total_cost(spending(store.database))))
    facts.append(("labels", f"{run.output / LABELS} ({pairs:,} pairs, {combined.rule.replace('_', ' ')})"))
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


def _note_changes(console: Console, run: LabelRun, outdated: int) -> None:
    if outdated:
        console.note(
            f"note: {outdated:,} questions answered in {run.output} are about records that these tables do not hold, "
            f"or hold otherwise. Their answers stay in {FILE}, and out of {LABELS}."
        )


def open_folder(folder: Path) -> Path:
    """Return the store of a labels folder, or raise InputError where there is none."""
    store = folder / FILE
    if not store.is_file():
        raise InputError(f"{folder} is no labels folder: it holds no {FILE}. Make one with er-distill label.")
    return store
