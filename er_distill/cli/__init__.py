"""The command line of er_distill: one function a command.

It holds no rules of its own: it reads files, calls the library, writes files. Exit code 0: done; 1: it ran and failed,
with one line on stderr that says why; 2: bad usage.
"""

from __future__ import annotations

from typing import Annotated

import typer

import er_distill
from er_distill.cli.about import info
from er_distill.cli.commands import dedupe, link
from er_distill.cli.console import Console
from er_distill.cli.demo import demo
from er_distill.cli.distill import distill
from er_distill.cli.evaluation import evaluate
from er_distill.cli.explain import explain
from er_distill.cli.extending import extend
from er_distill.cli.label import label
from er_distill.cli.labels import labels
from er_distill.cli.scores import score

# Plain help: square brackets in it are no markup, and it reads the same in a log.
app = typer.Typer(
    name="er-distill",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command has an example: er-distill link --help",
)
for command in (link, dedupe, extend, score, evaluate, explain, label, labels, distill, info, demo):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"er-distill {er_distill.__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="ER_DISTILL_DEBUG", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find the records of one or two tables that are the same thing.

    Tables are CSV (.csv, .tsv, either also as .gz) or Parquet files, by their ending.
    """
    context.obj = Console(debug=debug)


def main() -> None:
    """Run the command line: the entry point of `er-distill`."""
    app()
