"""Records that come later: compared with those that are there, without scoring a pair of old ones again.

`dedupe(frame, state=folder)` leaves what is needed for it in a folder, `extend(new, state=folder)` goes on from there.
What the first run learned of the tables is frozen: how rare words and values are. The statistics of candidate lists go
on: a new pair is judged beside all candidates of its records, old and new. Old pairs keep their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np

from er_distill import graphs
from er_distill.blocking import Exact, Rule, TopK, candidates
from er_distill.chunks import lists_in_memory
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.state import State, keep, taken_up
from er_distill.streaming import Stream
from er_distill.student import CHUNK_SIZE, Student
from er_distill.tables import Table, open_frame, read_one, with_column
from er_distill.vectors import Corpus, vectorise, vectors_of


@dataclass(frozen=True)
class Extension:
    """What new records have brought; frames are of their library.

    Attributes
    ----------
    frame : frame
        The new records, with a column ``entity_id``: that of an entity that is there already, or a new one.
    matches : frame
        The matches of new records: ``left_id`` (new), ``right_id`` (old or new), ``score``.
    merges : frame
        Entities that new records have shown to be one: ``merged_id``, which is no more, is now part of ``entity_id``,
        the older of them. Empty as a rule.
    """

    frame: Any
    matches: Any
    merges: Any


def begin(
    table: Table,
    found: Pairs,
    corpus: Corpus | None,
    student: Student,
    folder: Path,
    *,
    rules: Sequence[Rule] | None,
    at: float,
    context: bool,
    chunk_size: int,
) -> np.ndarray:
    """Score the candidate pairs of one table, group its records and keep the state of that.

    Returns
    -------
    ndarray of int64
        The entity of each record, as `er_distill.matching.clusters` numbers them.
    """
    records = table.records
    stream = Stream(student, records, None, context=context, corpus=corpus)
    scores = _scored(stream, found, chunk_size)
    linked = scores >= at
    entity = graphs.numbered_by_first_record(graphs.components(len(records), found.left[linked], found.right[linked]))
    keep(
        State(
            records=records,
            n_first=len(records),
            entity=entity,
            next_entity=int(entity.max()) + 1,
            statistics={} if stream.statistics is None else stream.statistics.arrays(),
            threshold=at,
            context=context,
            rules=tuple([TopK()] if rules is None else rules),
            id_column=table.id_column,
        ),
        folder,
        student,
    )
    return entity


def extend(
    new: Any,
    *,
    state: str | Path,
    id: str | None = None,
    student: str | Path | Student = "default",
    device: str = "auto",
    threads: int | None = None,
    blocking: Sequence[Rule] | None = None,
    entity_column: str = "entity_id",
    chunk_size: int = CHUNK_SIZE,
) -> Extension:
    """Add new records to those that `dedupe(state=...)` has grouped.

    Only pairs with a new record are scored. Entities keep their numbers; where a new record matches records of two, the
    older number stays and the merge is reported. Numbers are never used again.

    Parameters
    ----------
    new : pandas.DataFrame, polars.DataFrame, polars.LazyFrame or pyarrow.Table
        The new records, with the columns of the first ones that were compared and ids that no record has yet.
    state : str or Path
        The folder that ``dedupe(..., state=)`` left. It is replaced by the state with the new records, whole or not at
        all.
    id : str, optional
        The id column, by default that of the first records.
    student : str, Path or Student
        The one that scored the first records.
    device, threads, chunk_size
        As in `link`.
    blocking : sequence of TopK and Exact, optional
        By default as for the first records. Of `TopK(k)` only the k records most similar to each new one count.
    entity_column : str
        The column to add.

    Returns
    -------
    Extension

    Raises
    ------
    InputError
        When the folder holds no state or a damaged one, another student made it, a column is missing, or an id is
        taken.
    """
    frame, give_back = open_frame(new, "new")
    if entity_column in frame.columns:
        raise InputError(f"new has a column {entity_column!r} already. Drop it, or name another with entity_column=.")
    loaded = Student.load(student, device=device, threads=threads)
    with taken_up(Path(state), loaded) as before:
        table = read_one(frame, "new", list(before.records.fields), before.id_column if id is None else id)
        pool = _pooled(before.records, table.records)
        corpus = _frozen(before, pool)
        rows = np.arange(len(before.records), len(pool))
        rules = [_for_new(rule) for rule in (before.rules if blocking is None else blocking)]
        pairs = _with_new(corpus, pool, rows, rules, threads)
        stream = Stream(loaded, pool, None, context=before.context, corpus=corpus)
        if stream.statistics is not None:
            stream.statistics.take_up(before.statistics)
        scores = _scored(stream, pairs, chunk_size)
        linked = scores >= before.threshold
        matches, found = pairs.take(linked), scores[linked]
        entity, merges = _extended(before, len(rows), matches)
        after = replace(
            before,
            records=pool,
            entity=entity,
            next_entity=max(before.next_entity, int(entity.max()) + 1),
            statistics={} if stream.statistics is None else stream.statistics.arrays(),
        )
        keep(after, Path(state), loaded)

    def lay_out(columns: dict[str, Any]) -> Any:
        return give_back(nw.from_dict(columns, backend=frame.implementation))

    return Extension(
        give_back(with_column(frame, entity_column, entity[rows])),
        # The later record of a pair is the new one, or both are new.
        lay_out(
            {"left_id": pool.ids[matches.right].tolist(), "right_id": pool.ids[matches.left].tolist(), "score": found}
        ),
        lay_out({"entity_id": merges[:, 0], "merged_id": merges[:, 1]}),
    )


def _scored(stream: Stream, pairs: Pairs, chunk_size: int) -> np.ndarray:
    scores = np.empty(len(pairs))
    for start in range(0, len(pairs), chunk_size):
        stream.add(pairs.take(slice(start, start + chunk_size)))
    for rows in lists_in_memory(pairs, chunk_size):
        scores[rows] = stream.score(pairs.take(rows))
    return scores


def _pooled(old: Records, new: Records) -> Records:
    known = set(old.ids.tolist())
    taken = [value for value in new.ids.tolist() if value in known]
    if taken:
        raise InputError(
            f"new has {len(taken)} id(s) that a record of the state has already, such as {taken[0]!r}. Give new "
            "records ids of their own (id=), and leave out those that are there."
        )
    kinds = sorted({type(value).__name__ for ids in (old.ids, new.ids) for value in ids[:1].tolist()})
    if len(kinds) > 1:
        raise InputError(f"the ids of new are {kinds[1]}, those of the state {kinds[0]}, or the reverse. Use one type.")
    values = tuple(map(np.concatenate, zip(old.values, new.values, strict=True)))
    return Records("the records of the state and new", np.concatenate([old.ids, new.ids]), old.fields, values)


def _frozen(before: State, pool: Records) -> Corpus:
    """The vectors of all records, weighed as the first ones were."""
    word_ids: dict[str, int] = {}
    first = before.first_records
    corpus = vectorise(first, word_ids=word_ids)
    vectors = vectors_of(pool, corpus, word_ids)
    return Corpus(corpus.vocabulary, vectors, vectors)


def _for_new(rule: Rule) -> Rule:
    # A record is its own nearest.
    return rule if isinstance(rule, Exact) else TopK(rule.k + 1, "left")


def _with_new(corpus: Corpus, pool: Records, rows: np.ndarray, rules: list[Rule], threads: int | None) -> Pairs:
    """The candidate pairs in which a record of `rows` stands."""
    asking = Corpus(corpus.vocabulary, corpus.left.take(rows), corpus.right)
    new = Records("new", pool.ids[rows], pool.fields, tuple(column[rows] for column in pool.values))
    found = candidates(new, pool, rules=rules, threads=threads, corpus=asking).pairs
    one, other = found.left + rows[0], found.right
    apart = one != other
    pairs = Pairs(np.minimum(one, other)[apart], np.maximum(one, other)[apart], len(pool), len(pool), True)
    return pairs.unique()[0]


def _extended(before: State, n_new: int, matches: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return the entity of every record, and merges: kept and merged numbers, shape (n, 2)."""
    own = before.next_entity + np.arange(n_new)  # each new record is an entity of its own until it matches
    entity = np.concatenate([before.entity, own])
    numbers, node = np.unique(entity, return_inverse=True)
    component = graphs.components(len(numbers), node[matches.left], node[matches.right])
    smallest = np.full(int(component.max()) + 1, numbers[-1])
    np.minimum.at(smallest, component, numbers)
    kept = smallest[component]
    gone = (kept != numbers) & (numbers < before.next_entity)
    merges = np.stack([kept[gone], numbers[gone]], axis=1)
    fresh = np.unique(kept[kept >= before.next_entity])
    kept = np.where(
        kept >= before.next_entity, before.next_entity + np.searchsorted(fresh, kept), kept
    )  # without gaps, by the first record of each
    return kept[node], merges
