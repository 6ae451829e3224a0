"""The bundled student on real tables with known matches: floors well below its figures, which benchmarks measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from er_distill import link, match_pairs, score_pairs
from er_distill.files import read_table
from er_distill.metrics import pair_scores
from er_distill.training.labels import read_jsonl

pytestmark = [pytest.mark.data, pytest.mark.needs("onnxruntime")]


@pytest.mark.parametrize(("task", "floor"), [("abt-buy", 0.80), ("dblp-acm", 0.95)])
def test_published_candidates(data_dir: Path, task: str, floor: float) -> None:
    folder = data_dir / "distiller" / task
    left, right, gold = (read_table(folder / name) for name in ("left.csv.gz", "right.csv.gz", "gold.csv"))
    tuples = read_jsonl(folder / "test_tuples.jsonl.gz")
    rows = [(str(entry["query_id"]), str(candidate)) for entry in tuples for candidate in entry["candidate_ids"]]
    given = as_table(rows)
    decided = match_pairs(score_pairs(given, left, right)).to_pydict()
    assert list(zip(decided["left_id"], decided["right_id"], strict=True)) == rows
    chosen = np.array(decided["match"], dtype=bool)
    candidates = set(rows)
    true = [pair for pair in zip(*gold.to_pydict().values(), strict=True) if pair in candidates]
    found = [row for row, is_match in zip(rows, chosen, strict=True) if is_match]
    assert pair_scores(*zip(*found, strict=True), *zip(*true, strict=True)).f1 >= floor


def test_whole_tables(data_dir: Path) -> None:
    folder = data_dir / "distiller" / "abt-buy"
    left, right, gold = (read_table(folder / name) for name in ("left.csv.gz", "right.csv.gz", "gold.csv"))
    matches = link(left, right)
    ends = (
        column.to_pylist() for column in (matches["left_id"], matches["right_id"], gold["left_id"], gold["right_id"])
    )
    assert pair_scores(*ends).f1 >= 0.80


def as_table(rows: list[tuple[str, str]]) -> pa.Table:
    return pa.table({"left_id": [row[0] for row in rows], "right_id": [row[1] for row in rows]})
