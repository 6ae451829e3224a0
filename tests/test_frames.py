"""The doors for dataframes: what goes in comes back in the same library, with ids, index, order and dtypes kept."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import narwhals as nw
import numpy as np
import pytest
from fake_student import WordOverlap, needs_bundled_student
from hypothesis import given
from hypothesis import strategies as st

import er_distill
from er_distill import DeviceError, InputError, dedupe, link, match_pairs, score_pairs

Factory = Callable[[dict[str, Any]], Any]

LEFT = {
    "id": ["a1", "a2", "a3"],
    "name": ["ada lovelace", "alan turing", "grace hopper"],
    "city": ["london", "wilmslow", "arlington"],
    "born": [1815, 1912, 1906],
}
RIGHT = {
    "id": [30, 10, 20],
    "name": ["turing alan", "admiral g hopper", "ada king lovelace"],
    "city": ["wilmslow", "arlington", "london"],
    "born": [1912, None, 1815],
}
PEOPLE = {
    "id": ["p1", "p2", "p3", "p4"],
    "name": ["ada lovelace", "alan turing", "lovelace ada", "grace hopper"],
    "city": ["london", "wilmslow", "london", "arlington"],
}


def rows(frame: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a frame of any library, every kind of null as None."""
    found = nw.from_native(frame.collect() if hasattr(frame, "collect") else frame, eager_only=True).rows()
    return [tuple(None if _is_null(value) else value for value in row) for row in found]


def columns(frame: Any) -> list[str]:
    return nw.from_native(frame, eager_only=True).columns


def _is_null(value: Any) -> bool:
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value


def snapshot(frame: Any) -> Any:
    """What a frame holds, for the comparison after the call: its own deep copy."""
    return frame.copy(deep=True) if hasattr(frame, "copy") else copy.deepcopy(frame)


# ------------------------------------------------------------------------------------------------ link


def test_link_returns_ids_and_scores_in_the_library_of_the_left_table(frame_factory: Factory) -> None:
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    matches = link(left, right, student=WordOverlap())
    assert type(matches) is type(left)
    assert columns(matches) == ["left_id", "right_id", "score"]
    assert [row[:2] for row in rows(matches)] == [("a1", 20), ("a2", 30)]  # in the order of the left table
    assert all(0.5 <= row[2] <= 1 for row in rows(matches))


def test_inner_puts_both_records_beside_the_match(frame_factory: Factory) -> None:
    matches = link(frame_factory(LEFT), frame_factory(RIGHT), how="inner", student=WordOverlap())
    assert columns(matches) == [
        *("left_id", "right_id", "score"),
        *("name_left", "city_left", "born_left"),
        *("name_right", "city_right", "born_right"),
    ]
    assert [row[3:] for row in rows(matches)] == [
        ("ada lovelace", "london", 1815, "ada king lovelace", "london", 1815),
        ("alan turing", "wilmslow", 1912, "turing alan", "wilmslow", 1912),
    ]


def test_left_keeps_every_left_record(frame_factory: Factory) -> None:
    matches = link(frame_factory(LEFT), frame_factory(RIGHT), how="left", suffixes=("", "_r"), student=WordOverlap())
    assert columns(matches)[3:] == ["name", "city", "born", "name_r", "city_r", "born_r"]
    alone = rows(matches)[2]
    assert alone == ("a3", None, None, "grace hopper", "arlington", 1906, None, None, None)
    assert [row[0] for row in rows(matches)] == LEFT["id"]


def test_left_with_no_match_at_all(frame_factory: Factory) -> None:
    pairs = frame_factory({"left_id": ["a1"], "right_id": [10]})
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    assert rows(link(left, right, pairs=pairs, student=WordOverlap())) == []
    matches = link(left, right, pairs=pairs, how="left", student=WordOverlap())
    assert [row[:3] for row in rows(matches)] == [(one, None, None) for one in LEFT["id"]]


