"""Candidate pairs in chunks of whole candidate lists: from memory, or from a Parquet file that is never held whole.

A list is the pairs of one left record. Lists stay whole, so a chunk holds `chunk_size` pairs more or less.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from er_distill.errors import InputError
from er_distill.files import PAIR_COLUMNS, format_of, id_reader, require_columns
from er_distill.files.formats import check_first_bytes, first_line
from er_distill.pairs import Pairs
from er_distill.records import Records


class ScatteredListsError(InputError):
    """The candidate lists of a file cannot be read one after the other."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work, by candidate list: the lists of every `of`-th left record.

    Attributes
    ----------
    number : int
        From 1.
    of : int
        How many parts there are. They never overlap, and together they are all lists.
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise InputError(f"shard {self} does not exist: the first of {self.of} is 1/{self.of}.")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``K/N``."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None:
            raise InputError(f"{text!r} is no shard: write K/N, such as 2/8 for the second of eight.")
        return cls(int(found[1]), int(found[2]))

    def rows(self, pairs: Pairs) -> np.ndarray:
        """Return the rows of the pairs that belong to it."""
        return np.flatnonzero(pairs.left % self.of == self.number - 1)


def lists_in_memory(pairs: Pairs, chunk_size: int) -> Iterator[np.ndarray]:
    """Yield the rows of pairs, chunk by chunk, in the order of the left records."""
    order = np.argsort(pairs.left, kind="stable")
    left = pairs.left[order]
    begin = 0
    while begin < len(order):
        last = left[min(begin + chunk_size, len(order)) - 1]
        end = int(np.searchsorted(left, last, side="right"))
        yield order[begin:end]
        begin = end


@dataclass(frozen=True)
class Chunk:
    """Whole candidate lists of a file.

    Attributes
    ----------
    number : int
        From 0, in the order of the file.
    pairs : Pairs
    table : pyarrow.Table
        The columns that were asked for, a row a pair.
    """

    number: int
    pairs: Pairs
    table: pa.Table


