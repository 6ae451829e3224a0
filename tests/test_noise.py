"""Labels that look wrong are found, and what is not wrong is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from generated_pairs import generate, logistic
from hypothesis import given
from hypothesis import strategies as st

from er_distill.errors import InputError
from er_distill.pairs import Pairs

pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytest.importorskip("cleanlab", reason="cleanlab not installed: pip install 'er-distill[train]'")
from er_distill.training.noise import (
    NoiseConfig,
    clean_labels,
    cross_fitted,
    try_cleaning,
)

DROP, WEIGHT = NoiseConfig("drop"), NoiseConfig("weight")


def noisy(seed: int = 0, share: float = 0.06):
    """A task whose labels hold false matches, each in a list of its own, and what the folds' models say of it."""
    data = generate(400, seed)
    rng = np.random.default_rng(seed)
    wrong = ~data.truth & (rng.random(len(data.truth)) < share)
    wrong &= ~np.isin(data.pairs.left, data.pairs.left[data.truth])
    target = (data.truth | wrong).astype(np.float32)
    fold = data.pairs.left % 4
    probability = cross_fitted(logistic(data.features), target, np.ones(len(target)), fold)
    return data, target, wrong, fold, probability


def test_false_matches_are_found_and_true_ones_are_not() -> None:
    data, target, wrong, _, probability = noisy()
    cleaned = clean_labels(probability, target, data.pairs, DROP)
    found = cleaned.suspect
    assert wrong.sum() > 30
    assert wrong[found].mean() > 0.8
    assert found[wrong].mean() > 0.7
    assert not found[target < 0.5].any()
    assert cleaned.report.suspect_matches == found.sum()
    assert cleaned.report.suspect_others == 0
    assert (cleaned.report.labels, cleaned.report.matches) == (len(target), target.sum())
    assert cleaned.suspicion[found].min() > np.median(cleaned.suspicion[data.truth])
    np.testing.assert_array_equal(cleaned.target, np.where(found, np.nan, target))
    assert (cleaned.weight == 1).all()


def test_suspects_count_by_how_likely_they_are_right() -> None:
    data, target, _, _, probability = noisy()
    cleaned = clean_labels(probability, target, data.pairs, WEIGHT)
    np.testing.assert_array_equal(cleaned.target, target)
    np.testing.assert_allclose(cleaned.weight, np.where(cleaned.suspect, 1 - cleaned.suspicion, 1), atol=1e-6)
    assert cleaned.weight[cleaned.suspect].max() < 0.5


@pytest.mark.parametrize("config", [DROP, WEIGHT])
def test_model_of_cleaned_labels_is_nearer_to_the_truth(config: NoiseConfig) -> None:
    gains = []
    for seed in range(4):
        data, target, _, _, probability = noisy(seed, share=0.15)
        fit_predict = logistic(data.features)
        cleaned = clean_labels(probability, target, data.pairs, config)
        plain = fit_predict(target, np.ones(len(target)))
        better = fit_predict(cleaned.target, cleaned.weight)
        errors = [np.abs(of - data.truth).mean() for of in (plain, better)]
        gains.append(errors[0] - errors[1])
    assert min(gains) > 0


def test_nothing_is_done_unless_asked_for() -> None:
    data, target, _, _, probability = noisy()
    target[:40] = np.nan
    cleaned = clean_labels(probability, target, data.pairs, NoiseConfig())
    np.testing.assert_array_equal(cleaned.target, target)
    assert (cleaned.weight == 1).all()
    assert not cleaned.suspect.any()
    np.testing.assert_array_equal(np.isnan(cleaned.suspicion), np.isnan(target))


def test_labels_that_are_right_are_hardly_touched() -> None:
    data, target, wrong, _, probability = noisy(share=0.0)
    assert not wrong.any()
    assert clean_labels(probability, target, data.pairs, DROP).suspect.sum() <= 0.03 * target.sum()


def test_missed_matches_are_suspect_when_asked_for() -> None:
    data = generate(400, 0)
    missed = data.truth & (np.random.default_rng(0).random(len(data.truth)) < 0.15)
    target = (data.truth & ~missed).astype(np.float32)
    probability = cross_fitted(logistic(data.features), target, np.ones(len(target)), data.pairs.left % 4)
    both = clean_labels(probability, target, data.pairs, NoiseConfig("drop", "both"))
    assert missed[both.suspect].mean() > 0.7
    assert both.report.suspect_others > 0
    assert not (clean_labels(probability, target, data.pairs, DROP).suspect & missed).any()


