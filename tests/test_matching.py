"""The matching rules against brute-force oracles; ties and order; bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from er_distill import graphs
from er_distill.errors import InputError
from er_distill.matching import beside_rivals, match, one_to_one, ranks, select, threshold, top_k

Pairs = list[tuple[int, int, float]]
SCORES = st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0])  # few values, so that ties are common
THRESHOLDS = st.sampled_from([0.0, 0.3, 0.5, 0.95])
TWO_TABLE = st.tuples(st.integers(0, 5), st.integers(0, 5), SCORES)
TWO_TABLE_PAIRS = st.lists(TWO_TABLE, unique_by=lambda pair: pair[:2], max_size=20)
ONE_TABLE = st.tuples(st.integers(0, 6), st.integers(0, 6), SCORES).filter(lambda pair: pair[0] != pair[1])
ONE_TABLE_PAIRS = st.lists(ONE_TABLE, unique_by=lambda pair: frozenset(pair[:2]), max_size=20)


def columns(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(pairs, dtype=float).reshape(-1, 3)
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2]


def chosen(pairs: Pairs, mask: np.ndarray) -> set[tuple[int, int, float]]:
    assert mask.dtype == np.bool_
    assert mask.shape == (len(pairs),)
    return {pair for pair, taken in zip(pairs, mask, strict=True) if taken}


@given(TWO_TABLE_PAIRS, THRESHOLDS)
def test_threshold_keeps_scores_at_or_above_it(pairs: Pairs, at: float) -> None:
    assert chosen(pairs, threshold(columns(pairs)[2], at)) == {pair for pair in pairs if pair[2] >= at}


@given(TWO_TABLE_PAIRS, st.none() | THRESHOLDS, st.integers(1, 4))
def test_select_and_top_k_follow_the_sorted_list_of_each_query(pairs: Pairs, at: float | None, k: int) -> None:
    left, right, scores = columns(pairs)
    lists = [sorted((p for p in pairs if p[0] == query), key=lambda p: (-p[2], p[1])) for query in range(6)]
    best = {candidates[0] for candidates in lists if candidates and (at is None or candidates[0][2] >= at)}
    assert chosen(pairs, select(left, scores, at, right=right)) == best
    assert chosen(pairs, top_k(left, scores, k, right=right)) == {p for candidates in lists for p in candidates[:k]}
    rank = dict(zip(pairs, ranks(left, scores, right=right).tolist(), strict=True))
    assert rank == {p: place for candidates in lists for place, p in enumerate(candidates)}


def greedy_oracle(pairs: Pairs, at: float, one_table: bool) -> set[tuple[int, int, float]]:
    used: set[Any] = set()
    taken = set()
    for a, b, score in sorted(pairs, key=lambda p: (-p[2], min(p[:2]), max(p[:2])) if one_table else (-p[2], *p[:2])):
        ends = {a, b} if one_table else {("left", a), ("right", b)}
        if score >= at and not used & ends:
            used |= ends
            taken.add((a, b, score))
    return taken


@given(TWO_TABLE_PAIRS, THRESHOLDS)
def test_greedy_takes_pairs_by_score_while_both_records_are_free(pairs: Pairs, at: float) -> None:
    assert chosen(pairs, one_to_one(*columns(pairs), at)) == greedy_oracle(pairs, at, one_table=False)


@given(ONE_TABLE_PAIRS, THRESHOLDS)
def test_in_one_table_a_record_is_used_on_either_side(pairs: Pairs, at: float) -> None:
    taken = chosen(pairs, one_to_one(*columns(pairs), at, one_table=True))
    assert taken == greedy_oracle(pairs, at, one_table=True)
    assert len({record for a, b, _ in taken for record in (a, b)}) == 2 * len(taken)


def test_greedy_holds_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    left, right, scores = rng.integers(0, 80, 900), rng.integers(0, 80, 900), rng.random(900)
    whole = one_to_one(left, right, scores, 0.2)
    monkeypatch.setattr(graphs, "CHUNK", 7)
    np.testing.assert_array_equal(one_to_one(left, right, scores, 0.2), whole)
    assert 60 < whole.sum() <= 80


def best_total(left: np.ndarray, right: np.ndarray, scores: np.ndarray, at: float) -> float:
    dense = np.zeros((left.max(initial=0) + 1, right.max(initial=0) + 1))
    kept = scores >= at
    np.maximum.at(dense, (left[kept], right[kept]), scores[kept])
    return float(dense[linear_sum_assignment(dense, maximize=True)].sum())


def assert_optimal(left: np.ndarray, right: np.ndarray, scores: np.ndarray, at: float) -> np.ndarray:
    mask = one_to_one(left, right, scores, at, "optimal")
    assert scores[mask].min(initial=1.0) >= at
    assert len(set(left[mask])) == len(set(right[mask])) == mask.sum()
    assert scores[mask].sum() == pytest.approx(best_total(left, right, scores, at), abs=1e-7)
    return mask


@given(TWO_TABLE_PAIRS, THRESHOLDS)
def test_optimal_has_the_highest_total_score(pairs: Pairs, at: float) -> None:
    left, right, scores = columns(pairs)
    mask = assert_optimal(left, right, scores, at)
    free = ~np.isin(left, left[mask]) & ~np.isin(right, right[mask])
    assert not (free & (scores >= at)).any(), "a pair of two unused records was left out"


@pytest.mark.parametrize(("records", "pairs"), [(2000, 2200), (700, 3000)], ids=["many components", "a giant one"])
def test_optimal_holds_across_blocks(records: int, pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    left, right = rng.integers(0, records, pairs), rng.integers(0, records, pairs)
    assert assert_optimal(left, right, rng.random(pairs), 0.1).sum() > graphs.BLOCK_ROWS


def test_optimal_gives_up_the_best_pair_for_a_better_whole() -> None:
    left, right, scores = [0, 0, 1], [0, 1, 0], [0.9, 0.8, 0.8]
    assert one_to_one(left, right, scores).tolist() == [True, False, False]
    assert one_to_one(left, right, scores, method="optimal").tolist() == [False, True, True]


@given(TWO_TABLE_PAIRS, THRESHOLDS, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_changes_no_match(pairs: Pairs, at: float, random: Any) -> None:
    shuffled = random.sample(pairs, len(pairs))
    for rule in ({"matching": "one_to_one"}, {"matching": "one_to_one", "optimal": True}, {"matching": "many_to_one"}):
        first, second = (chosen(some, match(*columns(some), at=at, **rule)) for some in (pairs, shuffled))
        assert first == second


@pytest.mark.parametrize("method", ["greedy", "optimal"])
def test_a_repeated_pair_counts_once_with_its_higher_score(method: Any) -> None:
    mask = one_to_one([0, 0, 0, 1], [0, 0, 1, 1], [0.5, 0.6, 0.9, 0.5], method=method)
    assert mask.tolist() == ([False, False, True, False] if method == "greedy" else [False, True, False, True])


MATCH_PAIRS = ([0, 0, 1, 1, 2], [0, 1, 0, 1, 2], [0.9, 0.8, 0.7, 0.1, 0.2])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"matching": "one_to_one"}, [1, 0, 0, 0, 0]),
        ({"matching": "one_to_one", "optimal": True}, [0, 1, 1, 0, 0]),
        ({"matching": "one_to_one", "at": 0.1}, [1, 0, 0, 1, 1]),
        ({"matching": "many_to_one"}, [1, 0, 1, 0, 0]),
        ({"matching": "many_to_one", "at": 0.2}, [1, 0, 1, 0, 1]),
        ({"matching": "best"}, [1, 0, 1, 0, 1]),
        ({"matching": "best", "at": 0.5}, [1, 0, 1, 0, 0]),
        ({"matching": "all"}, [1, 1, 1, 0, 0]),
        ({"matching": "all", "at": 0.15}, [1, 1, 1, 0, 1]),
    ],
)
def test_match_means_what_its_names_say(arguments: dict[str, Any], expected: list[int]) -> None:
    assert match(*MATCH_PAIRS, **arguments).astype(int).tolist() == expected


def test_best_ranks_scores_on_any_scale() -> None:
    assert match([0, 0, 1], [0, 1, 1], [-3.0, 12.0, -8.0], matching="best").tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matching": "one_to_on"}, "'one_to_one'"),
        ({"matching": "all", "optimal": True}, "optimal"),
        ({"matching": "best", "one_table": True}, "no direction"),
        ({"matching": "many_to_one", "one_table": True}, "no direction"),
        ({"matching": "one_to_one", "optimal": True, "one_table": True}, "'optimal' needs a left and a right table"),
        ({"matching": "all", "at": float("nan")}, "at=nan"),
        ({"matching": "best", "at": 1.5}, "at=1.5"),
        ({"matching": "one_to_one", "at": -0.1}, "at=-0.1"),
        ({"matching": "all", "at": "high"}, "at='high'"),
    ],
)
def test_match_refuses_what_has_no_meaning(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        match([0, 1], [2, 3], [0.5, 0.6], **arguments)


@pytest.mark.parametrize(
    ("left", "right", "scores", "message"),
    [
        ([0, 1], [0, 1], [0.5, float("nan")], "scores holds 1 values that are NaN"),
        ([0, 1], [0, 1], [0.5, 3.0], r"between 0.5 and 3"),
        ([0, 1], [0, 1], ["a", "b"], "scores must be numbers"),
        ([0, 1], [0, 1], [[0.5], [0.5]], "scores must be a list"),
        ([0, 1], [0, 1], [0.5], "2, 2 and 1"),
        ([0, -1], [0, 1], [0.5, 0.5], "left holds the negative code -1"),
        ([0, 1], [0.0, 1.5], [0.5, 0.5], "right must be a list of integer"),
    ],
)
@pytest.mark.parametrize("matching", ["one_to_one", "many_to_one", "all"])
def test_match_refuses_unusable_pairs(left: Any, right: Any, scores: Any, message: str, matching: Any) -> None:
    with pytest.raises(InputError, match=message):
        match(left, right, scores, matching=matching)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="k=0"):
        top_k([0], [0.5], 0, right=[1])
    with pytest.raises(InputError, match=r"method='optima'.*'optimal'"):
        one_to_one([0], [1], [0.5], method="optima")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="record 1 with itself"):
        one_to_one([1], [1], [0.5], one_table=True)


def test_no_pairs_are_no_matches() -> None:
    for matching in ("one_to_one", "many_to_one", "best", "all"):
        assert match([], [], [], matching=matching).shape == (0,)  # type: ignore[arg-type]
    assert match([], [], [], matching="one_to_one", optimal=True).shape == (0,)


def test_inputs_are_never_changed() -> None:
    left, right, scores = np.array([3, 0, 1, 0]), np.array([0, 1, 3, 2]), np.array([0.9, 0.8, 0.6, 0.2])
    for array in (left, right, scores):
        array.setflags(write=False)
    for optimal in (False, True):
        match(left, right, scores, matching="one_to_one", optimal=optimal)
    match(left, right, scores, matching="one_to_one", one_table=True)
    select(left, scores, right=right)
    assert (left.tolist(), right.tolist(), scores.tolist()) == ([3, 0, 1, 0], [0, 1, 3, 2], [0.9, 0.8, 0.6, 0.2])


@given(TWO_TABLE_PAIRS)
def test_rivals_of_one_record_share_its_match(pairs: Pairs) -> None:
    """With a single left record: of all combinations of independent pairs, those with at most one match."""
    pairs = [(0, k, score) for k, (_, _, score) in enumerate(pairs) if 0 < score < 1]
    left, right, scores = columns(pairs)
    none = np.prod(1 - scores)
    alone = np.array([np.prod(np.delete(1 - scores, k)) * scores[k] for k in range(len(scores))])
    np.testing.assert_allclose(beside_rivals(left, right, scores), alone / (none + alone.sum()), rtol=1e-6)


@given(TWO_TABLE_PAIRS, st.randoms())
def test_rivals_count_in_any_order_and_only_against_a_pair(pairs: Pairs, random: Any) -> None:
    order = random.sample(range(len(pairs)), len(pairs))
    left, right, scores = columns(pairs)
    beside = beside_rivals(left, right, scores)
    np.testing.assert_array_equal(beside_rivals(left[order], right[order], scores[order]), beside[order])
    assert (beside <= scores + 1e-8).all()


@given(ONE_TABLE_PAIRS)
def test_in_one_table_every_pair_of_a_record_is_a_rival(pairs: Pairs) -> None:
    left, right, scores = columns(pairs)
    beside = beside_rivals(left, right, scores, one_table=True)
    np.testing.assert_allclose(beside_rivals(right, left, scores, one_table=True), beside)
    lonely = [k for k in range(len(pairs)) if np.isin([left, right], [left[k], right[k]]).any(axis=0).sum() == 1]
    np.testing.assert_allclose(beside[lonely], scores[lonely], atol=1e-8)
