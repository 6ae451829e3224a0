"""Two made-up tasks in the layout of the benchmark data, and a benchmark that reads and writes nowhere else."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks import distiller_data, distiller_protocol, gold, provenance

OPEN, HELD_OUT = "abt-buy", "amazon-google"
TEACHERS = ("qwen2.5-14b", "qwen2.5-32b", "llama3.1-70b")
QUERIES, LABELLED = 60, 24


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(entry) + "\n" for entry in entries).encode(), mtime=0))


def write_task(folder: Path, *, with_gold: bool) -> None:
    """Queries named by words; a query's match has its words and one more; every fourth has none."""
    rng = random.Random(folder.name)
    words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(40)]
    names = [" ".join(rng.sample(words, 4)) for _ in range(QUERIES)]
    years = [str(rng.randint(1990, 2020)) if k % 5 else "" for k in range(QUERIES)]
    others = [f"{name} {rng.choice(words)}" for name in names]
    others[::4] = [" ".join(rng.sample(words, 4)) for _ in others[::4]]
    for side, values in (("left", names), ("right", others)):
        rows = "".join(f"{k},{value},{year}\n" for k, (value, year) in enumerate(zip(values, years, strict=True)))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{side}.csv.gz").write_bytes(gzip.compress(f"id,name,year\n{rows}".encode(), mtime=0))
    lists = [sorted({k, (k + 1) % QUERIES, (k + 7) % QUERIES}) for k in range(QUERIES)]
    tuples = [{"query_id": k, "candidate_ids": listed} for k, listed in enumerate(lists)]
    write_lines(folder / "train_tuples.jsonl.gz", tuples[:LABELLED])
    write_lines(folder / "test_tuples.jsonl.gz", tuples[LABELLED:])
    for teacher in TEACHERS:
        answers = []
        for k in range(LABELLED):
            right = k if k % 4 else None
            answer = (k + 1) % QUERIES if rng.random() < 0.1 else right
            answers.append({"query_id": k, "answer_id": answer, "answered": rng.random() > 0.05})
        write_lines(folder / "teachers" / f"{teacher}.jsonl.gz", answers)
    if with_gold:
        matches = "".join(f"{k},{k}\n" for k in range(QUERIES) if k % 4)
        (folder / "gold.csv").write_text("left_id,right_id\n" + matches)


def benchmark_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the tasks, and turn every place the benchmark knows into a folder of the test's own."""
    write_task(tmp_path / "data" / "distiller" / OPEN, with_gold=True)
    write_task(tmp_path / "data" / "distiller" / HELD_OUT, with_gold=False)
    monkeypatch.setenv("ER_DISTILL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(gold, "TASKS", (OPEN,))
    monkeypatch.setattr(gold, "_LOG", tmp_path / "gold_log.md")
    monkeypatch.setattr(distiller_data, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(distiller_protocol, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(provenance, "_git", lambda *_: "0" * 40)
    gold._open_gold.cache_clear()
    return tmp_path / "results"
