"""The lexical tier: gradient-boosted trees on similarities and list context.

Histogram gradient boosting (Ke et al. 2017, LightGBM; scikit-learn's implementation) takes missing similarities as they
are. Few leaves and a strong penalty keep the trees from learning a teacher's single mistakes, and so do directions: all
else equal, records that are more alike are never less likely to match, whatever a few labels say.
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

    rounds: int = 300  # trees
    learning_rate: float = 0.05  # share of a tree's correction that is taken
    leaves: int = 15  # a tree
    least_leaf: int = 30  # labelled pairs a leaf
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
    """

    features: np.ndarray
    target: np.ndarray
    weight: float
    pair_weight: np.ndarray | None = None


def fit_trees(tasks: Sequence[TreeTask], config: TreesConfig) -> HistGradientBoostingClassifier:
    """Fit one model to all tasks; each task counts by its weight, not by its size."""
    features, label, weight = [], [], []
    for task in tasks:
        counts = np.ones_like(task.target) if task.pair_weight is None else task.pair_weight
        alone = task.features.copy()
        alone[:, len(lexical.SIMILARITIES) :] = np.nan
        for values, share in ((task.features, 1.0), (alone, config.alone)):
            # A soft label is a pair seen twice, as a match and as none, with the votes as weights.
            for outcome, votes in ((1, task.target), (0, 1 - task.target)):
                rows = votes * counts > 0
                features.append(values[rows])
                label.append(np.full(rows.sum(), outcome))
                weight.append(votes[rows] * counts[rows] * (share * task.weight / float(counts.sum(dtype=np.float64))))
    weights = np.concatenate(weight)
    model = HistGradientBoostingClassifier(
        max_iter=config.rounds,
        learning_rate=config.learning_rate,
        max_leaf_nodes=config.leaves,
        min_samples_leaf=config.least_leaf,
        l2_regularization=config.l2,
        monotonic_cst=lexical.DIRECTIONS if config.monotone else None,
        early_stopping=False,
        random_state=config.seed,
    )
    stacked = np.vstack(features)
    # scikit-learn 1.9 cannot cut a feature into bins that no pair has; without a value in it there is no split on it.
    stacked[:, np.isnan(stacked).all(axis=0)] = 0
    # Weights of mean 1, so that the penalty means the same whatever the number of pairs.
    return model.fit(stacked, np.concatenate(label), sample_weight=weights * (len(weights) / weights.sum()))
