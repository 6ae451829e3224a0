"""`er-distill labels`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.labelling import answers_in_words, open_folder
from er_distill.training.agreement import ErrorRates
from er_distill.training.database import Database
from er_distill.training.kept import Kept, outdated, read_kept
from er_distill.training.label_files import LABELS, Verdicts, verdicts, write_label_files
from er_distill.training.spending import Spending, spending, total_cost
from er_distill.training.teachers.base import NONE, Answer, Question

_CELL_CHARS = 200


@reported
def labels(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Labels folder that label has written.", show_default=False)],
    sample: Annotated[int, typer.Option(min=0, help="Questions to show with their records and answers.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    rule: Annotated[
        Literal["error_model", "majority", "union", "intersection"] | None,
        typer.Option(help="How several teachers are combined. [default: error_model from three on, else majority]"),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Also write labels.csv and teachers/*.jsonl anew, for instance by --rule.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what a labels folder holds: answers, agreement, abstentions, cost, a sample to read.

    \b
    Examples:
      er-distill labels labels/
      er-distill labels labels/ --sample 20
      er-distill labels labels/ --rule majority --write
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    database = Database(open_folder(folder))
    try:
        kept, paid, old = read_kept(database, folder.name), spending(database), outdated(database)
    finally:
        database.close()
    combined = verdicts(kept, rule)
    console.facts(
        [
            (
                "questions",
                f"{len(kept.questions):,}" + (f", and {old:,} about records that have changed" if old else ""),
            ),
            *((name, answers_in_words(answers.values())) for name, answers in kept.answers.items()),
            *_agreement(kept),
            *_rates(kept, combined),
            *((f"calls of {one.teacher}", _calls(one)) for one in paid),
            ("cost", total_cost(paid)),
        ]
    )
    if write:
        pairs = write_label_files(folder, kept, combined)
        console.facts([("labels", f"{folder / LABELS} ({pairs:,} pairs, {combined.rule.replace('_', ' ')})")])
    if not quiet:
        for line in _sample(kept, combined, sample, seed):
            typer.echo(line)


def _agreement(kept: Kept) -> Iterator[tuple[str, str]]:
    for one, other in itertools.combinations(kept.teachers(), 2):
        first, second = kept.answers[one.name], kept.answers[other.name]
        both = [
            question
            for question in kept.questions
            if question in first and question in second
            and not first[question].abstained and not second[question].abstained
        ]  # fmt: skip
        same = sum(first[question].choice == second[question].choice for question in both)
        share = f"{same / len(both):.1%} of {len(both):,} questions" if both else "no question that both answered"
        yield f"agreement of {one.name} and {other.name}", share


def _rates(kept: Kept, combined: Verdicts) -> Iterator[tuple[str, str]]:
    if combined.agreement is None:
        return
    for teacher, rates in zip(kept.teachers(), combined.agreement.rates, strict=True):
        yield f"estimated errors of {teacher.name}", _in_words(rates)


def _in_words(rates: ErrorRates) -> str:
    return (
        f"misses {rates.miss:.1%} of the matches, picks a wrong candidate in {rates.wrong:.1%}, "
        f"sees a match in {rates.false_match:.1%} of the lists without one"
    )


def _calls(one: Spending) -> str:
    failed = "".join(f", {count:,} {error}" for error, count in one.errors.items())
    unheard = f", {one.unheard:,} never heard of" if one.unheard else ""
    tokens = f"{one.prompt_tokens:,} tokens read, {one.completion_tokens:,} written"
    return (
        f"{one.calls:,}: {one.answered:,} answered{failed}{unheard}; {tokens}; {one.seconds / one.calls:.1f} s each; "
        f"cost {one.cost}"
    )


def _sample(kept: Kept, combined: Verdicts, n: int, seed: int) -> Iterator[str]:
    chosen = np.random.default_rng(seed).permutation(len(kept.questions))[:n]
    for position in sorted(chosen.tolist()):
        question = kept.questions[position]
        left, right = kept.candidates.left, kept.candidates.right or kept.candidates.left
        yield ""
        yield f"query {left.ids[question.query]}: {_short(left.texts[question.query])}"
        for place, row in enumerate(question.candidates, start=1):
            yield f"  [{place}] {right.ids[row]}: {_short(right.texts[row])}"
        for name, answers in kept.answers.items():
            if question in answers:
                yield f"  {name}: {_said(question, answers[question])}"
        if len(kept.teachers()) > 1:
            yield f"  together: {_said(question, combined.answers[position])}"


def _said(question: Question, answer: Answer) -> str:
    if answer.choice is None:
        return f"abstained ({answer.reason or 'no reason'})"
    said = "none" if answer.choice == NONE else f"[{answer.choice + 1}]"
    share = answer.votes(len(question.candidates))[answer.choice]
    likely = "" if answer.probabilities is None else f" ({share:.2f})"
    return f"{said}{likely}" + (f": {_short(answer.explanation)}" if answer.explanation else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CELL_CHARS else f"{line[: _CELL_CHARS - 3]}..."
