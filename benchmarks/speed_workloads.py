"""The pairs that `speed` times: two tables of the DistillER benchmark, and people of febrl4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.gold import Task
from er_distill.blocking import candidates
from er_distill.cli.demo import febrl4
from er_distill.pairs import Pairs
from er_distill.records import Records

WALMART, SCHOLAR, FEBRL = "walmart-amazon", "dblp-scholar", "febrl4"
WORKLOADS = (WALMART, SCHOLAR, FEBRL)
SEED = 0


@dataclass(frozen=True)
class Workload:
    """Two tables and candidate pairs.

    Attributes
    ----------
    name : str
    size : int or None
        About how many pairs the sample has; None for all.
    """

    name: str
    size: int | None

    @cached_property
    def records(self) -> tuple[Records, Records]:
        """Both tables."""
        if self.name == FEBRL:
            left, right, _ = febrl4()  # the truth is not looked at
            return left.records, right.records
        return Task(self.name).records

    @cached_property
    def pairs(self) -> Pairs:
        """All candidate pairs, in random order: a sorted one would be a gift. febrl4 has those of default blocking."""
        given = candidates(*self.records).pairs if self.name == FEBRL else Task(self.name).test_pairs
        return given.take(np.random.default_rng(SEED).permutation(len(given)))

    @cached_property
    def in_sample(self) -> np.ndarray:
        """Which pairs are the sample: whole candidate lists of queries drawn at random."""
        if self.size is None:
            return np.ones(len(self.pairs), dtype=bool)
        queries, counts = np.unique(self.pairs.left, return_counts=True)
        order = np.random.default_rng(SEED).permutation(len(queries))
        return np.isin(self.pairs.left, queries[order[np.cumsum(counts[order]) <= self.size]])

    @property
    def shared_fields(self) -> Sequence[str]:
        """Fields that both tables have."""
        left, right = self.records
        return [name for name in left.fields if name in right.fields]

    def texts(self, pairs: Pairs) -> list[list[str]]:
        """The pairs' two texts, in the order in which a student reads them."""
        left, right = (table.texts for table in self.records)
        return [sorted((left[i], right[j])) for i, j in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)]
