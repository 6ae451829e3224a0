"""Records: a frame of any library as ids, fields and rendered text.

Everything below this module sees strings only, and the empty string means missing. Nulls and numbers are rendered one
way whatever library, dtype or file they came from, so that a record does not change when its table is read differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import narwhals as nw
import numpy as np

from er_distill.errors import InputError, did_you_mean, warn
from er_distill.rendering import is_null_type, render

# What the index of a pandas frame without a name is called in its CSV, in that CSV read by pandas, and in its Parquet.
_INDEX_NAME = re.compile(r"|Unnamed: 0|__index_level_\d+__")


@dataclass(frozen=True)
class Records:
    """One table, rendered.

    Attributes
    ----------
    name : str
        What messages call the table: ``"left"``, ``"right"``, a file name.
    ids : ndarray, shape (n,)
        Unique record ids. They identify, and are never rendered into text.
    fields : tuple of str
        Logical field names. A field means the same on both sides of a link when the names are equal.
    values : tuple of ndarray of str objects, each of shape (n,)
        Rendered values by field; the empty string is a missing value.
    """

    name: str
    ids: np.ndarray
    fields: tuple[str, ...]
    values: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def texts(self) -> list[str]:
        """The record's present values in field order, joined by spaces (serialisation version 1)."""
        return RecordTexts(self)[:]

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {value: position for position, value in enumerate(self.ids.tolist())}

    def codes(self, ids: Iterable[Any], *, source: str) -> np.ndarray:
        """Return the row numbers of `ids`.

        Parameters
        ----------
        ids : iterable
            Record ids, in any order, repeats allowed.
        source : str
            Where the ids come from, for the message: ``"pairs: column 'left_id'"``.

        Returns
        -------
        ndarray of int64

        Raises
        ------
        InputError
            When an id belongs to no record.
        """
        listed = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        positions = self._positions
        try:
            return np.fromiter((positions[value] for value in listed), np.int64, len(listed))
        except KeyError:
            unknown = [value for value in listed if value not in positions]
            raise InputError(self._unknown_ids(unknown, source)) from None

    def _unknown_ids(self, unknown: list[Any], source: str) -> str:
        example = unknown[0]
        message = f"{source} names {len(unknown)} id(s) that no record of {self.name} has, such as {example!r}."
        as_text = {str(value): value for value in self.ids[:100_000].tolist()}
        if str(example) in as_text:
            own = as_text[str(example)]
            return f"{message} {self.name} has {own!r} ({type(own).__name__}): give both the same type."
        return f"{message} Pass the table the pairs were made from, or name its id column with id=."

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        name: str,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        id: str | None = None,
        index: Sequence[Any] | None = None,
    ) -> Records:
        """Render a frame.

        Parameters
        ----------
        frame : pandas.DataFrame, polars.DataFrame, pyarrow.Table or any eager frame narwhals knows
            The table, one record a row. It is not changed.
        name : str
            What messages call the table.
        columns : sequence of str, or mapping of logical field name to column name, optional
            The columns to compare. By default all but the id column, a pandas index that became a column, columns of
            row numbers, nested columns and columns without a value.
        id : str, optional
            The id column. By default a column named ``id``, else the index of a pandas frame, else the row number.
        index : sequence, optional
            The record ids themselves, for callers whose ids are the index even where a column is named ``id``.

        Returns
        -------
        Records

        Raises
        ------
        InputError
            When the frame is no frame, has no rows, lacks a column, has ids that are null or not unique, values that
            are no text, or when the id column is among those to compare.
        """
        native = as_frame(frame, name)
        if len(native) == 0:
            raise InputError(f"{name} has no rows. Check how it was read or filtered.")
        id_column = id_column_of(native, id, name) if index is None else None
        ids = _ids(native, id_column, name) if index is None else check_ids(list(index), f"{name}: the index")
        if columns is None:
            fields = _default_columns(native, id_column)
        elif isinstance(columns, Mapping):
            fields = dict(columns)
        elif isinstance(columns, str) or not isinstance(columns, Iterable):
            raise InputError(f"{name}: columns must be a list of column names; write [{columns!r}].")
        else:
            fields = {column: column for column in columns}
        rendered: dict[str, np.ndarray] = {}
        for field, column in fields.items():
            require(native, column, name)
            if column == id_column:
                raise InputError(
                    f"{name}: column {column!r} holds the record ids, which are never compared. "
                    "Leave it out, or name another id column with id=."
                )
            try:
                values = render(native[column], where=f"{name}: column {column!r}")
            except InputError as error:
                if columns is not None:
                    raise
                warn(f"{error} It is left out.")
                continue
            if columns is None and not any(values):
                continue
            rendered[field] = values
        if not any(any(values) for values in rendered.values()):
            listed = ", ".join(repr(column) for column in fields.values()) or "none"
            raise InputError(
                f"{name}: no column with a value to compare (looked at: {listed}). Name some with columns=."
            )
        return cls(name, ids, tuple(rendered), tuple(rendered.values()))


