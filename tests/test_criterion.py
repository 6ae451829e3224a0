"""The criterion ranks students as truth would, which it does not see, and sees through a teacher's mistakes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest

from er_distill import matching
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.training import judge, likely_truth
from er_distill.training.criterion import Criterion, exclusive_pairs

N, K, LABELLED = 400, 4, 100


@dataclass(frozen=True)
class World:
    """Queries 0 to N - 1 with K candidates each; every third has no match; the first LABELLED are labelled."""

    pairs: Pairs
    truth: np.ndarray
    votes: np.ndarray
    reference: np.ndarray


def world(seed: int = 0, teachers: int = 1, false_match: float = 0.5) -> World:
    rng = np.random.default_rng(seed)
    lists = (np.arange(N)[:, None] + np.arange(K)) % N
    truth = np.zeros((N, K), dtype=bool)
    has_match = np.arange(N) % 3 > 0
    truth[has_match, 0] = True  # the candidate with the query's own number, so no record matches two
    # A query without a match has a lure: its second candidate, which mostly belongs to the next query.
    votes = np.full((teachers, N, K), np.nan)
    votes[:, :LABELLED] = truth[:LABELLED]
    fooled = ~has_match[:LABELLED] & (rng.random((teachers, LABELLED)) < false_match)
    votes[:, :LABELLED, 1][fooled] = 1.0
    reference = np.clip(np.where(truth, 0.8, 0.1) + rng.normal(0, 0.05, (N, K)), 0.01, 0.99)
    reference[~has_match, 1] = 0.4
    pairs = Pairs(np.repeat(np.arange(N), K), lists.ravel(), N, N)
    return World(pairs, truth.ravel(), votes.reshape(teachers, -1), reference.ravel())


def judged(of: World, scores: np.ndarray, refits: np.ndarray | None = None) -> Criterion:
    likely = likely_truth(of.pairs, of.votes, of.reference)
    matched = decide(of, scores)
    return judge(of.pairs, likely, scores, matched, np.stack([matched, matched]) if refits is None else refits)


def decide(of: World, scores: np.ndarray) -> np.ndarray:
    return matching.one_to_one(of.pairs.left, of.pairs.right, scores)


def noisy(truth: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    flipped = np.random.default_rng(seed).random(len(truth)) < share
    return np.where(truth ^ flipped, 0.9, 0.1)


@pytest.mark.parametrize("teachers", [1, 4])
def test_a_false_match_is_doubted_where_another_query_has_the_better_claim(teachers: int) -> None:
    of = world(teachers=teachers)
    likely = likely_truth(of.pairs, of.votes, of.reference)
    assert (~np.isnan(likely)).sum() == LABELLED * K
    labelled = slice(0, LABELLED * K)
    is_match, fooled = of.truth[labelled], of.votes[0, labelled] > of.truth[labelled]
    likely = likely[labelled]
    assert likely[is_match].min() > 0.5
    assert likely[is_match].mean() > 0.8
    assert likely[fooled].max() < 0.5
    # Without one-to-one a pick has nothing against it but the reference and the other teachers.
    alone = likely_truth(of.pairs, of.votes, of.reference, one_to_one=False)[labelled]
    assert alone[fooled].mean() > likely[fooled].mean() + 0.05


def test_a_student_that_imitates_the_teachers_mistakes_is_worse_than_one_that_does_not() -> None:
    of = world()
    imitator = np.where(of.truth, 0.9, 0.1)
    imitator.reshape(N, K)[::3, 1] = 0.8  # says of every lure what the teacher says of half of them
    honest = np.where(of.truth, 0.9, 0.1)
    labelled = ~np.isnan(of.votes[0])

    def agreement(scores: np.ndarray) -> float:
        return float(((scores >= 0.5) == (of.votes[0] > 0.5))[labelled].mean())

    assert abs(agreement(imitator) - agreement(honest)) < 0.02  # agreement with the teacher cannot tell them apart
    assert judged(of, honest).value > judged(of, imitator).value + 0.02
    assert judged(of, honest).consistency == 1.0
    assert judged(of, imitator).consistency < 0.95


def test_fewer_mistakes_are_a_higher_value() -> None:
    of = world()
    values = [judged(of, noisy(of.truth, share)).value for share in (0.0, 0.05, 0.1, 0.2, 0.4)]
    assert values == sorted(values, reverse=True)
    assert all(0.0 <= value <= 1.0 for value in values)


def test_always_none_is_worth_nothing_however_consistent_and_stable() -> None:
    of = world()
    found = judged(of, np.full(len(of.truth), 0.1))
    assert (found.consistency, found.stability, found.value) == (1.0, 1.0, 0.0)


def test_stability_is_the_agreement_of_the_fits_where_there_are_no_labels() -> None:
    of = world()
    scores = np.where(of.truth, 0.9, 0.1)
    matched = decide(of, scores)
    other = matched.copy()
    other[: LABELLED * K] = False  # what a fit says of labelled pairs does not count
    assert judged(of, scores, np.stack([matched, other])).stability == 1.0
    other = decide(of, noisy(of.truth, 0.2))
    free = slice(LABELLED * K, None)
    f1 = 2 * (matched & other)[free].sum() / (matched[free].sum() + other[free].sum())
    assert judged(of, scores, np.stack([matched, other])).stability == pytest.approx(f1)


def test_the_order_of_the_pairs_does_not_matter() -> None:
    of = world(teachers=2)
    order = np.random.default_rng(5).permutation(len(of.truth))
    turned = World(of.pairs.take(order), of.truth[order], of.votes[:, order], of.reference[order])
    likely = likely_truth(of.pairs, of.votes, of.reference)
    np.testing.assert_allclose(likely_truth(turned.pairs, turned.votes, turned.reference), likely[order], atol=1e-9)
    scores = noisy(of.truth, 0.1)
    one, other = judged(of, scores), judged(turned, scores[order])
    np.testing.assert_allclose(
        exclusive_pairs(turned.pairs, turned.reference), exclusive_pairs(of.pairs, of.reference)[order], atol=1e-9
    )
    assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))


def test_probabilities_given_that_no_record_matches_two_queries() -> None:
    pairs = Pairs(np.array([0, 1, 2]), np.array([0, 0, 1]), 3, 2)
    alone = np.array([0.9, 0.6, 0.6])
    chance = exclusive_pairs(pairs, alone)
    assert chance[1] < 0.3 < chance[0] < 0.9
    assert chance[2] == pytest.approx(0.6)


def test_without_one_to_one_there_is_no_consistency() -> None:
    of = world()
    scores = np.where(of.truth, 0.9, 0.1)
    likely = likely_truth(of.pairs, of.votes, of.reference, one_to_one=False)
    found = judge(of.pairs, likely, scores, of.truth, np.stack([of.truth, of.truth]), one_to_one=False)
    assert found.consistency is None
    assert found.value == pytest.approx((found.truth * found.stability) ** 0.5)


def test_a_query_that_a_teacher_left_out_is_judged_by_the_others_and_none_has_no_truth() -> None:
    of = world(teachers=2)
    votes = of.votes.copy()
    votes[0, :K] = np.nan
    votes[:, K : 2 * K] = np.nan
    likely = likely_truth(of.pairs, votes, of.reference)
    assert not np.isnan(likely[:K]).any()
    assert np.isnan(likely[K : 2 * K]).all()


def test_what_does_not_fit_is_refused() -> None:
    of = world()
    likely = likely_truth(of.pairs, of.votes, of.reference)
    scores, two = of.reference, np.stack([of.truth, of.truth])
    with pytest.raises(InputError, match="one row a teacher"):
        likely_truth(of.pairs, of.votes[0], of.reference)
    with pytest.raises(InputError, match="reference must be"):
        likely_truth(of.pairs, of.votes, of.reference * 3)
    with pytest.raises(InputError, match="no answer"):
        likely_truth(of.pairs, np.full_like(of.votes, np.nan), of.reference)
    with pytest.raises(InputError, match="at most 1"):
        likely_truth(of.pairs, np.ones_like(of.votes), of.reference)
    with pytest.raises(InputError, match="scores must be"):
        judge(of.pairs, likely, scores * 3, of.truth, two)
    with pytest.raises(InputError, match="matched has the shape"):
        judge(of.pairs, likely, scores, of.truth[1:], two)
    with pytest.raises(InputError, match="fewer than two fits"):
        judge(of.pairs, likely, scores, of.truth, two[:1])
    with pytest.raises(InputError, match="no unlabelled pair"):
        judge(of.pairs, np.nan_to_num(likely), scores, of.truth, two)
