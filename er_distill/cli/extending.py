"""`er-distill extend`, and how `dedupe --state` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import er_distill
from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.linking import ENTITY_COLUMN, Plan
from er_distill.cli.tables import arrow
from er_distill.files import check_writable, read_table, write_table
from er_distill.student import Student
from er_distill.tables import Table


def begin_state(console: Console, plan: Plan, table: Table, state: Path) -> None:
    """Deduplicate a table, write it and leave the state of that."""
    frame = er_distill.dedupe(
        arrow(table),
        columns=list(table.records.fields),
        id=table.id_column,
        student=plan.load(),
        threads=plan.threads,
        threshold=plan.threshold,
        blocking=plan.blocking,
        context=plan.context,
        state=state,
        progress=console.progress,
    )
    write_table(frame, plan.output)
    n_entities = len(np.unique(frame[ENTITY_COLUMN].to_numpy()))
    console.facts(
        [
            ("entities", f"{n_entities:,} of {len(frame):,} records"),
            ("output", str(plan.output)),
            ("state", str(state)),
        ]
    )


@reported
def extend(
    context: typer.Context,
    table: options.OneTable,
    output: options.Output,
    state: Annotated[Path, typer.Option(help="The folder that `er-distill dedupe --state` left.", show_default=False)],
    matches: Annotated[
        Path | None, typer.Option(callback=options.output, help="Where the matches of the new records go.")
    ] = None,
    merges: Annotated[
        Path | None, typer.Option(callback=options.output, help="Where entities go that have become one.")
    ] = None,
    id: options.Id = None,
    student: options.Student = "default",
    variant: options.Variant = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    block: options.Block = None,
    quiet: options.Quiet = False,
) -> None:
    """Add new records to those that were deduplicated before.

    Writes the new records with a column entity_id. Only pairs with a new record are scored; old entities keep their
    numbers.

    \b
    Examples:
      er-distill dedupe people.csv -o people.entities.csv --state people.state
      er-distill extend late.csv -o late.entities.csv --state people.state --merges merges.csv
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    outputs = [path for path in (output, matches, merges) if path is not None]
    options.no_overwrite([table], outputs)
    for path in outputs:
        check_writable(path)
    found = er_distill.extend(
        read_table(table),
        state=state,
        id=id,
        student=Student.load(student, variant=variant, device=device, threads=threads),
        threads=threads,
        blocking=options.rules_of(block),
    )
    write_table(found.frame, output)
    for content, wanted in ((found.matches, matches), (found.merges, merges)):
        if wanted is not None:
            write_table(content, wanted)
    console.facts(
        [
            ("records", f"{len(found.frame):,}"),
            ("matches", f"{len(found.matches):,}"),
            ("merges", f"{len(found.merges):,}" + (": see --merges" if len(found.merges) and merges is None else "")),
            ("output", ", ".join(map(str, outputs))),
        ]
    )
