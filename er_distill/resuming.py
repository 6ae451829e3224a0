"""A Parquet file of candidate pairs scored in chunks that outlive the process: a killed run goes on where it ended.

Beside the output ``scored.parquet`` stands, while the work is not done, the folder ``scored.parquet.parts``: what the
run is made from (``run.json``), the candidate lists' statistics, and a file for each finished chunk. A file appears
under its name when it is whole. When the last chunk is done the parts are joined and the folder is removed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from er_distill.artefact import sha256
from er_distill.chunks import ParquetPairs, Shard
from er_distill.errors import InputError
from er_distill.files import check_writable
from er_distill.parts import Parts, check_student, made_from
from er_distill.records import Records
from er_distill.streaming import Stream
from er_distill.student import CHUNK_SIZE, Student


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
    about = made_from(student, left, right, context=context, shard=shard)
    about |= {"pairs": sha256(pairs), "chunk size": chunk_size}
    parts = Parts(output, source.schema.append(pa.field("score", pa.float64())), about)
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
