"""The exceptions and warnings of er_distill.

Every message names the table, the column or file it is about, and the next step.
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable


class ErDistillError(Exception):
    """Base of every error raised on purpose by er_distill."""


class InputError(ErDistillError, ValueError):
    """A table, column, pair list, file or argument cannot be used as given."""


class StudentError(ErDistillError, ValueError):
    """A student folder is missing, incomplete, altered or of another format version."""


class DeviceError(ErDistillError, RuntimeError):
    """The device that was asked for cannot be had."""


class MissingExtraError(ErDistillError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class ExportError(ErDistillError):
    """A trained model cannot be written as a graph, or its graph does not score as it does."""


class TeacherError(ErDistillError, RuntimeError):
    """A teacher refuses every request: a wrong key, an unknown model, an account without credit."""


class BudgetSpent(ErDistillError):  # noqa: N818 - a stop that was asked for, with everything kept
    """The next request to a teacher could cost more than the budget still holds."""


class ErDistillWarning(UserWarning):
    """Something was understood in a way the caller should know of."""


def warn(message: str) -> None:
    """Warn with an `ErDistillWarning` that points at the caller's line, however deep in er_distill it was noticed."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, ErDistillWarning, stacklevel=level)


def did_you_mean(name: object, options: Iterable[object]) -> str:
    """Return a hint that names the options closest to `name`, and otherwise lists what there is.

    Parameters
    ----------
    name : object
        What was asked for.
    options : iterable of object
        What exists.

    Returns
    -------
    str
        A sentence that can end an error message.
    """
    names = [str(option) for option in options]
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    if not close:
        folded = {option.lower(): option for option in names}
        close = [folded[key] for key in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.6)]
    if close:
        return "Did you mean " + " or ".join(repr(option) for option in close) + "?"
    if not names:
        return "There is none to choose from."
    listed = ", ".join(repr(option) for option in names[:12]) + (", ..." if len(names) > 12 else "")
    return f"It has: {listed}."
