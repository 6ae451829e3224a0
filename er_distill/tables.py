"""Frames of any library, opened for the doors, and results given back in the library they came from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from er_distill.errors import InputError, warn
from er_distill.pairs import Pairs
from er_distill.records import Records, as_frame, id_column_of, require

Frame = nw.DataFrame[Any]
Columns = str | Sequence[str] | None
Ids = str | tuple[str | None, str | None] | None

_IDS_AT_ONCE = 250_000


@dataclass(frozen=True)
class Table:
    """A frame, the column of its record ids (None: the index or the row number), and its records."""

    frame: Frame
    id_column: str | None
    records: Records


@dataclass(frozen=True)
class Matches:
    """Pairs of row numbers, each of shape (n,): their probabilities, and their ranks from 1 where they were ranked."""

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int64] | None = None


def open_frame(frame: Any, name: str) -> tuple[Frame, Callable[[Frame], Any]]:
    """Return the frame and how a result goes back to its library.

    A polars LazyFrame is collected here, once, and results go back as LazyFrames. `name` is what messages call it.
    """
    if nw.dependencies.is_polars_lazyframe(frame):
        return as_frame(frame.collect(), name), lambda result: result.to_native().lazy()
    return as_frame(frame, name), nw.to_native


def read_one(frame: Frame, name: str, columns: Sequence[str] | Mapping[str, str] | None, id: str | None) -> Table:
    """Read the table of a dedup, or one of a link; `columns` may give fields other names than their columns."""
    records = Records.from_frame(frame, name=name, columns=columns, id=id)
    return Table(frame, id_column_of(frame, id, name), records)


def read_two(
    left: Frame, right: Frame, columns: Sequence[str] | None, left_on: Columns, right_on: Columns, id: Ids
) -> tuple[Table, Table]:
    """Read the tables of a link: columns are named alike (`columns`) or paired in order (`left_on`, `right_on`)."""
    left_columns: Any = columns
    right_columns: Any = columns
    if left_on is not None or right_on is not None:
        if columns is not None:
            raise InputError(
                "columns= names columns that both tables have; left_on= and right_on= name each table's. Pass one."
            )
        if left_on is None:
            raise InputError("right_on= needs left_on=: the columns of the two tables are paired in order.")
        left_columns, right_columns = paired(left_on, right_on)
    if isinstance(id, (list, tuple)) and len(id) != 2:
        raise InputError(f"id={id!r} must be one column name, or a pair: that of the left and that of the right table.")
    left_id, right_id = id if isinstance(id, (list, tuple)) else (id, id)
    first = read_one(left, "left", left_columns, left_id)
    second = read_one(right, "right", right_columns, right_id)
    warn_if_nothing_shared(first.records, second.records)
    return first, second


def open_either(
    left: Any, right: Any, columns: Sequence[str] | None, left_on: Columns, right_on: Columns, id: Ids
) -> tuple[Table, Table | None]:
    """Read two frames, or `left` alone where `right` is None; the other arguments as `read_two`."""
    first, _ = open_frame(left, "left")
    if right is not None:
        return read_two(first, open_frame(right, "right")[0], columns, left_on, right_on, id)
    if left_on is not None or right_on is not None or isinstance(id, tuple):
        raise InputError("left_on, right_on and a pair of ids need two tables. Pass right, or use columns= and id=.")
    return read_one(first, "left", columns, id), None


def read_either(
    left: Any, right: Any, columns: Sequence[str] | None, left_on: Columns, right_on: Columns, id: Ids
) -> tuple[Records, Records | None]:
    """Read the records of two frames, or of one; see `open_either`."""
    one, other = open_either(left, right, columns, left_on, right_on, id)
    return one.records, None if other is None else other.records


def warn_if_nothing_shared(left: Records, right: Records) -> None:
    """Warn when no field is on both sides: then nothing is compared column by column."""
    if not set(left.fields) & set(right.fields):
        warn(
            f"{left.name} and {right.name} share no compared column: whole records are compared as text. "
            "Name the columns that belong together, in one order: left_on and right_on."
        )


def paired(left_on: Any, right_on: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pair columns in order: field name -> column, for either table. A field is called like its left column."""
    lefts = list(left_on) if isinstance(left_on, (list, tuple)) else [left_on]
    rights = lefts if right_on is None else list(right_on) if isinstance(right_on, (list, tuple)) else [right_on]
    if len(lefts) != len(rights) or not lefts:
        raise InputError(
            f"left_on names {len(lefts)} column(s), right_on {len(rights)}. They are paired in order: name one of each."
        )
    if len(set(map(str, lefts))) < len(lefts):
        raise InputError(f"left_on names a column twice: {lefts}. Name each once.")
    fields = [str(column) for column in lefts]
    return dict(zip(fields, lefts, strict=True)), dict(zip(fields, rights, strict=True))


def pairs_of(frame: Frame, left: Records, right: Records | None) -> Pairs:
    """Look up the records of a frame of pairs, with columns ``left_id`` and ``right_id``."""
    other = left if right is None else right
    ends = []
    for column, records in (("left_id", left), ("right_id", other)):
        require(frame, column, "pairs")
        ends.append(_rows_of(frame[column], records, f"pairs: column {column!r}"))
    return Pairs(ends[0], ends[1], len(left), len(other), right is None).checked("pairs")


