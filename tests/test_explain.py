"""Explanations add up to the score they explain, and say nothing of what has no part in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import er_distill
from er_distill import explaining
from er_distill.cli import app
from er_distill.errors import InputError
from er_distill.occlusion import MAX_EXACT, log_odds, shapley
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.vectors import vectorise, vectors_of
from tests.fake_student import WordOverlap, needs_bundled_student

LEFT = {
    "id": [1, 2, 3],
    "name": ["Sony A7 camera", "Canon EOS lens", "Bosch GSR drill"],
    "maker": ["Sony", "Canon", "Bosch"],
    "year": ["2013", None, "2011"],
}
RIGHT = {
    "id": ["x", "y", "z"],
    "name": ["A7 camera Sony", "EOS lens, Canon", "A9 camera"],
    "maker": ["Sony", None, "Sony"],
    "colour": ["black", "white", None],
}
ALL = {"left_id": [i for i in LEFT["id"] for _ in RIGHT["id"]], "right_id": RIGHT["id"] * 3}
PEOPLE = {"name": ["ada lovelace", "ada king", "alan turing", "a turing"], "town": ["ockham", "ockham", "london", None]}


class OfNames(WordOverlap):
    """Reads nothing but names."""

    def score(self, left: Records, right: Records | None, pairs: Pairs, **options: Any) -> np.ndarray:
        tables = [None if table is None else _names(table) for table in (left, right)]
        return super().score(tables[0], tables[1], pairs, **options)  # type: ignore[arg-type]


def _names(table: Records) -> Records:
    return dataclasses.replace(table, fields=("name",), values=(table.values[table.fields.index("name")],))


def explained(pair: tuple[Any, Any], **changes: Any) -> er_distill.Explanation:
    arguments = {"student": WordOverlap(), "pairs": pa.table(ALL)} | changes
    return er_distill.explain(pa.table(LEFT), pa.table(RIGHT), pair=pair, **arguments)


words = st.lists(st.sampled_from(["ada", "king", "of", "ockham", "10", "b-2"]), max_size=3).map(" ".join)
records = st.lists(st.tuples(words, words, words), min_size=2, max_size=4)


@given(records, records, st.booleans(), st.data())
def test_base_and_contributions_are_the_log_odds_of_the_score(
    lefts: list[tuple[str, ...]], rights: list[tuple[str, ...]], context: bool, data: st.DataObject
) -> None:
    def table(rows: list[tuple[str, ...]], names: str) -> pa.Table:
        rows = [("filled", "filled", "filled"), *rows]  # a column without a value is not compared
        return pa.table({"id": range(len(rows))} | {name: [row[k] for row in rows] for k, name in enumerate(names)})

    two = data.draw(st.booleans())
    left, right = table(lefts, "abc"), table(rights, "abd") if two else None
    ends = [(i, j) for i in range(left.num_rows) for j in range(right.num_rows if right is not None else i)]
    pair = data.draw(st.sampled_from(ends))
    pairs = pa.table({"left_id": [i for i, _ in ends], "right_id": [j for _, j in ends]})
    student = WordOverlap()
    why = er_distill.explain(left, right, pair=pair, student=student, pairs=pairs, context=context)
    scored = er_distill.score_pairs(pairs, left, right, student=student, context=context)
    assert why.exact
    assert why.score == pytest.approx(scored["score"][ends.index(pair)].as_py(), abs=1e-12)
    assert why.log_odds == pytest.approx(float(log_odds(why.score)), abs=1e-6)


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
@pytest.mark.parametrize("context", [True, False])
def test_a_student_is_explained_among_all_its_candidates(context: bool) -> None:
    left, right, pairs = pa.table(LEFT), pa.table(RIGHT), pa.table(ALL)
    student = er_distill.Student.load()
    scored = er_distill.score_pairs(pairs, left, right, student=student, context=context)["score"].to_pylist()
    for row, pair in enumerate(zip(ALL["left_id"], ALL["right_id"], strict=True)):
        why = er_distill.explain(left, right, pair=pair, student=student, pairs=pairs, context=context)
        assert why.score == pytest.approx(scored[row], abs=1e-6)
        assert why.log_odds == pytest.approx(float(log_odds(why.score)), abs=1e-6)
        rivals = {("left", one.id): one.score for one in why.candidates_of_left}
        rivals |= {("right", one.id): one.score for one in why.candidates_of_right}
        expected = {
            ("left", b) if a == pair[0] else ("right", a): score
            for a, b, score in zip(ALL["left_id"], ALL["right_id"], scored, strict=True)
            if (a == pair[0]) != (b == pair[1])
        }
        assert rivals == pytest.approx(expected, abs=1e-6)
        assert why.margin == pytest.approx(scored[row] - max(expected.values()), abs=1e-6)
    assert why.generated is None


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_a_score_that_is_wanted_does_not_depend_on_those_that_are_not() -> None:
    left, right = (Records.from_frame(pa.table(table), name="t") for table in (LEFT, RIGHT))
    student = er_distill.Student.load()
    student.variant = dataclasses.replace(student.variant, band=(0.0, 1.0))  # the second tier reads all it may
    pairs = Pairs(np.array([2, 0, 0, 1, 0]), np.array([1, 2, 0, 1, 2]), 3, 3)  # unsorted, one twice
    every = student.score(left, right, pairs)
    wanted = np.array([True, False, True, False, True])
    some = student.score(left, right, pairs, wanted=wanted)
    np.testing.assert_allclose(some[wanted], every[wanted], atol=1e-12)
    assert abs(some - every)[3] > 0


def test_an_attribute_without_a_part_in_the_score_gets_nothing() -> None:
    why = explained((1, "x"), student=OfNames())
    gains = {one.name: one.contribution for one in why.attributes}
    assert set(gains) == {"name", "maker", "year", "colour"}
    assert gains["name"] == pytest.approx(why.log_odds - why.base)
    assert [gains[name] for name in ("maker", "year", "colour")] == pytest.approx([0, 0, 0], abs=1e-9)
    assert {one.attribute for one in explained((1, "z"), student=OfNames()).words} == {"name"}
    assert explained((2, "z")).attributes[-1].contribution == 0  # nobody filled in a year or a colour


def test_what_only_one_record_has_speaks_against_the_pair() -> None:
    gains = {one.name: one.contribution for one in explained((1, "x"), context=False).attributes}
    assert gains["name"] > gains["maker"] > 0 > gains["year"]
    assert gains["year"] == pytest.approx(gains["colour"])


def test_words_are_left_out_of_both_records() -> None:
    why = explained((1, "x"), context=False)
    found = {(one.attribute, one.word): one for one in why.words}
    camera, year = found["name", "camera"], found["year", "2013"]
    assert (camera.side, year.side) == ("both", "left")
    # of {Sony, A7, camera, 2013, black} three are shared; without "camera" two of four, without "2013" three of four
    assert why.score == pytest.approx(3 / 5)
    assert camera.effect == pytest.approx(float(log_odds(3 / 5) - log_odds(2 / 4)))
    assert year.effect == pytest.approx(float(log_odds(3 / 5) - log_odds(3 / 4)))
    assert len(explained((1, "x"), context=False, words=2).words) == 2


def test_in_one_table_the_order_of_a_pair_says_nothing() -> None:
    pairs = pa.table({"left_id": [0, 2, 0, 1, 3], "right_id": [1, 3, 2, 2, 0]})
    there, back = (
        er_distill.explain(pa.table(PEOPLE), pair=pair, student=WordOverlap(), pairs=pairs) for pair in ((0, 2), (2, 0))
    )
    assert there.base == pytest.approx(back.base)
    gains, mirrored = ({one.name: one.contribution for one in why.attributes} for why in (there, back))
    assert gains == pytest.approx(mirrored)
    assert there.candidates_of_left == back.candidates_of_right
    assert {one.id for one in there.candidates_of_left} == {1, 3}
    assert {(one.word, one.side) for one in there.words} == {
        (one.word, {"left": "right", "right": "left"}.get(one.side, one.side)) for one in back.words
    }


def test_frames_of_any_library(frame_factory: Callable[[Mapping[str, Sequence[Any]]], Any]) -> None:
    left, right, pairs = map(frame_factory, (LEFT, RIGHT, ALL))
    why = er_distill.explain(left, right, pair=(2, "y"), student=WordOverlap(), pairs=pairs)
    assert why.attributes == explained((2, "y")).attributes


def test_shapley_values_of_games_that_are_known() -> None:
    worth = np.arange(1.0, MAX_EXACT + 5)
    for n in (1, MAX_EXACT, MAX_EXACT + 4):
        np.testing.assert_allclose(shapley(lambda c, n=n: c @ worth[:n] + 3, n), worth[:n])
    # a left and a right glove make a pair; there are two left ones (Shapley & Shubik 1969)
    gloves = shapley(lambda c: ((c[:, 0] | c[:, 1]) & c[:, 2]).astype(float), 3)
    np.testing.assert_allclose(gloves, [1 / 6, 1 / 6, 4 / 6])
    rng = np.random.default_rng(0)
    table: dict[bytes, float] = {}
    n = MAX_EXACT + 2

    def random_game(coalitions: np.ndarray) -> np.ndarray:
        return np.array([table.setdefault(one.tobytes(), rng.normal()) for one in coalitions])

    gains = shapley(random_game, n)
    whole, empty = random_game(np.array([[True] * n, [False] * n]))
    assert gains.sum() == pytest.approx(whole - empty)
    assert shapley(lambda c: c[:, :0].sum(axis=1).astype(float), 0).shape == (0,)


def test_many_attributes_are_sampled_and_still_add_up() -> None:
    names = [f"field {k}" for k in range(MAX_EXACT + 3)]
    left = pa.table({name: [f"word{k}", "other"] for k, name in enumerate(names)})
    right = pa.table({name: [f"word{k}" if k % 2 else "", "other"] for k, name in enumerate(names)})
    pairs = pa.table({"left_id": [0, 0], "right_id": [0, 1]})
    first, second = (er_distill.explain(left, right, pair=(0, 0), student=WordOverlap(), pairs=pairs) for _ in range(2))
    assert not first.exact
    assert "a sample of their orders" in str(first)
    assert first == second
    assert first.log_odds == pytest.approx(float(log_odds(first.score)), abs=1e-6)


def test_further_records_weigh_as_the_tables_own() -> None:
    left, right = (Records.from_frame(pa.table(table), name="t") for table in (LEFT, RIGHT))
    word_ids: dict[str, int] = {}
    corpus = vectorise(left, right, word_ids=word_ids)
    for table, own in ((left, corpus.left), (right, corpus.right)):
        again = vectors_of(table, corpus, word_ids)
        assert (again.words[:] != own.words[:]).nnz == (again.grams[:] != own.grams[:]).nnz == 0
        np.testing.assert_array_equal(again.information, own.information)
    new = Records("t", np.array([0]), ("maker", "name"), (np.array(["Sony"], object), np.array(["Nikon A7"], object)))
    vectors = vectors_of(new, corpus, word_ids)
    assert vectors.words[:].nnz == 2  # nikon is no word of theirs
    maker, name = corpus.vocabulary.aligned.index("maker"), corpus.vocabulary.aligned.index("name")
    assert vectors.information[name, 0] == 1
    assert vectors.information[maker, 0] == corpus.left.information[maker, 0] < 1


def test_what_cannot_be_explained() -> None:
    def refusal(pair: Any, **changes: Any) -> str:
        with pytest.raises(InputError) as caught:
            explained(pair, **changes)
        return str(caught.value)

    assert "no record of left has, such as 9" in refusal((9, "x"))
    assert "no record of right has, such as 'q'" in refusal((1, "q"))
    assert "must be two ids" in refusal(12)
    few = pa.table({"left_id": [1, 2], "right_id": ["x", "y"]})
    assert "not among the 2 candidate pairs" in refusal((1, "y"), pairs=few)
    assert "bring candidate pairs that hold this one" in refusal((1, "y"), pairs=few)
    assert "Pass one" in refusal((1, "x"), blocking=[er_distill.TopK(1)])
    with pytest.raises(InputError, match="paired with itself"):
        er_distill.explain(pa.table(PEOPLE), pair=(1, 1), student=WordOverlap())


def test_it_reads_well() -> None:
    text = str(explained((1, "x"), context=False))
    assert text.splitlines()[0] == "1 and x: match, probability 0.600 (threshold 0.50)"
    assert "Sony A7 camera | A7 camera Sony" in text
    assert "Other candidates of 1: 2" in text
    assert "Margin to the best of them" in text


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_a_student_that_can_say_why_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def says(student: er_distill.Student, query: str, candidates: Sequence[str]) -> str:
        asked.append((query, list(candidates)))
        return "[1]. The names agree."

    monkeypatch.setattr(explaining, "generated_explanation", says)
    why = explained((1, "x"), student=er_distill.Student.load())
    ((query, candidates),) = asked
    assert query == "Sony A7 camera Sony 2013"
    assert candidates == ["A7 camera Sony Sony black", *(one.text for one in why.candidates_of_left)]
    assert len(candidates) == 3
    assert "The student says: [1]. The names agree." in str(why)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    left, right, pairs = (str(tmp_path / name) for name in ("a.csv", "b.csv", "pairs.csv"))
    Path(left).write_text(
        "id,name,city\n1,Ada Lovelace,London\n2,Alan Turing,Wilmslow\n3,Ada King,London\n", encoding="utf-8"
    )
    Path(right).write_text('id,name,city\n"x,1",Alan M. Turing,Wilmslow\ny,Ada Lovelace,London\n', encoding="utf-8")
    Path(pairs).write_text('left_id,right_id\n1,y\n2,"x,1"\n', encoding="utf-8")
    return left, right, pairs


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_the_command_line(files: tuple[str, str, str]) -> None:
    left, right, pairs = files

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["explain", "default", *arguments])

    done = run(left, right, "--pair", "1,y")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1 and y: match")
    assert "(all empty)" in done.stdout
    done = run(left, right, "--pair", '2,"x,1"', "--pairs", pairs, "--json", "-q")
    facts = json.loads(done.stdout)
    assert (facts["left_id"], facts["right_id"], facts["candidates_of_left"]) == ("2", "x,1", [])
    total = facts["base"] + sum(one["contribution"] for one in facts["attributes"])
    assert total == pytest.approx(facts["log_odds"], abs=1e-6)
    assert facts["log_odds"] == pytest.approx(float(log_odds(facts["score"])), abs=1e-6)
    done = run(left, "--pair", "3,1")
    assert done.stdout.startswith("3 and 1: match, probability 0.")

    for arguments, code, words in (
        ((left, right, "--pair", "1"), 2, "write LEFT,RIGHT"),
        ((left, right, "--pair", "1,q"), 1, "such as 'q'"),
        ((left, right, "--pair", "1,y", "--pairs", pairs, "--block", "topk:3"), 2, "Give one of them"),
        ((left, right, "--pair", "2,y", "--pairs", pairs), 1, "not among the 2 candidate pairs"),
    ):
        done = run(*arguments)
        assert done.exit_code == code, done.output
        assert words in " ".join(done.stderr.replace("│", " ").split())
