"""The workload that grows is what the benchmark says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.scale import CANDIDATES, make_up, write_inputs


def test_a_query_has_ten_candidates_and_mostly_its_match_among_them(tmp_path: Path) -> None:
    tables = make_up(3_000)
    write_inputs(tmp_path, tables, 2_000)
    left, right = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("left", "right"))
    assert len(left) == len(right) == 200
    assert len(left.column_names) >= 4
    queries, found = np.load(tmp_path / "left.npy"), np.load(tmp_path / "right.npy")
    assert np.bincount(queries).tolist() == [CANDIDATES] * 200
    assert len(np.unique(queries * 200 + found)) == len(queries)
    person = dict(
        zip(zip(*(values[:200].tolist() for values in tables[1].values()), strict=True), range(200), strict=True)
    )
    rows = zip(*(right[column].to_pylist() for column in right.column_names[1:]), strict=True)
    who = np.array([person[row] for row in rows])
    assert (who[found] == queries).sum() > 100
