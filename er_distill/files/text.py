"""Text tables: read by Arrow, and explained line by line where Arrow fails."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from er_distill.errors import InputError
from er_distill.files.formats import Format, first_line

_READ_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 25  # Arrow needs a row to fit into two blocks


def read(path: Path, form: Format) -> pa.Table:
    """Read a text file; see `er_distill.files.read_table`."""
    with _explained(path, form):
        with _rows(path, form) as rows:
            header: list[str] = next(rows, [])
            delimiter = rows.dialect.delimiter
        if not header:
            raise InputError(f"{path} starts with an empty line; the first line must name the columns. Add a header.")
        with pa.input_stream(path, compression="gzip" if form.gzip else None) as source:
            table = pacsv.read_csv(
                source,
                read_options=pacsv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True
                ),
            )
    # Arrow closes an open quote at the end of the file, and the rest of the records would be one cell.
    if len(table) and "\n" in (table.column(table.num_columns - 1)[-1].as_py() or ""):
        fault = _fault(path, form)
        if fault:
            raise InputError(fault)
    return table


@contextlib.contextmanager
def _rows(path: Path, form: Format) -> Iterator[Any]:
    """Give a csv reader of a text file, header first."""
    opened: Callable[..., IO[Any]] = gzip.open if form.gzip else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
        delimiter = _delimiter(stream.readline(), form)
        stream.seek(0)
        yield csv.reader(stream, delimiter=delimiter, strict=True)


def _delimiter(header: str, form: Format) -> str:
    if form.ending.startswith(".tsv"):
        return "\t"
    return ";" if ";" in header and "," not in header else ","


@contextlib.contextmanager
def _explained(path: Path, form: Format) -> Iterator[None]:
    """Turn what the CSV readers raise into a message that names the line."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(_not_utf8(path, form)) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is no whole gzip file: {first_line(error)} Make it again.") from error
    except (pa.ArrowException, csv.Error, OSError) as error:
        raise InputError(_fault(path, form) or f"{path} cannot be read: {first_line(error)} Check it.") from error


def _fault(path: Path, form: Format) -> str | None:
    """Find the first line that is at fault: slower than Arrow's reader, and only used where that fails."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with _rows(path, form) as rows:
            width = len(next(rows))
            for row in rows:
                if row and len(row) != width:
                    return (
                        f"{path}: line {rows.line_num} has {len(row)} columns, the header has {width}. "
                        "Correct the line, or put quotes around values that hold the separator."
                    )
    except UnicodeDecodeError:
        return _not_utf8(path, form)
    except csv.Error as error:
        return f"{path}: line {rows.line_num} cannot be read: {error}. Look for a quote that is not closed."
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"{path} is no whole gzip file: {first_line(error)} Make it again."
    finally:
        csv.field_size_limit(limit)
    return None


def _not_utf8(path: Path, form: Format) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    opened: Callable[..., IO[bytes]] = gzip.open if form.gzip else open  # type: ignore[assignment]
    line = 1
    with opened(path, "rb") as stream:
        while block := stream.read(_READ_BYTES):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                break
            line += block.count(b"\n")
    return (
        f"{path} is not UTF-8: line {line} holds other bytes. "
        "Save it as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8."
    )


def line_number(path: Path, form: Format, row: int) -> int:
    """Return the line, from 1, on which record number `row`, from 0, starts."""
    with _rows(path, form) as rows:
        records = (record for record in rows if record)  # blank lines are no records
        record = next(islice(records, row + 1, None))  # the header is the first
        return int(rows.line_num) - sum(cell.count("\n") for cell in record)
