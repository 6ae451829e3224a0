"""A model's own answers become labels where that helps, and do not where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from generated_pairs import Generated, generate, logistic

from er_distill.errors import InputError
from er_distill.pairs import Pairs

pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
from er_distill.training.self_training import SelfTrainingConfig, _sure_answers, self_train


def few_labels(data: Generated, n_queries: int) -> np.ndarray:
    return np.where(data.pairs.left < n_queries, data.truth, np.nan).astype(np.float32)


def test_own_answers_bring_a_model_nearer_to_the_truth() -> None:
    gains, bests = [], []
    for seed in range(5):
        data = generate(600, seed, apart=0.5, n_signals=10, n_features=40)
        target, fit_predict = few_labels(data, 60), logistic(data.features)
        result = self_train(fit_predict, target, data.pairs, SelfTrainingConfig(confidence=0.9, weight=1.0))
        before = fit_predict(target, np.ones(len(target)))
        after = fit_predict(result.target, result.weight)
        unseen = np.isnan(target)
        error = [np.mean((p >= 0.5)[unseen] != data.truth[unseen]) for p in (before, after)]
        gains.append(error[0] - error[1])
        bests.append(result.best)
        if result.best:
            assert (result.target == data.truth)[result.by_student].mean() > 0.95
    assert sum(best > 0 for best in bests) >= 2
    assert np.mean(gains) > 0.001
    assert min(gains) >= -0.001


def test_own_labels_keep_the_teachers_share_of_matches() -> None:
    data = generate(600, 0, apart=0.5, n_signals=10, n_features=40)
    config = SelfTrainingConfig(confidence=0.9, weight=0.5)
    result = self_train(logistic(data.features), few_labels(data, 60), data.pairs, config)
    own = result.by_student
    assert result.best > 0
    share = np.average(result.target[own], weights=result.weight[own])
    assert share == pytest.approx(data.truth[: 60 * 4].mean(), abs=0.03)  # that of the queries not held out
    assert result.weight[own].max() == pytest.approx(0.5)


def test_stops_and_keeps_teacher_labels_alone_where_own_answers_do_harm() -> None:
    data = generate(300, 0)
    target = few_labels(data, 60)
    calls: list[int] = []

    def believes_itself(wanted: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Is right until it is given labels other than the teachers'; then it says the opposite."""
        calls.append(1)
        honest = logistic(data.features)(np.where(data.pairs.left < 60, wanted, np.nan), weight)
        return honest if np.isnan(wanted[data.pairs.left >= 60]).all() else 0.5 + 0.0 * honest

    result = self_train(believes_itself, target, data.pairs)
    assert result.best == 0
    assert len(calls) == len(result.rounds) == 2
    assert result.rounds[1].matches > 0
    assert result.rounds[1].agreement < result.rounds[0].agreement
    assert not result.by_student.any()
    np.testing.assert_array_equal(result.target, target)
    np.testing.assert_array_equal(result.weight, (~np.isnan(target)).astype(np.float32))


def test_model_that_knows_nothing_labels_nothing() -> None:
    data = generate(200, 0)
    target = few_labels(data, 50)
    result = self_train(lambda wanted, weight: np.full(len(wanted), 0.4), target, data.pairs)
    assert len(result.rounds) == 1
    assert not result.by_student.any()


def test_held_out_labels_are_never_learned_in_the_rounds_and_come_back_at_the_end() -> None:
    data = generate(200, 1)
    target, fit_predict = few_labels(data, 50), logistic(data.features)
    seen = np.zeros(len(target), dtype=bool)

    def watched(wanted: np.ndarray, weight: np.ndarray) -> np.ndarray:
        seen[~np.isnan(wanted)] = True
        return fit_predict(wanted, weight)

    result = self_train(watched, target, data.pairs, SelfTrainingConfig(held_out=0.4))
    kept_away = ~seen & ~np.isnan(target)
    assert len(np.unique(data.pairs.left[kept_away])) == 20
    np.testing.assert_array_equal(result.target[result.by_teacher], target[~np.isnan(target)])
    assert (result.weight[result.by_teacher] == 1).all()


def test_answers_become_labels_only_where_they_are_sure_and_consistent() -> None:
    nan = np.nan
    rows = [  # query, record, probability, teacher's label, expected
        (0, 0, 0.99, nan, 1), (0, 1, 0.10, nan, 0),  # one for sure, no other likely
        (1, 0, 0.97, nan, nan), (1, 2, 0.01, nan, nan),  # its record is better matched by query 0
        (2, 3, 0.02, nan, 0), (2, 4, 0.01, nan, 0),  # none, for sure
        (3, 3, 0.80, nan, nan), (3, 4, 0.01, nan, nan),  # not sure
        (4, 5, 0.96, nan, nan), (4, 6, 0.60, nan, nan),  # sure of one, but another is likely too
        (5, 7, 0.98, nan, nan), (5, 8, 0.01, nan, nan),  # a teacher gave its record to query 6
        (6, 7, 0.30, 1.0, nan), (6, 9, 0.99, 0.0, nan),  # labelled by a teacher
        (7, 9, 0.99, nan, 1), (7, 8, 0.01, nan, 0),  # which leaves record 9 to query 7
    ]  # fmt: skip
    left, right, probability, labels, expected = (np.array(column) for column in zip(*rows, strict=True))
    by_teacher = ~np.isnan(labels)
    own = _sure_answers(probability, labels, by_teacher, Pairs(left, right, 8, 10), 0.95)
    np.testing.assert_array_equal(own, expected)
    # In one table any sure pair is an answer.
    table = _sure_answers(probability, labels, by_teacher, Pairs(left, right + 8, 18, 18, True), 0.95)
    sure = np.where(probability >= 0.95, 1.0, np.where(probability <= 0.05, 0.0, nan))
    np.testing.assert_array_equal(table, np.where(by_teacher, nan, sure))


def test_same_seed_same_labels() -> None:
    data = generate(200, 2)
    target, fit_predict = few_labels(data, 40), logistic(data.features)
    first, second = (self_train(fit_predict, target, data.pairs) for _ in range(2))
    np.testing.assert_array_equal(first.target, second.target)
    assert repr(first.rounds) == repr(second.rounds)


def test_bad_input() -> None:
    data = generate(20, 0)
    fit_predict = logistic(data.features)
    with pytest.raises(InputError, match=r"target has shape \(3,\), the pairs need \(80,\)"):
        self_train(fit_predict, np.zeros(3), data.pairs)
    with pytest.raises(InputError, match=r"queries that are held out .* need matches and non-matches.*Label more"):
        self_train(fit_predict, few_labels(data, 2), data.pairs)
    with pytest.raises(InputError, match=r"confidence must be between 0.5 and 1.0, not 0.3"):
        SelfTrainingConfig(confidence=0.3)
    with pytest.raises(InputError, match=r"rounds must be 1 or above, not 0"):
        SelfTrainingConfig(rounds=0)
    assert SelfTrainingConfig(weight=1.0).weight == 1.0
