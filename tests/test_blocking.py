"""Blocking against all pairs computed plainly."""

from __future__ import annotations

import numpy as np
import pytest

from er_distill import blocking
from er_distill.blocking import Exact, TopK, candidates
from er_distill.errors import ErDistillWarning, InputError
from er_distill.records import Records
from er_distill.training.synthetic import generate
from er_distill.vectors import vectorise


def as_records(table: dict[str, list[str]], name: str) -> Records:
    columns = tuple(np.array(values, dtype=object) for values in table.values())
    return Records(name, np.arange(len(columns[0])), tuple(table), columns)


@pytest.fixture(scope="module")
def people() -> tuple[Records, Records]:
    task = generate("people", 60, seed=3)
    return as_records(task.left, "left"), as_records(task.right, "right")


def cosines(left: Records, right: Records | None) -> np.ndarray:
    corpus = vectorise(left, right)
    sides = []
    for side in (corpus.left, corpus.right):
        dense = side.grams[:].toarray() * corpus.vocabulary.gram_idf
        sides.append(dense / np.linalg.norm(dense, axis=1, keepdims=True))
    return sides[0] @ sides[1].T


def found(left: Records, right: Records | None, *rules: blocking.Rule) -> set[tuple[int, int]]:
    pairs = candidates(left, right, rules=rules).pairs
    listed = list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert listed == sorted(set(listed))
    return set(listed)


@pytest.mark.parametrize("mode", ["union", "mutual", "left"])
def test_top_k_of_two_tables(people: tuple[Records, Records], mode: str) -> None:
    similar = cosines(*people)
    forward = {(i, j) for i in range(similar.shape[0]) for j in np.argsort(-similar[i])[:4] if similar[i, j] > 0}
    backward = {(i, j) for j in range(similar.shape[1]) for i in np.argsort(-similar[:, j])[:4] if similar[i, j] > 0}
    expected = {"union": forward | backward, "mutual": forward & backward, "left": forward}[mode]
    # Values equal to the last place may be ranked either way by float32 and float64.
    assert len(found(*people, TopK(4, mode)) ^ expected) <= 2


@pytest.mark.parametrize("mode", ["union", "mutual"])
def test_top_k_of_one_table(people: tuple[Records, Records], mode: str) -> None:
    left, _ = people
    similar = cosines(left, None)
    np.fill_diagonal(similar, -1)
    nearest = {(i, j) for i in range(len(similar)) for j in np.argsort(-similar[i])[:4]}
    both_ways = {(j, i) for i, j in nearest}
    chosen = nearest | both_ways if mode == "union" else nearest & both_ways
    expected = {(i, j) for i, j in chosen if i < j}
    assert len(found(left, None, TopK(4, mode)) ^ expected) <= 2


def test_exact_keys_and_several_rules(people: tuple[Records, Records]) -> None:
    left, right = people
    field = left.fields[0]
    a, b = ([blocking.vectorise(left, right).left, blocking.vectorise(left, right).right][k].values[0] for k in (0, 1))
    expected = {(i, j) for i in range(len(a)) for j in range(len(b)) if a[i] and a[i] == b[j]}
    assert expected
    assert found(left, right, Exact(field)) == expected
    assert found(left, right, Exact(field), TopK(2)) == expected | found(left, right, TopK(2))
    inside = {(i, j) for i in range(len(a)) for j in range(i + 1, len(a)) if a[i] and a[i] == a[j]}
    assert found(left, None, Exact(field), TopK(1)) == inside | found(left, None, TopK(1))


def test_a_missing_value_blocks_with_nothing() -> None:
    table = as_records({"zip": ["", "", "1", "1"], "name": ["ann", "ann", "bob", "cy"]}, "people")
    assert found(table, None, Exact("zip")) == {(2, 3)}


def test_the_report_counts_what_was_cut(people: tuple[Records, Records]) -> None:
    left, right = people
    report = candidates(left, right, rules=[TopK(1), Exact(left.fields[0])]).report
    assert report.possible == len(left) * len(right)
    assert report.reduction == pytest.approx(1 - report.pairs / report.possible)
    assert [rule for rule, _ in report.rules] == ["top 1 by trigrams (union)", f"equal {left.fields[0]}"]
    assert report.left_without == 0
    one = candidates(left, rules=[Exact(left.fields[0])]).report
    assert one.possible == len(left) * (len(left) - 1) // 2
    assert one.left_without == one.right_without > 0


def test_a_rule_that_would_make_too_many_pairs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "MAX_EXACT_PAIRS", 10)
    table = as_records({"state": ["nsw"] * 6, "name": list("abcdef")}, "people")
    with pytest.raises(InputError, match=r"equal state would make 36 pairs of people.*Add a field"):
        candidates(table, rules=[Exact("state")])


def test_wrong_rules_are_refused(people: tuple[Records, Records]) -> None:
    left, right = people
    with pytest.raises(InputError, match="Did you mean"):
        candidates(left, right, rules=[Exact(left.fields[0] + "s")])
    with pytest.raises(InputError, match="k must be at least 1"):
        TopK(0)
    with pytest.raises(InputError, match="Did you mean 'mutual'"):
        TopK(3, "mutuall")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one field"):
        Exact()
    with pytest.raises(InputError, match="no rule"):
        candidates(left, right, rules=[])
    for rules in (TopK(3), "topk", [TopK(3), "city"]):
        with pytest.raises(InputError, match=r"must be a list of TopK and Exact, such as"):
            candidates(left, right, rules=rules)  # type: ignore[arg-type]


def test_no_candidate_at_all_is_a_warning() -> None:
    apart = as_records({"name": ["aaaa", "bbbb"]}, "left"), as_records({"name": ["cccc"]}, "right")
    with pytest.warns(ErDistillWarning, match=r"found no candidate pair in left and right \(top 10"):
        blocks = candidates(*apart)
    assert len(blocks.pairs) == 0
    report = blocks.report
    assert (report.pairs, report.possible, report.left_without, report.right_without) == (0, 2, 2, 1)
    with pytest.warns(ErDistillWarning, match="found no candidate pair in left"):
        assert not len(candidates(apart[0]).pairs)
    assert not len(candidates(apart[1]).pairs)  # of one record no pair could be expected