def _rows_of(ids: nw.Series[Any], records: Records, source: str) -> npt.NDArray[np.int64]:
    """Row numbers of ids, looked up a slice at a time: millions of them as Python objects would fill the memory."""
    try:
        slices = (ids[start : start + _IDS_AT_ONCE].to_list() for start in range(0, max(len(ids), 1), _IDS_AT_ONCE))
        return np.concatenate([records.codes(part, source=source) for part in slices])
    except InputError:
        records.codes(ids.to_list(), source=source)  # says how many ids are unknown in all
        raise


def codes_of(
    left_ids: Sequence[Hashable], right_ids: Sequence[Hashable], one_table: bool
) -> tuple[npt.NDArray[np.int64], ...]:
    """Number the ids of pairs by their text, both sides together when they are of one table."""
    sides = [[*left_ids, *right_ids]] * 2 if one_table else [left_ids, right_ids]
    codes = []
    for ids, known in zip((left_ids, right_ids), sides, strict=True):
        number = {value: code for code, value in enumerate(sorted(set(known), key=repr))}
        codes.append(np.fromiter((number[value] for value in ids), np.int64, len(ids)))
    return tuple(codes)


def with_column(frame: Frame, name: str, values: np.ndarray) -> Frame:
    """Return the frame with one more column of integers or floats; the index and all else as they were."""
    if name in frame.columns:
        raise InputError(f"the table has a column {name!r} already. Drop or rename it.")
    return frame.with_columns(_series(name, values, frame))


def table_of_matches(left: Table, right: Table, matches: Matches, how: str, suffixes: tuple[str, str]) -> Frame:
    """Lay matches out in the library of the left table: by left row, best first, then by right row.

    `how` and `suffixes` as in `er_distill.link`.
    """
    rows_left, rows_right, scores, ranks = matches.left, matches.right, matches.scores, matches.ranks
    if how == "left":
        alone = np.setdiff1d(np.arange(len(left.records)), rows_left)
        rows_left, rows_right = np.append(rows_left, alone), np.append(rows_right, np.full(len(alone), -1))
        scores = np.append(scores, np.zeros(len(alone)))
        ranks = None if ranks is None else np.append(ranks, np.zeros_like(alone))
    order = np.lexsort((rows_right, -scores, rows_left))
    rows_left, rows_right = rows_left[order], rows_right[order]
    matched = rows_right >= 0
    rows_right = np.where(matched, rows_right, 0)  # any row will do where nulls take its place below
    like = left.frame
    series = [_ids(left, rows_left, "left_id", like), _ids(right, rows_right, "right_id", like)]
    series.append(_series("score", scores[order], like))
    if ranks is not None:
        series.append(_series("rank", ranks[order], like))
    nullable = {one.name for one in series[1:]}
    if how != "ids":
        series += _columns(left, rows_left, suffixes[0], like)
        of_right = _columns(right, rows_right, suffixes[1], like)
        series += of_right
        nullable |= {one.name for one in of_right}
    names = [one.name for one in series]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"suffixes={suffixes!r} give two columns the name {twice!r}. Choose others.")
    table = nw.concat([one.to_frame() for one in series], how="horizontal")  # from_dict would lose pandas dtypes
    if how != "left":
        return table
    there = _series("there", matched, like)
    table = table.with_columns(*(_ready_for_nulls(table[name]) for name in names if name in nullable))
    return table.with_columns(*(nw.when(there).then(nw.col(name)).alias(name) for name in names if name in nullable))


def _ready_for_nulls(series: nw.Series[Any]) -> nw.Series[Any]:
    """In pandas, integers and booleans in a dtype that has nulls: as floats, large ids would change."""
    exact = series.dtype.is_integer() or series.dtype == nw.Boolean
    return nw.maybe_convert_dtypes(series) if exact else series


def _series(name: str, values: Any, like: Frame) -> nw.Series[Any]:
    return nw.new_series(name, values, backend=like.implementation)


def _ids(table: Table, rows: np.ndarray, name: str, like: Frame) -> nw.Series[Any]:
    """The record ids of `rows`, in the dtype they have in their table."""
    if table.frame.implementation is not like.implementation:
        return _foreign(name, table.records.ids[rows].tolist(), like)
    if table.id_column is not None:
        return nw.maybe_reset_index(table.frame[table.id_column][rows]).rename(name)
    index = nw.maybe_get_index(table.frame)
    if index is None:
        return _series(name, rows, like)
    return nw.from_native(index.take(rows).to_series(index=range(len(rows)), name=name), series_only=True)


def _columns(table: Table, rows: np.ndarray, suffix: str, like: Frame) -> list[nw.Series[Any]]:
    """All columns of `rows` but the id column, in the library of `like`."""
    frame = table.frame if table.id_column is None else table.frame.drop(table.id_column)
    taken = nw.maybe_reset_index(frame[rows])
    if taken.implementation is not like.implementation:
        try:
            taken = nw.from_arrow(taken.to_arrow(), backend=like.implementation)
        except (TypeError, ValueError) as error:  # what Arrow raises on a column of mixed objects
            raise InputError(
                f"{table.records.name} cannot become a {like.implementation} table ({_first_line(error)}). "
                "Convert it first, or use how='ids'."
            ) from error
    return [taken[column].rename(f"{column}{suffix}") for column in taken.columns]


def _foreign(name: str, ids: list[Any], like: Frame) -> nw.Series[Any]:
    try:
        return _series(name, ids, like)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the record ids for {name!r} cannot become a {like.implementation} column ({_first_line(error)}). "
            "Give them one type."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
