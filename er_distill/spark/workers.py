"""What Spark's Python workers run: functions for ``mapInArrow``, from Arrow batches to Arrow batches.

Every task sees the same tables, vectors and list statistics, which were made once and broadcast; so a score does not
depend on how the pairs are divided. A task holds its own pairs and nothing of another's. It leaves nothing behind, so
that Spark may run it again when its worker has died.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from er_distill import lexical
from er_distill.blocking import Rule, TopK, candidates
from er_distill.chunks import lists_in_memory
from er_distill.deciding import Decision
from er_distill.errors import ErDistillWarning
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.spark.students import StudentAt, threads_of_task
from er_distill.streaming import ListStatistics, Stream
from er_distill.tables import Matches, Table, open_frame, pairs_of, table_of_matches
from er_distill.vectors import Corpus

Batches = Iterator[pa.RecordBatch]

CODES = "left long, right long"
"""The columns of candidate pairs on their way: row numbers of the records."""

SIDES = ("left", "right")


@dataclass(frozen=True)
class Tables:
    """Both tables, or one, as every worker holds them.

    Attributes
    ----------
    left : Table
        Its frame holds the record ids alone.
    right : Table or None
        None when both sides are one table.
    corpus : Corpus
    threads : int or None
        As in `er_distill.spark.link`.
    """

    left: Table
    right: Table | None
    corpus: Corpus
    threads: int | None

    @property
    def records(self) -> tuple[Records, Records | None]:
        """The records of both sides."""
        return self.left.records, None if self.right is None else self.right.records

    def pairs(self, left: np.ndarray, right: np.ndarray) -> Pairs:
        """Return pairs of row numbers."""
        return Pairs(left, right, len(self.corpus.left), len(self.corpus.right), self.right is None)

    @cached_property
    def similarity(self) -> lexical.Similarity:
        """What compares the records, made once a worker."""
        return lexical.Similarity(self.corpus, threads=threads_of_task(self.threads))

    def statistics(self) -> ListStatistics:
        """Return empty statistics of candidate lists."""
        return ListStatistics(len(self.corpus.left), len(self.corpus.right), self.right is None)


@dataclass(frozen=True)
class Work:
    """What a task needs to score pairs.

    Attributes
    ----------
    tables : pyspark.Broadcast of Tables
    statistics : pyspark.Broadcast of a mapping, or None
        Of all candidate lists (`er_distill.streaming.ListStatistics.arrays`); None without context.
    student : StudentAt
    chunk_size : int
        Pairs scored at a time.
    """

    tables: Any
    statistics: Any
    student: StudentAt
    chunk_size: int

    def scored(self, pairs: Pairs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield rows of whole candidate lists and their probabilities."""
        tables: Tables = self.tables.value
        context = self.statistics is not None
        stream = Stream(self.student.open(), *tables.records, context=context, similarity=tables.similarity)
        if stream.statistics is not None:
            stream.statistics.take_up(self.statistics.value)
        for rows in lists_in_memory(pairs, self.chunk_size):
            yield rows, stream.score(pairs.take(rows))


def block(tables: Any, rules: Sequence[Rule], side: str, batches: Batches) -> Batches:
    """Find the candidates of some records of one side, given by row (column ``id``), among all of the other.

    Yields ``left``, ``right``, ``found``: twice the number of the rule that found the pair, and one more where it was
    found from its right record. In one table the record on the left is the first of the two.
    """
    rows = _column(batches, "id")
    if not len(rows):
        return
    shared: Tables = tables.value
    corpus, (left, right) = shared.corpus, shared.records
    one_table = right is None
    right = left if right is None else right
    own, other = (left, right) if side == "left" else (right, left)
    vectors = (corpus.left, corpus.right) if side == "left" else (corpus.right, corpus.left)
    part = Corpus(corpus.vocabulary, vectors[0].take(rows), vectors[1])
    asking = Records(own.name, own.ids[rows], own.fields, tuple(column[rows] for column in own.values))
    threads = threads_of_task(shared.threads)
    for number, rule in enumerate(rules):
        if side == "right" and not (isinstance(rule, TopK) and rule.mode != "left"):
            continue  # what the left side finds is all
        # From this side alone; in one table a record is its own nearest.
        asked = replace(rule, k=rule.k + one_table, mode="left") if isinstance(rule, TopK) else rule
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ErDistillWarning)  # other records may have candidates
            found = candidates(asking, other, rules=[asked], threads=threads, corpus=part).pairs
        from_own, to_other = rows[found.left], found.right
        a, b = (from_own, to_other) if side == "left" else (to_other, from_own)
        backward = np.full(len(a), side == "right")
        if one_table:
            differ = np.flatnonzero(a != b)
            a, b = a[differ], b[differ]
            a, b, backward = np.minimum(a, b), np.maximum(a, b), a > b
        yield from _batches({"left": a, "right": b, "found": (2 * number + backward).astype(np.int32)})


