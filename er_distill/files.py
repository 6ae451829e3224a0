"""Tables, pairs and truth files on disk.

The ending of a path says its format. Every column of a text file is read as text, as it stands: "02139" stays. A file is
written whole or not at all.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from er_distill.errors import InputError, did_you_mean
from er_distill.records import Records

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
PAIR_COLUMNS = ("left_id", "right_id")

# First bytes that give a file of another kind away.
_MAGIC = {
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_READ_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 25  # Arrow needs a row to fit into two blocks
_WRITE_ROWS = 50_000


@dataclass(frozen=True)
class Format:
    """What the ending of a path says.

    Attributes
    ----------
    ending : str
        One of `ENDINGS`.
    parquet, gzip : bool
        Whether it is Parquet, and otherwise whether the text is compressed.
    """

    ending: str

    @property
    def parquet(self) -> bool:
        return self.ending == ".parquet"

    @property
    def gzip(self) -> bool:
        return self.ending.endswith(".gz")


def format_of(path: Path) -> Format:
    """Return the format that the ending of `path` names.

    Raises
    ------
    InputError
        When it is none of `ENDINGS`.
    """
    name = path.name.lower()
    for ending in ENDINGS:
        if name.endswith(ending):
            return Format(ending)
    raise InputError(f"{path}: the ending says no known format. Use one of {', '.join(ENDINGS)}.")


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
    _check_first_bytes(path, form)
    table = _read_parquet(path) if form.parquet else _read_text(path, form)
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
            raise InputError(f"{path}: column {name!r} has no value in row {row + 1}. Fill it or drop the row.")
    return table


def read_truth(path: Path) -> pa.Table:
    """Read a truth file: the two ids of every true match, in the columns `left_id` and `right_id`; see `read_pairs`."""
    return read_pairs(path).select(list(PAIR_COLUMNS))


def require_columns(table: pa.Table, columns: Iterable[str], path: Path) -> None:
    """Raise InputError, naming near columns, unless `table` has all of `columns`."""
    for name in columns:
        if name not in table.column_names:
            raise InputError(f"{path} has no column {name!r}. {did_you_mean(name, table.column_names)}")


def ids_as_in(records: Records, values: Iterable[Any]) -> list[Any]:
    """Return ids read from one file as the ids of `records`, which were read from another.

    A CSV file knows text only, so its "17" is the record 17 of a Parquet file or of a table numbered by its rows. Ids that
    no record has come back unchanged.
    """
    known = records.ids.tolist()
    own, as_text = set(known), {str(value): value for value in known}
    return [value if value in own else as_text.get(str(value), value) for value in values]


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
            writer = csv.writer(stream, delimiter="\t" if form.ending.startswith(".tsv") else ",", lineterminator="\n")
            writer.writerow(table.column_names)
            for batch in table.to_batches(max_chunksize=_WRITE_ROWS):
                columns = [_cells(column) for column in batch.columns]
                writer.writerows(zip(*columns, strict=True))


def write_text(text: str, path: Path) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


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
        raise InputError(f"{path} cannot be written: {error.strerror or error}. Free some space or choose another path.") from error
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise InputError unless a file can be put at `path`; called before the work whose result goes there."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {folder}. Make it first.")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} cannot be written: it is no regular file. Choose another path.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: no permission in {folder}. Choose another folder.")


def _cells(column: pa.Array) -> list[Any]:
    cells = column.to_pylist()
    if pa.types.is_boolean(column.type):
        return [None if cell is None else str(cell).lower() for cell in cells]
    return cells


def _check_first_bytes(path: Path, form: Format) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name a file in it.")
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.{_near(path)}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check the path and its permissions.") from error
    if not start:
        raise InputError(f"{path} is empty. Check how it was made.")
    found = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "text or another format")
    wanted = "a Parquet file" if form.parquet else "a gzip file" if form.gzip else "text or another format"
    if found == wanted:
        return
    if found == "text in UTF-16":
        raise InputError(f"{path} is {found}. Save it as UTF-8 (in Excel: 'CSV UTF-8').")
    raise InputError(
        f"{path} is {found}, not {form.ending} as its ending says. Rename it, or save it as one of {', '.join(ENDINGS)}."
    )


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either. Check the path."
    tables = [entry.name for entry in path.parent.iterdir() if entry.name.lower().endswith(ENDINGS)]
    return f" {did_you_mean(path.name, tables)}" if tables else " Check the path."


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no whole Parquet file: {_first_line(error)} Make it again.") from error


def _read_text(path: Path, form: Format) -> pa.Table:
    with _explained(path, form):
        with _text(path, form) as stream:
            delimiter = _delimiter(stream.readline(), form)
            stream.seek(0)
            header = next(csv.reader(stream, delimiter=delimiter), [])
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


def _text(path: Path, form: Format) -> TextIO:
    opened: Callable[..., TextIO] = gzip.open if form.gzip else open  # type: ignore[assignment]
    return opened(path, "rt", encoding="utf-8-sig", newline="")


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
        raise InputError(f"{path} is no whole gzip file: {_first_line(error)} Make it again.") from error
    except (pa.ArrowException, csv.Error, OSError) as error:
        raise InputError(_fault(path, form) or f"{path} cannot be read: {_first_line(error)} Check it.") from error


def _fault(path: Path, form: Format) -> str | None:
    """Find the first line that is at fault: slower than Arrow's reader, and only used where that fails."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with _text(path, form) as stream:
            delimiter = _delimiter(stream.readline(), form)
            stream.seek(0)
            rows = csv.reader(stream, delimiter=delimiter, strict=True)
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
        return f"{path} is no whole gzip file: {_first_line(error)} Make it again."
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
    return f"{path} is not UTF-8: line {line} holds other bytes. Save it as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8."


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".")
    return f"{text}."
