"""Candidate lists with features and a truth, made on the spot, and a model that learns them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from er_distill.pairs import Pairs

N_CANDIDATES = 4


@dataclass(frozen=True)
class Generated:
    """Each query has four candidates; two of three have their match among them, and no two queries share a match."""

    pairs: Pairs
    features: np.ndarray
    truth: np.ndarray


def generate(n_queries: int, seed: int, *, apart: float = 2.0, n_signals: int = 1, n_features: int = 6) -> Generated:
    rng = np.random.default_rng(seed)
    left = np.repeat(np.arange(n_queries), N_CANDIDATES)
    right = np.concatenate([[q, *rng.choice(n_queries, N_CANDIDATES - 1)] for q in range(n_queries)])
    truth = (left == right) & (np.arange(len(left)) % N_CANDIDATES == 0) & (left % 3 != 0)
    features = rng.normal(0, 1, (len(left), n_features))
    features[:, :n_signals] += apart * np.where(truth, 1.0, -1.0)[:, None]
    return Generated(Pairs(left, right, n_queries, n_queries), features, truth)


def logistic(features: np.ndarray, penalty: float = 1.0) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a fit-and-predict of logistic regression on hard labels."""
    from sklearn.linear_model import LogisticRegression

    def fit_predict(target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        rows = ~np.isnan(target) & (weight > 0)
        model = LogisticRegression(C=penalty).fit(features[rows], target[rows] >= 0.5, weight[rows])
        return model.predict_proba(features)[:, 1]

    return fit_predict