def test_top_k_ranks_the_candidates_of_each_record(frame_factory: Factory) -> None:
    ranked = link(frame_factory(LEFT), frame_factory(RIGHT), top_k=2, student=WordOverlap())
    assert columns(ranked) == ["left_id", "right_id", "score", "rank"]
    by_record: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows(ranked):
        by_record.setdefault(row[0], []).append(row[1:])
    assert by_record["a1"][0][0] == 20
    for candidates in by_record.values():
        assert [rank for _, _, rank in candidates] == list(range(1, len(candidates) + 1))
        assert len(candidates) <= 2
        assert sorted((score for _, score, _ in candidates), reverse=True) == [score for _, score, _ in candidates]
    above = link(frame_factory(LEFT), frame_factory(RIGHT), top_k=2, threshold=0.5, student=WordOverlap())
    assert rows(above) == [row for row in rows(ranked) if row[2] >= 0.5]


@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        ("one_to_one", {("l1", "r1"), ("l2", "r2")}),
        ("many_to_one", {("l1", "r1"), ("l2", "r1")}),
        ("best", {("l1", "r1"), ("l2", "r1"), ("l3", "r2")}),
        ("all", {("l1", "r1"), ("l2", "r1"), ("l2", "r2")}),
    ],
)
def test_matching(frame_factory: Factory, matching: Any, expected: set[tuple[str, str]]) -> None:
    left = frame_factory({"id": ["l1", "l2", "l3"], "text": ["a b c d", "a b c e", "x y z e"]})
    right = frame_factory({"id": ["r1", "r2"], "text": ["a b c d", "a b e"]})
    pairs = frame_factory({"left_id": ["l1", "l2", "l2", "l3"], "right_id": ["r1", "r1", "r2", "r2"]})
    at = None if matching == "best" else 0.5
    matches = link(left, right, pairs=pairs, matching=matching, threshold=at, student=_table())
    assert {row[:2] for row in rows(matches)} == expected


def _table() -> Any:
    """A student that looks scores up: l1-r1 .9, l2-r1 .8, l2-r2 .6, l3-r2 .2."""
    known = {("l1", "r1"): 0.9, ("l2", "r1"): 0.8, ("l2", "r2"): 0.6, ("l3", "r2"): 0.2}

    class Lookup(WordOverlap):
        def score(self, left: Any, right: Any, pairs: Any, **options: Any) -> np.ndarray:
            ends = zip(left.ids[pairs.left], right.ids[pairs.right], strict=True)
            return np.array([known[end] for end in ends])

    return Lookup()


def test_columns_with_other_names_on_the_two_sides(frame_factory: Factory) -> None:
    right = {"id": RIGHT["id"], "who": RIGHT["name"], "where": RIGHT["city"], "note": ["grace", "ada", "alan"]}
    student = WordOverlap()
    matches = link(
        frame_factory(LEFT), frame_factory(right), left_on=["name", "city"], right_on=["who", "where"], student=student
    )
    assert [row[:2] for row in rows(matches)] == [("a1", 20), ("a2", 30)]
    assert student.calls[0]["left"].fields == student.calls[0]["right"].fields == ("name", "city")
    one = link(frame_factory(LEFT), frame_factory(right), left_on="name", right_on="who", student=student)
    assert [row[:2] for row in rows(one)] == [("a1", 20), ("a2", 30)]


def test_the_corpus_of_blocking_reaches_the_student(frame_factory: Factory) -> None:
    student = WordOverlap()
    link(frame_factory(LEFT), frame_factory(RIGHT), student=student, chunk_size=7, progress=True)
    assert student.calls[0]["corpus"].left is not None
    assert (student.calls[0]["chunk_size"], student.calls[0]["progress"]) == (7, True)


def test_own_pairs_and_rules(frame_factory: Factory) -> None:
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    pairs = frame_factory({"left_id": ["a3", "a1", "a1"], "right_id": [10, 20, 20], "note": ["x", "y", "z"]})
    found = link(left, right, pairs=pairs, matching="all", threshold=0, student=WordOverlap())
    assert [row[:2] for row in rows(found)] == [("a1", 20), ("a3", 10)]  # each pair once
    rule = er_distill.Exact("city")
    found = link(left, right, blocking=[rule], matching="all", threshold=0, student=WordOverlap())
    assert [row[:2] for row in rows(found)] == [("a1", 20), ("a2", 30), ("a3", 10)]


