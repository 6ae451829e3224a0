"""What a command says, and how it fails: results on stdout; notes, warnings and errors on stderr."""

from __future__ import annotations

import functools
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ParamSpec

import typer

from er_distill.errors import ErDistillError, ErDistillWarning

P = ParamSpec("P")

_ARGUMENTS = "columns|device|id|matching|threshold|base_url|budget|max_calls|max_tokens|teacher|labels|base|output|run"
"""Arguments of the library that options of the command line are called after."""


@dataclass(frozen=True)
class Console:
    """Where a command talks.

    Attributes
    ----------
    quiet : bool
        Whether to say nothing but warnings and errors.
    debug : bool
        Whether an error shows its traceback.
    """

    quiet: bool = False
    debug: bool = False

    def hushed(self, quiet: bool) -> Console:
        """Return the console as `--quiet` wants it."""
        return replace(self, quiet=quiet)

    @property
    def progress(self) -> bool:
        """Whether to show progress: to a person at a terminal who has not asked for quiet."""
        return not self.quiet and sys.stderr.isatty()

    def note(self, text: str) -> None:
        """Say what was understood or is being done."""
        if not self.quiet:
            typer.echo(text, err=True)

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print results, one a line, with their names in a column."""
        if self.quiet:
            return
        listed = list(rows)
        width = max((len(name) for name, _ in listed), default=0)
        for name, value in listed:
            typer.echo(f"{name:<{width}}  {value}".rstrip())


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command end with one line on stderr and exit code 1 when it fails, and warn in one line, too.

    Its parameter `context` is the typer context.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _plain_warnings():
                command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:  # the outermost place: whatever it is, a traceback is no message
            context: Any = kwargs["context"]
            if context.obj.debug:
                traceback.print_exc()
            typer.echo(f"error: {_in_one_line(error)}", err=True)
            raise typer.Exit(1) from None

    return run


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ErDistillError):
        return as_options(text)
    if isinstance(error, MemoryError):
        return "there is not enough memory. Link fewer records at a time, or find fewer candidates (--block topk:5)."
    return f"{type(error).__name__}: {text} (this should not happen: er-distill --debug shows where it did)"


def as_options(text: str) -> str:
    """Name the library's arguments as the command line does: ``id=`` is ``--id``, ``device='cpu'`` ``--device cpu``."""
    text = text.replace("api_key_env=", "--key-variable").replace("from_student=", "--from")
    text = re.sub(rf"\b({_ARGUMENTS})='(\S+)'", lambda found: f"{_option(found[1])} {found[2]}", text)
    text = re.sub(rf"\b({_ARGUMENTS})=(?=\d)", lambda found: f"{_option(found[1])} ", text)
    return re.sub(rf"\b({_ARGUMENTS})=(?=[\s.,;:]|$)", lambda found: _option(found[1]), text)


def _option(argument: str) -> str:
    return "--" + argument.replace("_", "-")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    def show(message: Warning | str, *_: object, **__: object) -> None:
        typer.echo(f"warning: {as_options(' '.join(str(message).split()))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ErDistillWarning)
        warnings.showwarning = show
        yield