def claims(one_table: bool = False) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Queries 0 and 1 both take record 0: one by a hair, one for sure. The others are what a clean task looks like."""
    n = 60
    left, right = np.repeat(np.arange(n), 2), np.empty(2 * n, dtype=np.int64)
    right[::2], right[1::2] = np.arange(n), (np.arange(n) + 7) % n
    target = np.tile([1.0, 0.0], n)
    probability = np.tile([0.9, 0.04], n)
    right[2] = 0
    probability[[0, 2]] = 0.98, 0.6
    if one_table:
        right += n
        return Pairs(left, right, 2 * n, 2 * n, True), target, probability
    return Pairs(left, right, n, n), target, probability


def test_of_two_queries_that_take_one_record_the_weaker_claim_is_suspect() -> None:
    pairs, target, probability = claims()
    cleaned = clean_labels(probability, target, pairs, WEIGHT)
    assert cleaned.report.contested == 2
    odds = 0.98 / 0.02, 0.6 / 0.4
    expected = [1 - one / (1 + sum(odds)) for one in odds]
    assert cleaned.suspicion[[0, 2]] == pytest.approx(expected)
    # In one table a record may match several others: the same labels do not speak against each other.
    pairs, target, probability = claims(one_table=True)
    alone = clean_labels(probability, target, pairs, WEIGHT)
    assert alone.report.contested == 0
    assert alone.suspicion[[0, 2]] == pytest.approx([0.02, 0.4])


@given(st.integers(0, 2**32 - 1))
def test_order_of_the_pairs_does_not_matter(seed: int) -> None:
    pairs, target, probability = claims()
    target[[9, 20]], probability[8] = np.nan, 0.01
    cleaned = clean_labels(probability, target, pairs, WEIGHT)
    order = np.random.default_rng(seed).permutation(len(pairs))
    moved = clean_labels(probability[order], target[order], pairs.take(order), WEIGHT)
    np.testing.assert_array_equal(moved.suspect, cleaned.suspect[order])
    np.testing.assert_allclose(moved.weight, cleaned.weight[order], atol=1e-7)


def test_labels_of_one_kind_hold_no_evidence_of_noise() -> None:
    data = generate(20, 0)
    cleaned = clean_labels(np.full(80, 0.3), np.zeros(80), data.pairs, NoiseConfig("drop", "both"))
    assert not cleaned.suspect.any()


def test_trial_says_when_cleaning_helps_by_teacher_labels_alone() -> None:
    data, target, _, fold, _ = noisy(share=0.3)
    trial = try_cleaning(logistic(data.features), target, data.pairs, fold, DROP)
    assert len(trial.plain) == len(trial.cleaned) == 4
    off = try_cleaning(logistic(data.features), target, data.pairs, fold, NoiseConfig())
    assert off.plain == off.cleaned == trial.plain
    assert not off.helps


def test_trial_asks_for_a_gain_above_its_error() -> None:
    from er_distill.training.noise import NoiseTrial

    assert NoiseTrial((0.9, 0.9, 0.9), (0.92, 0.93, 0.91)).helps
    assert not NoiseTrial((0.9, 0.9, 0.9), (0.95, 0.88, 0.89)).helps
    assert not NoiseTrial((0.9, 0.9), (0.8, 0.81)).helps
    assert not NoiseTrial((0.9,), (0.95,)).helps


def test_no_model_is_asked_about_what_it_learned() -> None:
    _, target, _, fold, _ = noisy()
    seen: list[np.ndarray] = []

    def fit_predict(wanted: np.ndarray, weight: np.ndarray) -> np.ndarray:
        seen.append(~np.isnan(wanted))
        return np.where(np.isnan(wanted), 0.25, 1.0)

    probability = cross_fitted(fit_predict, target, np.ones(len(target)), fold)
    assert (probability == 0.25).all()
    assert len(seen) == 4
    assert sorted(set(np.sum(seen, axis=0))) == [3]


def test_bad_input() -> None:
    data = generate(10, 0)
    with pytest.raises(InputError, match=r"target has shape \(3,\), the pairs need \(40,\)"):
        clean_labels(np.zeros(40), np.zeros(3), data.pairs, DROP)
    for probability in (np.full(40, np.nan), np.full(40, 1.5)):
        with pytest.raises(InputError, match=r"needs a probability from 0 to 1.*not trained on their queries"):
            clean_labels(probability, np.zeros(40), data.pairs, DROP)
    with pytest.raises(InputError, match=r"no action 'dorp'. Did you mean 'drop'"):
        NoiseConfig("dorp")  # type: ignore[arg-type]
