"""Labels: what is read, what counts as a vote, what is refused. The benchmark's layout is made up on the spot."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from er_distill.artefact import Teacher
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training import labels
from er_distill.training.synthetic import generate

LICENCES = {"one": "Apache-2.0", "two": "MIT"}


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(entry) + "\n" for entry in entries)


def answer(query: int, choice: int | None, answered: bool = True) -> dict[str, Any]:
    return {"query_id": query, "answer_id": choice, "answered": answered}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    task = tmp_path / "toys"
    task.mkdir()
    for name in ("left", "right"):
        with gzip.open(task / f"{name}.csv.gz", "wt", encoding="utf-8") as file:
            file.write("id,name\n" + "".join(f"{k},{name} toy {k}\n" for k in range(6)))
    write_lines(
        task / "train_tuples.jsonl.gz",
        [{"query_id": 3, "candidate_ids": [5, 1]}, {"query_id": 0, "candidate_ids": [2]}],
    )
    write_lines(task / "test_tuples.jsonl.gz", [{"query_id": 1, "candidate_ids": [0, 4]}])
    write_lines(task / "teachers" / "one.jsonl.gz", [answer(3, 5), answer(0, None)])
    write_lines(task / "teachers" / "two.jsonl.gz", [answer(3, 1), answer(0, None, answered=False)])
    return task


def as_dict(candidates: labels.Candidates, found: labels.Labels) -> dict[tuple[int, int], float]:
    assert candidates.right is not None
    left = candidates.left.ids[candidates.pairs.left].astype(int).tolist()
    right = candidates.right.ids[candidates.pairs.right].astype(int).tolist()
    return dict(zip(zip(left, right, strict=True), found.target.tolist(), strict=True))


def test_votes_are_averaged_and_no_answer_is_no_vote(folder: Path) -> None:
    candidates, found = labels.read_task(folder, LICENCES)
    target = as_dict(candidates, found)
    assert target[3, 5] == target[3, 1] == 0.5
    assert target[0, 2] == 0  # only "one" answered
    assert np.isnan(target[1, 0])
    assert np.isnan(target[1, 4])
    assert found.teachers == (Teacher("one", "Apache-2.0", 2), Teacher("two", "MIT", 1))
    assert (np.diff(candidates.pairs.keys()) > 0).all()
    one = as_dict(*labels.read_task(folder, {"one": "Apache-2.0"}, unlabelled=False))
    assert one == {(3, 5): 1, (3, 1): 0, (0, 2): 0}


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"toys has no labels of the teacher 'on'\. Did you mean 'one'"):
        labels.read_task(folder, {"on": "?"})
    with gzip.open(folder / "teachers" / "one.jsonl.gz", "at", encoding="utf-8") as lines:
        lines.write("{half\n")
    with pytest.raises(InputError, match=r"one\.jsonl\.gz, line 3 is no JSON"):
        labels.read_task(folder, LICENCES)
    write_lines(folder / "test_tuples.jsonl.gz", [{"query_id": 77, "candidate_ids": [0]}])
    with pytest.raises(InputError, match="'77'"):
        labels.read_task(folder, {"two": "MIT"})
    (folder / "test_tuples.jsonl.gz").unlink()
    with pytest.raises(InputError, match=r"test_tuples\.jsonl\.gz is missing"):
        labels.read_task(folder, {"two": "MIT"})


@pytest.mark.parametrize("dedup", [False, True])
def test_generated_tasks_are_labelled_with_their_truth(dedup: bool) -> None:
    task = generate("people", 40, seed=2, dedup=dedup)
    candidates, found = labels.from_synthetic(task, 0.25)
    assert (candidates.right is None) == dedup
    matched = np.flatnonzero(found.target == 1)
    pairs = set(zip(candidates.pairs.left[matched].tolist(), candidates.pairs.right[matched].tolist(), strict=True))
    assert pairs <= set(map(tuple, task.truth.tolist()))
    assert len(pairs) > 0.9 * len(task.truth)  # blocking may lose a few
    assert found.weight == 0.25


def test_labels_of_a_table() -> None:
    left = Records("left", np.array(["a", "b"], object), ("name",), (np.array(["x", "y"], object),))
    right = Records("right", np.array(["c", "d"], object), ("name",), (np.array(["x", "z"], object),))
    pairs = Pairs(np.array([0]), np.array([1]), 2, 2)
    teacher = Teacher("people", "own", 3)
    table = {"left_id": ["a", "b", "b"], "right_id": ["c", "d", "d"], "label": ["1", "1", 0]}
    candidates, found = labels.from_table(table, "toys", left, right, pairs, teacher)
    assert candidates.pairs.keys().tolist() == [0, 1, 3]
    assert found.target.tolist()[0] == 1
    assert np.isnan(found.target[1])  # a candidate nobody labelled
    assert found.target.tolist()[2] == 0.5  # two labels are two votes
    with pytest.raises(InputError, match="labels of toys: row 1 has the label 'yes'"):
        labels.from_table(table | {"label": [1, "yes", 0]}, "toys", left, right, pairs, teacher)
    with pytest.raises(InputError, match=r"labels of toys have no column 'label'\. Did you mean 'labels'"):
        labels.from_table({"left_id": [], "right_id": [], "labels": []}, "toys", left, right, pairs, teacher)


@pytest.mark.data
def test_the_published_tasks_are_read(data_dir: Path) -> None:
    candidates, found = labels.read_task(data_dir / "distiller" / "abt-buy", {"qwen2.5-32b": "Apache-2.0"})
    assert len(candidates.left) == 1064
    assert candidates.right is not None
    assert len(candidates.right) == 1076
    assert set(np.unique(found.target[found.known]).tolist()) == {0, 1}
    assert not found.known.all()