@pytest.mark.needs("pandas", "polars")
@pytest.mark.parametrize("how", ["ids", "inner", "left"])
def test_two_libraries(how: Any) -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    makers = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
    expected = rows(link(pa.table(LEFT), pa.table(RIGHT), how=how, student=WordOverlap()))
    for make_left in makers.values():
        for make_right in makers.values():
            matches = link(make_left(LEFT), make_right(RIGHT), how=how, student=WordOverlap())
            assert type(matches) is type(make_left(LEFT))
            assert rows(matches) == expected


@pytest.mark.needs("pandas", "polars")
def test_a_right_table_that_cannot_change_its_library_says_so() -> None:
    import pandas as pd
    import polars as pl

    right = pd.DataFrame(RIGHT).assign(odd=["one", 2, 3.0])
    with pytest.raises(InputError, match=r"right cannot become a polars table .* how='ids'"):
        link(pl.DataFrame(LEFT), right, columns=["name", "city"], how="inner", student=WordOverlap())
    mixed = pd.DataFrame(RIGHT).assign(id=[1, 2, "three"])
    with pytest.raises(InputError, match=r"ids for 'right_id' cannot become a polars column .* one type"):
        link(pl.DataFrame(LEFT), mixed, columns=["name", "city"], student=WordOverlap())


@pytest.mark.needs("polars")
def test_lazy_in_lazy_out() -> None:
    import polars as pl

    left, right = pl.LazyFrame(LEFT), pl.DataFrame(RIGHT)
    eager = link(left.collect(), right, student=WordOverlap())
    assert isinstance(link(left, right, student=WordOverlap()), pl.LazyFrame)
    assert link(left, right.lazy(), student=WordOverlap()).collect().equals(eager)
    assert isinstance(link(right, left, student=WordOverlap()), pl.DataFrame)  # as the first argument
    pairs = eager.lazy().select("left_id", "right_id")
    scored = score_pairs(pairs, left, right, student=WordOverlap())
    decided = match_pairs(scored, student=WordOverlap())
    assert isinstance(decided, pl.LazyFrame)
    assert decided.collect()["match"].to_list() == [1, 1]
    assert isinstance(dedupe(pl.LazyFrame(PEOPLE), student=WordOverlap()), pl.LazyFrame)


# ------------------------------------------------------------------------------------------------- ids


@pytest.mark.needs("pandas")
def test_the_order_in_which_ids_are_looked_for() -> None:
    import pandas as pd

    left = pd.DataFrame(LEFT, index=[100, 200, 300]).assign(key=["k1", "k2", "k3"])
    right = pd.DataFrame(RIGHT)

    def ids(frame: Any, **options: Any) -> list[Any]:
        compared = {"columns": ["name", "city"], "student": WordOverlap()}
        return link(frame, right, **compared, **options)["left_id"].tolist()

    assert ids(left, id=("key", None)) == ["k1", "k2"]
    assert ids(left) == ["a1", "a2"]
    assert ids(left.drop(columns="id")) == [100, 200]
    assert ids(left.drop(columns="id").reset_index(drop=True)) == [0, 1]
    pa_matches = link(nw.from_native(left.drop(columns="id")).to_arrow().drop(["__index_level_0__"]), right,
                      columns=["name", "city"], student=WordOverlap())  # fmt: skip
    assert pa_matches["left_id"].to_pylist() == [0, 1]


def test_one_id_name_for_both_tables(frame_factory: Factory) -> None:
    left = {("key" if name == "id" else name): values for name, values in LEFT.items()}
    right = {("key" if name == "id" else name): values for name, values in RIGHT.items()}
    matches = link(frame_factory(left), frame_factory(right), id="key", how="inner", student=WordOverlap())
    assert [row[:2] for row in rows(matches)] == [("a1", 20), ("a2", 30)]
    assert not {"key_left", "key_right"} & set(columns(matches))  # left_id and right_id hold them


