"""Looking up in large tables, rarest first, against reading everything."""

from __future__ import annotations

import numpy as np
import pytest

from er_distill import blocking, nearest
from er_distill.blocking import TopK, candidates
from er_distill.records import Records
from er_distill.training.synthetic import SyntheticTask, generate
from er_distill.vectors import Corpus, vectorise

Found = set[tuple[int, int]]


def as_records(table: dict[str, list[str]], name: str) -> Records:
    columns = tuple(np.array(values, dtype=object) for values in table.values())
    return Records(name, np.arange(len(columns[0])), tuple(table), columns)


@pytest.fixture(scope="module")
def task() -> SyntheticTask:
    return generate("people", 300, seed=5, overlap=1.0)


@pytest.fixture(scope="module")
def tables(task: SyntheticTask) -> tuple[Records, Records]:
    assert task.right is not None
    return as_records(task.left, "left"), as_records(task.right, "right")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every table counts as large, and its lists come in several parts."""
    monkeypatch.setattr(nearest, "MOST_EXACT", 0)
    monkeypatch.setattr(nearest, "_OTHERS_AT_ONCE", 64)
    return monkeypatch


def found(corpus: Corpus, k: int, threads: int | None = None) -> Found:
    rows, others = nearest.nearest(corpus.left, corpus.right, corpus.vocabulary, k, threads=threads)
    listed = list(zip(rows.tolist(), others.tolist(), strict=True))
    assert len(set(listed)) == len(listed)
    return set(listed)


def test_whoever_reads_and_compares_enough_finds_the_same(
    tables: tuple[Records, Records], large: pytest.MonkeyPatch
) -> None:
    corpus = vectorise(*tables)
    large.setattr(nearest, "_COMPARED", 300)
    two_steps = found(corpus, 5)
    large.setattr(nearest, "MOST_EXACT", 300)
    at_once = found(corpus, 5)
    assert len(at_once) == 5 * 300
    # Values equal to the last place may be ranked either way.
    assert len(two_steps ^ at_once) <= 6


def test_little_reading_finds_nearly_all_matches(
    task: SyntheticTask, tables: tuple[Records, Records], large: pytest.MonkeyPatch
) -> None:
    corpus = vectorise(*tables)
    truth = set(map(tuple, task.truth.tolist()))
    read = int(np.bincount(corpus.right.grams.indices).max())  # not even two of the most frequent trigrams
    large.setattr(nearest, "MOST_READ", read)
    assert len(truth & found(corpus, 10)) >= 0.97 * len(truth)


def test_a_query_finds_the_same_whatever_stands_beside_it(
    tables: tuple[Records, Records], large: pytest.MonkeyPatch
) -> None:
    corpus = vectorise(*tables)
    large.setattr(nearest, "MOST_READ", 40)
    together = found(corpus, 4, threads=2)
    large.setattr(nearest, "_QUERIES_AT_ONCE", 7)
    large.setattr(nearest, "_PAIRS_AT_ONCE", 11)
    assert found(corpus, 4, threads=1) == together
    order = np.random.default_rng(0).permutation(300)
    moved = Corpus(corpus.vocabulary, corpus.left.take(order), corpus.right)
    assert {(int(order[row]), other) for row, other in found(moved, 4)} == together


def test_a_record_of_frequent_words_alone_has_candidates(large: pytest.MonkeyPatch) -> None:
    large.setattr(nearest, "MOST_READ", 2)  # less than the list of any word or trigram of the first record
    left = as_records({"name": ["acme", "", "qqq"]}, "left")
    right = as_records({"name": ["acme", "acme", "acme", "zzz"]}, "right")
    pairs = candidates(left, right, rules=[TopK(2, "left")]).pairs
    assert pairs.left.tolist() == [0, 0]
    assert set(pairs.right.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("mode", ["union", "mutual"])
def test_one_table_is_looked_up_in_itself(
    tables: tuple[Records, Records], large: pytest.MonkeyPatch, mode: str
) -> None:
    left, _ = tables
    pairs = candidates(left, rules=[TopK(3, mode)]).pairs
    assert (pairs.left < pairs.right).all()
    large.setattr(nearest, "MOST_EXACT", len(left))
    plainly = candidates(left, rules=[TopK(3, mode)]).pairs
    assert len(np.intersect1d(pairs.keys(), plainly.keys())) > 0.6 * len(plainly)


def test_progress_is_shown_on_request_and_ends_at_the_records_asked_about(
    tables: tuple[Records, Records], capsys: pytest.CaptureFixture[str]
) -> None:
    rules: list[blocking.Rule] = [TopK(2), blocking.Exact(tables[0].fields[0])]
    candidates(*tables, rules=rules)
    assert capsys.readouterr().err == ""
    candidates(*tables, rules=rules, progress=True)
    shown = capsys.readouterr().err
    asked_about = len(tables[0]) + len(tables[1])
    assert "blocking: 100%" in shown
    assert f"{asked_about}/{asked_about}" in shown
