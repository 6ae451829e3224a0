"""The driver's side: what is made once and broadcast, and the jobs over candidate pairs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from er_distill import lexical
from er_distill.blocking import Rule, TopK, candidates
from er_distill.deciding import Decision
from er_distill.errors import ErDistillWarning, InputError, warn
from er_distill.records import Records
from er_distill.spark import workers
from er_distill.spark.reading import ids_alone
from er_distill.spark.students import StudentAt, explained, student_on_workers
from er_distill.spark.workers import CODES, SIDES, Tables, Work
from er_distill.student import warn_if_not_latin
from er_distill.tables import Table
from er_distill.threads import thread_count
from er_distill.vectors import Corpus, vectorise

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession

_TASKS_PER_CORE = 4


@dataclass(frozen=True)
class Options:
    """How a student scores on a cluster.

    Attributes
    ----------
    student : str or Path
    device : str
    threads : int or None
    context : bool
    chunk_size : int
    partitions : int or None
    profile : pyspark.resource.ResourceProfile or None
        As in `er_distill.spark.link`.
    """

    student: str | Path
    device: str
    threads: int | None
    context: bool
    chunk_size: int
    partitions: int | None
    profile: ResourceProfile | None

    def __post_init__(self) -> None:
        if not isinstance(self.student, (str, Path)):
            raise InputError(
                f"student={self.student!r} cannot be sent to workers, each of which opens its own. Pass a name or a "
                "folder."
            )
        for name in ("chunk_size", "partitions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value!r} must be at least 1.")
        if self.threads is not None:
            thread_count(self.threads)  # refuses what is no number of threads

    def open_student(self, session: SparkSession, *, one_table: bool) -> tuple[StudentAt, float]:
        """Return the student as workers open it, and its threshold; see `student_on_workers`."""
        return student_on_workers(
            session, self.student, self.device, self.threads, self.profile, lists_are_parted=one_table and self.context
        )


class Cluster:
    """A Spark session with the tables on every worker.

    Parameters
    ----------
    session : pyspark.sql.SparkSession
    left : Table
    right : Table or None
        None when both sides are one table.
    student : StudentAt
    options : Options
    """

    def __init__(
        self, session: SparkSession, left: Table, right: Table | None, student: StudentAt, options: Options
    ) -> None:
        records = left.records, None if right is None else right.records
        warn_if_not_latin(*records)
        corpus = vectorise(*records)
        self.tables = Tables(ids_alone(left), None if right is None else ids_alone(right), corpus, options.threads)
        self._session, self._student, self._options = session, student, options
        self._shared = session.sparkContext.broadcast(self.tables)
        self._cores = session.sparkContext.defaultParallelism
        self._tasks = options.partitions or _TASKS_PER_CORE * self._cores

    def found(self, rules: Sequence[Rule] | None) -> DataFrame:
        """Return the candidate pairs of blocking, each once: ``left`` and ``right``, the pairs of a list together."""
        from pyspark.sql import functions as F

        _check_rules(rules, self.tables)
        rules = [TopK()] if rules is None else list(rules)
        one_table = self.tables.right is None
        both = not one_table and any(isinstance(rule, TopK) and rule.mode != "left" for rule in rules)
        # Each task makes the index of the other side: a few long ones are quicker than many short ones.
        tasks = min(self._tasks, self._cores)
        sides = []
        for side in SIDES if both else SIDES[:1]:
            rows = self._session.range(0, len(getattr(self.tables.corpus, side)), 1, tasks)
            work = partial(workers.block, self._shared, rules, side)
            sides.append(rows.mapInArrow(work, f"{CODES}, found int"))
        everything = sides[0] if len(sides) == 1 else sides[0].union(sides[1])
        pairs = everything.groupBy("left", "right").agg(F.collect_set("found").alias("found"))
        kept = F.lit(False)
        for number, rule in enumerate(rules):
            forward, backward = (F.array_contains("found", 2 * number + way) for way in (0, 1))
            mutual = isinstance(rule, TopK) and rule.mode == "mutual"
            kept = kept | (forward & backward if mutual else forward | backward)
        return self._by_list(pairs.where(kept).select("left", "right"))

    def looked_up(self, pairs: DataFrame) -> DataFrame:
        """Return pairs of ids as `found` does, each once."""
        codes = pairs.select("left_id", "right_id").mapInArrow(partial(workers.look_up, self._shared), CODES)
        return self._by_list(codes.distinct())

    def work(self, pairs: DataFrame) -> Work:
        """Return what tasks need to score pairs, of which `found` or `looked_up` gave all.

        With context a job runs: the statistics of their lists are made and broadcast.
        """
        statistics = None
        if self._options.context:
            statistics = self._session.sparkContext.broadcast(self._statistics(pairs))
        return Work(self._shared, statistics, self._student, self._options.chunk_size)

    def score(self, work: Work, pairs: DataFrame) -> DataFrame:
        """Return rows with ``left_id`` and ``right_id``, and a column ``score``."""
        from pyspark.sql.types import DoubleType, StructType

        schema = StructType([*pairs.schema.fields]).add("score", DoubleType(), nullable=False)
        divided = pairs.repartition(self._tasks, "left_id")
        return divided.mapInArrow(partial(workers.score_rows, work), schema, profile=self._options.profile)

    def above(self, work: Work, pairs: DataFrame, at: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the job that scores pairs, and return left rows, right rows and scores of those at or above `at`."""
        function = partial(workers.score_codes, work, at)
        scored = pairs.mapInArrow(function, f"{CODES}, score double", profile=self._options.profile)
        with explained():
            table = scored.toArrow()
        left, right, scores = (table[name].to_numpy() for name in ("left", "right", "score"))
        return left, right, scores

    def decided(self, work: Work, pairs: DataFrame, decision: Decision, schema: Any) -> DataFrame:
        """Return the matches of lists that are decided one by one; `schema` is that of the result."""
        function = partial(workers.decide_lists, work, decision)
        return pairs.mapInArrow(function, schema, profile=self._options.profile)

    def _by_list(self, pairs: DataFrame) -> DataFrame:
        """Divide pairs among tasks, each list in one; a number of them that is named is one that Spark keeps to."""
        return pairs.repartition(self._tasks, "left")

    def _statistics(self, pairs: DataFrame) -> dict[str, np.ndarray]:
        from pyspark.sql import functions as F

        names = lexical.CONTEXT_OF
        of_tasks = pairs.mapInArrow(
            partial(workers.summarise, self._shared, self._options.chunk_size),
            "side int, record long, pairs long, " + ", ".join(f"{name} array<float>" for name in names),
        )
        # The best two of all are among the best two of each task.
        best = [F.sort_array(F.flatten(F.collect_list(name)), asc=False) for name in names]
        of_lists = of_tasks.groupBy("side", "record").agg(
            F.sum("pairs").alias("pairs"),
            *(F.slice(two, 1, 2).alias(name) for two, name in zip(best, names, strict=True)),
        )
        with explained():
            table = of_lists.toArrow()
        if not len(table):
            where = " and ".join(one.name for one in self.tables.records if one is not None)
            warn(f"there is no candidate pair in {where}. Compare other columns or use other rules.")
        arrays = self.tables.statistics().arrays()
        for number, side in enumerate(SIDES):
            part = table.filter(np.equal(table["side"].to_numpy(), number))
            records = part["record"].to_numpy()
            if len(records):
                arrays[f"count_{side}"][records] = part["pairs"].to_numpy()
                for k, name in enumerate(names):
                    two = part[name].combine_chunks().flatten().to_numpy().reshape(-1, 2)
                    arrays[f"best_{side}"][records, k], arrays[f"second_{side}"][records, k] = two.T
        return arrays


def _check_rules(rules: Sequence[Rule] | None, tables: Tables) -> None:
    """Ask the rules of the first records, so that what is wrong with them is said before a job runs."""

    def first(records: Records) -> Records:
        return Records(records.name, records.ids[:1], records.fields, tuple(column[:1] for column in records.values))

    left, right = tables.records
    corpus, row = tables.corpus, np.zeros(1, dtype=np.int64)
    one = corpus.left.take(row)
    other = one if right is None else corpus.right.take(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ErDistillWarning)
        candidates(
            first(left),
            None if right is None else first(right),
            rules=rules,
            corpus=Corpus(corpus.vocabulary, one, other),
        )
