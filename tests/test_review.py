"""The review file: what a person sees, and what their decisions do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from er_distill import review
from er_distill.errors import InputError
from er_distill.files import read_table, write_table
from er_distill.matching import match
from er_distill.pairs import Pairs
from er_distill.records import Records

LEFT = Records.from_frame(
    pa.table({"id": [f"a{i}" for i in range(6)], "name": [f"left {i}" for i in range(6)]}), name="L"
)
RIGHT = Records.from_frame(
    pa.table({"id": list(range(6)), "name": [f"right {i}" for i in range(6)], "price": ["9"] * 6}), name="R"
)
PAIRS = Pairs(np.array([0, 0, 1, 2, 3, 4]), np.array([0, 1, 1, 2, 3, 4]), 6, 6)
SCORES = np.array([0.95, 0.75, 0.7, 0.6, 0.4, 0.1])


def decided(folder: Path, rows: str) -> review.Decisions:
    path = folder / "reviewed.csv"
    path.write_text("decision,left_id,right_id\n" + rows)
    return review.read_decisions(path)


def settled(folder: Path, rows: str, *, one_to_one: bool = True) -> review.Settled:
    return review.settle(decided(folder, rows), LEFT, RIGHT, one_to_one=one_to_one)


def test_the_file_shows_the_band_side_by_side_without_scores() -> None:
    table = review.review_table(LEFT, RIGHT, PAIRS, SCORES, (0.4, 0.75))
    assert table.column_names == ["decision", "left_id", "right_id", "left_name", "right_name", "right_price"]
    rows = {(row["left_id"], row["right_id"]): row for row in table.to_pylist()}
    assert set(rows) == {("a0", "1"), ("a1", "1"), ("a2", "2"), ("a3", "3")}
    assert rows["a0", "1"] == {
        "decision": None, "left_id": "a0", "right_id": "1",
        "left_name": "left 0", "right_name": "right 1", "right_price": "9",
    }  # fmt: skip


def test_the_order_says_nothing_of_the_scores_and_is_the_same_every_time() -> None:
    n = 200
    left = Records.from_frame(pa.table({"name": [f"n{i}" for i in range(n)]}), name="L")
    pairs, scores = Pairs(np.arange(n), np.arange(n), n, n), np.linspace(0.3, 0.8, n)
    first = review.review_table(left, left, pairs, scores, (0.0, 1.0))["left_id"].to_pylist()
    again = review.review_table(left, left, pairs, scores, (0.0, 1.0))["left_id"].to_pylist()
    assert first == again
    assert abs(np.corrcoef([int(value) for value in first], np.arange(n))[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("matches.csv", "matches.review.csv"),
        ("people.v2.parquet", "people.v2.review.csv"),
        ("a.csv.gz", "a.review.csv"),
    ],
)
def test_the_file_stands_beside_the_output(output: str, name: str) -> None:
    assert review.review_path(Path("folder") / output) == Path("folder") / name


def test_what_was_written_and_filled_in_is_read_back(tmp_path: Path) -> None:
    table = review.review_table(LEFT, RIGHT, PAIRS, SCORES, (0.4, 0.75))
    answers = ["match", " No Match", "unsure", None]
    path = tmp_path / "reviewed.csv"
    write_table(table.set_column(0, "decision", pa.array(answers)), path)
    decisions = review.read_decisions(path)
    assert decisions.matches.tolist() == [True, False]
    assert list(decisions.left_ids) == table["left_id"].to_pylist()[:2]
    found = review.settle(decisions, LEFT, RIGHT, one_to_one=False)
    assert RIGHT.ids[found.pairs.right].tolist() == [int(value) for value in table["right_id"].to_pylist()[:2]]
    assert len(read_table(path)) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("match,a0,0\nmach,a1,1\n", "reviewed.csv: line 3: the decision 'mach' is not known. Did you mean 'match'"),
        (",a0,0\nunsure,a1,1\n", "reviewed.csv holds no decision yet"),
        ("match,a9,0\n", "reviewed.csv: column 'left_id' names 1 id.* that no record of L has"),
        ("match,a0,0\n\nno match,a0,0\n", "line 4 contradicts line 2 on the pair 'a0', '0'"),
        ("match,a0,1\nmatch,a1,1\n", "line 2 and line 3 give one right record two matches"),
        ("match,a0,0\nmatch,a0,1\n", "line 2 and line 3 give one left record two matches"),
    ],
)
def test_a_decision_that_cannot_stand_names_its_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        settled(tmp_path, rows)


def test_a_file_without_decisions_says_which_column_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "reviewed.csv"
    path.write_text("decison,left_id,right_id\nmatch,a0,0\n")
    with pytest.raises(InputError, match=r"no column 'decision'\. Did you mean 'decison'"):
        review.read_decisions(path)


def test_in_one_table_a_pair_has_no_direction(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3 contradicts line 2"):
        review.settle(decided(tmp_path, "match,a0,a1\nno match,a1,a0\n"), LEFT, None, one_to_one=False)


def test_other_matchings_allow_two_matches_a_record(tmp_path: Path) -> None:
    assert settled(tmp_path, "match,a0,1\nmatch,a1,1\n", one_to_one=False).matches.tolist() == [True, True]


def test_settled_pairs_join_the_candidates_once(tmp_path: Path) -> None:
    joined = review.with_settled(PAIRS, settled(tmp_path, "match,a0,0\nno match,a5,5\n"))
    assert sorted(joined.keys().tolist()) == sorted([*PAIRS.keys().tolist(), 5 * 6 + 5])


def test_the_threshold_lies_between_the_decisions(tmp_path: Path) -> None:
    """Of a1-1 at 0.7 and a2-2 at 0.6 the first is a match, the second is not; 0.95 and 0.75 lie above the decisions."""
    found = settled(tmp_path, "match,a1,1\nno match,a2,2\nno match,a3,3\n")
    assert review.chosen_threshold(PAIRS, SCORES, found) == pytest.approx(0.65)
    found = settled(tmp_path, "match,a1,1\nmatch,a2,2\nmatch,a3,3\n")
    assert review.chosen_threshold(PAIRS, SCORES, found) == pytest.approx(0.25)


def test_no_threshold_without_a_match(tmp_path: Path) -> None:
    assert review.chosen_threshold(PAIRS, SCORES, settled(tmp_path, "no match,a0,0\n")) is None


@pytest.mark.parametrize("matching", ["one_to_one", "many_to_one", "all"])
def test_decisions_hold_whatever_the_scores(tmp_path: Path, matching: str) -> None:
    found = settled(tmp_path, "match,a0,1\nno match,a2,2\n")
    matched, free = review.open_pairs(PAIRS, found, matching)
    rows = np.flatnonzero(free)
    matched[rows] |= match(PAIRS.left[rows], PAIRS.right[rows], SCORES[rows], matching=matching, at=0.5)  # type: ignore[arg-type]
    chosen = set(zip(PAIRS.left[matched].tolist(), PAIRS.right[matched].tolist(), strict=True))
    assert (
        chosen
        == {
            "one_to_one": {(0, 1)},
            "many_to_one": {(0, 1), (1, 1)},
            "all": {(0, 0), (0, 1), (1, 1)},
        }[matching]
    )


def test_scores_of_decided_pairs_become_certain(tmp_path: Path) -> None:
    found = settled(tmp_path, "match,a4,4\nno match,a0,0\n")
    assert review.settled_scores(PAIRS, SCORES, found).tolist() == [0.0, 0.75, 0.7, 0.6, 0.4, 1.0]
