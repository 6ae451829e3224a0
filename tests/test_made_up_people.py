"""The made-up tables of the blocking benchmark: the truth is the truth, and the tables are as dirty as they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.made_up_people import INITIAL, MISSING, MOVED, RETYPED, people


def test_a_record_and_its_match_differ_as_often_as_said() -> None:
    left, right, truth = people(5_000, seed=4)
    assert sorted(truth) == list(range(5_000))
    assert set(left) == set(right)
    matched = {name: column[truth] for name, column in right.items()}
    missing = np.mean([matched[name] == "" for name in matched])
    assert missing == pytest.approx(MISSING, abs=0.01)
    differs = {name: np.mean((matched[name] != left[name]) & (matched[name] != "")) for name in matched}
    # A letter may be replaced by itself, and a person may move within a town.
    assert 0.6 * RETYPED < differs["surname"] < 1.1 * RETYPED
    assert differs["given_name"] > differs["surname"] + 0.5 * INITIAL
    assert differs["address"] > differs["surname"] + 0.5 * MOVED
    assert np.mean(left["surname"] == right["surname"]) < 0.05  # in another order


def test_names_are_as_frequent_as_in_a_census() -> None:
    left, _, _ = people(20_000, seed=4)
    _, counts = np.unique(left["surname"].astype(str), return_counts=True)
    assert 0.004 < counts.max() / 20_000 < 0.02
    assert len(counts) > 5_000