@pytest.mark.needs("pandas")
def test_ids_keep_their_dtype() -> None:
    import pandas as pd

    indexes = {
        "category": pd.CategoricalIndex(["x", "y", "z"]),
        "datetime": pd.date_range("2020-01-01", periods=3, tz="UTC"),
        "int32": pd.Index([1, 2, 3], dtype="int32"),
        "string": pd.Index(["x", "y", "z"], dtype="string"),
    }
    plain = {name: values for name, values in LEFT.items() if name != "id"}
    for name, index in indexes.items():
        left = pd.DataFrame(plain, index=index)
        matches = link(left, pd.DataFrame(RIGHT), student=WordOverlap())
        assert matches["left_id"].dtype == index.dtype, name
        assert matches["left_id"].tolist() == index[:2].tolist()
        assert matches.index.tolist() == [0, 1]
    two_levels = pd.DataFrame(plain, index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]))
    assert link(two_levels, pd.DataFrame(RIGHT), student=WordOverlap())["left_id"].tolist() == [("a", 1), ("a", 2)]


@pytest.mark.needs("pandas")
def test_nulls_never_change_a_large_id() -> None:
    import pandas as pd

    large = 2**53 + 1  # as a float it would be another number
    right = pd.DataFrame(RIGHT).assign(id=[large, 2, 3], known=[True, False, True])
    matches = link(pd.DataFrame(LEFT), right, columns=["name", "city"], how="left", top_k=1, threshold=0.9,
                   student=WordOverlap())  # fmt: skip
    assert matches["right_id"].dropna().tolist() == [large]
    assert str(matches["right_id"].dtype) == str(matches["rank"].dtype) == "Int64"
    assert str(matches["known_right"].dtype) == "boolean"


# ---------------------------------------------------------------------------------------------- dedupe


def test_dedupe_adds_a_column_and_keeps_the_rest(frame_factory: Factory) -> None:
    frame = frame_factory(PEOPLE)
    found = dedupe(frame, student=WordOverlap())
    assert type(found) is type(frame)
    assert columns(found) == [*PEOPLE, "entity_id"]
    assert [row[:3] for row in rows(found)] == rows(frame)
    assert [row[3] for row in rows(found)] == [0, 1, 0, 2]
    named = dedupe(found, columns=["name", "city"], entity_column="again", student=WordOverlap())
    assert [row[4] for row in rows(named)] == [0, 1, 0, 2]
    average = dedupe(frame, clustering="average", student=WordOverlap())
    assert [row[3] for row in rows(average)] == [0, 1, 0, 2]


@pytest.mark.needs("pandas")
def test_dedupe_keeps_index_and_dtypes() -> None:
    import pandas as pd

    frame = pd.DataFrame(PEOPLE, index=pd.Index([7, 3, 5, 9], name="row")).astype({"city": "category"})
    found = dedupe(frame, student=WordOverlap())
    pd.testing.assert_frame_equal(found.drop(columns="entity_id"), frame)
    assert found["entity_id"].dtype == "int64"


def test_own_pairs_within_one_table_have_no_direction(frame_factory: Factory) -> None:
    pairs = {"left_id": ["p3", "p1", "p2"], "right_id": ["p1", "p3", "p4"]}
    student = WordOverlap()
    found = dedupe(frame_factory(PEOPLE), pairs=frame_factory(pairs), student=student)
    assert [row[3] for row in rows(found)] == [0, 1, 0, 2]
    scored = rows(score_pairs(frame_factory(pairs), frame_factory(PEOPLE), student=student))
    assert scored[0][2] == scored[1][2] > scored[2][2]
    assert all(call["one_table"] for call in student.calls)


# ---------------------------------------------------------------------------- score_pairs, match_pairs


