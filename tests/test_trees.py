"""The trees keep to the directions of the features, and to none where they are not asked to."""

from __future__ import annotations

import numpy as np
import pytest

from er_distill.lexical import DIRECTIONS, FEATURES

pytest.importorskip("sklearn")

from er_distill.training.trees import TreesConfig, TreeTask, fit_trees

pytestmark = pytest.mark.train

CONFIG = TreesConfig(rounds=40, least_leaf=5, alone=0.0)


def misled() -> TreeTask:
    """Labels that a teacher got wrong in one stretch: alike records there are called no match."""
    rng = np.random.default_rng(0)
    features = np.zeros((800, len(FEATURES)), dtype=np.float32)
    alike = features[:, FEATURES.index("word_cosine")] = rng.random(800, dtype=np.float32)
    target = ((alike > 0.4) & ~((alike > 0.7) & (alike < 0.8))).astype(np.float32)
    return TreeTask(features, target, 1.0)


def curve(config: TreesConfig) -> np.ndarray:
    grid = np.zeros((200, len(FEATURES)), dtype=np.float32)
    grid[:, FEATURES.index("word_cosine")] = np.linspace(0, 1, 200)
    return fit_trees([misled()], config).decision_function(grid)


def test_more_alike_is_never_less_likely() -> None:
    assert (np.diff(curve(CONFIG)) >= 0).all()
    assert (np.diff(curve(TreesConfig(rounds=40, least_leaf=5, alone=0.0, monotone=False))) < 0).any()


def test_every_feature_has_a_direction() -> None:
    direction = dict(zip(FEATURES, DIRECTIONS, strict=True))
    assert direction["gram_cosine"] == direction["key_field_margin_least"] == 1
    assert direction["number_unshared_most"] == direction["field_conflicts"] == -1
    assert direction["words_most"] == direction["list_length_least"] == direction["one_table"] == 0
