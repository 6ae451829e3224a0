"""A Parquet file of candidate pairs scored in chunks that outlive the process: a killed run goes on where it ended.

Beside the output ``scored.parquet`` stands, while the work is not done, the folder ``scored.parquet.parts``: what the
run is made from (``run.json``), the candidate lists' statistics, and a file for each finished chunk. A file appears
under its name when it is whole. When the last chunk is done the parts are joined and the folder is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from er_distill import artefact, lexical
from er_distill.artefact import MANIFEST, sha256
from er_distill.chunks import Chunk, ParquetPairs, Shard
from er_distill.errors import InputError, StudentError
from er_distill.files import check_writable, held, whole, write_text
from er_distill.files.formats import first_line
from er_distill.records import Records
from er_distill.streaming import ListStatistics, Stream
from er_distill.student import CHUNK_SIZE, Student

FORMAT = 1

_KEY = b"er_distill.run"
_RUN, _STATISTICS = "run.json", "statistics.npz"


@dataclass(frozen=True)
class Scored:
    """What a run has done.

    Attributes
    ----------
    pairs : int
        Pairs in the output.
    kept : int
        Those of them whose scores an earlier run had left.
    """

    pairs: int
    kept: int


def score_file(
    pairs: Path,
    left: Records,
    right: Records | None,
    output: Path,
    student: Student,
    *,
    context: bool = True,
    shard: Shard | None = None,
    resume: bool = False,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Scored:
    """Score a Parquet file of candidate pairs into another one, neither of which is held in memory.

    Parameters
    ----------
    pairs : Path
        With columns ``left_id`` and ``right_id``; the rows of one left record stand together.
    left : Records
    right : Records or None
        None when both sides are one table.
    output : Path
        The rows of `pairs` (of the shard) in their order, with a column ``score``.
    student : Student
    context, chunk_size, progress
        As for `er_distill.iter_scored`.
    shard : Shard, optional
        Score its candidate lists alone.
    resume : bool
        Go on with a run that was ended, if there is one.

    Returns
    -------
    Scored

    Raises
    ------
    InputError
        When a file cannot be read or written, has changed during the run, or an earlier run's parts are there and
        `resume` is False, or were made from something else. Finished chunks are kept.
    StudentError
        When the student's folder is altered or replaced during the run. Finished chunks are kept.
    """
    check_writable(output)
    shard = Shard() if shard is None else shard
    source = ParquetPairs(pairs, left, right, chunk_size=chunk_size)
    if "score" in source.schema.names:
        raise InputError(f"{pairs} has a column 'score' already. Drop or rename it.")
    check_student(student)
    made_from = {
        "format": FORMAT,
        "er_distill lexical features": lexical.VERSION,
        "pairs": sha256(pairs),
        "left table": digest(left),
        "right table": None if right is None else digest(right),
        "student": sha256(student.folder / MANIFEST),
        "variant": student.variant.encoder,
        "context": context,
        "shard": str(shard),
        "chunk size": chunk_size,
    }
    parts = _Parts(output, source.schema.append(pa.field("score", pa.float64())), made_from)
    if resume and (before := parts.joined()) is not None:
        return Scored(before, before)
    stream = Stream(student, left, right, context=context)
    with parts.opened(resume):
        parts.statistics(source, stream)
        done = kept = 0
        with tqdm(
            total=source.n_pairs if shard.of == 1 else None,
            desc="scoring", unit="pair", unit_scale=True, disable=not progress, file=sys.stderr,
        ) as bar:  # fmt: skip
            for chunk in source.chunks(None):
                rows = shard.rows(chunk.pairs)
                done += len(rows)
                if parts.has(chunk, len(rows)):
                    kept += len(rows)
                    bar.update(len(rows))
                elif len(rows):
                    scores = stream.score(chunk.pairs.take(rows), bar.update)
                    source.check_unchanged()
                    check_student(student)
                    parts.add(chunk, chunk.table.take(rows).append_column("score", [scores]))
        parts.join(done)
    return Scored(done, kept)


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


class _Parts:
    """The folder of a run's finished chunks."""

    def __init__(self, output: Path, schema: pa.Schema, made_from: Mapping[str, object]) -> None:
        self._output, self._made_from = output, made_from
        self._mark = {_KEY: hashlib.sha256(json.dumps(made_from).encode()).hexdigest().encode()}
        self._schema = schema.with_metadata((schema.metadata or {}) | self._mark)
        self.folder = output.with_name(f"{output.name}.parts")

    def joined(self) -> int | None:
        """Return the pairs of the output where it is there already, made from the same; else None."""
        if not self._output.is_file():
            return None
        try:
            found = pq.read_metadata(self._output)
        except (pa.ArrowException, OSError):
            return None  # whatever it is, it is going to be replaced
        return found.num_rows if (found.metadata or {}).get(_KEY) == self._mark[_KEY] else None

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
