"""The bundled student on real rows: scores that nothing but the pair and its lists can move."""

from __future__ import annotations

import csv
import dataclasses
import os
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill import ErDistillWarning, Student
from er_distill.blocking import candidates
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.session import Session
from er_distill.student import probability
from er_distill.training.synthetic import generate

pytestmark = pytest.mark.needs("onnxruntime")

TOLERANCE = 1e-5
GOLDEN = Path(__file__).parent / "data" / "golden_scores.csv"


def as_records(table: dict[str, list[str]], name: str) -> Records:
    columns = tuple(np.array(values, dtype=object) for values in table.values())
    return Records(name, np.arange(len(columns[0])), tuple(table), columns)


@pytest.fixture(scope="module")
def student() -> Student:
    return Student.load()


@pytest.fixture(scope="module")
def addresses() -> tuple[Records, Records, Pairs]:
    task = generate("addresses", 40, seed=12)
    left, right = as_records(task.left, "left"), as_records(task.right, "right")
    return left, right, candidates(left, right).pairs


def with_band(low: float, high: float, **options: int) -> Student:
    """The bundled student, asking its encoder more often: what must not move a score then has more to move."""
    student = Student.load(**options)
    student.variant = dataclasses.replace(student.variant, band=(low, high))
    return student


@pytest.fixture(scope="module")
def wide() -> Student:
    return with_band(0.05, 0.95)


@pytest.fixture(scope="module")
def scores(wide: Student, addresses: tuple[Records, Records, Pairs]) -> np.ndarray:
    return wide.score(*addresses)


def test_both_tiers_are_asked(student: Student, addresses: tuple[Records, Records, Pairs]) -> None:
    left, right, pairs = addresses
    seen = [encoder for _, _, encoder in student._logits(left, right, pairs, True, None, 10_000, False)]
    asked = ~np.isnan(np.concatenate(seen))
    assert 0 < asked.sum() < len(pairs)


@settings(max_examples=6)
@given(data=st.data())
def test_order_chunks_threads_and_direction_never_change_a_score(
    wide: Student, addresses: tuple[Records, Records, Pairs], scores: np.ndarray, data: st.DataObject
) -> None:
    left, right, pairs = addresses
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(pairs))
    other = with_band(0.05, 0.95, threads=data.draw(st.sampled_from([1, 2, 3])))
    chunk_size = data.draw(st.sampled_from([7, 64, 100_000]))
    again = other.score(left, right, pairs.take(order), chunk_size=chunk_size)
    np.testing.assert_allclose(again, scores[order], atol=TOLERANCE)
    turned = Pairs(pairs.right, pairs.left, pairs.n_right, pairs.n_left)
    np.testing.assert_allclose(wide.score(right, left, turned), scores, atol=TOLERANCE)


def test_repeated_pairs_change_nothing(
    wide: Student, addresses: tuple[Records, Records, Pairs], scores: np.ndarray
) -> None:
    left, right, pairs = addresses
    rows = np.concatenate([np.arange(len(pairs)), np.arange(5)])
    np.testing.assert_allclose(wide.score(left, right, pairs.take(rows)), scores[rows], atol=TOLERANCE)


def test_in_one_table_a_pair_has_no_direction(student: Student) -> None:
    table = as_records(generate("people", 30, seed=5, dedup=True).left, "people")
    pairs = candidates(table).pairs
    turned = Pairs(pairs.right, pairs.left, pairs.n_right, pairs.n_left, True)
    np.testing.assert_allclose(student.score(table, None, turned), student.score(table, None, pairs), atol=TOLERANCE)


def test_without_context_a_pair_is_judged_alone(
    wide: Student, addresses: tuple[Records, Records, Pairs], scores: np.ndarray
) -> None:
    left, right, pairs = addresses
    alone = wide.score(left, right, pairs, context=False)
    few = np.arange(0, len(pairs), 9)
    np.testing.assert_allclose(wide.score(left, right, pairs.take(few), context=False), alone[few], atol=TOLERANCE)
    assert np.abs(wide.score(left, right, pairs.take(few)) - scores[few]).max() > 0.01  # the lists were cut


def test_an_encoder_that_reads_every_pair_is_independent_of_its_batch(
    addresses: tuple[Records, Records, Pairs],
) -> None:
    left, right, pairs = addresses
    always = with_band(0.0, 1.0)
    some = pairs.take(np.arange(0, len(pairs), 7))
    together = always.score(left, right, some, context=False)
    apart = [always.score(left, right, some.take(slice(k, k + 1)), context=False)[0] for k in range(len(some))]
    np.testing.assert_allclose(apart, together, atol=TOLERANCE)


def test_a_student_survives_pickling(
    wide: Student, addresses: tuple[Records, Records, Pairs], scores: np.ndarray
) -> None:
    np.testing.assert_allclose(pickle.loads(pickle.dumps(wide)).score(*addresses), scores, atol=TOLERANCE)


def test_golden_scores(student: Student) -> None:
    """A change of more than rounding is a change of the student, which is made on purpose or not at all."""
    with GOLDEN.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    left = as_records({"text": [row["left"] for row in rows]}, "left")
    right = as_records({"text": [row["right"] for row in rows]}, "right")
    diagonal = np.arange(len(rows))
    got = student.score(left, right, Pairs(diagonal, diagonal, len(rows), len(rows)), context=False)
    # int8 arithmetic differs a little between processors.
    np.testing.assert_allclose(got, [float(row["score"]) for row in rows], atol=0.05)


def test_probabilities_are_finite_at_the_ends(student: Student) -> None:
    far = np.array([-1e6, 1e6])
    np.testing.assert_array_equal(probability(student.variant, far, np.array([np.nan, np.nan])), [0, 1])
    assert np.isfinite(probability(student.variant, far, far)).all()


def test_a_table_in_another_script_is_warned_about(student: Student) -> None:
    left = as_records({"name": ["東京都渋谷区", "大阪市北区"], "code": ["a1", "b2"]}, "stores")
    with pytest.warns(ErDistillWarning, match="stores is mostly in a non-Latin script"):
        student.score(left, left, Pairs(np.array([0]), np.array([1]), 2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        polish = as_records({"name": ["Łódź Żabieniec", "Kraków"]}, "towns")
        student.score(polish, polish, Pairs(np.array([0]), np.array([1]), 2, 2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_student_works_after_a_fork(
    wide: Student, addresses: tuple[Records, Records, Pairs], scores: np.ndarray
) -> None:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_allclose(pool.apply(wide.score, addresses), scores, atol=TOLERANCE)


def test_a_device_that_is_not_there_is_an_error() -> None:
    from er_distill import DeviceError

    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have the device")
    with pytest.raises(DeviceError, match="cuda"):
        Student.load(device="cuda")
    assert Student.load(device="auto").device == "cpu"
    assert isinstance(Student.load()._trees, Session)
