"""The trees of a configuration: fitted, self-trained, cross-fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_problem import Problem
from er_distill import lexical, matching
from er_distill.artefact import Line
from er_distill.student import sigmoid
from er_distill.training.trees import TreeTask, fit_trees

LOGISTIC = Line(1.0, 0.0, 0.0)
"""A logit as it is, without calibration."""


class TreesConfigured:
    """The trees of a configuration on the features it may read."""

    def __init__(self, configuration: Configuration, features: Sequence[np.ndarray]) -> None:
        self.configuration = configuration
        left_out = np.array([name.startswith(configuration.without or "\0") for name in lexical.FEATURES])
        if not configuration.context:
            left_out |= np.isin(lexical.FEATURES, lexical.CONTEXT)
        self.features = [np.where(left_out, 0.0, values).astype(np.float32) for values in features]

    def fit(
        self,
        given: Sequence[Problem],
        target: Sequence[np.ndarray],
        counts: Sequence[np.ndarray],
        use: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """Learn the labels of the pairs marked in `use`; return the logits of all pairs of each task."""
        parts = [
            TreeTask(values[rows], wanted[rows].astype(np.float32), problem.weight, weight[rows])
            for values, wanted, weight, rows, problem in zip(self.features, target, counts, use, given, strict=True)
            if rows.any()
        ]
        trees = fit_trees(parts, self.configuration.trees)
        if self.configuration.self_training:
            for values, problem in zip(self.features, given, strict=True):
                if not problem.weight:
                    continue
                free = ~problem.data.labelled
                own = believed(problem, free, sigmoid(trees.decision_function(values[free]), 0.0, LOGISTIC))
                parts.append(TreeTask(values[free], own, problem.weight * self.configuration.self_training))
            trees = fit_trees(parts, self.configuration.trees)
        return [trees.decision_function(values) for values in self.features]

    def cross_fit(
        self, given: Sequence[Problem], target: Sequence[np.ndarray], counts: Sequence[np.ndarray], *, seed: int
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return logits, of labelled pairs out of fold and of others by a fit to all labels, and each fold's fit's."""
        known = [~np.isnan(wanted) for wanted in target]
        fold = [folds(problem, rows, self.configuration, seed) for problem, rows in zip(given, known, strict=True)]
        # Fits this small gain nothing from a second thread, and crawl with one where another process is busy.
        with threadpool_limits(1):
            refits = [
                self.fit(given, target, counts, [rows & (of != k) for rows, of in zip(known, fold, strict=True)])
                for k in range(self.configuration.folds)
            ]
            logits = self.fit(given, target, counts, known)
        for k, fitted in enumerate(refits):
            for out, own, of in zip(logits, fitted, fold, strict=True):
                out[of == k] = own[of == k]
        return logits, [np.stack(fitted) for fitted in zip(*refits, strict=True)]


def folds(problem: Problem, known: np.ndarray, configuration: Configuration, seed: int) -> np.ndarray:
    """Fold of each pair, by its query, as the package draws them; -1 for a pair without a label."""
    fold = np.full(len(known), -1)
    if known.any():
        queries, query = np.unique(problem.data.pairs.left[known], return_inverse=True)
        fold[known] = (np.random.default_rng(seed).permutation(len(queries)) % configuration.folds)[query]
    return fold


def believed(problem: Problem, rows: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """A student's own labels of pairs: its probabilities, less what a better pair of either record explains away."""
    pairs = problem.data.pairs.take(rows)
    kept = matching.one_to_one(pairs.left, pairs.right, chance, 0.0)
    holds_left, holds_right = np.zeros(pairs.n_left), np.zeros(pairs.n_right)
    holds_left[pairs.left[kept]] = holds_right[pairs.right[kept]] = chance[kept]
    rival = np.maximum(holds_left[pairs.left], holds_right[pairs.right])
    return np.where(kept, chance, chance * (1.0 - rival)).astype(np.float32)
