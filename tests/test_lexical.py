"""Vectors, similarities and list context."""

from __future__ import annotations

import errno
import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill import aside, lexical
from er_distill.lexical import CONTEXT, FEATURES, SIMILARITIES, ListContext, Similarity
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.values import MAX_VALUE_CHARS, value_similarity
from er_distill.vectors import normalise, vectorise

VALUE = st.sampled_from(
    ["", "sony dsc-w120", "Sony DSCW120 camera", "canon eos 5d", "50 mm lens", "a", "12", "Größe", "東京"]
)
ROWS = st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=8)


def records(rows: list[tuple[str, str]], fields: tuple[str, ...] = ("title", "note")) -> Records:
    columns = tuple(np.array([row[k] for row in rows], dtype=object) for k in range(len(fields)))
    return Records("test", np.arange(len(rows)), fields, columns)


def all_pairs(left: Records, right: Records) -> Pairs:
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(len(left)), np.arange(len(right)), indexing="ij"))
    return Pairs(i, j, len(left), len(right))


def features(left: Records, right: Records | None, pairs: Pairs, chunk_size: int, context: bool = True) -> np.ndarray:
    chunks = lexical.features(vectorise(left, right), pairs, context=context, chunk_size=chunk_size)
    return np.vstack([values for _, values in chunks])


def column(values: np.ndarray, name: str) -> np.ndarray:
    return values[:, FEATURES.index(name)]


@given(left=ROWS, right=ROWS, chunk_size=st.integers(1, 20))
def test_chunks_never_change_a_feature(left, right, chunk_size: int) -> None:
    a, b = records(left), records(right)
    pairs = all_pairs(a, b)
    np.testing.assert_array_equal(features(a, b, pairs, chunk_size), features(a, b, pairs, 1_000))


@pytest.mark.parametrize("room", [0, 1 << 40])
def test_a_full_disk_never_changes_a_feature(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a = records([("sony dsc-w120", ""), ("canon eos 5d", "12"), ("50 mm lens", "a"), ("sony camera", "12")])
    pairs = all_pairs(a, a)
    whole = features(a, a, pairs, 1_000)
    compared = []
    compare = Similarity.__call__
    monkeypatch.setattr(Similarity, "__call__", lambda self, i, j: compared.append(len(i)) or compare(self, i, j))
    monkeypatch.setattr(aside.shutil, "disk_usage", lambda folder: SimpleNamespace(free=room))
    np.testing.assert_array_equal(features(a, a, pairs, 3), whole)
    assert sum(compared) == (len(pairs) if room else 2 * len(pairs))


def test_what_the_disk_cannot_take_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: memoryview) -> int:
            if self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    a = records([("sony dsc-w120", ""), ("canon eos 5d", "12"), ("50 mm lens", "a")])
    pairs = all_pairs(a, a)
    whole = features(a, a, pairs, 1_000)
    monkeypatch.setattr(aside.tempfile, "TemporaryFile", lambda **options: Full())
    np.testing.assert_array_equal(features(a, a, pairs, 2), whole)


@given(left=ROWS, right=ROWS)
def test_sides_may_be_swapped(left, right) -> None:
    a, b = records(left), records(right)
    pairs = all_pairs(a, b)
    swapped = Pairs(pairs.right, pairs.left, pairs.n_right, pairs.n_left)
    np.testing.assert_allclose(features(a, b, pairs, 99), features(b, a, swapped, 99), rtol=1e-5, atol=1e-6)


@given(left=ROWS)
def test_features_are_finite_or_missing_and_cosines_are_cosines(left) -> None:
    a = records(left)
    values = features(a, a, all_pairs(a, a), 99)
    assert not np.isinf(values).any()
    for name in ("word_cosine", "word_jaccard", "gram_cosine", "gram_jaccard", "word_contained_most"):
        assert (column(values, name) >= 0).all()
        assert (column(values, name) <= 1 + 1e-5).all()


def test_similarities_of_a_pair_worked_by_hand() -> None:
    left, right = records([("red pen 5", "x")]), records([("red ink 5 7", "")])
    values = features(left, right, all_pairs(left, right), 9)[0]
    by_name = dict(zip(FEATURES, values.tolist(), strict=True))
    assert by_name["word_jaccard"] == pytest.approx(2 / 6)  # red, 5 of red pen 5 x ink 7
    assert by_name["number_jaccard"] == pytest.approx(1 / 2)  # 5 of 5, 7
    assert by_name["number_shared"] == 1
    assert by_name["number_unshared_most"] == 1
    assert by_name["number_unshared_least"] == 0
    assert by_name["fields_compared"] == 1
    assert by_name["fields_missing"] == 1
    assert by_name["key_field_words"] == pytest.approx(2 / 3)
    common = np.log(3 / 3) + 1
    rare = np.log(3 / 2) + 1
    of_left, of_right = 2 * common + 2 * rare, 2 * common + 2 * rare
    assert by_name["word_contained_most"] == pytest.approx(2 * common / min(of_left, of_right), rel=1e-5)
    assert by_name["word_rarest_unshared_least"] == pytest.approx(rare, rel=1e-5)


def test_a_model_number_meets_its_joined_form() -> None:
    left, right = records([("turntable PS-LX350H", "")]), records([("turntable pslx350h", "")])
    assert column(features(left, right, all_pairs(left, right), 9), "number_shared")[0] == 1