def test_score_and_match_are_what_link_does(frame_factory: Factory) -> None:
    left, right, student = frame_factory(LEFT), frame_factory(RIGHT), WordOverlap()
    every = [(one, other) for one in LEFT["id"] for other in RIGHT["id"]]
    pairs = frame_factory({"left_id": [a for a, _ in every], "right_id": [b for _, b in every], "n": list(range(9))})
    scored = score_pairs(pairs, left, right, student=student)
    assert type(scored) is type(pairs)
    assert columns(scored) == ["left_id", "right_id", "n", "score"]
    assert [row[:3] for row in rows(scored)] == rows(pairs)
    decided = match_pairs(scored, student=student)
    assert columns(decided)[-1] == "match"
    assert [row[:4] for row in rows(decided)] == rows(scored)
    linked = link(left, right, pairs=pairs, student=student)
    assert [(row[0], row[1], row[3]) for row in rows(decided) if row[4] == 1] == rows(linked)
    assert {row[4] for row in rows(decided)} == {0, 1}


@pytest.mark.needs("pandas")
def test_pairs_work_in_pipe_and_keep_their_index() -> None:
    import pandas as pd

    left, right = pd.DataFrame(LEFT), pd.DataFrame(RIGHT)
    pairs = pd.DataFrame({"left_id": ["a2", "a1"], "right_id": [30, 20]}, index=["x", "y"])
    decided = pairs.pipe(score_pairs, left, right, student=WordOverlap()).pipe(match_pairs, threshold=0.3)
    assert decided.index.tolist() == ["x", "y"]
    assert decided["match"].tolist() == [1, 1]
    assert decided["match"].dtype == "int64"
    assert left.pipe(link, right, student=WordOverlap())["right_id"].tolist() == [20, 30]
    assert left.pipe(dedupe, student=WordOverlap())["entity_id"].tolist() == [0, 1, 2]


def test_pairs_judged_alone(frame_factory: Factory) -> None:
    pairs = frame_factory({"left_id": ["a1", "a1"], "right_id": [20, 10]})
    apart = frame_factory({"left_id": ["a1"], "right_id": [10]})
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    together = rows(score_pairs(pairs, left, right, context=False, student=WordOverlap()))
    assert rows(score_pairs(apart, left, right, context=False, student=WordOverlap()))[0] == together[1]


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.2, 0.6, 0.6, 0.9])),
        min_size=1,
        max_size=20,
        unique_by=lambda pair: pair[:2],
    ),
    order=st.randoms(use_true_random=False),
    matching=st.sampled_from(["one_to_one", "many_to_one", "best", "all"]),
)
def test_the_order_of_the_rows_never_decides(pairs: list[tuple[int, int, float]], order: Any, matching: Any) -> None:
    import pyarrow as pa

    def decisions(listed: list[tuple[int, int, float]]) -> dict[tuple[int, int], int]:
        left, right, score = (list(column) for column in zip(*listed, strict=True))
        table = pa.table({"left_id": left, "right_id": right, "score": score})
        found = match_pairs(table, threshold=0.5, matching=matching)["match"].to_pylist()
        return dict(zip(zip(left, right, strict=True), found, strict=True))

    shuffled = list(pairs)
    order.shuffle(shuffled)
    assert decisions(shuffled) == decisions(pairs)


def test_pairs_of_one_table_use_a_record_once() -> None:
    import pyarrow as pa

    scored = pa.table({"left_id": ["a", "b", "c"], "right_id": ["b", "c", "d"], "score": [0.8, 0.9, 0.7]})
    assert match_pairs(scored, threshold=0.5, one_table=True)["match"].to_pylist() == [0, 1, 0]
    assert match_pairs(scored, threshold=0.5)["match"].to_pylist() == [1, 1, 1]


# ---------------------------------------------------------------------------------- what never happens


