"""Tables and pair files, opened for a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa

from er_distill.cli.console import Console
from er_distill.errors import InputError
from er_distill.files import ids_as_in, read_table, read_truth
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.review import Settled, read_decisions, settle
from er_distill.tables import Table, open_frame, paired, read_one, warn_if_nothing_shared

MAX_NAMED = 8
"""Columns named in a note."""


def open_table(
    path: Path, console: Console, *, columns: Sequence[str] | Mapping[str, str] | None, id: str | None
) -> Table:
    """Read a table and say how it was understood."""
    table = read_one(open_frame(read_table(path), str(path))[0], str(path), columns, id)
    console.note(describe(table))
    return table


def open_two(
    left: Path,
    right: Path,
    console: Console,
    *,
    columns: Sequence[str] | None,
    left_on: Sequence[str] | None,
    right_on: Sequence[str] | None,
    ids: Sequence[str] | None,
) -> tuple[Table, Table]:
    """Read the two tables of a link and say how they were understood."""
    sides: tuple[Any, Any] = (columns, columns) if left_on is None else paired(left_on, right_on)
    left_id, right_id = (None, None) if ids is None else (ids[0], ids[-1])
    first = open_table(left, console, columns=sides[0], id=left_id)
    second = open_table(right, console, columns=sides[1], id=right_id)
    warn_if_nothing_shared(first.records, second.records)
    return first, second


def open_tables(
    left: Path,
    right: Path | None,
    console: Console,
    *,
    columns: Sequence[str] | None,
    left_on: Sequence[str] | None,
    right_on: Sequence[str] | None,
    ids: Sequence[str] | None,
) -> tuple[Records, Records | None]:
    """Read the records of two tables, or of one, and say how they were understood."""
    if right is None:
        return open_table(left, console, columns=columns, id=None if ids is None else ids[0]).records, None
    first, second = open_two(left, right, console, columns=columns, left_on=left_on, right_on=right_on, ids=ids)
    return first.records, second.records


def describe(table: Table) -> str:
    """Say what was taken for ids and what is compared."""
    records = table.records
    fields = ", ".join(records.fields[:MAX_NAMED]) + (", ..." if len(records.fields) > MAX_NAMED else "")
    ids = f"ids in column {table.id_column}"
    if table.id_column is None:
        ids = "numbered by row, from 0" if nw.maybe_get_index(table.frame) is None else "ids in the index"
    return f"{records.name}: {len(records):,} records, {ids}; comparing {fields}"


def arrow(table: Table) -> pa.Table:
    """Return the Arrow table that was opened."""
    return table.frame.to_arrow()


def truth_of(path: Path | None, left: Records, right: Records | None) -> Pairs | None:
    """Read the true matches of two tables, or of one, each once."""
    if path is None:
        return None
    truth = read_truth(path)
    if not len(truth):
        raise InputError(f"{path} holds no true match. Leave it out, or check how it was made.")
    return file_pairs(truth, path, left, right).unique()[0]


def file_pairs(table: pa.Table, path: Path, left: Records, right: Records | None) -> Pairs:
    """Look up the pairs of a file in the tables they are about."""
    left_ids = ids_as_in(left, table["left_id"].to_pylist())
    right_ids = ids_as_in(left if right is None else right, table["right_id"].to_pylist())
    return Pairs.from_ids(left_ids, right_ids, left, right, source=str(path))


def settled_of(path: Path | None, left: Records, right: Records | None, *, one_to_one: bool) -> Settled | None:
    """Read a person's decisions on pairs of two tables, or of one."""
    return None if path is None else settle(read_decisions(path), left, right, one_to_one=one_to_one)
