"""Generated tables as tasks beside the published ones: their truth is certain, and no teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_data import TaskData
from benchmarks.distiller_problem import Problem
from er_distill import lexical
from er_distill.blocking import TopK
from er_distill.training.labels import from_synthetic
from er_distill.training.synthetic import SyntheticTask, tasks
from er_distill.vectors import vectorise

SEED = 7  # as of the bundled student
ENTITIES = 150  # of each generated task
LIST = TopK(5, "left")  # candidates, about as many as the published lists have


def made_up(configuration: Configuration) -> list[Problem]:
    """Return the generated tasks that a configuration learns besides; none where they have no weight."""
    if not configuration.made_up:
        return []
    return [Problem(task, truth[None], configuration.made_up) for task, truth in _generated()]


@cache
def _generated() -> Sequence[tuple[TaskData, np.ndarray]]:
    return [_read(task) for task in tasks(SEED, ENTITIES)]


def _read(task: SyntheticTask) -> tuple[TaskData, np.ndarray]:
    candidates, labels = from_synthetic(task, 1.0, [LIST])
    pairs = candidates.pairs
    features = next(
        values
        for _, values in lexical.features(vectorise(candidates.left, candidates.right), pairs, chunk_size=len(pairs))
    )
    return TaskData(candidates, features, {}, np.ones(len(pairs), dtype=bool), 0.0), labels.target
