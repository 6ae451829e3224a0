"""Two tables linked in finished chunks that outlive the process, whole or in shards; shards put together.

Beside the output ``matches.parquet`` stands, while the work is not done, the folder ``matches.parquet.link``: the
candidate pairs that blocking found (``pairs.parquet``), and what `er_distill.resuming.score_file` makes of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from er_distill.artefact import MANIFEST, sha256
from er_distill.blocking import Rule, TopK, candidates
from er_distill.chunks import ParquetPairs, Shard
from er_distill.deciding import Decision, joined
from er_distill.errors import InputError
from er_distill.files import PAIR_COLUMNS, check_writable, held, ids_as_in, read_pairs, require_columns, whole
from er_distill.files.formats import first_line
from er_distill.pairs import Pairs
from er_distill.parts import digest, made_from, mark_of, marked
from er_distill.resuming import Scored, score_file
from er_distill.student import CHUNK_SIZE, Student
from er_distill.tables import Table, table_of_matches

_PAIRS, _SCORED = "pairs.parquet", "scored.parquet"


@dataclass(frozen=True)
class Linked:
    """What a run has done.

    Attributes
    ----------
    scored : Scored or None
        None when nothing was left to do, or no candidate pair was found.
    matches : int
        Rows in the output.
    """

    scored: Scored | None
    matches: int


def link_file(
    left: Table,
    right: Table,
    output: Path,
    student: Student,
    decision: Decision,
    *,
    how: str = "ids",
    blocking: Sequence[Rule] | None = None,
    threads: int | None = None,
    context: bool = True,
    shard: Shard | None = None,
    resume: bool = False,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Linked:
    """Link two tables into a Parquet file, and leave what is finished for the next run when this one is ended.

    Parameters
    ----------
    left, right : Table
    output : Path
        A Parquet file: the rows of `er_distill.link`.
    student : Student
    decision : Decision
        With one-to-one matching there are no shards.
    how, blocking, threads, context, chunk_size, progress
        As for `er_distill.link`.
    shard : Shard, optional
        Score and match its candidate lists alone. Blocking is of the whole tables in each shard.
    resume : bool
        Go on with a run that was ended, if there is one.

    Returns
    -------
    Linked

    Raises
    ------
    InputError
        As `er_distill.resuming.score_file`; when a shard cannot be decided by itself.
    StudentError
        When the student's folder is altered or replaced during the run. Finished chunks are kept.
    """
    check_writable(output)
    shard = Shard() if shard is None else shard
    decision.check_shard(shard.of)
    decision = decision.at(student.threshold)
    a, b = left.records, right.records
    about = made_from(student, a, b, context=context, shard=shard)
    about |= {"blocking": _named(blocking), **asdict(decision), "how": how}
    if resume and mark_of(output) == about:
        return Linked(None, int(pq.read_metadata(output).num_rows))
    folder = output.with_name(f"{output.name}.link")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}.") from error
    with held(folder):
        if (folder / _PAIRS).is_file() and not resume:
            raise InputError(
                f"{folder} holds a run that was ended. Go on with it (--resume, resume=True), or remove the folder to "
                "start again."
            )
        try:
            scored = None
            if _find(left, right, folder / _PAIRS, blocking, threads, chunk_size):
                scored = score_file(
                    folder / _PAIRS, a, b, folder / _SCORED, student,
                    context=context, shard=shard, resume=True, chunk_size=chunk_size, progress=progress,
                )  # fmt: skip
            chunks = _scored(folder / _SCORED, left, right, chunk_size) if scored and scored.pairs else iter(())
            matches = joined(decision.as_they_come(chunks, chunk_size), ranked=decision.top_k is not None)
            table = table_of_matches(left, right, matches, how, ("_left", "_right")).to_arrow()
            with whole(output) as partial:
                pq.write_table(table.cast(marked(table.schema, about)), partial)
            shutil.rmtree(folder)
        finally:
            if not (folder / _PAIRS).is_file():  # nothing that is worth keeping
                shutil.rmtree(folder, ignore_errors=True)
    return Linked(scored, len(table))


def read_scored(
    paths: Iterable[Path], left: Table, right: Table, student: Student, decision: Decision
) -> tuple[Pairs, np.ndarray]:
    """Read the scored pairs of files, such as all shards of a link with matching "all".

    Where a file says what it was made from, that must be these tables and this student, all shards must be there, and
    no pair may be missing that `decision` could choose.

    Returns
    -------
    pairs : Pairs
        Each once.
    scores : ndarray of float64, shape (len(pairs),)

    Raises
    ------
    InputError
        When a file cannot be used, or one is missing.
    """
    a, b = left.records, right.records
    files = list(paths)
    marks = {path: mark for path in files if (mark := mark_of(path)) is not None}
    wanted = {"left table": digest(a), "right table": digest(b), "student": sha256(student.folder / MANIFEST)}
    for path, mark in marks.items():
        _check_origin(path, mark, wanted, decision.at(student.threshold).threshold)
    _check_shards(marks)
    ends: list[list[np.ndarray]] = [[], []]
    scores = []
    for path in files:
        table = read_pairs(path)
        require_columns(table, ["score"], path)
        missing = table["score"].null_count
        if missing:
            raise InputError(f"{path}: column 'score' has {missing} missing value(s). Score these pairs or drop them.")
        for found, records, name in zip(ends, (a, b), PAIR_COLUMNS, strict=True):
            found.append(records.codes(ids_as_in(records, table[name].to_pylist()), source=f"{path}: column {name!r}"))
        try:
            scores.append(table["score"].cast(pa.float64()).to_numpy())
        except pa.ArrowException as error:
            raise InputError(f"{path}: column 'score' holds no numbers ({first_line(error)}).") from error
    pairs = Pairs(np.concatenate(ends[0]), np.concatenate(ends[1]), len(a), len(b), False)
    unique, inverse = pairs.unique()
    if len(unique) < len(pairs):
        keys, count = np.unique(pairs.keys(), return_counts=True)
        row = int(np.flatnonzero(pairs.keys() == keys[count.argmax()])[0])
        raise InputError(
            f"{', '.join(map(str, files))}: the pair {a.ids[pairs.left[row]]!r}, {b.ids[pairs.right[row]]!r} is there "
            "more than once. Give each file once, and each pair one score."
        )
    values = np.concatenate(scores)
    ordered = values if inverse is None else np.empty_like(values)
    if inverse is not None:
        ordered[inverse] = values
    return unique, ordered


def _named(blocking: Sequence[Rule] | None) -> list[str]:
    return [str(rule) for rule in ([TopK()] if blocking is None else blocking)]


def _find(
    left: Table, right: Table, path: Path, blocking: Sequence[Rule] | None, threads: int | None, chunk_size: int
) -> int:
    """Write the candidate pairs, unless an earlier run has; return their number."""
    a, b = left.records, right.records
    about = {"left table": digest(a), "right table": digest(b), "blocking": _named(blocking)}
    if path.is_file():
        before = mark_of(path) or {}
        changed = [name for name, value in about.items() if before.get(name) != value]
        if changed:
            raise InputError(
                f"{path.parent} was made with another {changed[0]}. Resume with the same, or remove the folder to "
                "start again."
            )
        return int(pq.read_metadata(path).num_rows)
    found = candidates(a, b, rules=blocking, threads=threads).pairs
    ids = [_id_array(table) for table in (left, right)]
    schema = marked(pa.schema(list(zip(PAIR_COLUMNS, (one.type for one in ids), strict=True))), about)
    with whole(path) as partial, pq.ParquetWriter(partial, schema, write_page_checksum=True) as writer:
        for begin in range(0, len(found), chunk_size):
            some = found.take(slice(begin, begin + chunk_size))
            writer.write_table(pa.table([ids[0].take(some.left), ids[1].take(some.right)], schema=schema))
    return len(found)


def _id_array(table: Table) -> pa.Array:
    try:
        return pa.array(table.records.ids.tolist())
    except pa.ArrowException as error:
        raise InputError(
            f"{table.records.name}: the record ids have no one type ({first_line(error)}), and a Parquet file needs "
            "one. Turn them into text."
        ) from error


def _scored(path: Path, left: Table, right: Table, chunk_size: int) -> Iterator[tuple[Pairs, np.ndarray]]:
    source = ParquetPairs(path, left.records, right.records, chunk_size=chunk_size)
    for chunk in source.chunks((*PAIR_COLUMNS, "score")):
        yield chunk.pairs, chunk.table["score"].to_numpy()


def _check_origin(path: Path, mark: Mapping[str, Any], wanted: Mapping[str, str], threshold: float | None) -> None:
    """Raise InputError unless a file holds every pair that may be a match of these tables."""
    for name, value in wanted.items():
        if mark.get(name) != value:
            raise InputError(f"{path} was made from another {name}. Give the one it was made from, or make it anew.")
    decided = "top_k" if mark.get("top_k") is not None else mark.get("matching", "all")
    if decided != "all":
        raise InputError(f"{path} holds what {decided!r} has decided. Make it anew with matching='all'.")
    least = mark.get("threshold")
    if least is not None and (threshold or 0.0) < least:
        raise InputError(
            f"{path} holds no pair below {least:.4g}, and pairs from {threshold or 0.0:.4g} are asked for. Use "
            "threshold= as in the shards, or make them anew with a lower one."
        )


def _check_shards(marks: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise InputError unless files are all shards of one run."""
    if not marks:
        return
    (one, about), *others = marks.items()
    for path, mark in others:
        changed = [name for name in {**about, **mark} if name != "shard" and about.get(name) != mark.get(name)]
        if changed:
            raise InputError(f"{path} was made from another {changed[0]} than {one}. Make one of them anew.")
    given = [Shard.parse(str(mark["shard"])) for mark in marks.values()]
    of = given[0].of
    numbers = sorted(shard.number for shard in given)
    if any(shard.of != of for shard in given) or numbers != list(range(1, of + 1)):
        raise InputError(
            f"{', '.join(map(str, marks))} are the shards {', '.join(map(str, given))}, not each of {of} once. Give "
            "all shards of one run."
        )
