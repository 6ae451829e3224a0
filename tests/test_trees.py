"""The trees: weights of pairs, and the directions of the features, which they keep to unless told otherwise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from er_distill import lexical

pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
from er_distill.training.trees import TreesConfig, TreeTask, fit_trees

QUICK = TreesConfig(rounds=10, least_leaf=5, monotone=False)  # labels made up without regard to directions


def task(seed: int = 0) -> TreeTask:
    rng = np.random.default_rng(seed)
    features = np.zeros((200, len(lexical.FEATURES)), dtype=np.float32)
    features[:, :10] = rng.random((200, 10), dtype=np.float32)
    return TreeTask(features, (features[:, 0] > 0.6).astype(np.float32), 1.0)


def test_weights_of_one_change_nothing() -> None:
    one = task()
    weighted = dataclasses.replace(one, pair_weight=np.ones(200, np.float32))
    scores = [fit_trees([each], QUICK).predict_proba(one.features) for each in (one, weighted)]
    np.testing.assert_array_equal(*scores)


def test_pairs_of_no_weight_are_not_learned() -> None:
    one, kept = task(), np.arange(200) % 4 != 0
    wrong = np.where(kept, one.target, 1 - one.target)
    without = TreeTask(one.features[kept], one.target[kept], 1.0)
    ignored = dataclasses.replace(one, target=wrong, pair_weight=kept.astype(np.float32))
    scores = [fit_trees([each], QUICK).predict_proba(one.features) for each in (without, ignored)]
    np.testing.assert_allclose(*scores, atol=1e-6)


def test_heavier_pairs_pull_harder() -> None:
    one = task()
    unsure = np.full(200, 0.5, np.float32)
    half = np.arange(200) % 2 == 0
    opposed = np.where(half, one.target, 1 - one.target)
    shares = []
    for heavy in (half, ~half):
        weight = np.where(heavy, 5.0, 1.0).astype(np.float32)
        model = fit_trees([dataclasses.replace(one, target=opposed, pair_weight=weight)], QUICK)
        shares.append(np.mean((model.predict_proba(one.features)[:, 1] > unsure) == (one.target > 0.5)))
    assert shares[0] > 0.8 > 0.2 > shares[1]


PLAIN = TreesConfig(rounds=40, least_leaf=5, alone=0.0)


def misled() -> TreeTask:
    """Labels that a teacher got wrong in one stretch: alike records there are called no match."""
    rng = np.random.default_rng(0)
    features = np.zeros((800, len(lexical.FEATURES)), dtype=np.float32)
    alike = features[:, lexical.FEATURES.index("word_cosine")] = rng.random(800, dtype=np.float32)
    target = ((alike > 0.4) & ~((alike > 0.7) & (alike < 0.8))).astype(np.float32)
    return TreeTask(features, target, 1.0)


def curve(config: TreesConfig) -> np.ndarray:
    grid = np.zeros((200, len(lexical.FEATURES)), dtype=np.float32)
    grid[:, lexical.FEATURES.index("word_cosine")] = np.linspace(0, 1, 200)
    return fit_trees([misled()], config).decision_function(grid)


def test_more_alike_is_never_less_likely() -> None:
    assert (np.diff(curve(PLAIN)) >= 0).all()
    assert (np.diff(curve(TreesConfig(rounds=40, least_leaf=5, alone=0.0, monotone=False))) < 0).any()
