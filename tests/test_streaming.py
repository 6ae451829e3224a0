"""Scores in chunks: the same numbers, whole lists, from memory and from a file that is never held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill import InputError, dedupe, iter_scored, link, match_pairs, score_pairs
from er_distill.chunks import ParquetPairs, ScatteredListsError, Shard
from er_distill.streaming import Stream
from tests.fake_student import needs_bundled_student
from tests.small_lists import Lists, addresses, scores, student

pytestmark = [pytest.mark.needs("onnxruntime"), needs_bundled_student]


def joined(chunks: Any) -> pa.Table:
    return pa.concat_tables(list(chunks))


def by_pair(table: pa.Table) -> dict[tuple[str, str], float]:
    columns = (table[name].to_pylist() for name in ("left_id", "right_id", "score"))
    return {(a, b): score for a, b, score in zip(*columns, strict=True)}


@settings(max_examples=5)
@given(chunk_size=st.integers(1, 400), seed=st.integers(0, 99))
def test_any_order_and_chunk_gives_the_scores_of_all_pairs_to_the_last_bit(chunk_size: int, seed: int) -> None:
    lists = addresses()
    order = np.random.default_rng(seed).permutation(len(lists.pairs))
    given_pairs = lists.table.take(order)
    whole = score_pairs(given_pairs, lists.left, lists.right, student=student())
    assert np.array_equal(whole["score"].to_numpy(), scores()[order])
    chunks = list(iter_scored(lists.left, lists.right, pairs=given_pairs, student=student(), chunk_size=chunk_size))
    found = joined(chunks)
    assert found.sort_by("note") == whole.sort_by("note")
    of_chunk = [set(chunk["left_id"].to_pylist()) for chunk in chunks]
    assert sum(map(len, of_chunk)) == len(set().union(*of_chunk))  # no list is in two chunks


@settings(max_examples=5)
@given(chunk_size=st.integers(1, 400), row_group_size=st.integers(1, 60), of=st.integers(1, 4), context=st.booleans())
def test_file_gives_the_same_in_its_own_order(
    chunk_size: int, row_group_size: int, of: int, context: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lists = addresses()
    path = lists.write(tmp_path_factory.mktemp("lists"), row_group_size=row_group_size)
    options: dict[str, Any] = {"student": student(), "context": context}
    whole = score_pairs(lists.table, lists.left, lists.right, **options)
    shards = [
        list(iter_scored(lists.left, lists.right, pairs=path, chunk_size=chunk_size, shard=f"{k}/{of}", **options))
        for k in range(1, of + 1)
    ]
    if of == 1:
        assert joined(shards[0]) == whole
    rows = [set(joined(shard)["note"].to_pylist()) for shard in shards if shard]
    assert sum(map(len, rows)) == len(whole)  # they never overlap
    assert joined(chunk for shard in shards for chunk in shard).sort_by("note") == whole.sort_by("note")


def test_link_in_chunks(frame_factory: Callable[[Any], Any]) -> None:
    lists = addresses()
    left, right = (frame_factory(table.to_pydict()) for table in (lists.left, lists.right))
    parts = list(iter_scored(left, right, student=student(), chunk_size=50))
    assert len(parts) > 2
    assert all(type(part) is type(left) for part in parts)
    columns = [nw.from_native(part, eager_only=True).to_dict(as_series=False) for part in parts]
    found = {name: [value for part in columns for value in part[name]] for name in columns[0]}
    wanted = lists.table.drop_columns("note").append_column("score", [scores()])
    assert by_pair(pa.table(found)) == by_pair(wanted)
    decided = match_pairs(pa.table(found), student=student())
    matched = decided.filter(decided["match"].to_numpy() == 1)
    whole = link(lists.left, lists.right, student=student())
    assert by_pair(matched) == by_pair(whole)


def test_one_table_in_chunks() -> None:
    lists = addresses()
    both = pa.concat_tables([lists.left, lists.right.select(lists.left.column_names)])
    parts = joined(iter_scored(both, student=student(), chunk_size=40))
    again = score_pairs(parts.drop_columns("score"), both, student=student())
    assert again == parts
    backward = pa.table({"left_id": parts["right_id"], "right_id": parts["left_id"]})
    repeated = pa.concat_tables([parts.select(["left_id", "right_id"]), backward.slice(0, 9)])
    twice = by_pair(joined(iter_scored(both, pairs=repeated, student=student(), chunk_size=40)))
    assert all(twice[pair] == score for pair, score in by_pair(parts).items())
    assert len(twice) == len(parts) + 9
    assert "entity_id" in dedupe(both, student=student()).column_names


def test_file_whose_lists_are_scattered(tmp_path: Path) -> None:
    lists = addresses()
    pq.write_table(lists.table.take([0, 1, len(lists.pairs) - 1, 2]), tmp_path / "pairs.parquet")
    for chunk_size in (1, 100):
        source = ParquetPairs(tmp_path / "pairs.parquet", lists.a, lists.b, chunk_size=chunk_size)
        with pytest.raises(ScatteredListsError, match=r"pairs.parquet.*left_id 'a0'.*Sort the file by left_id"):
            list(source.whole_lists())


def test_file_of_one_table_that_has_a_pair_both_ways(tmp_path: Path) -> None:
    lists = addresses()
    pairs = pa.table({"left_id": ["a1", "a2", "a2", "a5"], "right_id": ["a3", "a1", "a0", "a2"]})
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    list(ParquetPairs(tmp_path / "pairs.parquet", lists.a, None, chunk_size=1).whole_lists())
    pq.write_table(
        pa.concat_tables([pairs, pa.table({"left_id": ["a3"], "right_id": ["a1"]})]), tmp_path / "pairs.parquet"
    )
    with pytest.raises(ScatteredListsError, match=r"'a1' with 'a3' in either direction"):
        list(ParquetPairs(tmp_path / "pairs.parquet", lists.a, None, chunk_size=1).whole_lists())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"left_id": ["a1", None], "right_id": ["b1", "b2"]}, r"row 2 has no value in column 'left_id'"),
        ({"left_id": ["a1", "a1"], "right_id": ["b1", "zz"]}, r"column 'right_id' names 1 id.*'zz'"),
        ({"left_id": ["a1"], "other": ["b1"]}, r"no column 'right_id'"),
        ({"left_id": pa.array([], pa.string()), "right_id": pa.array([], pa.string())}, r"holds no candidate pair"),
        ({"left_id": ["a1"], "right_id": ["b1"], "score": [0.5]}, r"column 'score' already"),
    ],
)
def test_file_that_cannot_be_scored(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    lists = addresses()
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=message):
        list(iter_scored(lists.left, lists.right, pairs=path, student=student()))


def test_self_pair_of_a_file_names_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"left_id": ["a1", "a2"], "right_id": ["a3", "a2"]}), tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="row 2 pairs a record with itself"):
        list(iter_scored(addresses().left, pairs=tmp_path / "pairs.parquet", student=student(), chunk_size=1))


def test_chunk_of_a_file_that_is_corrupt_is_named(tmp_path: Path) -> None:
    lists = addresses()
    path = lists.write(tmp_path, row_group_size=40)
    where = pq.read_metadata(path).row_group(2).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[where : where + 24] = bytes(24)
    path.write_bytes(content)
    scored = iter_scored(lists.left, lists.right, pairs=path, student=student(), chunk_size=40)
    with pytest.raises(InputError, match=r"pairs.parquet cannot be read after row 80: "):
        list(scored)


def test_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    lists = addresses()
    path = lists.write(tmp_path)
    scored = iter_scored(lists.left, lists.right, pairs=path, student=student(), chunk_size=40)
    next(scored)
    pq.write_table(lists.table.slice(0, 60), path)
    with pytest.raises(InputError, match=r"has changed while it was read"):
        list(scored)


def test_a_stream_scores_no_pairs_as_none() -> None:
    lists: Lists = addresses()
    stream = Stream(student(), lists.a, lists.b)
    none = lists.pairs.take(slice(0, 0))
    stream.add(none)
    assert stream.score(none).shape == (0,)


@pytest.mark.parametrize("text", ["3/2", "0/2", "1", "a/b"])
def test_shard_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="shard"):
        Shard.parse(text)


def test_statistics_are_put_down_and_taken_up() -> None:
    lists: Lists = addresses()
    streams = [Stream(student(), lists.a, lists.b) for _ in range(2)]
    streams[0].add(lists.pairs)
    assert streams[0].statistics is not None
    assert streams[1].statistics is not None
    streams[1].statistics.take_up(streams[0].statistics.arrays())
    assert np.array_equal(streams[1].score(lists.pairs), scores())


def test_lists_of_one_table_are_refused_to_a_student_that_reads_lists() -> None:
    lists = addresses()
    reader: Any = SimpleNamespace(threads=1, manifest=SimpleNamespace(name="chooser", reader="lists"))
    with pytest.raises(InputError, match=r"'chooser' reads whole candidate lists.*score_pairs"):
        Stream(reader, lists.a, None)
    Stream(reader, lists.a, lists.b)
    Stream(reader, lists.a, None, context=False)
