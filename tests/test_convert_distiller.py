"""The converter of the DistillER authors' repository, on a few made-up files of its shape."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.convert_distiller import ANNOTATIONS, DATASETS, JUSTIFICATIONS, TABLES, TEACHERS, TEST, convert
from er_distill.errors import InputError
from er_distill.training.labels import read_jsonl, read_task

ABT_BUY, AMAZON_GOOGLE = DATASETS[:2]
SHOP = [{"id": "0", "name": "Sony A7", "price": "900"}, {"id": "1", "name": "Canon, EOS", "price": ""}]
STORE = [{"id": str(k), "name": name} for k, name in enumerate(["A7 by Sony", "EOS Canon\nbody", "Nikon D5"])]


def checkout(root: Path, dataset: Any, *, with_right: bool = True) -> Path:
    code = dataset.code
    write_csv(root / TABLES / code / f"{dataset.left}.csv", SHOP)
    if with_right:
        write_csv(root / TABLES / code / f"{dataset.right}.csv", STORE)
    (root / TABLES / code / "gt.csv").write_text("D1,D2\n0,0\n1,1\n")
    for name in TEACHERS.values():
        write_json(root / ANNOTATIONS / name / "partial" / f"{code}_1924.json", "prompts", [prompt(0, [2, 0])])
        answer = {"llama_8": "[3]", "llama_70": None, "qwen_14": "[0]", "qwen_32": "[2]"}[name]
        entry = {"query_id": 0, "ground_truth": 0, "answer": answer, "explanation": "so", "confidence": 1.0, "time": 2}
        write_json(
            root / ANNOTATIONS / name / "partial_responses" / f"{code}_1924_responses.json", "responses", [entry]
        )
    write_json(root / TEST / f"{code}_1924.json", "prompts", [prompt(1, [1, 0])])
    why = [
        {"query_id": 0, "reference": record, "reference_no": place, "explanation": f"because {place}"}
        for place, record in ((1, 2), (2, 0), (0, None))
    ]
    write_json(root / JUSTIFICATIONS / f"{code}_1924_responses.json", "responses", why)
    return root


def prompt(query: int, options: list[int]) -> dict[str, Any]:
    lines = "\n".join(f"[{k}]  [COL] name [VAL] {STORE[option]['name']}" for k, option in enumerate(options, start=1))
    text = f"Select a record.\nGiven entity record:  [COL] name [VAL] x\n \nCandidate records:\n {lines}\n\n"
    return {
        "query_id": query,
        "ground_truth": 0,
        "options": options,
        "prompt": text + "Please respond in the correct format:\n{}",
    }


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, key: str, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"settings": {}, key: entries}))


def test_the_package_reads_what_comes_out(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "abt-buy"
    convert(checkout(tmp_path / "theirs", ABT_BUY), ABT_BUY, folder)
    candidates, labels = read_task(folder, {"qwen2.5-32b": "Apache-2.0"})
    assert candidates.left.ids.tolist() == ["0", "1"]
    assert candidates.right is not None
    assert [text.split()[-1] for text in candidates.right.texts] == ["Sony", "body", "D5"]
    pairs = list(zip(candidates.pairs.left.tolist(), candidates.pairs.right.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 2), (1, 0), (1, 1)]
    assert labels.target[:2].tolist() == [1.0, 0.0]  # [2] is the second of the order shown: record 0
    assert (folder / "gold.csv").read_text() == "left_id,right_id\n0,0\n1,1\n"


def test_answers_as_they_were_given(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    convert(checkout(tmp_path / "theirs", ABT_BUY), ABT_BUY, folder)
    answers = {name: read_jsonl(folder / "teachers" / f"{name}.jsonl.gz")[0] for name in TEACHERS}
    said = {name: (answer["answer_id"], answer["answered"]) for name, answer in answers.items()}
    assert said == {
        "llama3.1-8b": (None, False),  # there is no third candidate
        "llama3.1-70b": (None, False),  # timeout
        "qwen2.5-14b": (None, True),
        "qwen2.5-32b": (0, True),
    }
    assert "ground_truth" not in answers["qwen2.5-32b"]
    why = read_jsonl(folder / "justifications" / "qwen2.5-32b.jsonl.gz")
    assert [(entry["candidate_id"], entry["justification"]) for entry in why] == [
        (2, "because 1"),
        (0, "because 2"),
        (None, "because 0"),
    ]


def test_gold_of_a_held_out_task_stays_where_it_is(tmp_path: Path) -> None:
    theirs = checkout(tmp_path / "theirs", AMAZON_GOOGLE)
    (theirs / TABLES / "D3" / "gt.csv").unlink()  # not even opened
    folder = tmp_path / "out"
    convert(theirs, AMAZON_GOOGLE, folder)
    assert not (folder / "gold.csv").exists()
    assert (folder / "test_tuples.jsonl.gz").is_file()


def test_a_missing_right_table_is_read_from_the_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    convert(checkout(tmp_path / "theirs", ABT_BUY, with_right=False), ABT_BUY, folder)
    with gzip.open(folder / "right.csv.gz", "rt", newline="") as lines:
        assert list(csv.DictReader(lines)) == STORE


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    theirs = checkout(tmp_path / "theirs", ABT_BUY)
    for name in ("one", "two"):
        convert(theirs, ABT_BUY, tmp_path / name)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 10
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkout of alexZeakis/DistillER"):
        convert(tmp_path, ABT_BUY, tmp_path / "out")
    theirs = checkout(tmp_path / "theirs", ABT_BUY)
    write_json(theirs / TEST / "D2_1924.json", "prompts", [{"query_id": 1}])
    with pytest.raises(InputError, match="changed the format"):
        convert(theirs, ABT_BUY, tmp_path / "out")
