"""The trees of a configuration: fitted, self-trained, cross-fitted."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import sklearn
from threadpoolctl import threadpool_limits

from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_data import fingerprint, keep, kept
from benchmarks.distiller_problem import Problem
from benchmarks.provenance import ROOT
from er_distill import lexical
from er_distill.artefact import Line
from er_distill.training.self_training import SelfTrainingConfig, self_train
from er_distill.training.trees import TreeTask, fit_trees

LOGISTIC = Line(1.0, 0.0, 0.0)
"""A logit as it is, without calibration."""


class TreesConfigured:
    """The trees of a configuration on the features it may read.

    Attributes
    ----------
    seconds : float
        What the last cross-fit took when it was made.
    """

    seconds = 0.0

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
        parts = []
        for values, wanted, weight, rows, problem in zip(self.features, target, counts, use, given, strict=True):
            if rows.any():
                own = self.configuration.self_training and not problem.data.labelled.all()
                learn = self._with_own_labels if own else self._as_labelled
                parts.append(learn(problem, values, wanted, weight, rows))
        trees = fit_trees(parts, self.configuration.trees)
        return [trees.decision_function(values) for values in self.features]

    def _as_labelled(
        self, problem: Problem, values: np.ndarray, wanted: np.ndarray, weight: np.ndarray, rows: np.ndarray
    ) -> TreeTask:
        return TreeTask(values[rows], wanted[rows].astype(np.float32), problem.weight, weight[rows])

    def _with_own_labels(
        self, problem: Problem, values: np.ndarray, wanted: np.ndarray, weight: np.ndarray, rows: np.ndarray
    ) -> TreeTask:
        """Besides, what trees of this task alone are sure of where nothing is labelled, as the package does it."""
        every = np.flatnonzero(rows | ~problem.data.labelled)
        target, counts = np.where(rows, wanted, np.nan)[every], np.where(rows, weight, 1.0)[every]

        def fit_predict(labels: np.ndarray, share: np.ndarray) -> np.ndarray:
            known = ~np.isnan(labels)
            part = TreeTask(values[every[known]], labels[known], 1.0, (share * counts)[known].astype(np.float32))
            probability: np.ndarray = fit_trees([part], self.configuration.trees).predict_proba(values[every])[:, 1]
            return probability

        how = SelfTrainingConfig(weight=self.configuration.self_training)
        found = self_train(fit_predict, target, problem.data.pairs.take(every), how)
        share = np.zeros_like(weight)
        share[every] = found.weight * counts
        labels = np.full(len(wanted), np.nan)
        labels[every] = found.target
        return self._as_labelled(problem, values, labels, share, ~np.isnan(labels))

    def cross_fit(
        self, given: Sequence[Problem], target: Sequence[np.ndarray], counts: Sequence[np.ndarray], *, seed: int
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return logits, of labelled pairs out of fold and of others by a fit to all labels, and each fold's fit's.

        They are kept: configurations that differ in how they decide have the same.
        """
        path = kept("trees", self._name(given, target, counts, seed))
        if not path.is_file():
            started = time.perf_counter()
            logits, refits = self._cross_fit(given, target, counts, seed)
            arrays = {f"logits-{k}": own for k, own in enumerate(logits)}
            arrays |= {f"refits-{k}": own for k, own in enumerate(refits)}
            keep(path, **arrays, seconds=time.perf_counter() - started)
        with np.load(path) as stored:
            self.seconds = float(stored["seconds"])
            logits, refits = ([stored[f"{part}-{k}"] for k in range(len(given))] for part in ("logits", "refits"))
        return logits, refits

    def _name(
        self, given: Sequence[Problem], target: Sequence[np.ndarray], counts: Sequence[np.ndarray], seed: int
    ) -> str:
        configuration = self.configuration
        settings = configuration.trees, configuration.self_training, configuration.folds, seed
        weights = [problem.weight for problem in given]
        learned = [array.tobytes() for array in (*self.features, *target, *counts)]
        code = [(ROOT / "er_distill" / "training" / name).read_bytes() for name in ("trees.py", "self_training.py")]
        return fingerprint(repr((settings, weights, sklearn.__version__)).encode(), *learned, *code)

    def _cross_fit(
        self, given: Sequence[Problem], target: Sequence[np.ndarray], counts: Sequence[np.ndarray], seed: int
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
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