def test_inputs_are_never_changed(frame_factory: Factory) -> None:
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    pairs = frame_factory({"left_id": ["a1"], "right_id": [20]})
    scored = frame_factory({"left_id": ["a1"], "right_id": [20], "score": [0.7]})
    given_frames = [left, right, pairs, scored]
    before = [snapshot(frame) for frame in given_frames]
    link(left, right, how="left", student=WordOverlap())
    dedupe(left, student=WordOverlap())
    score_pairs(pairs, left, right, student=WordOverlap())
    match_pairs(scored, threshold=0.5)
    for frame, old in zip(given_frames, before, strict=True):
        assert frame.equals(old)
        assert columns(frame) == columns(old)


def test_ids_are_never_compared(frame_factory: Factory) -> None:
    student = WordOverlap()
    link(frame_factory(LEFT), frame_factory(RIGHT), student=student)
    dedupe(frame_factory(PEOPLE), student=student)
    for call in student.calls:
        for records in filter(None, (call["left"], call["right"])):
            assert "id" not in records.fields
            assert not {str(one) for one in records.ids.tolist()} & {
                word for text in records.texts for word in text.split()
            }


# ----------------------------------------------------------------------------------------- the student


def test_a_loaded_student_is_used_on_its_device(frame_factory: Factory) -> None:
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    assert rows(link(left, right, student=WordOverlap(), device="cpu"))
    with pytest.raises(DeviceError, match=r"device='cuda', but the student is loaded on cpu"):
        link(left, right, student=WordOverlap(), device="cuda")
    with pytest.raises(InputError, match=r"student=3 is no student"):
        link(left, right, student=3)  # type: ignore[arg-type]


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_the_bundled_student_links_dedupes_and_scores(frame_factory: Factory) -> None:
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    student = er_distill.Student.load()
    by_name = rows(link(left, right, matching="best"))
    assert ("a1", 20) in {row[:2] for row in by_name}
    assert ("a2", 30) in {row[:2] for row in by_name}
    assert rows(link(left, right, matching="best", student=student)) == by_name
    labels = [row[3] for row in rows(dedupe(frame_factory(PEOPLE), student=student))]
    assert labels[1] != labels[3]
    pairs = frame_factory({"left_id": ["a1", "a1"], "right_id": [20, 10]})
    same, other = (row[2] for row in rows(score_pairs(pairs, left, right, student=student)))
    assert 0 <= other < same <= 1
    assert [row[3] for row in rows(match_pairs(score_pairs(pairs, left, right), matching="best"))] == [1, 0]


# ----------------------------------------------------------------------------------------- the package


def test_every_public_name_is_there() -> None:
    lazy = {"Compare", "Matcher", "StudentFeature"}  # these need recordlinkage: see test_recordlinkage
    for name in set(er_distill.__all__) - lazy:
        assert getattr(er_distill, name) is not None
    assert set(er_distill.__all__) <= set(dir(er_distill))
    with pytest.raises(AttributeError, match="no attribute 'lnik'"):
        _ = er_distill.lnik  # type: ignore[attr-defined]


def test_import_takes_less_than_a_second() -> None:
    code = "import time; start = time.perf_counter(); import er_distill; print(time.perf_counter() - start)"
    took = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(took) < 1.0


def test_many_pairs_are_looked_up_in_slices(monkeypatch: pytest.MonkeyPatch, frame_factory: Factory) -> None:
    left, right = frame_factory(LEFT), frame_factory(RIGHT)
    pairs = frame_factory({"left_id": ["a1", "a2", "a3", "a1", "a2"], "right_id": [20, 30, 10, 30, 10]})
    expected = rows(score_pairs(pairs, left, right, student=WordOverlap()))
    monkeypatch.setattr("er_distill.tables._IDS_AT_ONCE", 2)
    assert rows(score_pairs(pairs, left, right, student=WordOverlap())) == expected
    unknown = frame_factory({"left_id": ["a1", "x", "a3", "a1", "y"], "right_id": [20, 30, 10, 30, 10]})
    with pytest.raises(InputError, match=r"column 'left_id' names 2 id\(s\)"):
        score_pairs(unknown, left, right, student=WordOverlap())
