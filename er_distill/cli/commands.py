"""`er-distill link` and `er-distill dedupe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.extending import begin_state
from er_distill.cli.linking import ENTITY_COLUMN, Clustering, Plan, dedupe_table, link_tables, refuse_column
from er_distill.cli.tables import arrow, open_table, open_two, settled_of, truth_of
from er_distill.frames import How
from er_distill.matching import Matching


@reported
def link(
    context: typer.Context,
    left: options.LeftTable,
    right: options.RightTable,
    output: options.Output,
    columns: options.Columns = None,
    left_on: options.LeftOn = None,
    right_on: options.RightOn = None,
    id: options.Ids = None,
    student: options.Student = "default",
    device: options.Device = "auto",
    threads: options.Threads = None,
    threshold: options.Threshold = None,
    matching: Annotated[
        Matching,
        typer.Option(
            help="one_to_one: a record has one match at most. many_to_one: a left record has. best: the best candidate "
            "of each left record, however low. all: every pair above the threshold."
        ),
    ] = "one_to_one",
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Rank instead of match: the best K candidates of each left record, in a column rank."),
    ] = None,
    how: Annotated[
        How,
        typer.Option(
            help="ids: only ids and score. inner: both records beside them. left: and left records unmatched."
        ),
    ] = "ids",
    block: options.Block = None,
    no_context: options.NoContext = False,
    report: options.Report = None,
    truth: options.Truth = None,
    review: options.Review = None,
    decisions: options.Decisions = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the records of two tables that are the same thing.

    Writes one row a match: left_id, right_id, score (the probability of a match).

    \b
    Examples:
      er-distill link a.csv b.csv -o matches.csv
      er-distill link a.csv b.parquet -o matches.csv --left-on name,city --right-on title,town
      er-distill link a.csv b.csv -o matches.csv --how inner --report report.html --truth truth.csv
      er-distill link a.csv b.csv -o matches.csv --review 0.3:0.8
      (fill the column decision of matches.review.csv, then:)
      er-distill link a.csv b.csv -o matches.csv --decisions matches.review.csv
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    ids = options.columns_of(id)
    options.check_columns(columns, left_on, right_on, ids)
    plan = Plan(
        output, student, device, threads, threshold, options.rules_of(block), not no_context, report,
        options.band_of(review),
    )  # fmt: skip
    options.no_overwrite([left, right, truth, decisions], plan.outputs)
    plan.check()
    a, b = open_two(
        left,
        right,
        console,
        columns=options.columns_of(columns),
        left_on=options.columns_of(left_on),
        right_on=options.columns_of(right_on),
        ids=ids,
    )
    known = truth_of(truth, a.records, b.records)
    settled = settled_of(decisions, a.records, b.records, one_to_one=matching == "one_to_one" and top_k is None)
    link_tables(console, plan, plan.load(), a, b, matching=matching, top_k=top_k, how=how, truth=known, settled=settled)


@reported
def dedupe(
    context: typer.Context,
    table: options.OneTable,
    output: options.Output,
    columns: options.Columns = None,
    id: options.Id = None,
    student: options.Student = "default",
    device: options.Device = "auto",
    threads: options.Threads = None,
    threshold: options.Threshold = None,
    clustering: Annotated[
        Clustering,
        typer.Option(
            help="How matches become entities: components (any chain of matches) or average (resists chains)."
        ),
    ] = "components",
    block: options.Block = None,
    no_context: options.NoContext = False,
    report: options.Report = None,
    truth: options.Truth = None,
    review: options.Review = None,
    decisions: options.Decisions = None,
    state: Annotated[
        Path | None,
        typer.Option(help="A folder to leave what `er-distill extend` needs to add records later.", show_default=False),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the records of one table that are the same thing.

    Writes the table with a column entity_id: the same number for the records of one entity.

    \b
    Examples:
      er-distill dedupe people.csv -o people.entities.csv
      er-distill dedupe people.csv -o out.parquet --columns name,city --block topk:10 --block exact:phone
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    plan = Plan(
        output, student, device, threads, threshold, options.rules_of(block), not no_context, report,
        options.band_of(review),
    )  # fmt: skip
    options.no_overwrite([table, truth, decisions], plan.outputs)
    plan.check()
    opened = open_table(table, console, columns=options.columns_of(columns), id=id)
    refuse_column(arrow(opened), ENTITY_COLUMN, str(table))
    known = truth_of(truth, opened.records, None)
    if state is not None:
        if any((report, truth, review, decisions)) or clustering != "components":
            raise typer.BadParameter("--state goes with --clustering components, and without reports and decisions.")
        begin_state(console, plan, opened, state)
        return
    settled = settled_of(decisions, opened.records, None, one_to_one=False)
    dedupe_table(console, plan, plan.load(), opened, clustering=clustering, truth=known, settled=settled)
