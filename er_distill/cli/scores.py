"""`er-distill score`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.linking import refuse_column
from er_distill.cli.tables import file_pairs, open_table, open_two
from er_distill.files import check_writable, read_pairs, write_table
from er_distill.student import Student
from er_distill.tables import open_frame, with_column


@reported
def score(
    context: typer.Context,
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS", help="Candidate pairs: columns left_id, right_id.", show_default=False)
    ],
    left: options.LeftTable,
    output: options.Output,
    right: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RIGHT]", help="Right table; without it, the pairs are within LEFT.", show_default=False
        ),
    ] = None,
    columns: options.Columns = None,
    left_on: options.LeftOn = None,
    right_on: options.RightOn = None,
    id: options.Ids = None,
    student: options.Student = "default",
    device: options.Device = "auto",
    threads: options.Threads = None,
    no_context: options.NoContext = False,
    quiet: options.Quiet = False,
) -> None:
    """Score candidate pairs of your own.

    Writes the pairs with a column score: the probability of a match. A score depends on the other candidates of the
    same records, unless --no-context is given.

    \b
    Examples:
      er-distill score pairs.csv a.csv b.csv -o scored.csv
      er-distill score pairs.csv people.csv -o scored.parquet --no-context
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    ids, names = options.columns_of(id), options.columns_of(columns)
    options.check_columns(columns, left_on, right_on, ids, two=right is not None)
    options.no_overwrite([pairs, left, right], [output])
    check_writable(output)
    started = time.perf_counter()
    given = read_pairs(pairs)
    refuse_column(given, "score", str(pairs))
    if right is None:
        a, b = open_table(left, console, columns=names, id=id).records, None
    else:
        lefts, rights = options.columns_of(left_on), options.columns_of(right_on)
        first, second = open_two(left, right, console, columns=names, left_on=lefts, right_on=rights, ids=ids)
        a, b = first.records, second.records
    found = file_pairs(given, pairs, a, b)
    loaded = Student.load(student, device=device, threads=threads)
    began = time.perf_counter()
    scores = loaded.score(a, b, found, context=not no_context, progress=console.progress)
    seconds = time.perf_counter() - began
    write_table(with_column(open_frame(given, str(pairs))[0], "score", scores).to_arrow(), output)
    console.facts(
        [
            ("pairs", f"{len(found):,}"),
            ("speed", f"{len(found) / max(seconds, 1e-9):,.0f} pairs/s on {loaded.device}, "
                      f"{time.perf_counter() - started:.1f} s in all"),
            ("output", str(output)),
        ]
    )  # fmt: skip