def look_up(tables: Any, batches: Batches) -> Batches:
    """Turn ids of pairs into row numbers; in one table the smaller one is on the left."""
    shared: Tables = tables.value
    for batch in batches:
        if batch.num_rows:
            pairs = _pairs_by_id(shared, pa.Table.from_batches([batch]))
            unique = pairs.unique()[0]
            yield from _batches({"left": unique.left, "right": unique.right})


def summarise(tables: Any, chunk_size: int, batches: Batches) -> Batches:
    """Take candidate pairs, each of which is in one task alone, into statistics of the lists of their records.

    Yields ``side`` (0 is the left one), ``record``, ``pairs`` (the length of its list) and, for each similarity of
    `er_distill.lexical.CONTEXT_OF`, its best two values.
    """
    shared: Tables = tables.value
    similarity, statistics = shared.similarity, shared.statistics()
    for batch in batches:
        pairs = _pairs_by_code(shared, pa.Table.from_batches([batch]))
        for begin in range(0, len(pairs), chunk_size):
            part = pairs.take(slice(begin, begin + chunk_size))
            statistics.add(part.left, part.right, similarity(part.left, part.right))
    arrays = statistics.arrays()
    for number, side in enumerate(SIDES):
        if f"count_{side}" not in arrays:
            continue
        records = np.flatnonzero(arrays[f"count_{side}"])
        columns = {
            "side": np.full(len(records), number, dtype=np.int32),
            "record": records,
            "pairs": arrays[f"count_{side}"][records].astype(np.int64),
        }
        two = np.stack([arrays[f"best_{side}"][records], arrays[f"second_{side}"][records]], axis=-1)
        ends = pa.array(np.arange(0, 2 * len(records) + 1, 2, dtype=np.int32))
        for k, name in enumerate(lexical.CONTEXT_OF):
            columns[name] = pa.ListArray.from_arrays(ends, pa.array(two[:, k].ravel()))
        yield from _batches(columns)


def score_rows(work: Work, batches: Batches) -> Batches:
    """Add the column ``score`` to rows that name pairs by ``left_id`` and ``right_id``."""
    table = _whole(batches)
    if table is not None:
        pairs = _pairs_by_id(work.tables.value, table)
        for rows, scores in work.scored(pairs):
            yield from table.take(pa.array(rows)).append_column("score", [scores]).to_batches()


def score_codes(work: Work, at: float, batches: Batches) -> Batches:
    """Yield ``left``, ``right`` and ``score`` of the pairs at or above `at`."""
    table = _whole(batches)
    if table is not None:
        pairs = _pairs_by_code(work.tables.value, table)
        for rows, scores in work.scored(pairs):
            kept = np.flatnonzero(scores >= at)
            part = pairs.take(rows[kept])
            yield from _batches({"left": part.left, "right": part.right, "score": scores[kept]})


def decide_lists(work: Work, decision: Decision, batches: Batches) -> Batches:
    """Yield the matches of candidate lists that are decided one by one, with the ids of their records."""
    table = _whole(batches)
    if table is not None:
        shared: Tables = work.tables.value
        pairs = _pairs_by_code(shared, table)
        scored = ((pairs.take(rows), scores) for rows, scores in work.scored(pairs))
        for matches in decision.as_they_come(scored, work.chunk_size):
            yield from matches_with_ids(shared, matches).to_batches()


def matches_with_ids(tables: Tables, matches: Matches) -> pa.Table:
    """Lay matches of two tables out as `er_distill.link` does."""
    right = tables.left if tables.right is None else tables.right
    return table_of_matches(tables.left, right, matches, "ids", ("", "")).to_native()


def _column(batches: Batches, name: str) -> np.ndarray:
    parts = [batch.column(name).to_numpy(zero_copy_only=False) for batch in batches]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _whole(batches: Batches) -> pa.Table | None:
    filled = [batch for batch in batches if batch.num_rows]
    return pa.Table.from_batches(filled) if filled else None


def _batches(columns: Mapping[str, Any]) -> Batches:
    yield from pa.table(dict(columns)).to_batches()


def _pairs_by_id(tables: Tables, table: pa.Table) -> Pairs:
    return pairs_of(open_frame(table.select(["left_id", "right_id"]), "pairs")[0], *tables.records)


def _pairs_by_code(tables: Tables, table: pa.Table) -> Pairs:
    return tables.pairs(table["left"].to_numpy(), table["right"].to_numpy())
