"""The folder in which a run keeps what is finished: begun, taken up again, joined.

A finished chunk appears under its name when it is whole. What a run is made from stands in ``run.json``, and in the
metadata of every file that it writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from er_distill import artefact, lexical
from er_distill.artefact import MANIFEST, sha256
from er_distill.chunks import Chunk, ParquetPairs, Shard
from er_distill.errors import InputError, StudentError
from er_distill.files import held, whole, write_text
from er_distill.files.formats import first_line
from er_distill.records import Records
from er_distill.streaming import ListStatistics, Stream
from er_distill.student import Student

FORMAT = 1

_KEY = b"er_distill.run"
_RUN, _STATISTICS = "run.json", "statistics.npz"


def made_from(
    student: Student, left: Records, right: Records | None, *, context: bool, shard: Shard
) -> dict[str, object]:
    """Return what the scores of a run depend on, beside its pairs."""
    return {
        "format": FORMAT,
        "er_distill lexical features": lexical.VERSION,
        "left table": digest(left),
        "right table": None if right is None else digest(right),
        "student": sha256(student.folder / MANIFEST),
        "variant": student.variant.encoder,
        "context": context,
        "shard": str(shard),
    }


def marked(schema: pa.Schema, made_from: Mapping[str, object]) -> pa.Schema:
    """Return a schema whose metadata say what a file is made from."""
    return schema.with_metadata((schema.metadata or {}) | {_KEY: json.dumps(made_from).encode()})


def mark_of(path: Path) -> dict[str, Any] | None:
    """Return what a Parquet file says it was made from; None where it says nothing, or is no such file."""
    try:
        found = (pq.read_schema(path).metadata or {}).get(_KEY)
        return None if found is None else dict(json.loads(found))
    except (pa.ArrowException, OSError, ValueError):
        return None


def digest(records: Records) -> str:
    """Hex digest of a table's ids, fields and values."""
    found = hashlib.sha256(json.dumps(records.fields).encode())
    for column in ([repr(value) for value in records.ids.tolist()], *(values.tolist() for values in records.values)):
        found.update(np.array([len(value) for value in column], dtype=np.int64).tobytes())
        found.update("".join(column).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def check_student(student: Student) -> None:
    """Raise StudentError when a student's folder is no longer the one it was loaded from, or has been altered."""
    if artefact.read(student.folder) != student.manifest:
        raise StudentError(
            f"{student.folder} was replaced by another student during the run. Finished chunks are kept: put the "
            "student back and resume, or start again."
        )


class Parts:
    """The folder of a run's finished chunks."""

    def __init__(self, output: Path, schema: pa.Schema, made_from: Mapping[str, object]) -> None:
        self._output, self._made_from = output, made_from
        self._schema = marked(schema, made_from)
        self.folder = output.with_name(f"{output.name}.parts")

    def joined(self) -> int | None:
        """Return the pairs of the output where it is there already, made from the same; else None."""
        # Whatever else may be there is going to be replaced.
        return pq.read_metadata(self._output).num_rows if mark_of(self._output) == self._made_from else None

    @contextlib.contextmanager
    def opened(self, resume: bool) -> Iterator[None]:
        """Make the folder, or take it up again; it is no one else's inside the block."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written: {error.strerror or error}.") from error
        with held(self.folder):
            run = self.folder / _RUN
            if not run.is_file():
                write_text(json.dumps(self._made_from, indent=2) + "\n", run)
            elif not resume:
                raise InputError(
                    f"{self.folder} holds {len(self._finished())} finished chunk(s) of a run that was ended. Go on "
                    "with it (--resume, resume=True), or remove the folder to start again."
                )
            else:
                self._check(run)
            for partial in self.folder.glob(".*.tmp"):
                partial.unlink()
            try:
                yield
            finally:
                if not (self.folder / _STATISTICS).is_file():  # nothing that is worth keeping
                    shutil.rmtree(self.folder, ignore_errors=True)

    def statistics(self, source: ParquetPairs, stream: Stream) -> None:
        """Fill the lists' statistics: from the folder, else from all pairs of the file."""
        path = self.folder / _STATISTICS
        kept = stream.statistics
        if path.is_file():
            if kept is not None:
                _load(path, kept)
            return
        for chunk in source.whole_lists():
            stream.add(chunk.pairs)
        with whole(path) as partial, partial.open("wb") as file:
            arrays: dict[str, Any] = {} if kept is None else kept.arrays()
            np.savez(file, **arrays)

    def has(self, chunk: Chunk, rows: int) -> bool:
        """Whether a chunk is finished, with `rows` pairs."""
        path = self._path(chunk)
        if not path.is_file():
            return False
        try:
            found = pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(_damaged(path, first_line(error))) from error
        if found != rows:
            raise InputError(_damaged(path, f"{found:,} rows instead of {rows:,}."))
        return True

    def add(self, chunk: Chunk, table: pa.Table) -> None:
        """Write a finished chunk."""
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder} was removed during the run, and the finished chunks in it are gone. Start again."
            )
        with self._room(), whole(self._path(chunk)) as partial:
            pq.write_table(table.cast(self._schema), partial, write_page_checksum=True)

    def join(self, rows: int) -> None:
        """Write the output from the parts and remove them."""
        written = 0
        with self._room(), whole(self._output) as partial, pq.ParquetWriter(partial, self._schema) as writer:
            for path in self._finished():
                try:
                    with pq.ParquetFile(path, page_checksum_verification=True) as file:
                        table = file.read(use_threads=False)
                except (pa.ArrowException, OSError) as error:
                    raise InputError(_damaged(path, first_line(error))) from error
                written += len(table)
                writer.write_table(table)
            if written != rows:
                raise InputError(
                    f"{self.folder} holds {written:,} pairs instead of {rows:,}: a file was added or lost. Remove the "
                    "folder and start again."
                )
        shutil.rmtree(self.folder)

    def _path(self, chunk: Chunk) -> Path:
        return self.folder / f"part-{chunk.number:08}.parquet"

    def _finished(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            raise InputError(
                f"{error} {len(self._finished())} finished chunk(s) are kept: run again with --resume (resume=True)."
            ) from error

    def _check(self, run: Path) -> None:
        try:
            before = json.loads(run.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{run} cannot be read ({error}). Remove {self.folder} and start again.") from error
        changed = [name for name, value in self._made_from.items() if before.get(name) != value]
        if changed:
            raise InputError(
                f"{self.folder} was made with another {changed[0]} ({before.get(changed[0])!r}, now "
                f"{self._made_from[changed[0]]!r}). Resume with the same, or remove the folder to start again."
            )


def _load(path: Path, statistics: ListStatistics) -> None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            statistics.take_up(arrays)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(_damaged(path, first_line(error))) from error


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged ({why.rstrip('.')}). Remove this file and resume: it is made again."
