"""Whole tables, with our own blocking instead of the published candidates."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.distiller_data import TaskData, keep, kept, source_print
from benchmarks.distiller_problem import Problem
from benchmarks.gold import data_folder
from benchmarks.open_tasks import measure_linked
from er_distill import blocking, lexical, matching
from er_distill.metrics import blocking_scores
from er_distill.pairs import Pairs
from er_distill.training.labels import Candidates

NAME = "{} end to end"  # of the task of blocked pairs, beside that of the published ones


def blocked(task: TaskData, n_teachers: int) -> Problem:
    """An open task's whole tables under default blocking, as a task without labels."""
    left, right = task.candidates.left, task.candidates.right
    made_of = source_print(data_folder() / task.name, "blocking.py")
    path = kept("features", f"{task.name}-end-to-end-{made_of}")
    if not path.is_file():
        started = time.perf_counter()
        found = blocking.candidates(left, right)
        pairs = found.pairs
        features = next(values for _, values in lexical.features(found.corpus, pairs, chunk_size=len(pairs)))
        keep(path, left=pairs.left, right=pairs.right, features=features, seconds=time.perf_counter() - started)
    with np.load(path) as stored:
        pairs = Pairs(stored["left"], stored["right"], task.pairs.n_left, task.pairs.n_right)
        features, seconds = stored["features"], float(stored["seconds"])
    candidates = Candidates(NAME.format(task.name), left, right, pairs)
    nothing = np.full((n_teachers, len(pairs)), np.nan)
    data = TaskData(candidates, features, {}, np.zeros(len(pairs), dtype=bool), seconds)
    return Problem(data, nothing, weight=0.0)


def measure(problem: Problem, matched: np.ndarray, gold: Pairs) -> dict[str, Any]:
    """Measure matches of whole tables against all of gold; a match that blocking missed counts as missed."""
    pairs = problem.data.pairs
    measured = measure_linked(gold, pairs.take(matched), pairs, seconds=problem.data.seconds)
    del measured["pairs_per_second"]
    return measured


def cut(task: TaskData, whole: Problem) -> tuple[int, Pairs]:
    """Mutual nearest neighbours, as many as give no more candidates than are published; also how many that is.

    A record's ten best are among the candidates of default blocking, so that ranks up to ten are what they would be
    among all records.
    """
    pairs = whole.data.pairs
    cosine = whole.data.features[:, lexical.FEATURES.index("gram_cosine")]
    rank = np.maximum(
        matching.ranks(pairs.left, cosine, right=pairs.right), matching.ranks(pairs.right, cosine, right=pairs.left)
    )
    k = max(k for k in range(1, blocking.TopK().k + 1) if k == 1 or (rank < k).sum() <= len(task.pairs))
    return k, pairs.take(rank < k)


def measure_blocking(task: TaskData, kept: tuple[int, Pairs], gold: Pairs) -> dict[str, Any]:
    """Pair completeness of our blocking at no more candidates than published, and of the published candidates."""
    k, pairs = kept

    def scores(of: Pairs) -> dict[str, Any]:
        return vars(blocking_scores(of.left, of.right, gold.left, gold.right, n_left=of.n_left, n_right=of.n_right))

    return {"k": k, "ours": scores(pairs), "published": scores(task.pairs)}
