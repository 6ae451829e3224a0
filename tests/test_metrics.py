"""The measures against brute-force oracles and, where it is installed, scikit-learn."""

from __future__ import annotations

import importlib
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill.errors import InputError
from er_distill.matching import select
from er_distill.metrics import (
    PairScores,
    accuracy_at,
    average_precision,
    best_threshold,
    blocking_scores,
    cluster_scores,
    expected_calibration_error,
    expected_f1_threshold,
    label_pairs,
    mean_reciprocal_rank,
    pair_scores,
    precision_recall_curve,
    select_accuracy,
)

IDS = st.sampled_from(["a", "b", "c", 1, "1", ("a", 1)])
PAIRS = st.lists(st.tuples(IDS, IDS), max_size=15)
SCORED_QUERIES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.1, 0.4, 0.6, 0.9])),
    unique_by=lambda pair: pair[:2],
    min_size=1,
    max_size=15,
)
CODE_PAIRS = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=8)
LABELLED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]) | st.floats(0, 1)), min_size=1
)
WITH_A_MATCH = LABELLED.filter(lambda rows: any(label for label, _ in rows))


def sides(pairs: Any) -> tuple[list[Any], list[Any]]:
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def scores_of_sets(predicted: set[Any], true: set[Any]) -> PairScores:
    both = len(predicted & true)
    precision = both / len(predicted) if predicted else float(not true)
    recall = both / len(true) if true else float(not predicted)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return PairScores(precision, recall, pytest.approx(f1), both, len(predicted - true), len(true - predicted))


@given(PAIRS, PAIRS)
def test_pair_scores_compare_two_sets(predicted: list[Any], true: list[Any]) -> None:
    assert pair_scores(*sides(predicted), *sides(true)) == scores_of_sets(set(predicted), set(true))
    undirected = ({frozenset(pair) for pair in pairs} for pairs in (predicted, true))
    assert pair_scores(*sides(predicted), *sides(true), one_table=True) == scores_of_sets(*undirected)
    labels = [pair in set(true) for pair in predicted]
    assert label_pairs(*sides(predicted), *sides(true)).tolist() == labels


@given(CODE_PAIRS, CODE_PAIRS)
def test_ids_of_any_kind_give_the_same_scores(predicted: set[Any], true: set[Any]) -> None:
    columns = [np.array(side) for side in (*sides(predicted), *sides(true))]
    expected = scores_of_sets(predicted, true)
    assert pair_scores(*columns) == expected
    assert pair_scores(*(column.astype("U") for column in columns)) == expected
    assert pair_scores(*(column.astype(object) for column in columns[:2]), *columns[2:]) == expected
    assert pair_scores(*(column.astype(np.uint8) for column in columns[:2]), *columns[2:]) == expected


def test_pair_scores_without_pairs() -> None:
    assert pair_scores([], [], [], []) == PairScores(1.0, 1.0, 1.0, 0, 0, 0)
    assert pair_scores([], [], [1], [2]) == PairScores(0.0, 0.0, 0.0, 0, 0, 1)
    assert pair_scores([1], [2], [], []) == PairScores(0.0, 0.0, 0.0, 0, 1, 0)


@given(SCORED_QUERIES, CODE_PAIRS, st.sampled_from([0.0, 0.5, 1.0]))
def test_select_accuracy_is_the_share_of_right_choices(scored: list[Any], true: set[Any], at: float) -> None:
    query, candidate = (np.array(side) for side in sides(scored))
    chosen = select(query, [pair[2] for pair in scored], at, right=candidate)
    right = []
    for one in set(query.tolist()):
        matches = {pair[1] for pair in scored if pair[0] == one and pair[:2] in true}
        choice = {pair[1] for pair, taken in zip(scored, chosen, strict=True) if taken and pair[0] == one}
        right.append(choice <= matches if choice else not matches)
    assert select_accuracy(query, candidate, chosen, *sides(true)) == pytest.approx(np.mean(right))


def test_select_accuracy_asks_nothing_of_a_match_that_blocking_lost() -> None:
    assert select_accuracy(["q", "q"], ["x", "y"], [False, False], ["q"], ["z"]) == 1.0
    assert select_accuracy(["q", "q"], ["x", "y"], [False, False], ["q"], ["y"]) == 0.0


@given(SCORED_QUERIES, CODE_PAIRS, st.integers(1, 4))
def test_ranking_measures_look_for_the_first_true_candidate(scored: list[Any], true: set[Any], k: int) -> None:
    places = []
    for query in {pair[0] for pair in true}:
        ranked = sorted((pair for pair in scored if pair[0] == query), key=lambda pair: (-pair[2], pair[1]))
        places.append(next((place for place, pair in enumerate(ranked, 1) if pair[:2] in true), np.inf))
    arguments = (*sides(scored), [pair[2] for pair in scored], *sides(true))
    assert accuracy_at(*arguments, k=k) == pytest.approx(np.mean([place <= k for place in places]))
    assert mean_reciprocal_rank(*arguments) == pytest.approx(np.mean([1 / place for place in places]))