class RecordTexts(Sequence[str]):
    """`Records.texts`, of which each is made when it is asked for: those of millions of records are hundreds of MB."""

    def __init__(self, records: Records) -> None:
        self._values = records.values
        self._n = len(records)

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [_text(own) for own in zip(*(column[row] for column in self._values), strict=True)]
        return _text(column[row] for column in self._values)


def _text(values: Iterable[str]) -> str:
    """The present values, joined by spaces (serialisation version 1)."""
    return " ".join(filter(None, values))


def as_frame(frame: Any, name: str) -> nw.DataFrame[Any]:
    """Wrap an eager frame of any library, or say what was given instead.

    Raises
    ------
    InputError
        When `frame` is no frame, is lazy, or has two columns of one name.
    """
    if isinstance(frame, nw.DataFrame):
        return frame
    columns = getattr(frame, "columns", None)
    if columns is not None and getattr(columns, "is_unique", True) is False:
        twice = sorted({str(column) for column in columns[columns.duplicated()]})
        raise InputError(f"{name} has more than one column named {twice[0]!r}. Rename or drop one.")
    try:
        native = nw.from_native(frame, eager_only=True)
    except (TypeError, ValueError, NotImplementedError) as error:
        kind = f"{type(frame).__module__.split('.')[0]}.{type(frame).__qualname__}"
        raise InputError(
            f"{name} is a {kind}, not a pandas, polars (eager) or pyarrow table. Convert it first."
        ) from error
    for column in native.columns:
        if not isinstance(column, str):  # pandas numbers columns that have no names
            raise InputError(f"{name} has a column named {column!r}, which is no text. Use frame.rename(columns=str).")
    return native


def require(frame: nw.DataFrame[Any], column: str, name: str) -> None:
    """Raise InputError, with the nearest names, when `frame` has no such column; `name` is what to call the table."""
    if column not in frame.columns:
        raise InputError(f"{name} has no column {column!r}. {did_you_mean(column, frame.columns)}")


def id_column_of(frame: nw.DataFrame[Any], id: str | None, name: str) -> str | None:
    """Return the column that holds the record ids, or None where the index or the row number does.

    The order, the same at every door: the column named by `id`, else a column named ``id``, else the index of a pandas
    frame (a column of its own in a Parquet file or an Arrow table made from one), else the row number. Raises
    InputError when `frame`, called `name`, has no such column.
    """
    if id is not None:
        require(frame, id, name)
        return id
    if "id" in frame.columns:
        return "id"
    index = _pandas_index(frame)
    return index[0] if len(index) == 1 else None


def _pandas_index(frame: nw.DataFrame[Any]) -> list[str]:
    """Columns that were the index of the pandas frame an Arrow table, or its file, was made from."""
    if not frame.implementation.is_pyarrow():
        return []
    about = frame.to_native().schema.pandas_metadata or {}
    return [column for column in about.get("index_columns", ()) if column in frame.columns]


def _ids(frame: nw.DataFrame[Any], id_column: str | None, name: str) -> np.ndarray:
    if id_column is not None:
        values, where = frame[id_column].to_list(), f"{name}: id column {id_column!r}"
    else:
        index = nw.maybe_get_index(frame)
        values = list(range(len(frame))) if index is None else index.tolist()
        where = f"{name}: the index"
    return check_ids(values, where)


def check_ids(values: Sequence[Any], where: str) -> np.ndarray:
    """Return `values` as an array of record ids.

    Raises
    ------
    InputError
        When an id is missing, not hashable, or stands twice.
    """
    ids = np.fromiter(values, dtype=object, count=len(values))
    seen: set[Any] = set()
    for row, value in enumerate(values):
        try:
            repeated = value in seen
        except TypeError as error:
            raise InputError(
                f"{where} holds a {type(value).__name__} in row {row}, which cannot be an id. "
                "Turn it into text, or name another column with id=."
            ) from error
        if value is None or is_null_type(type(value)) or value != value:
            raise InputError(f"{where} has no value in row {row}. Fill it, or name another column with id=.")
        if repeated:
            raise InputError(
                f"{where} has {value!r} more than once (again in row {row}). "
                "Ids must be unique: drop the repeats, reset the index, or name another column with id=."
            )
        seen.add(value)
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {int, str}:
        return np.asarray(values) if kinds == {int} and all(-(2**63) <= v < 2**63 for v in values) else ids
    return ids


def _default_columns(frame: nw.DataFrame[Any], id_column: str | None) -> dict[str, str]:
    chosen = {}
    ids = {id_column, *_pandas_index(frame)}
    for column in frame.columns:
        if column in ids or _INDEX_NAME.fullmatch(column):
            continue
        series = frame[column]
        if series.dtype.is_nested() or _counts_rows(series):
            continue
        chosen[column] = column
    return chosen


def _counts_rows(series: nw.Series[Any]) -> bool:
    """Whether a column is 0, 1, 2, ... or 1, 2, 3, ...: row numbers say nothing about what a record means.

    A frame written to CSV with its index and read back has them too, as numbers or as text.
    """
    if len(series) < 3 or not (series.dtype.is_integer() or series.dtype == nw.String):
        return False
    first = str(series[0])
    return first in ("0", "1") and all(str(value) == str(k) for k, value in enumerate(series.to_list(), int(first)))
