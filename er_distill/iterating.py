"""The doors for what is too large to come back at once: `iter_scored` and `iter_link`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from er_distill.blocking import Rule
from er_distill.chunks import Chunk, ParquetPairs, Shard, lists_in_memory
from er_distill.deciding import Decision
from er_distill.errors import InputError, did_you_mean
from er_distill.files import PAIR_COLUMNS
from er_distill.matching import Matching
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
    read_two,
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
    part = _checked(shard, chunk_size, pairs, blocking)
    loaded = Student.load(student, device=device, threads=threads)
    a, b = open_either(left, right, columns, left_on, right_on, id)
    records = a.records, None if b is None else b.records
    if isinstance(pairs, (str, Path)):
        source = ParquetPairs(Path(pairs), *records, chunk_size=chunk_size)
        refuse_score(source.schema.names, str(pairs))
        stream = Stream(loaded, *records, context=context)
        return _shown(
            lambda step: (
                chunk.table.take(rows).append_column("score", [scores])
                for chunk, rows, scores in _of_file(source, None, stream, part, step)
            ),
            progress,
        )
    given, give_back = open_frame(left if pairs is None else pairs, "left" if pairs is None else "pairs")
    if pairs is None:
        found, corpus = candidate_pairs(*records, blocking, None, threads, progress=progress)
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


def iter_link(
    left: Any,
    right: Any,
    *,
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    student: str | Path | Student = "default",
    device: str = "auto",
    threads: int | None = None,
    threshold: float | None = None,
    matching: Matching = "one_to_one",
    optimal: bool = False,
    top_k: int | None = None,
    how: Literal["ids", "inner"] = "ids",
    suffixes: tuple[str, str] = ("_left", "_right"),
    blocking: Sequence[Rule] | None = None,
    pairs: Any = None,
    shard: str | None = None,
    context: bool = True,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Iterator[Any]:
    """Find the records of two tables that are the same thing, and give the matches as they are decided.

    Together the chunks are what `link` gives, to the last decision.

    Parameters
    ----------
    left, right, columns, left_on, right_on, id, device, threads, threshold, optimal, suffixes, blocking, context
        As in `link`.
    student, pairs, chunk_size, progress
        As in `iter_scored`.
    matching, top_k
        As in `link`. "many_to_one", "best", "all" and `top_k` decide each candidate list by itself: its matches come
        with its chunk. "one_to_one" gives its matches after the last pair is scored; until then it keeps the pairs at
        or above the threshold.
    how : {"ids", "inner"}
        As in `link`.
    shard : str, optional
        As in `iter_scored`; not with "one_to_one".

    Yields
    ------
    frame of the library of `left`
        Rows as those of `link`, in the order of the left table, or of the lists in a file; no frame is empty.

    Raises
    ------
    InputError
        As `link` and `iter_scored`.
    """
    decision = Decision(matching, threshold, optimal, top_k)
    if how not in ("ids", "inner"):
        raise InputError(f"how={how!r} is not known in chunks. {did_you_mean(how, ('ids', 'inner'))}")
    part = _checked(shard, chunk_size, pairs, blocking)
    decision.check_shard(part.of)
    loaded = Student.load(student, device=device, threads=threads)
    decision = decision.at(loaded.threshold)
    first, give_back = open_frame(left, "left")
    a, b = read_two(first, open_frame(right, "right")[0], columns, left_on, right_on, id)
    if isinstance(pairs, (str, Path)):
        source = ParquetPairs(Path(pairs), a.records, b.records, chunk_size=chunk_size)
        stream = Stream(loaded, a.records, b.records, context=context)

        def scored(step: Progress) -> Iterator[tuple[Pairs, Any]]:
            for chunk, rows, scores in _of_file(source, PAIR_COLUMNS, stream, part, step):
                yield chunk.pairs.take(rows), scores
    else:
        found, corpus = candidate_pairs(a.records, b.records, blocking, pairs, threads, progress=progress)
        stream = Stream(loaded, a.records, b.records, context=context, corpus=corpus)

        def scored(step: Progress) -> Iterator[tuple[Pairs, Any]]:
            for rows, scores in _in_memory(found, stream, part, chunk_size, step):
                yield found.take(rows), scores

    return _shown(
        lambda step: (
            give_back(table_of_matches(a, b, matches, how, suffixes))
            for matches in decision.as_they_come(scored(step), chunk_size)
        ),
        progress,
    )


def refuse_score(columns: Sequence[str], name: str) -> None:
    """Raise InputError when pairs have a column ``score`` already."""
    if "score" in columns:
        raise InputError(f"{name} has a column 'score' already. Drop or rename it.")


def _checked(shard: str | None, chunk_size: int, pairs: Any, blocking: Sequence[Rule] | None) -> Shard:
    """Return the shard; raise InputError for arguments that cannot be used."""
    if chunk_size < 1:
        raise InputError(f"chunk_size={chunk_size!r} must be at least 1: the pairs held in memory at a time.")
    if pairs is not None and blocking is not None:
        raise InputError("pairs= brings candidate pairs, blocking= finds them. Pass one.")
    return Shard() if shard is None else Shard.parse(shard)


def _shown(run: Callable[[Progress], Iterator[Any]], progress: bool) -> Iterator[Any]:
    with tqdm(desc="scoring", unit="pair", unit_scale=True, disable=not progress, file=sys.stderr) as bar:
        yield from run(bar.update)


def _of_file(
    source: ParquetPairs, columns: Sequence[str] | None, stream: Stream, shard: Shard, step: Progress
) -> Iterator[tuple[Chunk, Any, Any]]:
    for chunk in source.whole_lists():
        stream.add(chunk.pairs)
    for chunk in source.chunks(columns):
        rows = shard.rows(chunk.pairs)
        if len(rows):
            yield chunk, rows, stream.score(chunk.pairs.take(rows), step)


def _in_memory(
    pairs: Pairs, stream: Stream, shard: Shard, chunk_size: int, step: Progress
) -> Iterator[tuple[Any, Any]]:
    each = pairs.unique()[0]  # in one table a pair may have been given from either end
    for begin in range(0, len(each), chunk_size):
        stream.add(each.take(slice(begin, begin + chunk_size)))
    own = shard.rows(pairs)
    for rows in lists_in_memory(pairs.take(own), chunk_size):
        yield own[rows], stream.score(pairs.take(own[rows]), step)
