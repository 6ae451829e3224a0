"""Records and pairs of pandas tables, from candidate pairs as recordlinkage has them: a MultiIndex of two levels.

Record ids are the labels of the index, whatever the columns are called. The codes of a MultiIndex give the records of
the pairs without a look at every pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from er_distill.errors import InputError, did_you_mean
from er_distill.records import Records

Codes = npt.NDArray[np.int64]


def records_of(frame: Any, columns: Mapping[str, Any], name: str) -> Records:
    """Render some columns of a pandas frame.

    Parameters
    ----------
    frame : pandas.DataFrame
    columns : mapping of field name to column label
        Labels may be anything that pandas takes.
    name : str
        What messages call the table.

    Raises
    ------
    InputError
        When a column is missing or has no value, or the index has repeats.
    """
    for label in columns.values():
        if label not in frame.columns:
            raise InputError(f"{name} has no column {label!r}. {did_you_mean(label, frame.columns)}")
    compared = frame[list(dict.fromkeys(columns.values()))]
    compared = compared.set_axis([str(label) for label in compared.columns], axis=1)
    fields = {field: str(label) for field, label in columns.items()}
    return Records.from_frame(compared, name=name, columns=fields, index=frame.index)


def rows_of(pairs: Any, level: int, records: Records) -> Codes:
    """Return the row of the record on one side of each pair, shape (len(pairs),).

    Raises
    ------
    InputError
        When a label is missing, or belongs to no record.
    """
    codes, used = _codes_and_used(pairs, level)
    rows = np.full(len(pairs.levels[level]), -1, dtype=np.int64)
    rows[used] = records.codes(pairs.levels[level].take(used), source=f"pairs: level {level}")
    return rows[codes]


def records_in_pairs(columns: Sequence[Any], fields: Sequence[str], level: int) -> tuple[Records, Codes]:
    """Render the records of one side from columns that hold them once a pair.

    Parameters
    ----------
    columns : sequence of pandas.Series
        One for each field; the index of each is the pairs.
    fields : sequence of str
        Field names.
    level : int
        The side: 0 or 1.

    Returns
    -------
    records : Records
        Each record once.
    rows : ndarray of int64, shape (len(pairs),)
        The record of each pair.
    """
    import pandas

    pairs = columns[0].index
    codes, used = _codes_and_used(pairs, level)
    a_pair = np.empty(len(pairs.levels[level]), dtype=np.int64)
    a_pair[codes] = np.arange(len(codes))  # any of a record's pairs will do: they hold the same
    rows = np.empty_like(a_pair)
    rows[used] = np.arange(len(used))
    frame = pandas.DataFrame(
        {field: column.iloc[a_pair[used]].array for field, column in zip(fields, columns, strict=True)}
    )
    labels = pairs.levels[level].take(used)
    return Records.from_frame(frame, name=("left", "right")[level], columns=fields, index=labels), rows[codes]


def as_one_table(
    left: Records, right: Records, left_rows: Codes, right_rows: Codes
) -> tuple[Records, Codes, Codes] | None:
    """Return both sides as one table, and the rows of the pairs in it, where the pairs are those of one table.

    Judged by the records that are on both sides, because recordlinkage does not say: a label then has the same values
    on both, and no record is paired with itself. None where they are two tables, or no record tells.
    """
    places = {value: place for place, value in enumerate(left.ids.tolist())}
    rows = np.asarray([places.get(value, -1) for value in right.ids.tolist()], dtype=np.int64)
    shared, new = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    if not len(shared) or (rows[right_rows] == left_rows).any():
        return None
    if any((a[rows[shared]] != b[shared]).any() for a, b in zip(left.values, right.values, strict=True)):
        return None
    rows[new] = len(left) + np.arange(len(new))
    values = tuple(np.concatenate([a, b[new]]) for a, b in zip(left.values, right.values, strict=True))
    table = Records(left.name, np.concatenate([left.ids, right.ids[new]]), left.fields, values)
    return table, left_rows, rows[right_rows]


def _codes_and_used(pairs: Any, level: int) -> tuple[Codes, Codes]:
    """The codes of one level, and those of them that occur, ascending."""
    codes = np.asarray(pairs.codes[level], dtype=np.int64)
    if len(codes) and codes.min() < 0:
        raise InputError(f"pairs: level {level} has a missing label. Drop such pairs.")
    occurs = np.zeros(len(pairs.levels[level]), dtype=np.bool_)
    occurs[codes] = True
    return codes, np.flatnonzero(occurs)
