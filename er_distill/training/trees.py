"""The lexical tier: gradient-boosted trees on similarities and list context.

Histogram gradient boosting (Ke et al. 2017, LightGBM; scikit-learn's implementation) takes missing similarities as they
are. Few leaves and a strong penalty keep the trees from learning a teacher's single mistakes, and so do directions: all
else equal, records that are more alike are never less likely to match, whatever a few labels say. Several fits to parts
of the queries and of the features are averaged ("bagging", Breiman 1996), so that no single label moves a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from er_distill import lexical
from er_distill.training import missing_extra

try:
    from sklearn.ensemble import HistGradientBoostingClassifier
except ImportError as error:
    raise missing_extra(error) from error


@dataclass(frozen=True)
class TreesConfig:
    """How to fit the trees."""

    bags: int = 6  # fits, each to other queries
    queries: float = 0.6  # share of the queries that a fit learns
    columns: float = 0.3  # share of the features that a split may choose from
    rounds: int = 120  # trees a fit
    learning_rate: float = 0.07  # share of a tree's correction that is taken
    leaves: int = 15  # a tree
    least_leaf: int = 20  # labelled pairs a leaf
    l2: float = 5.0  # penalty on a leaf's value
    monotone: bool = True  # whether the trees keep to the features' directions
    alone: float = 0.3  # weight of each pair's copy without context, which teaches scoring with context=False
    seed: int = 0


@dataclass(frozen=True)
class TreeTask:
    """Features of a task's pairs with labels.

    Attributes
    ----------
    features : ndarray of float32, shape (m, len(FEATURES))
    target : ndarray of float32, shape (m,)
        Soft labels in [0, 1].
    weight : float
        Of the task as a whole.
    pair_weight : ndarray of float32, shape (m,), optional
        How much a pair counts beside the others of its task; by default 1.
    query : ndarray of int64, shape (m,), optional
        A number for each query; its pairs are learned together, or not at all. By default each pair stands alone.
    """

    features: np.ndarray
    target: np.ndarray
    weight: float
    pair_weight: np.ndarray | None = None
    query: np.ndarray | None = None

    def part(self, share: float, rng: np.random.Generator) -> TreeTask:
        """Return the pairs of a share of the queries, drawn at random; at least one."""
        query = np.arange(len(self.target)) if self.query is None else self.query
        found = np.unique(query)
        drawn = np.isin(query, rng.permutation(found)[: max(1, round(share * len(found)))])
        counts = None if self.pair_weight is None else self.pair_weight[drawn]
        return TreeTask(self.features[drawn], self.target[drawn], self.weight, counts, query[drawn])


@dataclass(frozen=True)
class Trees:
    """Fitted trees: the mean of several fits' logits.

    Attributes
    ----------
    fits : tuple of HistGradientBoostingClassifier
    """

    fits: tuple[HistGradientBoostingClassifier, ...]

    def decision_function(self, features: np.ndarray) -> np.ndarray:
        """Return the logits of pairs, shape (m,), from features of shape (m, len(FEATURES))."""
        return np.mean([fit.decision_function(features) for fit in self.fits], axis=0)

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Return the match probabilities of pairs, as they are before calibration, shape (m,)."""
        return 0.5 * (1 + np.tanh(0.5 * self.decision_function(features)))


def fit_trees(tasks: Sequence[TreeTask], config: TreesConfig) -> Trees:
    """Fit one model to all tasks; each task counts by its weight, not by its size."""
    rng = np.random.default_rng(config.seed)
    fits = []
    for _ in range(config.bags):
        drawn = tasks if config.queries >= 1 else [task.part(config.queries, rng) for task in tasks]
        features, label, weight = _weighted(drawn, config.alone)
        if label.min() == label.max():  # the few matches there are were not drawn
            features, label, weight = _weighted(tasks, config.alone)
        fits.append(_boosted(config, int(rng.integers(2**31))).fit(features, label, sample_weight=weight))
    return Trees(tuple(fits))


def _boosted(config: TreesConfig, seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=config.rounds,
        learning_rate=config.learning_rate,
        max_leaf_nodes=config.leaves,
        min_samples_leaf=config.least_leaf,
        l2_regularization=config.l2,
        max_features=config.columns,
        monotonic_cst=lexical.DIRECTIONS if config.monotone else None,
        early_stopping=False,
        random_state=seed,
    )


def _weighted(tasks: Sequence[TreeTask], alone: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and weights of the pairs of all tasks; a soft label is a pair of either kind."""
    features, label, weight = [], [], []
    for task in tasks:
        counts = np.ones_like(task.target) if task.pair_weight is None else task.pair_weight
        without = task.features.copy()
        without[:, len(lexical.SIMILARITIES) :] = np.nan
        for values, share in ((task.features, 1.0), (without, alone)):
            # A soft label is a pair seen twice, as a match and as none, with the votes as weights.
            for outcome, votes in ((1, task.target), (0, 1 - task.target)):
                rows = share * votes * counts > 0
                features.append(values[rows])
                label.append(np.full(rows.sum(), outcome))
                weight.append(votes[rows] * counts[rows] * (share * task.weight / float(counts.sum(dtype=np.float64))))
    stacked = np.vstack(features)
    # scikit-learn 1.9 cannot cut a feature into bins that no pair has; without a value in it there is no split on it.
    stacked[:, np.isnan(stacked).all(axis=0)] = 0
    weights = np.concatenate(weight)
    # Weights of mean 1, so that the penalty means the same whatever the number of pairs.
    return stacked, np.concatenate(label), weights * (len(weights) / weights.sum())