def test_values_that_differ_behind_the_cut_are_not_equal() -> None:
    start = "x" * MAX_VALUE_CHARS
    alike = value_similarity(np.array([start + "a", "same"], object), np.array([start + "b", "same"], object))
    assert alike[0] < 1
    assert alike[1] == 1


def test_fields_against_a_plain_reading_of_the_values() -> None:
    columns = (
        ["", "red pen", "red", "blue pen", "red pen"],
        ["x 1", "", "x 2", "x 1", "y"],
        ["", "", "a b c", "c d", "a"],
    )
    table = Records("test", np.arange(5), ("what", "code", "note"), tuple(np.array(one, object) for one in columns))
    corpus = vectorise(table, table)
    pairs = all_pairs(table, table)
    got = Similarity(corpus)(pairs.left, pairs.right)
    weights = corpus.vocabulary.field_weight
    for row, (i, j) in enumerate(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)):
        values = {k: (column[i], column[j]) for k, column in enumerate(columns) if column[i] and column[j]}
        alike = [float(value_similarity(np.array([a], object), np.array([b], object))[0]) for a, b in values.values()]
        expected = {
            "fields_compared": len(values),
            "fields_missing": sum((column[i] == "") != (column[j] == "") for column in columns),
            "field_lowest": min(alike, default=np.nan),
            "field_second_lowest": sorted(alike)[1] if len(alike) > 1 else np.nan,
            "field_highest": max(alike, default=np.nan),
            "field_mean": sum(alike) / len(alike) if alike else np.nan,
            "field_conflicts": sum(one < 0.5 for one in alike),
            "field_information": sum(corpus.left.information[k, i] for k, (a, b) in values.items() if a == b),
        }
        if values:
            a, b = values[max(values, key=lambda k: weights[k])]
            shorter = min(len(a.split()), len(b.split()))
            expected["key_field_words"] = len(set(a.split()) & set(b.split())) / shorter
        for name, value in expected.items():
            assert got[row, SIMILARITIES.index(name)] == pytest.approx(value, nan_ok=True), (name, i, j)


def test_threads_never_change_a_similarity() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["", "red", "blue", "pen", "ink 12", "x-200", "x200"], dtype=object)
    columns = tuple(np.array([" ".join(rng.choice(words, 3)) for _ in range(60)], dtype=object) for _ in range(2))
    table = Records("test", np.arange(60), ("title", "note"), columns)
    corpus = vectorise(table, table)
    i, j = rng.integers(0, 60, (2, 20_000))
    alone = np.vstack([Similarity(corpus, threads=1)(i[k : k + 999], j[k : k + 999]) for k in range(0, len(i), 999)])
    np.testing.assert_array_equal(Similarity(corpus, threads=3)(i, j), alone)


def test_context_against_a_plain_reading_of_the_lists() -> None:
    rng = np.random.default_rng(0)
    n_left, n_right, m = 7, 9, 40
    keys = rng.choice(n_left * n_right, m, replace=False)
    i, j = keys // n_right, keys % n_right
    values = rng.random((m, len(SIMILARITIES)), dtype=np.float32)
    lists = ListContext(n_left, n_right, one_table=False)
    for rows in np.array_split(np.arange(m), 6):
        lists.add(i[rows], j[rows], values[rows])
    got = lists.of(i, j, values)
    for k, name in enumerate(lexical.CONTEXT_OF):
        own = values[:, SIMILARITIES.index(name)]
        for row in range(m):
            sides = []
            for side in (i, j):
                rivals = own[(side == side[row]) & (np.arange(m) != row)]
                sides.append(own[row] - (rivals.max() if len(rivals) else 0))
            assert got[row, 2 * k] == pytest.approx(min(sides), abs=1e-5)
            assert got[row, 2 * k + 1] == pytest.approx(max(sides), abs=1e-5)
    lengths = [(int((i == i[row]).sum()), int((j == j[row]).sum())) for row in range(m)]
    assert got[:, -2].tolist() == [max(both) for both in lengths]
    assert got[:, -1].tolist() == [min(both) for both in lengths]


def test_in_one_table_a_list_is_every_pair_of_a_record() -> None:
    lists = ListContext(3, 3, one_table=True)
    i, j = np.array([0, 1]), np.array([1, 2])
    values = np.full((2, len(SIMILARITIES)), 0.25, dtype=np.float32)
    lists.add(i, j, values)
    assert lists.of(i, j, values)[:, -2].tolist() == [2, 2]  # record 1 stands in both pairs


def test_without_context_its_features_are_missing() -> None:
    a = records([("pen", ""), ("ink", "")])
    values = features(a, a, all_pairs(a, a), 9, context=False)
    assert np.isnan(values[:, -len(CONTEXT) :]).all()
    assert not np.isnan(column(values, "word_cosine")).any()


def test_similarity_of_tables_without_a_common_field() -> None:
    left, right = records([("pen", "red")], ("a", "b")), records([("red pen", "")], ("c", "d"))
    values = Similarity(vectorise(left, right))(np.array([0]), np.array([0]))
    assert values[0, SIMILARITIES.index("word_cosine")] == pytest.approx(1)
    assert np.isnan(values[0, SIMILARITIES.index("field_mean")])


def test_normalise() -> None:
    assert normalise("  Crème-Brûlée  (No. 5)_x ") == "creme brulee no 5 x"
