"""`er-distill score`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from er_distill.chunks import ScatteredListsError
from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.linking import refuse_column
from er_distill.cli.tables import file_pairs, open_table, open_two
from er_distill.files import check_writable, format_of, read_pairs, write_table
from er_distill.resuming import Scored, score_file
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
    variant: options.Variant = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    no_context: options.NoContext = False,
    shard: options.Shard = None,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
) -> None:
    """Score candidate pairs of your own.

    Writes the pairs with a column score: the probability of a match. A score depends on the other candidates of the
    same records, unless --no-context is given.

    From Parquet to Parquet nothing is held whole: chunks are written as they are done to OUTPUT.parts, from which
    --resume goes on after the process was killed. The rows of one left_id must stand together for that.

    \b
    Examples:
      er-distill score pairs.csv a.csv b.csv -o scored.csv
      er-distill score pairs.csv people.csv -o scored.parquet --no-context
      er-distill score pairs.parquet a.csv b.csv -o scored-2.parquet --shard 2/8 --resume
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    ids, names = options.columns_of(id), options.columns_of(columns)
    options.check_columns(columns, left_on, right_on, ids, two=right is not None)
    options.no_overwrite([pairs, left, right], [output])
    check_writable(output)
    part = options.shard_of(shard)
    streams = format_of(pairs).parquet and format_of(output).parquet
    if (resume or part) and not streams:
        raise typer.BadParameter("--shard and --resume need PAIRS and --output to be .parquet files.")
    started = time.perf_counter()
    given = None if streams else _given(pairs)
    if right is None:
        a, b = open_table(left, console, columns=names, id=id).records, None
    else:
        lefts, rights = options.columns_of(left_on), options.columns_of(right_on)
        first, second = open_two(left, right, console, columns=names, left_on=lefts, right_on=rights, ids=ids)
        a, b = first.records, second.records
    found = None if given is None else file_pairs(given, pairs, a, b)
    loaded = Student.load(student, variant=variant, device=device, threads=threads)
    began = time.perf_counter()
    if given is None:
        try:
            done = score_file(
                pairs, a, b, output, loaded, context=not no_context, shard=part, resume=resume,
                progress=console.progress,
            )  # fmt: skip
        except ScatteredListsError as error:
            if resume or part:
                raise
            console.note(f"note: {error} All pairs are held in memory now.")
            given = _given(pairs)
            found = file_pairs(given, pairs, a, b)
    if given is not None and found is not None:
        scores = loaded.score(a, b, found, context=not no_context, progress=console.progress)
        write_table(with_column(open_frame(given, str(pairs))[0], "score", scores).to_arrow(), output)
        done = Scored(len(found), 0)
    seconds = time.perf_counter() - began
    console.facts(
        [
            ("pairs", f"{done.pairs:,}" + (f", {done.kept:,} of them scored before" if done.kept else "")),
            ("speed", f"{(done.pairs - done.kept) / max(seconds, 1e-9):,.0f} pairs/s on {loaded.device}, "
                      f"{time.perf_counter() - started:.1f} s in all"),
            ("output", str(output)),
        ]
    )  # fmt: skip


def _given(pairs: Path) -> pa.Table:
    given = read_pairs(pairs)
    refuse_column(given, "score", str(pairs))
    return given
