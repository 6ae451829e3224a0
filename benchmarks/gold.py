"""The four open tasks of the DistillER benchmark, and their gold.

Gold is read here and nowhere else, only to measure what was already decided. Each reading is written down in
``benchmarks/gold_log.md``.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pyarrow as pa

from benchmarks.provenance import ROOT, commit
from er_distill.files import read_table, read_truth
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.labels import pairs_of_tuples, read_jsonl

TASKS = ("abt-buy", "walmart-amazon", "dblp-acm", "imdb-tmdb")
_LOG = ROOT / "benchmarks" / "gold_log.md"


def data_folder() -> Path:
    """Return the folder of the tasks, from ER_DISTILL_DATA."""
    if not os.environ.get("ER_DISTILL_DATA"):
        raise SystemExit("ER_DISTILL_DATA is not set. Name the benchmark data's folder: see docs/benchmark-data.md.")
    return Path(os.environ["ER_DISTILL_DATA"]) / "distiller"


def note_reading(what: str) -> None:
    """Write down that gold, or another known truth, was read, and what for."""
    with _LOG.open("a", encoding="utf-8") as log:
        log.write(f"| {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} | {commit()[:12]} | {what} |\n")


@dataclass(frozen=True)
class Task:
    """One task, read from its folder."""

    name: str

    @cached_property
    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Both tables, with the ids in column ``id``."""
        return tuple(read_table(data_folder() / self.name / f"{side}.csv.gz") for side in ("left", "right"))  # type: ignore[return-value]

    @cached_property
    def records(self) -> tuple[Records, Records]:
        """Both tables' records."""
        left, right = self.tables
        return Records.from_frame(left, name="left", id="id"), Records.from_frame(right, name="right", id="id")

    @cached_property
    def test_pairs(self) -> Pairs:
        """The candidate pairs of the test tuples."""
        tuples = read_jsonl(data_folder() / self.name / "test_tuples.jsonl.gz")
        return pairs_of_tuples(tuples, *self.records, source=f"{self.name}: test tuples").unique()[0]

    def gold(self, why: str) -> Pairs:
        """Read all true matches; `why` goes to the log."""
        note_reading(f"gold of {self.name}: {why}")
        return self._gold()

    def _gold(self) -> Pairs:
        truth = read_truth(data_folder() / self.name / "gold.csv")
        left, right = self.records
        return Pairs.from_ids(
            truth["left_id"].to_pylist(), truth["right_id"].to_pylist(), left, right, source="gold.csv"
        )


@cache
def _open_gold() -> dict[str, Pairs]:
    return {name: Task(name)._gold() for name in TASKS}


def gold_of_all(why: str) -> dict[str, Pairs]:
    """Read all true matches of the four tasks; `why` goes to the log, in one line, each time."""
    note_reading(f"gold of the open four: {why}")
    return _open_gold()