def test_a_query_without_candidates_is_a_miss() -> None:
    arguments = (["q"], ["x"], [0.3], ["q", "lost"], ["x", "x"])
    assert accuracy_at(*arguments, k=1) == mean_reciprocal_rank(*arguments) == 0.5
    assert accuracy_at([], [], [], ["q"], ["x"], k=3) == mean_reciprocal_rank([], [], [], ["q"], ["x"]) == 0.0


@given(WITH_A_MATCH)
def test_curve_decides_equal_scores_together(rows: list[tuple[bool, float]]) -> None:
    labels, scores = (np.array(column) for column in sides(rows))
    curve = precision_recall_curve(labels, scores)
    assert curve.thresholds.tolist() == sorted(set(scores.tolist()), reverse=True)
    for at, precision, recall in zip(curve.thresholds, curve.precision, curve.recall, strict=True):
        assert precision == pytest.approx(labels[scores >= at].mean())
        assert recall == pytest.approx(labels[scores >= at].sum() / labels.sum())


@given(WITH_A_MATCH)
def test_best_threshold_has_the_highest_f1(rows: list[tuple[bool, float]]) -> None:
    labels, scores = (np.array(column) for column in sides(rows))

    def f1(at: float) -> float:
        return float(2 * labels[scores >= at].sum() / ((scores >= at).sum() + labels.sum()))

    best = best_threshold(labels, scores)
    assert best.f1 == pytest.approx(max(f1(at) for at in scores))
    assert f1(best.threshold) == pytest.approx(best.f1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_no_threshold_has_a_higher_expected_f1(probabilities: list[float]) -> None:
    scores = np.array(probabilities)

    def expected(at: float) -> float:
        called = scores >= at
        whole = called.sum() + scores.sum()
        return 2 * scores[called].sum() / whole if whole else 0.0

    at = expected_f1_threshold(scores)
    assert at in scores
    assert all(expected(at) >= expected(other) - 1e-9 for other in scores)


def test_where_a_matcher_is_unsure_less_is_enough_for_a_match() -> None:
    assert expected_f1_threshold([1, 1, 1, 0, 0]) == 1
    assert expected_f1_threshold([0.9, 0.8, 0.45, 0.1, 0.1]) == 0.45
    assert expected_f1_threshold([]) == 1


def test_best_threshold_keeps_its_distance() -> None:
    assert best_threshold([1, 1, 0, 0], [0.9, 0.8, 0.4, 0.1]) == (pytest.approx(0.6), 1.0)
    assert best_threshold([1, 1], [0.9, 0.3]) == (0.3, 1.0)
    just_below = np.nextafter(0.5, 0.0)
    assert best_threshold([1, 0], [0.5, just_below]) == (0.5, 1.0)


@pytest.fixture(scope="module")
def sklearn_metrics() -> Any:
    return importlib.import_module("sklearn.metrics")


@pytest.mark.needs("sklearn")
@given(rows=WITH_A_MATCH)
def test_curve_agrees_with_scikit_learn(sklearn_metrics: Any, rows: list[tuple[bool, float]]) -> None:
    labels, scores = (np.array(column) for column in sides(rows))
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(labels, scores)
    curve = precision_recall_curve(labels, scores)
    np.testing.assert_array_equal(curve.thresholds[::-1], thresholds)
    np.testing.assert_allclose(curve.precision[::-1], precision[:-1])
    np.testing.assert_allclose(curve.recall[::-1], recall[:-1])
    assert average_precision(labels, scores) == pytest.approx(sklearn_metrics.average_precision_score(labels, scores))


def test_average_precision_by_hand() -> None:
    assert average_precision([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]) == pytest.approx(0.5)


def test_blocking_scores_of_two_tables_and_of_one() -> None:
    two = blocking_scores([0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 2], [0, 1, 2], n_left=3, n_right=4)
    assert (two.pair_completeness, two.pairs_quality) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (two.reduction_ratio, two.candidates, two.lost_matches) == (pytest.approx(1 - 3 / 12), 3, 1)
    one = blocking_scores(["a", "b", "c"], ["b", "a", "a"], ["b"], ["a"], n_left=4)
    assert (one.pair_completeness, one.pairs_quality) == (1.0, 0.5)
    assert (one.reduction_ratio, one.candidates, one.lost_matches) == (pytest.approx(1 - 2 / 6), 2, 0)
    assert blocking_scores([], [], [], [], n_left=1).reduction_ratio == 0.0


LABELS = st.integers(0, 4)


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=25))
def test_cluster_scores_count_what_enumeration_counts(rows: list[tuple[int, int]]) -> None:
    predicted, true = (np.array(side) for side in sides(rows))
    same_predicted, same_true = predicted[:, None] == predicted, true[:, None] == true
    both = (same_predicted & same_true).sum(axis=1)
    precision, recall = (both / same_predicted.sum(axis=1)).mean(), (both / same_true.sum(axis=1)).mean()
    pairs = [{pair for pair in combinations(range(len(rows)), 2) if same[pair]} for same in (same_predicted, same_true)]
    expected = scores_of_sets(*pairs)
    result = cluster_scores([f"cluster {label}" for label in predicted], true)
    assert result.b_cubed_precision == pytest.approx(precision)
    assert result.b_cubed_recall == pytest.approx(recall)
    assert result.b_cubed_f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert result.pair_precision == expected.precision
    assert (result.pair_recall, result.pair_f1) == (expected.recall, expected.f1)


