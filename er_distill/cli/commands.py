"""`er-distill link` and `er-distill dedupe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from er_distill.cli import options
from er_distill.cli.chunked import link_in_chunks
from er_distill.cli.console import Console, reported
from er_distill.cli.extending import begin_state
from er_distill.cli.linking import ENTITY_COLUMN, Clustering, Plan, dedupe_table, link_tables, refuse_column
from er_distill.cli.tables import arrow, open_table, open_two, settled_of, truth_of
from er_distill.deciding import Decision
from er_distill.files import format_of
from er_distill.frames import How
from er_distill.linkage import read_scored
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
    variant: options.Variant = None,
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
    shard: options.Shard = None,
    resume: options.Resume = False,
    scored: Annotated[
        list[Path] | None,
        typer.Option(help="Pairs with scores, such as what shards have written, instead of scoring. Repeat it."),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the records of two tables that are the same thing.

    Writes one row a match: left_id, right_id, score (the probability of a match).

    With --resume what is done is kept beside the output, and a killed run goes on. --shard does a part of the lists;
    one-to-one matching needs all of them: link the shards with --matching all, then put them together with --scored.

    \b
    Examples:
      er-distill link a.csv b.csv -o matches.csv
      er-distill link a.csv b.parquet -o matches.csv --left-on name,city --right-on title,town
      er-distill link a.csv b.csv -o matches.csv --how inner --report report.html --truth truth.csv
      er-distill link a.csv b.csv -o matches.csv --review 0.3:0.8
      (fill the column decision of matches.review.csv, then:)
      er-distill link a.csv b.csv -o matches.csv --decisions matches.review.csv
      er-distill link a.csv b.csv -o part-2.parquet --matching all --shard 2/2 --resume
      er-distill link a.csv b.csv -o matches.csv --scored part-1.parquet --scored part-2.parquet
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    ids = options.columns_of(id)
    options.check_columns(columns, left_on, right_on, ids)
    plan = Plan(
        output, student, variant, device, threads, threshold, options.rules_of(block), not no_context, report,
        options.band_of(review),
    )  # fmt: skip
    options.no_overwrite([left, right, truth, decisions, *(scored or [])], plan.outputs)
    part, in_chunks = options.shard_of(shard), resume or shard is not None
    if in_chunks and (any((report, truth, review, decisions, scored)) or not format_of(output).parquet):
        raise typer.BadParameter(
            "--shard and --resume need an --output that is .parquet, and go without --report, --truth, --review, "
            "--decisions and --scored. Take these of what they wrote, with --scored."
        )
    if scored and (block or decisions):
        raise typer.BadParameter("--scored brings candidate pairs and their scores: leave --block and --decisions out.")
    with options.usage():
        decision = Decision(matching, threshold, top_k=top_k)
        decision.check_shard(1 if part is None else part.of)
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
    if in_chunks:
        link_in_chunks(console, plan, a, b, decision, how=how, shard=part, resume=resume)
        return
    known = truth_of(truth, a.records, b.records)
    settled = settled_of(decisions, a.records, b.records, one_to_one=matching == "one_to_one" and top_k is None)
    loaded = plan.load()
    given = read_scored(scored, a, b, loaded, decision) if scored else None
    link_tables(
        console, plan, loaded, a, b, matching=matching, top_k=top_k, how=how, truth=known, settled=settled,
        given=given,
    )  # fmt: skip


@reported
def dedupe(
    context: typer.Context,
    table: options.OneTable,
    output: options.Output,
    columns: options.Columns = None,
    id: options.Id = None,
    student: options.Student = "default",
    variant: options.Variant = None,
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
        output, student, variant, device, threads, threshold, options.rules_of(block), not no_context, report,
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
