"""A task with the labels that a run may read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import gold
from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_data import TaskData


@dataclass(frozen=True)
class Problem:
    """A task with the labels a run may read.

    Attributes
    ----------
    data : TaskData
    votes : ndarray, shape (n_teachers, m)
        NaN on what is not labelled, or must not be read.
    weight : float
        Of the task in training.
    """

    data: TaskData
    votes: np.ndarray
    weight: float

    @property
    def known(self) -> np.ndarray:
        """The pairs with a label."""
        return ~np.isnan(self.votes).all(axis=0)


def problems(
    tasks: Sequence[TaskData], configuration: Configuration, *, seed: int, share: float = 1.0, left_out: str = ""
) -> list[Problem]:
    """Give each task the votes that may be read: of the configuration's teachers, on a share of the labelled queries.

    None at all on the task `left_out`.
    """
    given = []
    for task in tasks:
        votes = task.of(configuration.teachers)
        queries = np.unique(task.pairs.left[~np.isnan(votes).all(axis=0)])
        size = 0 if task.name == left_out else round(share * len(queries))
        kept = np.random.default_rng(seed).permutation(queries)[:size]
        votes = np.where(np.isin(task.pairs.left, kept), votes, np.nan)
        given.append(Problem(task, votes, 1.0 if task.name in gold.TASKS else configuration.held_out_weight))
    return given
