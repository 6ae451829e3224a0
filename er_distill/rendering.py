"""How a value becomes text: nulls, numbers and dates one way, whatever library, dtype or file they came from."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np

from er_distill.errors import InputError, warn

MAX_CELL_CHARS = 4_000
"""Characters of one value that are read; the rest is cut with a warning."""

_NULL_TEXTS = frozenset({"", "nan", "NaN", "<NA>", "NaT", "None"})
# An integer column with a null in it becomes floats on its way through a CSV: "1999.0" is the year 1999.
_INTEGRAL_FLOAT = re.compile(r"-?\d+\.0+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\ufeff]+")
_EXACT_FLOAT = 2**53


def render(series: Any, *, where: str) -> np.ndarray:
    """Render a column as text, the empty string for a missing value.

    Parameters
    ----------
    series : Series of any library, narwhals Series, or sequence
        The values.
    where : str
        The table and column, for messages.

    Returns
    -------
    ndarray of str objects, shape (n,)

    Raises
    ------
    InputError
        When a value is nested (a list, a dict) or an object without one obvious text.
    """
    try:
        column = nw.from_native(series, series_only=True)
        values = column.to_list()
        if column.dtype == nw.Float32:  # as Python floats its values would show digits that they do not have
            values = [value if value is None else np.float32(value) for value in values]
    except TypeError:
        values = list(series)
    kinds = {type(value) for value in values}
    # Equal texts are one object in memory: a town stands in many records.
    tidy = {value: _render_text(value) for value in {value for value in values if type(value) is str}}
    text = [tidy[value] if type(value) is str else _render_value(value, where) for value in values]
    if len(kinds) > 1:
        _warn_if_mixed(values, where)
    longest = max(map(len, text), default=0)
    if longest > MAX_CELL_CHARS:
        warn(
            f"{where} has a value of {longest:,} characters; the first {MAX_CELL_CHARS:,} of each value are compared. "
            "Cut or drop the column if that is not meant."
        )
        text = [value[:MAX_CELL_CHARS] for value in text]
    rendered = np.empty(len(text), dtype=object)
    rendered[:] = text
    return rendered


def is_null_type(kind: type) -> bool:
    """Whether values of this type stand for a missing value."""
    return kind is type(None) or kind.__name__ in {"NAType", "NaTType"}


def _warn_if_mixed(values: list[Any], where: str) -> None:
    present = {type(v) for v in values if v is not None and not is_null_type(type(v)) and v == v}
    names = {"number" if issubclass(kind, (int, float, np.number)) else kind.__name__ for kind in present}
    if len(names) > 1:
        listed = " and ".join(sorted(names))
        warn(f"{where} mixes {listed} values; each is compared as text.")


def _render_text(value: str) -> str:
    if _CONTROL.search(value):
        value = _CONTROL.sub(" ", value)
    tidy = " ".join(value.split())
    value = value if tidy == value else tidy  # the frame's own object where it can be: no second copy of a table
    if value in _NULL_TEXTS:
        return ""
    if value.endswith("0") and _INTEGRAL_FLOAT.match(value):
        return value[: value.index(".")]
    return value


def _render_value(value: Any, where: str) -> str:
    if isinstance(value, str):
        return _render_text(value)
    if value is None or is_null_type(type(value)):
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return ""
        exact = float(value)
        return str(int(exact)) if exact.is_integer() and abs(exact) < _EXACT_FLOAT else _without_exponent(value)
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return "" if value.is_nan() else text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, dt.datetime):
        midnight = value.time() == dt.time(0)
        return value.date().isoformat() if midnight else value.isoformat(sep=" ")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):  # pandas' own class has another text
        return str(dt.timedelta(value.days, value.seconds, value.microseconds))
    if isinstance(value, np.datetime64):
        return _render_value(value.astype("datetime64[us]").item(), where)
    raise InputError(
        f"{where} holds a {type(value).__name__} (such as {str(value)[:40]!r}), which has no one text. "
        "Turn the column into text or numbers, or leave it out of the columns compared."
    )


def _without_exponent(value: float | np.floating[Any]) -> str:
    text = str(value)
    return np.format_float_positional(value, trim="-") if "e" in text else text
