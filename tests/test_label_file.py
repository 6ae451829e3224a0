"""Label files: what each format says, what it does not say, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training import labels
from er_distill.training.labels import Candidates
from er_distill.training.teachers.base import NONE, Answer, Question, questions_of
from er_distill.training.teachers.files import LabelFile
from er_distill.training.teachers.targets import labels_of


def records(name: str, ids: list[Any]) -> Records:
    return Records(name, np.array(ids, dtype=object), ("name",), (np.array([f"toy {one}" for one in ids], object),))


@pytest.fixture
def toys() -> Candidates:
    """Lists: a -> 10, 20; b -> 30; c -> 10, 30."""
    left, right = records("left", ["a", "b", "c"]), records("right", [10, 20, 30])
    return Candidates("toys", left, right, Pairs(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 0, 2]), 3, 3))


def ask(teacher: LabelFile, candidates: Candidates) -> list[Answer]:
    questions = questions_of(candidates)
    answers = dict(teacher.answer(candidates, questions))
    return [answers[position] for position in range(len(questions))]


def jsonl(path: Path, entries: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["llm.jsonl", "llm.jsonl.gz"])
def test_answers_to_lists(tmp_path: Path, toys: Candidates, name: str) -> None:
    entries = [
        {"query_id": "a", "answer_id": 20, "answered": True, "explanation": "same toy", "confidence": 1.0},
        {"query_id": "b", "answer_id": 30, "answered": True},
        {"query_id": "b", "answer_id": None},  # said later, so it counts
        {"query_id": "c", "answer_id": None, "answered": False},
        {"query_id": "z", "answer_id": 1, "answered": True},  # nobody asks
    ]
    teacher = LabelFile(jsonl(tmp_path / name, entries), licence="MIT")
    assert (teacher.name, teacher.licence) == (f"labels:{name}", "MIT")
    assert ask(teacher, toys) == [
        Answer(1, explanation="same toy"),
        Answer(NONE),
        Answer(None, reason=f"unanswered in {name}"),
    ]


def test_what_answers_leave_open_is_an_abstention(tmp_path: Path, toys: Candidates) -> None:
    path = jsonl(tmp_path / "llm.jsonl", [{"query_id": "a", "answer_id": 30, "answered": True}])
    off_the_list, absent, _ = ask(LabelFile(path), toys)
    assert off_the_list == Answer(None, reason="answer '30' is not among the candidates")
    assert absent == Answer(None, reason="not in llm.jsonl")


def write_table(path: Path, columns: dict[str, list[Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["people.csv", "people.parquet"])
def test_labels_of_pairs(tmp_path: Path, toys: Candidates, name: str) -> None:
    columns = {"left_id": ["a", "a", "b", "c"], "right_id": [10, 20, 30, 10], "label": [1, 0, 0, 0]}
    assert ask(LabelFile(write_table(tmp_path / name, columns)), toys) == [
        Answer(0),
        Answer(NONE),
        Answer(None, reason="1 of 2 candidates have no label"),  # "none" is more than it says
    ]


def test_probabilities_and_votes_of_pairs(tmp_path: Path, toys: Candidates) -> None:
    columns = {
        "left_id": ["a", "a", "b", "b", "c", "c"],
        "right_id": [10, 20, 30, 30, 10, 30],
        "label": [0.2, 0.8, 1, 0, 1, 1],
    }
    first, second, third = ask(LabelFile(write_table(tmp_path / "people.csv", columns)), toys)
    assert first.choice == 1
    assert first.probabilities == pytest.approx((0.25 / 5.25, 4 / 5.25, 1 / 5.25))  # odds 1:4, 4:1, and 1 for none
    assert (second.choice, second.probabilities) == (NONE, pytest.approx((0.5, 0.5)))  # one vote each way is no match
    assert third == Answer(None, reason="2 candidates are labelled as matches alike")


def test_matches_alone_are_labels_too(tmp_path: Path, toys: Candidates) -> None:
    columns = {"left_id": ["a"], "right_id": [20], "label": [1]}
    first, second, _ = ask(LabelFile(write_table(tmp_path / "matches.csv", columns)), toys)
    assert first == Answer(1)
    assert second == Answer(None, reason="not in matches.csv")


def test_pairs_of_one_table_have_no_direction(tmp_path: Path) -> None:
    one = Candidates("people", records("people", [1, 2, 3]), None, Pairs(np.array([0]), np.array([2]), 3, 3, True))
    path = write_table(tmp_path / "people.csv", {"left_id": [3], "right_id": [1], "label": [1]})
    assert ask(LabelFile(path), one) == [Answer(0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", r"a\.txt: the ending says no known format\. Use one of \.jsonl, \.jsonl\.gz, \.csv"),
        ("a.jsonl", '{"query_id": 1}\n', r"a\.jsonl, line 1 has no 'answer_id'"),
        ("a.jsonl", '{"answer_id": 1, "query": 2}\n', r"a\.jsonl, line 1 has no 'query_id'\. Did you mean 'query'"),
        ("a.jsonl", '{"query_id": 1, "answered": false}\n[]\n', r"a\.jsonl, line 2 is no JSON object"),
        ("a.jsonl.gz", "no gzip", r"a\.jsonl\.gz cannot be read"),
        ("a.csv", "left_id,right_id,labels\na,b,1\n", r"a\.csv has no column 'label'\. Did you mean 'labels'"),
        ("a.csv", "left_id,right_id,label\na,b,maybe\n", r"labels of .*a\.csv: row 0 has the label 'maybe'"),
        ("a.csv", "left_id,right_id,label\na,,1\n", r"a\.csv: line 2 has no value in column 'right_id'"),
    ],
)
def test_files_that_say_nothing_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        LabelFile(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        with pytest.raises(InputError, match=name):
            LabelFile(tmp_path / name)


def test_a_file_of_another_task_is_refused(tmp_path: Path, toys: Candidates) -> None:
    answers = jsonl(tmp_path / "llm.jsonl", [{"query_id": 7, "answer_id": None}])
    with pytest.raises(InputError, match=r"no query_id of .*llm\.jsonl is a record of left\."):
        ask(LabelFile(answers), toys)
    pairs = write_table(tmp_path / "people.csv", {"left_id": [10], "right_id": ["a"], "label": [1]})
    with pytest.raises(InputError, match=r"no left_id of .*people\.csv is a record of left\."):
        ask(LabelFile(pairs), toys)


def test_answers_become_labels(toys: Candidates) -> None:
    questions = questions_of(toys)
    answers = [Answer(1), Answer(None, reason="timeout"), Answer(NONE, (0.2, 0.3, 0.5))]
    found = labels_of(toys, questions, answers, name="llm", licence="MIT", weight=0.5)
    np.testing.assert_array_equal(found.target, np.array([0, 1, np.nan, 0.2, 0.3], dtype=np.float32))
    assert (found.teachers[0].name, found.teachers[0].labels, found.weight) == ("llm", 2, 0.5)
    order = np.array([4, 2, 0, 3, 1])
    shuffled = Candidates("toys", toys.left, toys.right, toys.pairs.take(order))
    again = labels_of(shuffled, questions, answers, name="llm", licence="MIT")
    np.testing.assert_array_equal(again.target, found.target[order])


def test_one_table_asked_from_both_ends_has_the_mean() -> None:
    one = Candidates("people", records("people", [1, 2, 3]), None, Pairs(np.array([0]), np.array([2]), 3, 3, True))
    questions = [Question(0, (2,)), Question(2, (0,))]
    found = labels_of(one, questions, [Answer(0), Answer(NONE)], name="llm", licence="MIT")
    assert found.target.tolist() == [0.5]


@pytest.mark.data
@pytest.mark.parametrize("task", ["abt-buy", "walmart-amazon"])
def test_the_published_answers_mean_the_same_by_either_door(data_dir: Path, task: str) -> None:
    folder = data_dir / "distiller" / task
    candidates, expected = labels.read_task(folder, {"qwen2.5-32b": "Apache-2.0"}, unlabelled=False)
    teacher = LabelFile(folder / "teachers" / "qwen2.5-32b.jsonl.gz")
    found = labels_of(
        candidates, questions_of(candidates), ask(teacher, candidates), name=teacher.name, licence=teacher.licence
    )
    np.testing.assert_array_equal(found.target, expected.target)
    assert found.teachers[0].labels == expected.teachers[0].labels