@pytest.mark.needs("sklearn")
def test_cluster_pairs_agree_with_scikit_learn(sklearn_metrics: Any) -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, 40, 500), rng.integers(0, 40, 500)
    (_, wrong), (missed, found) = sklearn_metrics.cluster.pair_confusion_matrix(true, predicted)
    result = cluster_scores(predicted, true)
    assert result.pair_precision == pytest.approx(found / (found + wrong))
    assert result.pair_recall == pytest.approx(found / (found + missed))


def test_clusters_of_single_records_that_are_right_are_perfect() -> None:
    result = cluster_scores([0, 1, 2], ["x", "y", "z"])
    assert (result.pair_precision, result.pair_recall, result.pair_f1, result.b_cubed_f1) == (1.0, 1.0, 1.0, 1.0)


def test_calibration_error_of_equal_bins_by_hand() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.permutation(np.linspace(0.01, 0.99, 60))
    labels = rng.random(60) < probabilities**2
    order = np.argsort(probabilities)
    bins = order.reshape(6, 10)
    expected = np.mean([abs(labels[one].mean() - probabilities[one].mean()) for one in bins])
    assert expected > 0.1
    assert expected_calibration_error(labels, probabilities, bins=6) == pytest.approx(expected)
    assert expected_calibration_error(labels, probabilities, bins=1) == pytest.approx(
        abs(labels.mean() - probabilities.mean())
    )


def test_calibration_error_keeps_equal_probabilities_together() -> None:
    labels = [1, 0, 1, 0, 1, 0, 0, 0, 0, 1]
    assert expected_calibration_error(labels, [0.4] * 10, bins=5) == pytest.approx(0.0)
    assert expected_calibration_error([1, 1, 0, 0], [0.2, 0.2, 0.8, 0.8], bins=2) == pytest.approx(0.8)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 3)), min_size=1), st.randoms())
def test_a_weight_is_a_number_of_copies_in_any_order(rows: list[tuple[bool, float, int]], random: Any) -> None:
    rows = [*rows, (True, 0.3, 1)]
    copies = [row for row in rows for _ in range(row[2])]
    labels, probabilities, weights = zip(*random.sample(rows, len(rows)), strict=True)
    weighted = expected_calibration_error(labels, probabilities, bins=4, weights=weights)
    assert weighted == pytest.approx(expected_calibration_error(*sides(copies), bins=4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_scores([1, 2], [1], [], []), "left and right hold 2 and 1 ids"),
        (lambda: pair_scores([], [], [1], []), "true_left and true_right hold 1 and 0"),
        (lambda: select_accuracy([], [], [], [1], [1]), "query is empty"),
        (lambda: select_accuracy([1, 1], [1, 2], [True, True], [1], [1]), "marks 2 candidates of one query"),
        (lambda: select_accuracy([1, 1], [1, 2], [True], [1], [1]), "chosen must be 2 values"),
        (lambda: accuracy_at([1], [1], [0.5], [], [], k=1), "true_query is empty"),
        (lambda: accuracy_at([1], [1], [0.5], [1], [1], k=0), "k=0"),
        (lambda: mean_reciprocal_rank([1], [1], [np.nan], [1], [1]), "scores holds 1 values"),
        (lambda: precision_recall_curve([0, 0], [0.1, 0.2]), "labels hold no match"),
        (lambda: average_precision([], []), "labels hold no match"),
        (lambda: best_threshold([1, 2], [0.1, 0.2]), "labels must be 2 values of True/False"),
        (lambda: best_threshold([1, 0], [0.1, np.inf]), "NaN or infinite"),
        (lambda: blocking_scores([1, 1], [2, 3], [1], [2], n_left=1, n_right=1), "2 distinct pairs"),
        (lambda: cluster_scores([1], [1, 2]), "hold 1 and 2 labels"),
        (lambda: cluster_scores([], []), "hold 0 and 0 labels"),
        (lambda: expected_calibration_error([1], [1.5]), r"in \[0, 1\]"),
        (lambda: expected_calibration_error([], []), "at least one"),
        (lambda: expected_calibration_error([1], [0.5], bins=0), "bins=0"),
        (lambda: expected_calibration_error([1], [0.5], weights=[0.0]), "not all 0"),
        (lambda: expected_calibration_error([1], [0.5], weights=[-1.0]), "none negative"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
