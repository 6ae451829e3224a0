"""The doors for Spark DataFrames: `link`, `dedupe` and `score_pairs`."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from er_distill import matching as rules
from er_distill.blocking import Rule
from er_distill.deciding import Decision
from er_distill.errors import InputError, did_you_mean
from er_distill.frames import How
from er_distill.matching import Matching
from er_distill.pairs import Pairs
from er_distill.records import require
from er_distill.scoring import check_threshold
from er_distill.spark.cluster import Cluster, Options
from er_distill.spark.layout import beside, check_suffixes, match_schema, with_entities
from er_distill.spark.reading import check_spark, read_either_tables, read_one_table, read_two_tables
from er_distill.spark.workers import matches_with_ids
from er_distill.student import CHUNK_SIZE
from er_distill.tables import Columns, Ids

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame


def score_pairs(
    pairs: DataFrame,
    left: DataFrame,
    right: DataFrame | None = None,
    *,
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    student: str | Path = "default",
    device: str = "auto",
    threads: int | None = None,
    context: bool = True,
    chunk_size: int = CHUNK_SIZE,
    partitions: int | None = None,
    profile: ResourceProfile | None = None,
) -> DataFrame:
    """Add the probability that each candidate pair is a match.

    Parameters
    ----------
    pairs : pyspark.sql.DataFrame
        The pairs, with columns ``left_id`` and ``right_id``; further columns are kept. It is computed twice, first for
        the lists' statistics, then for the scores: ``cache()`` it where that is dear, or where it would not be the same
        again.
    left, right : pyspark.sql.DataFrame
        The tables the ids belong to; without `right` the pairs are within one table.
    columns, left_on, right_on, id, student, device, threads, context, chunk_size, partitions, profile
        As in `link`.

    Returns
    -------
    pyspark.sql.DataFrame
        The pairs with a column ``score``, computed when it is used.

    Raises
    ------
    InputError
        When `pairs` has a column ``score`` already, an id belongs to no record, and as in `link`.
    """
    options = Options(student, device, threads, context, chunk_size, partitions, profile)
    _check_pairs(pairs)
    if "score" in pairs.columns:
        raise InputError("pairs has a column 'score' already. Drop or rename it.")
    check_spark(left, "left")
    opened, _ = options.open_student(left.sparkSession, one_table=right is None)
    tables = read_either_tables(left, right, columns, left_on, right_on, id)
    cluster = Cluster(left.sparkSession, *tables, opened, options)
    return cluster.score(cluster.work(cluster.looked_up(pairs)), pairs)


def link(
    left: DataFrame,
    right: DataFrame,
    *,
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    student: str | Path = "default",
    device: str = "auto",
    threads: int | None = None,
    threshold: float | None = None,
    matching: Matching = "one_to_one",
    optimal: bool = False,
    top_k: int | None = None,
    how: How = "ids",
    suffixes: tuple[str, str] = ("_left", "_right"),
    blocking: Sequence[Rule] | None = None,
    pairs: DataFrame | None = None,
    context: bool = True,
    chunk_size: int = CHUNK_SIZE,
    partitions: int | None = None,
    profile: ResourceProfile | None = None,
) -> DataFrame:
    """Find the records of two tables that are the same thing.

    Parameters
    ----------
    left, right : pyspark.sql.DataFrame
        The tables, one record a row. Their compared columns are collected on the driver and sent to every worker.
    columns, left_on, right_on, threshold, matching, optimal, top_k, how, suffixes, blocking, context, chunk_size
        As in `er_distill.link`.
    id : str or (str or None, str or None), optional
        The id column of both tables, or of each; by default a column named ``id``. Rows have no numbers here.
    student : str or Path
        The name of a bundled student, or a student folder: on the driver, and on every worker under the same path or
        shipped with ``SparkContext.addFile(folder, recursive=True)``.
    device : str
        As in `er_distill.link`. Where `profile` gives a task a GPU, ``"auto"`` and ``"cuda"`` are that one.
    threads : int, optional
        Threads a task. Default: ``ER_DISTILL_THREADS`` on the worker, else ``spark.task.cpus``.
    pairs : pyspark.sql.DataFrame, optional
        Candidate pairs of your own, with columns ``left_id`` and ``right_id``, instead of blocking.
    partitions : int, optional
        Tasks into which the pairs are divided, by left record. Default: four for each core of the cluster.
    profile : pyspark.resource.ResourceProfile, optional
        The resources of the tasks that score, such as a GPU; it goes to ``DataFrame.mapInArrow``.

    Returns
    -------
    pyspark.sql.DataFrame
        The columns of `er_distill.link`; rows in no order. One-to-one matching is decided on the driver, at the call;
        what is decided list by list is computed when the result is used.

    Raises
    ------
    InputError
        When a table, column, pair or argument cannot be used as given.
    StudentError
        When the student cannot be used, on the driver or on a worker.
    MissingExtraError
        When pyspark 4 is not installed.
    """
    if how not in ("ids", "inner", "left"):
        raise InputError(f"how={how!r} is not known. {did_you_mean(how, ('ids', 'inner', 'left'))}")
    decision = Decision(matching, threshold, optimal, top_k)
    options = Options(student, device, threads, context, chunk_size, partitions, profile)
    _check_sources(pairs, blocking)
    check_spark(left, "left")
    opened, own_threshold = options.open_student(left.sparkSession, one_table=False)
    decision = decision.at(own_threshold)
    a, b = read_two_tables(left, right, columns, left_on, right_on, id)
    sides = left, str(a.id_column), right, str(b.id_column)
    if how != "ids":
        check_suffixes(*sides, suffixes, ranked=top_k is not None)
    cluster = Cluster(left.sparkSession, a, b, opened, options)
    schema = match_schema(*sides, ranked=top_k is not None)
    found = _candidates(cluster, pairs, blocking)
    work = cluster.work(found)
    if decision.by_list:
        matches = cluster.decided(work, found, decision, schema)
    else:
        first, second, scores = cluster.above(work, found, decision.threshold or 0.0)
        found.unpersist()
        chosen = decision.matches(Pairs(first, second, len(a.records), len(b.records)), scores)
        matches = left.sparkSession.createDataFrame(matches_with_ids(cluster.tables, chosen), schema)
    result = matches if how == "ids" else beside(matches, *sides, how, suffixes)
    if decision.by_list:
        # The candidates stay cached as long as the result is at hand; what is made of it finds them anew after that.
        weakref.finalize(result, found.unpersist).atexit = False
    return result


def dedupe(
    frame: DataFrame,
    *,
    columns: Sequence[str] | None = None,
    id: str | None = None,
    student: str | Path = "default",
    device: str = "auto",
    threads: int | None = None,
    threshold: float | None = None,
    clustering: Literal["components", "average"] = "components",
    entity_column: str = "entity_id",
    blocking: Sequence[Rule] | None = None,
    pairs: DataFrame | None = None,
    context: bool = True,
    chunk_size: int = CHUNK_SIZE,
    partitions: int | None = None,
    profile: ResourceProfile | None = None,
) -> DataFrame:
    """Find the records of one table that are the same thing.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        The table, one record a row.
    clustering, entity_column
        As in `er_distill.dedupe`. Entities are made on the driver, at the call: "components" needs the pairs at or
        above the threshold there, "average" all scored pairs.
    columns, id, student, device, threads, threshold, blocking, pairs, context, chunk_size, partitions, profile
        As in `link`.

    Returns
    -------
    pyspark.sql.DataFrame
        The frame with a column of integers, equal for records of one entity.

    Raises
    ------
    InputError
        When the frame has a column `entity_column` already, and as in `link`.
    """
    check_threshold(threshold)
    rules.clusters(0, [], [], [], method=clustering)  # refuses before anything is scored
    options = Options(student, device, threads, context, chunk_size, partitions, profile)
    _check_sources(pairs, blocking)
    check_spark(frame, "frame")
    if entity_column in frame.columns:
        raise InputError(f"frame has a column {entity_column!r} already. Drop it, or name another with entity_column=.")
    opened, own_threshold = options.open_student(frame.sparkSession, one_table=True)
    at = own_threshold if threshold is None else threshold
    table = read_one_table(frame, "frame", columns, id)
    cluster = Cluster(frame.sparkSession, table, None, opened, options)
    found = _candidates(cluster, pairs, blocking)
    left, right, scores = cluster.above(cluster.work(found), found, at if clustering == "components" else 0.0)
    found.unpersist()
    entities = rules.clusters(len(table.records), left, right, scores, at, clustering)
    return with_entities(frame, cluster.tables.left.frame.to_native(), entities, entity_column)


def _check_pairs(pairs: DataFrame) -> None:
    check_spark(pairs, "pairs")
    for column in ("left_id", "right_id"):
        require(pairs, column, "pairs")


def _check_sources(pairs: DataFrame | None, blocking: Sequence[Rule] | None) -> None:
    if pairs is not None and blocking is not None:
        raise InputError("pairs= brings candidate pairs, blocking= finds them. Pass one.")
    if pairs is not None:
        _check_pairs(pairs)


def _candidates(cluster: Cluster, pairs: DataFrame | None, blocking: Sequence[Rule] | None) -> DataFrame:
    """Return the candidate pairs, cached: the statistics of their lists are made of them before they are scored."""
    return (cluster.found(blocking) if pairs is None else cluster.looked_up(pairs)).persist()