class ParquetPairs:
    """A Parquet file of candidate pairs, read a few row groups at a time.

    Parameters
    ----------
    path : Path
        With columns ``left_id`` and ``right_id``; the rows of one left record stand together.
    left : Records
    right : Records or None
        None when both sides are one table.
    chunk_size : int
        Pairs a chunk.

    Raises
    ------
    InputError
        When the file is none, has no pair, or lacks a column.
    """

    def __init__(self, path: Path, left: Records, right: Records | None, *, chunk_size: int) -> None:
        if chunk_size < 1:
            raise InputError(f"chunk_size={chunk_size!r} must be at least 1: the pairs held in memory at a time.")
        form = format_of(path)
        if not form.parquet:
            raise InputError(f"{path} is no Parquet file, and only such a file is read in chunks. Convert it.")
        check_first_bytes(path, form)
        self.path, self.chunk_size = path, chunk_size
        self._left, self._right = left, left if right is None else right
        self._one_table = right is None
        self._readers: Sequence[Callable[[Iterable[Any]], list[Any]]] = id_reader(left), id_reader(self._right)
        self._stamp = self._stamped()
        with _explained(path, 0), pq.ParquetFile(path) as file:
            self.schema = file.schema_arrow
            self.n_pairs = int(file.metadata.num_rows)
        twice = sorted({name for name in self.schema.names if self.schema.names.count(name) > 1})
        if twice:
            raise InputError(f"{path} has more than one column named {twice[0]!r}. Rename or drop one.")
        require_columns(self.schema.empty_table(), PAIR_COLUMNS, path)
        if not self.n_pairs:
            raise InputError(f"{path} holds no candidate pair. Bring pairs, or let blocking find them.")

    def chunks(self, columns: Sequence[str] | None = PAIR_COLUMNS) -> Iterator[Chunk]:
        """Yield the whole file, chunk by chunk, with some columns or (None) all.

        Raises
        ------
        InputError
            When a part of the file cannot be read, an id is missing or belongs to no record, a record is paired with
            itself, or the file has changed since it was opened.
        """
        rest, begin, number = None, 0, 0
        for batch in self._batches(columns):
            table = batch if rest is None else pa.concat_tables([rest[1], batch])
            pairs = self._pairs(batch, begin + (0 if rest is None else len(rest[0])))
            if rest is not None:
                pairs = _joined(rest[0], pairs)
            changes = np.flatnonzero(np.diff(pairs.left))
            end = int(changes[-1]) + 1 if len(changes) else 0
            if end:  # the last list may go on in the next batch
                yield Chunk(number, pairs.take(slice(0, end)), table.slice(0, end))
                number, begin = number + 1, begin + end
            rest = pairs.take(slice(end, None)), table.slice(end)
        if rest is not None:
            yield Chunk(number, *rest)
        self.check_unchanged()

    def whole_lists(self) -> Iterator[Chunk]:
        """Yield the whole file as `chunks` does, with all columns, and see that it can be scored in chunks.

        What cannot be read is then found before anything is scored.

        Raises
        ------
        ScatteredListsError
            When the rows of a left record do not stand together; or, of one table, when a pair is there in both
            directions (found at the end).
        InputError
            As `chunks`.
        """
        seen = np.zeros(len(self._left), dtype=bool)
        directions: set[bool] = set()
        for chunk in self.chunks(None):
            left = chunk.pairs.left
            starts = np.flatnonzero(np.diff(left, prepend=-1))
            first = np.unique(left[starts], return_index=True)[1]
            again = seen[left[starts]]
            again[np.setdiff1d(np.arange(len(starts)), first)] = True
            if again.any():
                record = self._left.ids[left[starts[int(again.argmax())]]]
                raise ScatteredListsError(
                    f"{self.path}: the rows of left_id {record!r} do not stand together, and candidate lists must stay "
                    "whole. Sort the file by left_id."
                )
            seen[left] = True
            if self._one_table:
                directions |= set((left < chunk.pairs.right).tolist())
            yield chunk
        if len(directions) == 2:
            self._refuse_both_directions()

    def check_unchanged(self) -> None:
        """Raise InputError when the file has been written since it was opened."""
        if self._stamped() != self._stamp:
            raise InputError(f"{self.path} has changed while it was read. Start again when it is no longer written.")

    def _refuse_both_directions(self) -> None:
        """Look for pairs that two lists hold: 8 bytes of memory for each pair whose later record is on the left."""
        backward = [chunk.pairs.keys()[chunk.pairs.left > chunk.pairs.right] for chunk in self.chunks()]
        known = np.unique(np.concatenate(backward))
        for chunk in self.chunks():
            forward = chunk.pairs.take(chunk.pairs.left < chunk.pairs.right)
            both = np.flatnonzero(np.isin(forward.keys(), known))
            if len(both):
                one, other = self._left.ids[forward.left[both[0]]], self._left.ids[forward.right[both[0]]]
                raise ScatteredListsError(
                    f"{self.path} pairs {one!r} with {other!r} in either direction, and a pair of one table has none. "
                    "Drop one of the two."
                )

    def _batches(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        done = 0
        file = None
        try:
            with _explained(self.path, done):
                # Without threads: reading is a small part of the work, and the threads are those of the scoring.
                file = pq.ParquetFile(self.path, page_checksum_verification=True)
                batches = file.iter_batches(self.chunk_size, columns=columns, use_threads=False)
            while True:
                try:
                    with _explained(self.path, done):
                        batch = next(batches, None)
                except InputError:
                    self.check_unchanged()  # a file that was written meanwhile is not a broken one
                    raise
                if batch is None:
                    break
                done += len(batch)
                yield pa.Table.from_batches([batch])
        finally:
            if file is not None:
                file.close()
        if done != self.n_pairs:
            raise InputError(f"{self.path} gave {done:,} rows instead of {self.n_pairs:,}. Make it again.")

    def _pairs(self, table: pa.Table, begin: int) -> Pairs:
        ends = []
        for name, records, read in zip(PAIR_COLUMNS, (self._left, self._right), self._readers, strict=True):
            ids = table[name]
            if ids.null_count:
                row = begin + ids.is_null().to_pylist().index(True)
                raise InputError(
                    f"{self.path}: row {row + 1} has no value in column {name!r}. Fill it or drop the row."
                )
            ends.append(records.codes(read(ids.to_pylist()), source=f"{self.path}: column {name!r}"))
        pairs = Pairs(ends[0], ends[1], len(self._left), len(self._right), self._one_table)
        same = np.flatnonzero(pairs.left == pairs.right)
        if self._one_table and len(same):
            raise InputError(
                f"{self.path}: row {begin + int(same[0]) + 1} pairs a record with itself. Drop such pairs."
            )
        return pairs

    def _stamped(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise InputError(f"{self.path} is gone: {error.strerror or error}. Put it back.") from error
        return found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _explained(path: Path, row: int) -> Iterator[None]:
    """Turn what Arrow raises into a message that names the file and the place."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read after row {row:,}: {first_line(error)} Make it again.") from error


def _joined(first: Pairs, second: Pairs) -> Pairs:
    left, right = np.concatenate([first.left, second.left]), np.concatenate([first.right, second.right])
    return Pairs(left, right, first.n_left, first.n_right, first.one_table)
