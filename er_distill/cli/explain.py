"""`er-distill explain`."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from er_distill.blocking import candidates
from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.tables import file_pairs, open_table, open_two
from er_distill.explaining import WORDS, explain_records
from er_distill.files import ids_as_in, read_pairs
from er_distill.pairs import Pairs
from er_distill.student import Student
from er_distill.vectors import Corpus


def _pair_of(text: str) -> tuple[str, str]:
    found = next(csv.reader([text]), [])
    if len(found) != 2:
        raise typer.BadParameter(
            f"{text!r} is no pair: write LEFT,RIGHT, such as 12,40, with an id that has a comma in double quotes."
        )
    return found[0], found[1]


@reported
def explain(
    context: typer.Context,
    student: Annotated[
        str, typer.Argument(help="Name of a bundled student, or the folder of one of your own.", show_default=False)
    ],
    left: options.LeftTable,
    pair: Annotated[
        str, typer.Option(metavar="LEFT,RIGHT", help="Ids of the left and of the right record.", show_default=False)
    ],
    right: Annotated[
        Path | None,
        typer.Argument(metavar="[RIGHT]", help="Right table; without it, the pair is within LEFT.", show_default=False),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="The candidate pairs (left_id, right_id), instead of those that blocking finds."),
    ] = None,
    columns: options.Columns = None,
    left_on: options.LeftOn = None,
    right_on: options.RightOn = None,
    id: options.Ids = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    block: options.Block = None,
    no_context: options.NoContext = False,
    words: Annotated[int, typer.Option(min=0, help="Most words to list.")] = WORDS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with everything there is to say.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Say why a candidate pair has its score.

    Prints what each attribute adds to the log-odds (Shapley values: with the line "(all empty)" they add up to the
    score), the words that matter most, and the other candidates of the two records.

    \b
    Examples:
      er-distill explain default a.csv b.csv --pair 12,40
      er-distill explain my-student/ people.csv --pair 7,9 --pairs candidates.csv --json
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    ids, names, wanted = options.columns_of(id), options.columns_of(columns), _pair_of(pair)
    options.check_columns(columns, left_on, right_on, ids, two=right is not None)
    if pairs is not None and block is not None:
        raise typer.BadParameter("--pairs brings candidate pairs, --block says how to find them. Give one of them.")
    rules = options.rules_of(block)
    given = None if pairs is None else read_pairs(pairs)
    if right is None:
        a, b = open_table(left, console, columns=names, id=id).records, None
    else:
        lefts, rights = options.columns_of(left_on), options.columns_of(right_on)
        first, second = open_two(left, right, console, columns=names, left_on=lefts, right_on=rights, ids=ids)
        a, b = first.records, second.records

    def find(corpus: Corpus) -> Pairs:
        if given is None or pairs is None:
            return candidates(a, b, rules=rules, threads=threads, corpus=corpus).pairs
        return file_pairs(given, pairs, a, b).unique()[0]

    left_id, right_id = ids_as_in(a, wanted[:1])[0], ids_as_in(a if b is None else b, wanted[1:])[0]
    scorer = Student.load(student, device=device, threads=threads)
    why = explain_records(scorer, a, b, left_id, right_id, find, context=not no_context, words=words)
    if as_json:
        facts = dataclasses.asdict(why) | {"log_odds": why.log_odds, "is_match": why.is_match, "margin": why.margin}
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
    else:
        typer.echo(str(why))
