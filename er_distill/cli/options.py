"""The options that commands share, and how their values are read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from er_distill.blocking import Exact, Rule, TopK
from er_distill.chunks import Shard as ListShard
from er_distill.cli.console import as_options
from er_distill.errors import InputError
from er_distill.files import ENDINGS, format_of


def probability(value: float | None) -> float | None:
    """Return a threshold that can be used; a NaN passes every comparison with a range."""
    if value is not None and (math.isnan(value) or not 0 <= value <= 1):
        raise typer.BadParameter(f"{value} is no probability: give a number from 0 to 1.")
    return value


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Report a value that the library refuses as bad usage: for values that come from the command line alone."""
    try:
        yield
    except InputError as error:
        raise typer.BadParameter(as_options(str(error))) from None


def band_of(text: str | None) -> tuple[float, float] | None:
    """Read ``LOW:HIGH``."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no band: write LOW:HIGH, such as 0.3:0.8.") from None
    if not 0 <= low <= high <= 1:
        raise typer.BadParameter(f"{text!r} is no band of probabilities: write LOW:HIGH from 0 to 1, such as 0.3:0.8.")
    return low, high


def rules_of(texts: list[str] | None) -> list[Rule] | None:
    """Read blocking rules: ``topk:K``, ``topk:K:union``, ``topk:K:mutual``, ``topk:K:left``, ``exact:FIELD,FIELD``."""
    return [_rule_of(text) for text in texts] if texts else None


def _rule_of(text: str) -> Rule:
    kind, _, rest = text.partition(":")
    try:
        if kind == "topk":
            k, _, mode = rest.partition(":")
            return TopK(int(k), mode or "union")  # type: ignore[arg-type]  # TopK refuses other modes
        if kind == "exact" and rest:
            return Exact(*rest.split(","))
    except InputError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None
    except ValueError:
        pass
    raise typer.BadParameter(f"{text!r} is no rule: write topk:10, topk:10:mutual or exact:COLUMN (also exact:A,B).")


def shard_of(text: str | None) -> ListShard | None:
    """Read ``K/N``."""
    if text is None:
        return None
    with usage():
        return ListShard.parse(text)


def columns_of(text: str | None) -> list[str] | None:
    """Read a list of column names, separated by commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def output(path: Path | None) -> Path | None:
    """Return the path of a table to write, whose ending must name a format."""
    if path is not None:
        try:
            format_of(path)
        except InputError as error:
            raise typer.BadParameter(str(error)) from None
    return path


def check_columns(
    columns: str | None, left_on: str | None, right_on: str | None, ids: list[str] | None, *, two: bool = True
) -> None:
    """Refuse options on columns that contradict each other."""
    if columns is not None and (left_on is not None or right_on is not None):
        raise typer.BadParameter("--columns names columns of both tables, --left-on differing ones. Give one of them.")
    if right_on is not None and left_on is None:
        raise typer.BadParameter("--right-on needs --left-on: columns are paired in order.")
    if ids is not None and len(ids) > (2 if two else 1):
        raise typer.BadParameter(f"--id names {len(ids)} columns: give one" + (", or LEFT,RIGHT." if two else "."))
    if not two and left_on is not None:
        raise typer.BadParameter("--left-on needs two tables: with one, name its columns with --columns.")


def no_overwrite(inputs: Iterable[Path | None], outputs: Iterable[Path]) -> None:
    """Refuse outputs that are an input or one another."""
    taken = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path.resolve() in taken:
            raise typer.BadParameter(f"{path} would overwrite another file of this command. Choose another name.")
        taken.add(path.resolve())


_TABLE = "CSV or Parquet by its ending: " + ", ".join(ENDINGS)

LeftTable = Annotated[Path, typer.Argument(metavar="LEFT", help=f"Left table: {_TABLE}.", show_default=False)]
RightTable = Annotated[Path, typer.Argument(metavar="RIGHT", help="Right table.", show_default=False)]
OneTable = Annotated[Path, typer.Argument(metavar="TABLE", help=f"Table: {_TABLE}.", show_default=False)]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", callback=output, help="Where the result goes; the format is that of the ending."),
]
Id = Annotated[
    str | None,
    typer.Option(help="Column of the record ids. [default: a column named id, else the row number from 0]"),
]
Ids = Annotated[
    str | None,
    typer.Option(
        help="Column of the record ids in both tables, or LEFT,RIGHT where they differ. "
        "[default: a column named id, else the row number from 0]"
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(help="Columns to compare, separated by commas. [default: all but ids and empty columns]"),
]
LeftOn = Annotated[
    str | None,
    typer.Option(help="Instead of --columns, where names differ: the left columns to compare, separated by commas."),
]
RightOn = Annotated[str | None, typer.Option(help="The right columns to compare, in the order of --left-on.")]
Student = Annotated[str, typer.Option(help="Name of a bundled student, or the folder of one of your own.")]
Variant = Annotated[
    str | None,
    typer.Option(help="Variant of the student: `er-distill info` lists them. [default: the student's]"),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:N or tensorrt. auto takes a GPU when one really works.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads to use. [default: ER_DISTILL_THREADS, else all cores]")
]
Threshold = Annotated[
    float | None,
    typer.Option(callback=probability, help="Probability from which a pair is a match. [default: the student's]"),
]
Block = Annotated[
    list[str] | None,
    typer.Option(
        help="How candidate pairs are found: topk:10 (the 10 most similar of each record), topk:10:mutual (of both), "
        "topk:10:left (of each left record), "
        "exact:COLUMN or exact:A,B (equal values). Repeat it: the pairs of all rules count. [default: topk:10]"
    ),
]
NoContext = Annotated[
    bool, typer.Option("--no-context", help="Judge each pair alone, not beside the other candidates of its records.")
]
Report = Annotated[Path | None, typer.Option(help="Also write an HTML report, one file, to look at in a browser.")]
Truth = Annotated[
    Path | None, typer.Option(help="File with the true matches (left_id, right_id): measures the result, no more.")
]
Review = Annotated[
    str | None,
    typer.Option(
        metavar="LOW:HIGH",
        help="Also write the pairs scored from LOW to HIGH for a person to decide, as NAME.review.csv beside the "
        "output NAME.csv. Fill its column decision with: match, no match, unsure.",
    ),
]
Decisions = Annotated[
    Path | None,
    typer.Option(help="A review file with decisions: they settle their pairs, and the threshold is chosen from them."),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Score the K-th of N parts of the candidate lists, the same on every machine. Parquet out.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a run to the same output was ended. Parquet out.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]
