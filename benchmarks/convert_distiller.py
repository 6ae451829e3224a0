"""Turn a checkout of the DistillER authors' repository into the benchmark data of ``docs/benchmark-data.md``.

    git clone https://github.com/alexZeakis/DistillER
    python -m benchmarks.convert_distiller DistillER <benchmark data>

What it reads, for each of their datasets D2 to D9 (nothing else in the checkout is opened):

- ``data/ccer/cleaned/original/D?/<table>.csv``: the tables. A table that is not there is put together from the
  candidates that the prompts show.
- ``log/matching/annotate/llm/<model>/partial/D?_1924.json``: the prompts to the teachers, with the candidates in the
  order in which they were shown; ``partial_responses/D?_1924_responses.json``: what the teachers answered.
- ``log/matching/sft/llm/qwen_32/test/D?_1924.json``: the test prompts, for the candidates.
- ``log/matching/explanations/llm/qwen_32/partial_responses/D?_1924_responses.json``: justifications of every answer.
- ``data/ccer/cleaned/original/D?/gt.csv``, of the four open datasets only: the true matches. The truth that prompts and
  responses carry as well is not read.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gold import TASKS
from er_distill.errors import InputError

TABLES = Path("data/ccer/cleaned/original")
ANNOTATIONS = Path("log/matching/annotate/llm")
TEST = Path("log/matching/sft/llm/qwen_32/test")
JUSTIFICATIONS = Path("log/matching/explanations/llm/qwen_32/partial_responses")
SEED = 1924  # of the order of the candidates in a prompt; part of the file names
TEACHERS = {
    "llama3.1-8b": "llama_8",
    "llama3.1-70b": "llama_70",
    "qwen2.5-14b": "qwen_14",
    "qwen2.5-32b": "qwen_32",
}

_CHOICE = re.compile(r"\[(\d+)\]")
_RECORD = re.compile(r"^\[(\d+)\]  ?(?=\[COL\])", re.MULTILINE)
_VALUE = re.compile(r"\[COL\] (.*?) \[VAL\] ?")

Row = dict[str, str]


@dataclass(frozen=True)
class Dataset:
    """One of their datasets, and what it is called here."""

    code: str
    task: str
    left: str  # name of the table
    right: str


DATASETS = (
    Dataset("D2", "abt-buy", "buy", "abt"),
    Dataset("D3", "amazon-google", "amazon", "gp"),
    Dataset("D4", "dblp-acm", "acm", "dblp"),
    Dataset("D5", "imdb-tmdb", "imdb", "tmdb"),
    Dataset("D6", "imdb-tvdb", "imdb", "tvdb"),
    Dataset("D7", "tmdb-tvdb", "tvdb", "tmdb"),
    Dataset("D8", "walmart-amazon", "walmart", "amazon"),
    Dataset("D9", "dblp-scholar", "dblp", "scholar"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("output", type=Path, help="the folder that ER_DISTILL_DATA is to name")
    args = parser.parse_args()
    for dataset in DATASETS:
        convert(args.checkout, dataset, args.output / "distiller" / dataset.task)
        print(dataset.task)


def convert(checkout: Path, dataset: Dataset, folder: Path) -> None:
    """Write the folder of one task.

    Raises
    ------
    InputError
        When a file is missing or is not as the authors publish it.
    """
    train = _prompts(checkout / ANNOTATIONS / "qwen_32" / "partial" / f"{dataset.code}_{SEED}.json")
    test = _prompts(checkout / TEST / f"{dataset.code}_{SEED}.json")
    tables = checkout / TABLES / dataset.code
    folder.mkdir(parents=True, exist_ok=True)
    candidates = {int(option) for prompt in train + test for option in prompt["options"]}
    left, right = _table(tables / f"{dataset.left}.csv"), _table(tables / f"{dataset.right}.csv")
    if left is None:
        raise InputError(f"{tables / dataset.left}.csv is missing. Get the checkout anew.")
    if right is None:
        right = _shown([*train, *test])
    missing = candidates - {int(row["id"]) for row in right}
    if missing:
        raise InputError(f"{tables / dataset.right}.csv has no record {min(missing)}, which a prompt shows.")
    _write_table(folder / "left.csv.gz", left)
    _write_table(folder / "right.csv.gz", right)
    for name, prompts in (("train", train), ("test", test)):
        tuples = ({"query_id": p["query_id"], "candidate_ids": sorted(p["options"])} for p in prompts)
        _write_lines(folder / f"{name}_tuples.jsonl.gz", tuples)
    options = {prompt["query_id"]: prompt["options"] for prompt in train}
    for teacher, name in TEACHERS.items():
        path = checkout / ANNOTATIONS / name / "partial_responses" / f"{dataset.code}_{SEED}_responses.json"
        _write_lines(folder / "teachers" / f"{teacher}.jsonl.gz", _answers(path, options))
    path = checkout / JUSTIFICATIONS / f"{dataset.code}_{SEED}_responses.json"
    _write_lines(folder / "justifications" / "qwen2.5-32b.jsonl.gz", _justifications(path))
    if dataset.task in TASKS:
        _write_gold(tables / "gt.csv", folder / "gold.csv")


def _prompts(path: Path) -> list[dict[str, Any]]:
    return [
        {"query_id": entry["query_id"], "options": list(entry["options"]), "prompt": entry["prompt"]}
        for entry in _entries(path, "prompts", ("query_id", "options", "prompt"))
    ]


def _entries(path: Path, key: str, needed: Sequence[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path} is missing. Check that the folder is a checkout of alexZeakis/DistillER.")
    content = json.loads(path.read_text(encoding="utf-8"))
    entries = content.get(key) if isinstance(content, dict) else None
    if not entries or any(name not in entry for entry in entries for name in needed):
        raise InputError(f"{path} has no list {key!r} of {', '.join(needed)}. The authors may have changed the format.")
    return entries


def _answers(path: Path, options: Mapping[int, Sequence[int]]) -> Iterable[dict[str, Any]]:
    for entry in _entries(path, "responses", ("query_id", "answer", "explanation", "confidence", "time")):
        listed = options.get(entry["query_id"])
        if listed is None:
            raise InputError(f"{path} answers query {entry['query_id']}, which has no prompt.")
        place = _choice(entry["answer"])
        answered = place is not None and place <= len(listed)
        yield {
            "query_id": entry["query_id"],
            "answer_id": listed[place - 1] if answered and place else None,
            "answered": answered,
            "confidence": entry["confidence"],
            "explanation": entry["explanation"],
            "seconds": round(entry["time"], 3),
        }


def _choice(answer: str | None) -> int | None:
    """The number that an answer names, 0 for none of the candidates; of a text that is no answer alone the last one."""
    found = _CHOICE.findall(answer or "")
    return int(found[-1]) if found else None


def _justifications(path: Path) -> Iterable[dict[str, Any]]:
    for entry in _entries(path, "responses", ("query_id", "reference", "explanation")):
        yield {
            "query_id": entry["query_id"],
            "candidate_id": entry["reference"],
            "justification": entry["explanation"],
        }


def _table(path: Path) -> list[Row] | None:
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        names = reader.fieldnames
        if not names:
            raise InputError(f"{path} is empty. Get the checkout anew.")
        # The first column is the id; a column may be named by the address of its property.
        short = {name: "id" if name == names[0] else name.rsplit("/", 1)[-1] for name in names}
        return [{short[name]: value or "" for name, value in row.items()} for row in reader]


def _shown(prompts: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The candidates' records as the prompts show them: `` [COL] name [VAL] value`` in the order of the options."""
    rows: dict[int, Row] = {}
    for prompt in prompts:
        text = prompt["prompt"].partition("Candidate records:\n")[2].partition("\nPlease respond")[0].lstrip()
        parts = _RECORD.split(text)[1:]
        if [int(number) for number in parts[::2]] != list(range(1, len(prompt["options"]) + 1)):
            raise InputError(f"the prompt of query {prompt['query_id']} does not show its candidates one by one.")
        for record, shown in zip(prompt["options"], parts[1::2], strict=True):
            values = _VALUE.split(shown)[1:]
            rows[int(record)] = {"id": str(record)} | {
                name: value.strip() for name, value in zip(values[::2], values[1::2], strict=True)
            }
    return [rows[record] for record in sorted(rows)]


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue())


def _write_gold(source: Path, path: Path) -> None:
    """Copy the pairs. The first column is the left table's, whatever the columns are called."""
    if not source.is_file():
        raise InputError(f"{source} is missing. Get the checkout anew.")
    with source.open(encoding="utf-8", newline="") as lines:
        pairs = list(csv.reader(lines))[1:]
    text = "left_id,right_id\n" + "".join(f"{left},{right}\n" for left, right, *_ in pairs)
    path.write_text(text, encoding="utf-8")


def _write_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    _write(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
