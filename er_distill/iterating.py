"""The door for what is too large to come back at once: `iter_scored`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from er_distill.blocking import Rule
from er_distill.chunks import ParquetPairs, Shard, lists_in_memory
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.scoring import candidate_pairs
from er_distill.streaming import Stream
from er_distill.student import CHUNK_SIZE, Student
from er_distill.tables import (
    Columns,
    Frame,
    Ids,
    Matches,
    open_either,
    open_frame,
    pairs_of,
    table_of_matches,
    with_column,
)

Progress = Callable[[int], object]


def iter_scored(
    left: Any,
    right: Any = None,
    *,
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    student: str | Path | Student = "default",
    device: str = "auto",
    threads: int | None = None,
    blocking: Sequence[Rule] | None = None,
    pairs: Any = None,
    shard: str | None = None,
    context: bool = True,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Iterator[Any]:
    """Score candidate pairs and give them chunk by chunk, as they are done.

    Parameters
    ----------
    left, right : frame
        As in `link`; without `right` the pairs are within one table, as in `dedupe`.
    columns, left_on, right_on, id, device, threads, blocking, context, progress
        As in `link`.
    student : str, Path or Student
        The name of a bundled student, a student folder, or a loaded student.
    pairs : frame, or str or Path of a Parquet file, optional
        Candidate pairs of your own, with columns ``left_id`` and ``right_id``, instead of blocking; further columns are
        kept. A file is never held in memory: it is read twice, first for the lists' statistics, then for the scores.
        The rows of one left record must stand together in it.
    shard : str, optional
        ``"2/8"``: only the second of eight parts, by left record. Parts never overlap, together they are everything,
        and a score is the same as without: the statistics are those of all pairs.
    chunk_size : int
        Pairs a chunk, more or less: the candidates of a left record are never parted. It never changes a score.

    Yields
    ------
    frame
        ``left_id``, ``right_id`` and ``score``, or the given pairs' columns and ``score``: of the library of `pairs`
        where that is a frame, of pyarrow where it is a file, else of the library of `left`. Candidate lists come in the
        order of the left table, those of a file in its own; found by blocking, the best candidate stands first.

    Raises
    ------
    InputError
        As `link`; when the pairs have a column ``score``, or a file's candidate lists do not stand together.
    """
    part = Shard() if shard is None else Shard.parse(shard)
    if chunk_size < 1:
        raise InputError(f"chunk_size={chunk_size!r} must be at least 1: the pairs held in memory at a time.")
    if pairs is not None and blocking is not None:
        raise InputError("pairs= brings candidate pairs, blocking= finds them. Pass one.")
    loaded = Student.load(student, device=device, threads=threads)
    a, b = open_either(left, right, columns, left_on, right_on, id)
    records = a.records, None if b is None else b.records
    if isinstance(pairs, (str, Path)):
        source = ParquetPairs(Path(pairs), *records, chunk_size=chunk_size)
        refuse_score(source.schema.names, str(pairs))
        stream = Stream(loaded, *records, context=context)
        return _shown(lambda step: _of_file(source, stream, part, step), progress)
    given, give_back = open_frame(left if pairs is None else pairs, "left" if pairs is None else "pairs")
    if pairs is None:
        found, corpus = candidate_pairs(*records, blocking, None, threads)
    else:
        refuse_score(given.columns, "pairs")
        found, corpus = pairs_of(given, *records), None
    stream = Stream(loaded, *records, context=context, corpus=corpus)

    def lay_out(rows: Any, scores: Any) -> Frame:
        if pairs is not None:
            return with_column(given[rows], "score", scores)
        scored = Matches(found.left[rows], found.right[rows], scores)
        return table_of_matches(a, a if b is None else b, scored, "ids", ("", ""))

    return _shown(
        lambda step: (
            give_back(lay_out(rows, scores)) for rows, scores in _in_memory(found, stream, part, chunk_size, step)
        ),
        progress,
    )


def refuse_score(columns: Sequence[str], name: str) -> None:
    """Raise InputError when pairs have a column ``score`` already."""
    if "score" in columns:
        raise InputError(f"{name} has a column 'score' already. Drop or rename it.")


def _shown(run: Callable[[Progress], Iterator[Any]], progress: bool) -> Iterator[Any]:
    with tqdm(desc="scoring", unit="pair", unit_scale=True, disable=not progress, file=sys.stderr) as bar:
        yield from run(bar.update)


def _of_file(source: ParquetPairs, stream: Stream, shard: Shard, step: Progress) -> Iterator[Any]:
    for chunk in source.whole_lists():
        stream.add(chunk.pairs)
    for chunk in source.chunks(None):
        rows = shard.rows(chunk.pairs)
        if len(rows):
            scores = stream.score(chunk.pairs.take(rows), step)
            yield chunk.table.take(rows).append_column("score", [scores])


def _in_memory(
    pairs: Pairs, stream: Stream, shard: Shard, chunk_size: int, step: Progress
) -> Iterator[tuple[Any, Any]]:
    each = pairs.unique()[0]  # in one table a pair may have been given from either end
    for begin in range(0, len(each), chunk_size):
        stream.add(each.take(slice(begin, begin + chunk_size)))
    own = shard.rows(pairs)
    for rows in lists_in_memory(pairs.take(own), chunk_size):
        yield own[rows], stream.score(pairs.take(own[rows]), step)
