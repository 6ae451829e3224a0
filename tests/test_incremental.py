"""Records that come later: old pairs as they were, entities with the numbers they had, merges said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill import Exact, InputError, dedupe, extend
from er_distill.graphs import components
from er_distill.pairs import Pairs
from er_distill.state import taken_up
from er_distill.streaming import Stream
from er_distill.training.synthetic import generate
from tests.fake_student import needs_bundled_student
from tests.small_lists import student

pytestmark = [pytest.mark.needs("onnxruntime"), needs_bundled_student]


def people(n: int = 30) -> pa.Table:
    columns = generate("people", n, seed=5, dedup=True).left
    return pa.table({"id": [f"p{k}" for k in range(len(next(iter(columns.values()))))], **columns})


def as_dict(frame: Any) -> dict[str, list[Any]]:
    return nw.from_native(frame, eager_only=True).to_dict(as_series=False)


def entities(folder: Path) -> dict[Any, int]:
    with taken_up(folder, student()) as state:
        return dict(zip(state.records.ids.tolist(), state.entity.tolist(), strict=True))


@contextmanager
def watched() -> Iterator[list[Pairs]]:
    """The pairs that are scored inside the block."""
    scored: list[Pairs] = []
    score = Stream.score

    def seen(stream: Stream, pairs: Pairs) -> np.ndarray:
        scored.append(pairs)
        return score(stream, pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "score", seen)
        yield scored


@settings(max_examples=3)
@given(cuts=st.lists(st.integers(12, 28), min_size=1, max_size=2, unique=True), seed=st.integers(0, 9))
def test_extension_keeps_old_pairs_and_numbers(
    cuts: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = people()
    table = table.take(np.random.default_rng(seed).permutation(len(table)))
    folder = tmp_path_factory.mktemp("states") / "people"
    edges = [0, *sorted(cuts), len(table)]
    batches = [table.slice(a, b - a) for a, b in pairwise(edges)]
    first = dedupe(batches[0], state=folder, student=student())
    assert first == dedupe(batches[0], student=student())
    known = dict(zip(first["id"].to_pylist(), first["entity_id"].to_pylist(), strict=True))
    links = [(a, b) for a in known for b in known if known[a] == known[b]]
    for batch in batches[1:]:
        with watched() as scored:
            found = extend(batch, state=folder, student=student())
        assert all((pairs.right >= len(known)).all() for pairs in scored)  # the later record of each pair is new
        before, known = known, entities(folder)
        merged = dict(zip(found.merges["merged_id"].to_pylist(), found.merges["entity_id"].to_pylist(), strict=True))
        assert {one: merged.get(entity, entity) for one, entity in before.items()} == {
            one: known[one] for one in before
        }
        assert all(kept < gone for gone, kept in merged.items())
        new_ids = batch["id"].to_pylist()
        assert dict(zip(new_ids, found.frame["entity_id"].to_pylist(), strict=True)) == {
            one: known[one] for one in new_ids
        }
        links += list(zip(found.matches["left_id"].to_pylist(), found.matches["right_id"].to_pylist(), strict=True))
    place = {one: k for k, one in enumerate(known)}
    ends = np.array([[place[a], place[b]] for a, b in links])
    group = components(len(known), ends[:, 0], ends[:, 1])
    together = set(zip(group.tolist(), known.values(), strict=True))
    assert len(together) == len(set(group.tolist())) == len(set(known.values()))  # the entities are the components


def test_new_record_between_two_entities_merges_them(frame_factory: Callable[[Any], Any], tmp_path: Path) -> None:
    def frame(ids: list[int], names: list[str]) -> Any:
        return frame_factory({"id": ids, "name": names, "city": ["Hampton"] * len(ids)})

    old = frame([1, 2, 3, 4], ["Katherine Johnson", "Dorothy Vaughan", "Mary Jackson", "Mary Jackson"])
    # At threshold 0 every candidate pair is a match: the rule decides which pairs there are.
    options: dict[str, Any] = {"state": tmp_path / "s", "student": student()}
    dedupe(old, threshold=0.0, blocking=[Exact("name")], **options)
    assert entities(tmp_path / "s") == {1: 0, 2: 1, 3: 2, 4: 2}
    alone = extend(frame([5, 6], ["Grace Hopper"] * 2), **options)
    assert as_dict(alone.frame)["entity_id"] == [3, 3]
    assert (len(alone.matches), len(alone.merges)) == (1, 0)
    joined = extend(frame([7], ["Anyone"]), blocking=[Exact("city")], **options)
    assert type(joined.merges) is type(old)
    assert as_dict(joined.merges) == {"entity_id": [0, 0, 0], "merged_id": [1, 2, 3]}
    assert set(entities(tmp_path / "s").values()) == {0}
    later = extend(frame([8], ["Someone"]), **options)
    assert entities(tmp_path / "s")[8] == 4  # 1 to 3 are never given again
    assert len(later.matches) == 0


def test_what_cannot_be_extended(tmp_path: Path) -> None:
    table, folder = people(), tmp_path / "s"
    with pytest.raises(InputError, match=r"holds no state. Make one with dedupe"):
        extend(table, state=folder, student=student())
    dedupe(table.slice(0, 20), state=folder, student=student())
    with pytest.raises(InputError, match="holds a state already"):
        dedupe(table, state=folder, student=student())
    with pytest.raises(InputError, match="state= is kept of clustering='components'"):
        dedupe(table, state=tmp_path / "t", student=student(), clustering="average")
    with pytest.raises(InputError, match=r"new has 1 id\(s\).*'p19'"):
        extend(table.slice(19), state=folder, student=student())
    with pytest.raises(InputError, match="has no column"):
        extend(table.slice(20).select(["id"]).append_column("other", [["x"] * (len(table) - 20)]), state=folder)
    before = entities(folder)
    arrays = next(folder.glob("arrays-*"))
    content = arrays.read_bytes()
    arrays.write_bytes(content[:-1] + b"?")
    with pytest.raises(InputError, match=r"arrays-.*npz is damaged"):
        extend(table.slice(20), state=folder, student=student())
    arrays.write_bytes(content)
    assert entities(folder) == before


def test_state_is_whole_when_an_extension_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, folder = people(), tmp_path / "s"
    dedupe(table.slice(0, 20), state=folder, student=student())
    before = entities(folder)
    monkeypatch.setattr("er_distill.state.write_text", lambda *_: (_ for _ in ()).throw(InputError("no space")))
    with pytest.raises(InputError, match="no space"):
        extend(table.slice(20), state=folder, student=student())
    monkeypatch.undo()
    assert entities(folder) == before
    extend(table.slice(20), state=folder, student=student())
    assert len(entities(folder)) == len(table)
    assert len(list(folder.iterdir())) == 4  # the state, two files, the lock
