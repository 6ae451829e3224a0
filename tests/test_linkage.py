"""Linking in chunks, in shards, and again after an end: the decisions of `link`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill import InputError, TopK, iter_link, link
from er_distill.chunks import Shard
from er_distill.deciding import Decision
from er_distill.files import held
from er_distill.linkage import Linked, link_file, read_scored
from er_distill.pairs import Pairs
from er_distill.parts import Parts
from er_distill.streaming import Stream
from er_distill.tables import open_frame, read_two
from tests.fake_student import needs_bundled_student
from tests.small_lists import addresses, scores, student

pytestmark = [pytest.mark.needs("onnxruntime"), needs_bundled_student]

MATCHINGS: list[dict[str, Any]] = [
    {"matching": "one_to_one"},
    {"matching": "one_to_one", "optimal": True, "threshold": 0.2},
    {"matching": "many_to_one"},
    {"matching": "best"},
    {"matching": "all", "threshold": 0.3},
    {"top_k": 2},
    {"top_k": 3, "threshold": 0.1},
]
"""Every way to decide."""


def together(chunks: Any) -> pa.Table:
    return pa.concat_tables(list(chunks))


@pytest.mark.parametrize("options", MATCHINGS, ids=str)
@pytest.mark.parametrize("how", ["ids", "inner"])
def test_chunks_of_matches_are_those_of_link(options: dict[str, Any], how: Any) -> None:
    lists = addresses()
    whole = link(lists.left, lists.right, student=student(), how=how, **options)
    chunks = list(iter_link(lists.left, lists.right, student=student(), how=how, chunk_size=40, **options))
    assert len(chunks) > 1 or len(whole) <= 40
    assert together(chunks) == whole


def test_matches_of_a_list_come_before_the_next_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    lists, score = addresses(), Stream.score
    calls: list[int] = []

    def counted(stream: Stream, pairs: Pairs, *more: Any) -> Any:
        calls.append(len(pairs))
        return score(stream, pairs, *more)

    monkeypatch.setattr(Stream, "score", counted)
    chunks = iter_link(lists.left, lists.right, student=student(), matching="best", chunk_size=40)
    next(chunks)
    assert len(calls) == 1


@settings(max_examples=8)
@given(data=st.data(), seed=st.integers(0, 99), chunk_size=st.integers(1, 40), row_group_size=st.integers(1, 30))
def test_pairs_of_a_file_and_repeated_ones(
    data: st.DataObject, seed: int, chunk_size: int, row_group_size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lists = addresses()
    options = data.draw(st.sampled_from(MATCHINGS))
    some = np.random.default_rng(seed).choice(len(lists.pairs), 60)  # with repeats
    pairs = lists.table.take(np.sort(some))
    path = tmp_path_factory.mktemp("lists") / "pairs.parquet"
    pq.write_table(pairs, path, row_group_size=row_group_size)
    whole = link(lists.left, lists.right, pairs=pairs, student=student(), **options)
    for given_pairs in (pairs, path):
        chunks = iter_link(
            lists.left, lists.right, pairs=given_pairs, student=student(), chunk_size=chunk_size, **options
        )
        assert together([whole.slice(0, 0), *chunks]) == whole


def test_chunks_of_the_callers_library(frame_factory: Callable[[Any], Any]) -> None:
    lists = addresses()
    left, right = (frame_factory(table.to_pydict()) for table in (lists.left, lists.right))
    chunks = list(iter_link(left, right, student=student(), matching="many_to_one", chunk_size=40))
    assert all(type(chunk) is type(left) for chunk in chunks)
    n = sum(len(nw.from_native(chunk, eager_only=True)) for chunk in chunks)
    assert n == len(link(lists.left, lists.right, student=student(), matching="many_to_one"))


def test_a_shard_cannot_decide_one_to_one(tmp_path: Path) -> None:
    lists = addresses()
    with pytest.raises(InputError, match=r"one-to-one matching needs the scores of all shards.*matching='all'"):
        iter_link(lists.left, lists.right, student=student(), shard="1/2")
    with pytest.raises(InputError, match="how='left' is not known in chunks"):
        iter_link(lists.left, lists.right, student=student(), how="left")  # type: ignore[arg-type]
    shards = [
        together(iter_link(lists.left, lists.right, student=student(), matching="all", shard=f"{k}/3"))
        for k in (1, 2, 3)
    ]
    whole = link(lists.left, lists.right, student=student(), matching="all")
    assert together(shards).sort_by("left_id").num_rows == len(whole)
    assert set(together(shards)["left_id"].to_pylist()) == set(whole["left_id"].to_pylist())


def run(folder: Path, output: str = "matches.parquet", **options: Any) -> Linked:
    lists = addresses()
    a, b = read_two(open_frame(lists.left, "left")[0], open_frame(lists.right, "right")[0], None, None, None, None)
    wanted = {name: options.pop(name) for name in ("matching", "threshold", "top_k") if name in options}
    return link_file(a, b, folder / output, student(), Decision(**wanted), **({"chunk_size": 60} | options))


@pytest.mark.parametrize("options", [*(one for one in MATCHINGS if "optimal" not in one)], ids=str)
@pytest.mark.parametrize("how", ["ids", "left"])
def test_file_is_what_link_gives(options: dict[str, Any], how: Any, tmp_path: Path) -> None:
    lists = addresses()
    done = run(tmp_path, how=how, **options)
    whole = link(lists.left, lists.right, student=student(), how=how, **options)
    assert pq.read_table(tmp_path / "matches.parquet") == whole
    assert done.matches == len(whole)
    assert done.scored is not None
    assert (done.scored.pairs, done.scored.kept) == (len(lists.pairs), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["matches.parquet"]
    assert run(tmp_path, how=how, resume=True, **options) == Linked(None, len(whole))


def test_link_that_is_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add, score = Parts.add, Stream.score
    scored: list[tuple[int, int]] = []

    def ends(parts: Parts, chunk: Any, table: Any) -> None:
        if chunk.number == 2:
            raise KeyboardInterrupt
        add(parts, chunk, table)

    def counted(stream: Stream, pairs: Pairs, *more: Any) -> Any:
        scored.extend(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
        return score(stream, pairs, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "add", ends)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    folder = tmp_path / "matches.parquet.link"
    assert (folder / "pairs.parquet").is_file()
    with pytest.raises(InputError, match=r"matches.parquet.link holds a run that was ended"):
        run(tmp_path)
    with pytest.raises(InputError, match=r"matches.parquet.link was made with another blocking"):
        run(tmp_path, resume=True, blocking=[TopK(3)])
    with held(folder), pytest.raises(InputError, match="another process is at work"):
        run(tmp_path, resume=True)
    monkeypatch.setattr(Stream, "score", counted)
    monkeypatch.setattr("er_distill.linkage.candidates", None)  # pairs are not looked for again
    done = run(tmp_path, resume=True)
    assert done.scored is not None
    assert done.scored.kept > 0
    assert len(scored) == len(set(scored)) == done.scored.pairs - done.scored.kept
    assert pq.read_table(tmp_path / "matches.parquet") == link(addresses().left, addresses().right, student=student())


def test_blocking_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("er_distill.linkage.candidates", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)
    assert not list(tmp_path.iterdir())


def put_together(folder: Path, names: list[str], **options: Any) -> tuple[Pairs, np.ndarray]:
    lists = addresses()
    a, b = read_two(open_frame(lists.left, "left")[0], open_frame(lists.right, "right")[0], None, None, None, None)
    return read_scored([folder / name for name in names], a, b, student(), Decision(**options))


def test_shards_put_together_decide_as_link_does(tmp_path: Path) -> None:
    names = [f"part-{k}.parquet" for k in (1, 2, 3)]
    for k, name in enumerate(names, start=1):
        run(tmp_path, name, matching="all", threshold=0.2, shard=Shard(k, 3))
    pairs, found = put_together(tmp_path, names[::-1], threshold=0.4)
    lists = addresses()
    above = scores() >= 0.2
    assert np.array_equal(pairs.keys(), lists.pairs.keys()[above])
    assert np.array_equal(found, scores()[above])
    for missing, message in (
        (names[:2], r"are the shards 1/3, 2/3, not each of 3 once"),
        ([*names, names[0]], r"more than once"),
    ):
        with pytest.raises(InputError, match=message):
            put_together(tmp_path, missing, threshold=0.4)
    with pytest.raises(InputError, match=r"holds no pair below 0.2, and pairs from 0.1 are asked for"):
        put_together(tmp_path, names, threshold=0.1)
    with pytest.raises(InputError, match=r"holds no pair below 0.2, and pairs from 0 are asked for"):
        put_together(tmp_path, names, matching="best")
    run(tmp_path, names[1], matching="many_to_one", threshold=0.2, shard=Shard(2, 3))
    with pytest.raises(InputError, match=r"part-2.parquet holds what 'many_to_one' has decided"):
        put_together(tmp_path, names, threshold=0.4)
    run(tmp_path, names[1], matching="all", threshold=0.2, shard=Shard(2, 3), context=False)
    with pytest.raises(InputError, match=r"part-2.parquet was made from another context than .*part-1.parquet"):
        put_together(tmp_path, names, threshold=0.4)
    metadata = {**pq.read_schema(tmp_path / names[0]).metadata}
    about = json.loads(metadata[b"er_distill.run"]) | {"left table": "another"}
    table = pq.read_table(tmp_path / names[0])
    metadata[b"er_distill.run"] = json.dumps(about).encode()
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / names[0])
    with pytest.raises(InputError, match=r"part-1.parquet was made from another left table"):
        put_together(tmp_path, names, threshold=0.4)


@pytest.mark.parametrize(
    ("column", "message"),
    [(["x", "y"], "holds no numbers"), ([0.5, None], "missing value"), (None, "no column 'score'")],
)
def test_scores_that_are_none(column: Any, message: str, tmp_path: Path) -> None:
    table = addresses().table.slice(0, 2)
    pq.write_table(table if column is None else table.append_column("score", [column]), tmp_path / "scored.parquet")
    with pytest.raises(InputError, match=message):
        put_together(tmp_path, ["scored.parquet"])
