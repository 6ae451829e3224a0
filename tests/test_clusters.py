"""Clusters against brute-force oracles; order and direction; what average linkage withstands in a simulation."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill import graphs
from er_distill.errors import InputError
from er_distill.matching import clusters

Pairs = list[tuple[int, int, float]]
SCORES = st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0])  # few values, so that ties are common
THRESHOLDS = st.sampled_from([0.0, 0.3, 0.5, 0.95])
ONE_TABLE = st.tuples(st.integers(0, 6), st.integers(0, 6), SCORES).filter(lambda pair: pair[0] != pair[1])
ONE_TABLE_PAIRS = st.lists(ONE_TABLE, unique_by=lambda pair: frozenset(pair[:2]), max_size=20)


def columns(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(pairs, dtype=float).reshape(-1, 3)
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2]


@given(ONE_TABLE_PAIRS, THRESHOLDS, st.randoms(use_true_random=False))
def test_order_and_direction_change_no_cluster(pairs: Pairs, at: float, random: Any) -> None:
    turned = [
        (b, a, score) if random.random() < 0.5 else (a, b, score) for a, b, score in random.sample(pairs, len(pairs))
    ]
    repeated = turned + [(b, a, score / 2) for a, b, score in turned[:3]]
    for method in ("components", "average"):
        expected = clusters(7, *columns(pairs), at, method)
        np.testing.assert_array_equal(clusters(7, *columns(turned), at, method), expected)
        np.testing.assert_array_equal(clusters(7, *columns(repeated), at, method), expected)


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@given(ONE_TABLE_PAIRS, THRESHOLDS)
def test_components_join_what_a_chain_of_matches_joins(pairs: Pairs, at: float) -> None:
    groups = {frozenset({record}) for record in range(7)}
    for a, b, score in pairs:
        if score >= at:
            joined = [group for group in groups if a in group or b in group]
            groups = (groups - set(joined)) | {frozenset().union(*joined)}
    labels = clusters(7, *columns(pairs), at)
    assert partition(labels) == groups
    assert list(dict.fromkeys(labels.tolist())) == list(range(len(groups))), "numbered by first appearance"


def average_oracle(n_records: int, scored: dict[tuple[int, int], float], at: float) -> set[frozenset[int]]:
    """Average linkage from its definition: all averages computed anew before each merge."""
    groups = {frozenset({record}) for record in range(n_records)}
    while True:
        averages = []
        for one, other in combinations(sorted(groups, key=min), 2):
            between = [scored.get((min(pair), max(pair))) for pair in product(one, other)]
            known = [score for score in between if score is not None]
            if known:
                unknown = len(between) - len(known)
                averages.append((sum(known) / (len(known) + graphs.UNSCORED_WEIGHT * unknown), one, other))
        best = max(averages, key=lambda entry: entry[0], default=None)
        if best is None or best[0] < at:
            return groups
        groups = (groups - {best[1], best[2]}) | {best[1] | best[2]}


@given(st.integers(0, 2**32), st.integers(2, 14), st.floats(0.1, 1.0), st.sampled_from([0.2, 0.4, 0.5, 0.7]))
def test_average_linkage_follows_its_definition(seed: int, n_records: int, density: float, at: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(n_records, 1)
    kept = rng.random(len(first)) < density
    first, second, scores = first[kept], second[kept], rng.random(kept.sum())
    scored = {(a, b): s for a, b, s in zip(first.tolist(), second.tolist(), scores.tolist(), strict=True)}
    labels = clusters(n_records, first, second, scores, at, "average")
    assert partition(labels) == average_oracle(n_records, scored, at)
    assert list(dict.fromkeys(labels.tolist())) == list(range(labels.max() + 1)), "numbered by first appearance"


def test_records_without_pairs_are_entities_of_their_own() -> None:
    for method in ("components", "average"):
        assert clusters(3, [], [], [], method=method).tolist() == [0, 1, 2]  # type: ignore[arg-type]
        assert clusters(0, [], [], [], method=method).tolist() == []  # type: ignore[arg-type]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"method='averag'.*'average'"):
        clusters(2, [0], [1], [0.5], method="averag")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds code 2, but n_records=2"):
        clusters(2, [0], [2], [0.5])
    with pytest.raises(InputError, match="record 1 with itself"):
        clusters(2, [1], [1], [0.5])


def simulated(
    seed: int, unscored: float, low: float, chains: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Entities of 2 to 6 records with gaps and low scores inside, false pairs near 0.6 between, easy non-matches."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(200), rng.integers(2, 7, 200))
    first, second = np.triu_indices(len(truth), 1)
    inner = np.flatnonzero(truth[first] == truth[second])
    fate = rng.random(len(inner))
    inner_scores = np.where(fate < low, rng.beta(2, 18, len(inner)), rng.beta(18, 2, len(inner)))
    inner, inner_scores = (values[(fate < low) | (fate >= low + unscored)] for values in (inner, inner_scores))
    outer = rng.choice(np.flatnonzero(truth[first] != truth[second]), chains + 1500, replace=False)
    outer_scores = np.concatenate([rng.beta(12, 8, chains), rng.beta(1, 20, 1500)])
    pairs = np.concatenate([inner, outer])
    return truth, first[pairs], second[pairs], np.concatenate([inner_scores, outer_scores])


def pairwise_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    first, second = np.triu_indices(len(truth), 1)
    found, true = predicted[first] == predicted[second], truth[first] == truth[second]
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def f1_of(method: Any, world: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> float:
    return pairwise_f1(clusters(len(world[0]), *world[1:], method=method), world[0])


def test_clean_clusters_come_out_whole_either_way() -> None:
    world = simulated(0, unscored=0.0, low=0.0, chains=0)
    assert f1_of("components", world) == f1_of("average", world) == 1.0


@pytest.mark.parametrize(("unscored", "low"), [(0.0, 0.0), (0.1, 0.0), (0.2, 0.0), (0.0, 0.1), (0.0, 0.2), (0.1, 0.1)])
@pytest.mark.parametrize("chains", [60, 200])
def test_average_resists_chains_that_components_follow(unscored: float, low: float, chains: int) -> None:
    world = simulated(1, unscored, low, chains)
    assert f1_of("average", world) > 0.9 > 0.6 > f1_of("components", world)


@pytest.mark.parametrize("unscored", [0.1, 0.2])
def test_gaps_of_the_blocking_do_not_break_clusters(unscored: float) -> None:
    world = simulated(2, unscored, low=0.0, chains=0)
    assert f1_of("average", world) > f1_of("components", world) - 0.015


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("unscored", "chains"), [(0.0, 200), (0.1, 0), (0.2, 0), (0.2, 200)])
def test_no_other_weight_of_unscored_pairs_is_much_better(
    monkeypatch: pytest.MonkeyPatch, weight: float, unscored: float, chains: int
) -> None:
    worlds = [simulated(seed, unscored, 0.0, chains) for seed in (3, 4)]
    ours = np.mean([f1_of("average", world) for world in worlds])
    monkeypatch.setattr(graphs, "UNSCORED_WEIGHT", weight)
    assert ours > np.mean([f1_of("average", world) for world in worlds]) - 0.015
