"""Tables, pairs and truth files on disk.

The ending of a path says its format. Every column of a text file is read as text, as it stands: "02139" stays. A file
is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import gzip
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from er_distill.errors import InputError, did_you_mean
from er_distill.files import text
from er_distill.files.formats import ENDINGS, check_first_bytes, first_line, format_of
from er_distill.records import Records

__all__ = [
    "ENDINGS",
    "PAIR_COLUMNS",
    "check_writable",
    "format_of",
    "held",
    "id_reader",
    "ids_as_in",
    "line_of",
    "read_pairs",
    "read_table",
    "read_truth",
    "require_columns",
    "whole",
    "write_table",
    "write_text",
]

PAIR_COLUMNS = ("left_id", "right_id")

_WRITE_ROWS = 50_000


def read_table(path: Path) -> pa.Table:
    """Read a table.

    Parameters
    ----------
    path : Path
        A file with one of `ENDINGS`: UTF-8 text with a header line and columns separated by commas (``.csv``; also by
        semicolons, when the header has no comma) or tabs (``.tsv``), or Parquet.

    Returns
    -------
    pyarrow.Table
        All columns of a text file are strings, and an empty cell is null.

    Raises
    ------
    InputError
        When the file is missing, empty, not what its ending says, not UTF-8 (with the line), or has a line of another
        number of columns (with the line) or two columns of one name.
    """
    form = format_of(path)
    check_first_bytes(path, form)
    table = _read_parquet(path) if form.parquet else text.read(path, form)
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has more than one column named {twice[0]!r}. Rename or drop one.")
    return table


def read_pairs(path: Path) -> pa.Table:
    """Read a table that has the columns `left_id` and `right_id`, such as candidate pairs or a truth file.

    Raises
    ------
    InputError
        As `read_table`, and when a column is missing or an id is empty (with the row).
    """
    table = read_table(path)
    require_columns(table, PAIR_COLUMNS, path)
    for name in PAIR_COLUMNS:
        if table[name].null_count:
            row = table[name].is_null().to_pylist().index(True)
            raise InputError(f"{path}: {line_of(path, row)} has no value in column {name!r}. Fill it or drop the row.")
    return table


def line_of(path: Path, row: int) -> str:
    """Say where record number `row`, from 0, stands in a file that `read_table` has read: ``"line 7"``."""
    form = format_of(path)
    return f"row {row + 1}" if form.parquet else f"line {text.line_number(path, form, row)}"


def read_truth(path: Path) -> pa.Table:
    """Read a truth file: the two ids of every true match, in the columns `left_id` and `right_id`; see `read_pairs`."""
    return read_pairs(path).select(list(PAIR_COLUMNS))


def require_columns(table: pa.Table, columns: Iterable[str], path: Path) -> None:
    """Raise InputError, naming near columns, unless `table` has all of `columns`."""
    for name in columns:
        if name not in table.column_names:
            raise InputError(f"{path} has no column {name!r}. {did_you_mean(name, table.column_names)}")


def id_reader(records: Records) -> Callable[[Iterable[Any]], list[Any]]:
    """Return what turns ids read from one file into the ids of `records`, which were read from another.

    A CSV file knows text only, so its "17" is the record 17 of a Parquet file or of a table numbered by its rows. Ids
    that no record has come back unchanged.
    """
    known = records.ids.tolist()
    own, as_text = set(known), {str(value): value for value in known}
    return lambda values: [value if value in own else as_text.get(str(value), value) for value in values]


def ids_as_in(records: Records, values: Iterable[Any]) -> list[Any]:
    """Return ids read from one file as the ids of `records`; see `id_reader`."""
    return id_reader(records)(values)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table in the format that the ending of `path` names, whole or not at all.

    Raises
    ------
    InputError
        When the ending is unknown or the file cannot be written.
    """
    form = format_of(path)
    with whole(path) as partial:
        if form.parquet:
            pq.write_table(table, partial)
            return
        opened: Callable[..., IO[Any]] = gzip.open if form.gzip else open
        with opened(partial, "wt", encoding="utf-8", newline="") as stream:
            writer = csv.writer(_UnixLines(stream), delimiter="\t" if form.ending.startswith(".tsv") else ",")
            writer.writerow(table.column_names)
            for batch in table.to_batches(max_chunksize=_WRITE_ROWS):
                columns = [_cells(column) for column in batch.columns]
                writer.writerows(zip(*columns, strict=True))


def write_text(content: str, path: Path) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(content, encoding="utf-8")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and put the file there in its place when the block ends without an error.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    check_writable(path)
    target = path.resolve()  # through a link, so that the link stays
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}. Free some space or choose another path."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder inside the block; the system lets go of it however the process ends.

    Raises
    ------
    InputError
        When another process holds it, or it cannot be written.
    """
    try:
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}. Choose another folder.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is at work on {folder}. Wait for it to end.") from error
        yield


def check_writable(path: Path) -> None:
    """Raise InputError unless a file can be put at `path`; called before the work whose result goes there."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {folder}. Make it first.")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} cannot be written: it is no regular file. Choose another path.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: no permission in {folder}. Choose another folder.")


class _UnixLines:
    """Ends lines with a line feed alone; a csv writer told to do so would leave carriage returns in cells unquoted."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def _cells(column: pa.Array) -> list[Any]:
    cells = column.to_pylist()
    if pa.types.is_boolean(column.type):
        return [None if cell is None else str(cell).lower() for cell in cells]
    return cells


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no whole Parquet file: {first_line(error)} Make it again.") from error
