"""The error model: it finds rates it was not told, and nothing depends on the order of anything."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill.errors import ErDistillWarning, InputError
from er_distill.training import agreement
from er_distill.training.agreement import ErrorRates, estimate
from er_distill.training.exclusion import at_most_one, exclusive

RATES = (
    ErrorRates(0.15, 0.10, 0.60),
    ErrorRates(0.02, 0.05, 0.35),
    ErrorRates(0.05, 0.03, 0.15),
    ErrorRates(0.08, 0.02, 0.10),
)


def simulate(
    n: int,
    seed: int,
    rates: tuple[ErrorRates, ...] = RATES,
    *,
    none: float = 0.3,
    stray: float = 0.2,
    silent: float = 0.05,
) -> tuple[list[np.ndarray], list[int]]:
    """Draw questions from the model itself: the votes, and the truth of each (k for none)."""
    rng = np.random.default_rng(seed)
    votes, truth = [], []
    for _ in range(n):
        k = int(rng.integers(1, 8))
        true = k if rng.random() < none else int(rng.integers(k))
        others = [place for place in range(k) if place != true]
        lure = int(rng.choice(others)) if others else 0
        strays = [place for place in others if place != lure]
        answers = np.zeros((len(rates), k + 1))
        for row, rate in zip(answers, rates, strict=True):
            wrong_pick = int(rng.choice(strays)) if strays and rng.random() < stray else lure
            if rng.random() < silent:
                row[:] = np.nan
            elif true == k:
                row[wrong_pick if rng.random() < rate.false_match else k] = 1
            elif rng.random() < rate.miss:
                row[k] = 1
            else:
                row[wrong_pick if others and rng.random() < rate.wrong else true] = 1
        votes.append(answers)
        truth.append(true)
    return votes, truth


def right(labels: list[np.ndarray] | tuple[np.ndarray, ...], truth: list[int]) -> float:
    return float(np.mean([label.argmax() == true for label, true in zip(labels, truth, strict=True)]))


def majority(votes: list[np.ndarray]) -> list[np.ndarray]:
    return [np.nansum(answers, axis=0) for answers in votes]


@pytest.mark.parametrize("seed", [0, 1])
def test_rates_of_simulated_teachers_are_found(seed: int) -> None:
    votes, truth = simulate(3000, seed)
    found = estimate(votes)
    for rate, known in zip(found.rates, RATES, strict=True):
        assert vars(rate) == pytest.approx(vars(known), abs=0.05)
    assert found.none == pytest.approx(0.3, abs=0.03)
    assert found.stray == pytest.approx(0.2, abs=0.08)
    assert right(found.labels, truth) > right(majority(votes), truth) + 0.01
    # Where it says 90 %, nine of ten are right.
    surest = np.array([label.max() for label in found.labels])
    assert surest.mean() == pytest.approx(right(found.labels, truth), abs=0.01)


def test_two_who_fall_for_the_same_candidate_do_not_prove_it() -> None:
    votes, _ = simulate(2000, 3, silent=0)
    # The two careless teachers pick a candidate, the two careful ones none.
    pattern = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]], dtype=float)
    assert estimate([*votes, pattern]).labels[-1][-1] > 0.8
    # One careless and one careful teacher are another matter.
    pattern = np.array([[0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    assert estimate([*votes, pattern]).labels[-1][0] > 0.5


def test_the_objective_never_falls_and_settles() -> None:
    for seed in range(5):
        objective = np.array(estimate(simulate(80, seed)[0]).objective)
        assert (np.diff(objective) >= -1e-9 * abs(objective[-1])).all()
        assert 3 < len(objective) < agreement.MOST_ROUNDS


def test_rates_that_do_not_settle_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MOST_ROUNDS", 2)
    with pytest.warns(ErDistillWarning, match="have not settled in 2 rounds"):
        estimate(simulate(30, 0)[0])


@st.composite
def any_votes(draw: st.DrawFn) -> list[np.ndarray]:
    """Few questions, hard and soft answers, abstentions; any pattern whatever."""
    n_teachers = draw(st.integers(1, 4))
    questions = []
    for _ in range(draw(st.integers(1, 8))):
        k = draw(st.integers(1, 4))
        rows = np.zeros((n_teachers, k + 1))
        for row in rows:
            kind = draw(st.sampled_from(["hard", "hard", "soft", "silent"]))
            row[draw(st.integers(0, k))] = 1
            if kind == "soft":
                row[:] = 0.6 * row + 0.4 / (k + 1)
            elif kind == "silent":
                row[:] = np.nan
        questions.append(rows)
    return questions


@given(any_votes(), st.randoms(use_true_random=False))
def test_no_order_matters(votes: list[np.ndarray], random: object) -> None:
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ErDistillWarning)  # odd answers to few questions may take long
        found = estimate(votes)
        teachers, questions = rng.permutation(len(votes[0])), rng.permutation(len(votes))
        candidates = [np.append(rng.permutation(answers.shape[1] - 1), -1) for answers in votes]
        moved = estimate([votes[q][teachers][:, candidates[q]] for q in questions])
    for label in found.labels:
        assert label.sum() == pytest.approx(1)
        assert (label >= 0).all()
    for q, label in zip(questions, moved.labels, strict=True):
        assert label == pytest.approx(found.labels[q][candidates[q]], abs=1e-4)
    for j, rate in zip(teachers, moved.rates, strict=True):
        assert vars(rate) == pytest.approx(vars(found.rates[j]), abs=1e-4)


def test_abstentions_take_no_side() -> None:
    votes, _ = simulate(200, 5, silent=0)
    nobody = np.full((4, 4), np.nan)
    with_silence = estimate([*votes, nobody])
    alone = estimate(votes)
    assert with_silence.labels[0] == pytest.approx(alone.labels[0], abs=0.01)
    share = (1 - with_silence.none) / 3  # of a question nobody answers only what holds for all is known
    assert with_silence.labels[-1] == pytest.approx([share, share, share, with_silence.none], abs=1e-6)
    # A teacher that never answers changes nothing for the others.
    fifth = estimate([np.vstack([answers, np.full(answers.shape[1], np.nan)]) for answers in votes])
    assert [vars(rate) for rate in fifth.rates[:4]] == [pytest.approx(vars(rate), abs=1e-6) for rate in alone.rates]


def test_candidates_on_a_par_stay_on_a_par() -> None:
    votes, _ = simulate(200, 6, silent=0)
    split = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=float)
    mirrored = split[:, [1, 0, 2]]
    *_, one, other = estimate([*votes, split, mirrored]).labels
    assert one == pytest.approx(other[[1, 0, 2]], abs=1e-9)
    none_voted = np.array([[1, 0, 0, 0]] * 4, dtype=float)
    label = estimate([*votes, none_voted]).labels[-1]
    assert label[1] == label[2]


def test_a_prior_speaks_where_teachers_do_not() -> None:
    votes, _ = simulate(200, 7, silent=0)
    votes = [answers for answers in votes if answers.shape[1] == 4]
    silent = np.full((4, 4), np.nan)
    prior = [np.ones(3)] * len(votes) + [np.array([6.0, 3.0, 1.0])]
    found = estimate([*votes, silent], prior=prior)
    assert found.labels[-1][:3] == pytest.approx(np.array([0.6, 0.3, 0.1]) * (1 - found.none), abs=1e-6)
    assert found.labels[0] == pytest.approx(estimate([*votes, silent]).labels[0], abs=1e-6)  # its prior is even


def test_weights_make_a_teacher_count_for_less() -> None:
    votes, _ = simulate(300, 8, silent=0)
    # A copy of the least careful teacher, at half the weight of each, leaves what one of them said.
    copied = [np.vstack([answers, answers[0]]) for answers in votes]
    halved = estimate(copied, weights=[0.5, 1, 1, 1, 0.5])
    for label, known in zip(halved.labels, estimate(votes).labels, strict=True):
        assert label == pytest.approx(known, abs=0.03)
    assert vars(halved.rates[0]) == pytest.approx(vars(halved.rates[4]))


@pytest.mark.parametrize(
    ("votes", "more", "message"),
    [
        ([], {}, "votes holds no question"),
        ([[[1.0]]], {}, r"votes\[0\] has the shape \(1, 1\)"),
        ([[[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]], {}, r"votes\[1\] has the shape"),
        ([[[1.0, 0.5]]], {}, r"votes\[0\] holds a row that is no probability"),
        ([[[np.nan, 1.0]]], {}, r"votes\[0\] holds a row that is no probability"),
        ([[[1.0, 0.0]]], {"weights": [1.0, 1.0]}, "weights must be 1 numbers above 0"),
        ([[[1.0, 0.0]]], {"weights": [0.0]}, "weights must be 1 numbers above 0"),
        ([[[1.0, 0.0]]], {"prior": []}, "prior is of 0 questions, votes of 1"),
        ([[[1.0, 0.0]]], {"prior": [[0.0]]}, r"prior\[0\] must be 1 numbers above 0"),
    ],
)
def test_what_does_not_fit_is_refused(votes: list, more: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimate(votes, **more)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
def test_at_most_one_strikes_out_double_matches(pairs: list[float]) -> None:
    found = at_most_one(pairs)
    assert found.sum() == pytest.approx(1)
    inside = np.clip(pairs, 1e-12, 1 - 1e-12)
    weight = [np.prod(1 - inside) / (1 - p) * p for p in inside] + [np.prod(1 - inside)]
    if sum(weight) > 1e-9:
        assert found == pytest.approx(np.array(weight) / sum(weight), abs=1e-6)


def enumerated(labels: list[np.ndarray], lists: list[list[int]]) -> list[np.ndarray]:
    """Marginals over all combinations of answers in which no record is chosen twice."""
    found = [np.zeros(len(label)) for label in labels]
    for places in itertools.product(*(range(len(label)) for label in labels)):
        chosen = [records[p] for p, records in zip(places, lists, strict=True) if p < len(records)]
        if len(set(chosen)) == len(chosen):
            weight = np.prod([label[p] for p, label in zip(places, labels, strict=True)])
            for p, out in zip(places, found, strict=True):
                out[p] += weight
    return [out / out.sum() for out in found]


@given(st.lists(st.floats(0.01, 1.0), min_size=9, max_size=9))
def test_exclusion_is_exact_without_rings(numbers: list[float]) -> None:
    lists = [[3, 7], [7, 9], [9, 4]]  # a chain
    labels = [np.array(numbers[i : i + 3]) / sum(numbers[i : i + 3]) for i in (0, 3, 6)]
    for one, other in zip(exclusive(labels, lists), enumerated(labels, lists), strict=True):
        assert one == pytest.approx(other, abs=1e-9)


@given(st.integers(0, 10_000))
def test_exclusion_keeps_probabilities_and_knows_no_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [rng.choice(5, size=rng.integers(1, 4), replace=False).tolist() for _ in range(6)]
    labels = [rng.dirichlet(np.full(len(records) + 1, 0.3)) for records in lists]
    found = exclusive(labels, lists)
    for label in found:
        assert np.isfinite(label).all()
        assert label.sum() == pytest.approx(1)
    order = rng.permutation(6)
    moved = exclusive([labels[q] for q in order], [lists[q] for q in order])
    for q, label in zip(order, moved, strict=True):
        assert label == pytest.approx(found[q], abs=1e-6)


def test_two_who_want_one_candidate_doubt_each_other() -> None:
    sure, unsure, apart = np.array([0.99, 0.01]), np.array([0.7, 0.3]), np.array([0.6, 0.4])
    first, second, third = exclusive([sure, unsure, apart], [[5], [5], [6]])
    assert first[0] > 0.95
    assert second[0] < 0.05
    assert third == pytest.approx(apart)
    assert exclusive([], []) == []
