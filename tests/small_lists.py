"""Small tables with candidate pairs, as frames and as files, for tests of what is scored in chunks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from er_distill import Student
from er_distill.blocking import candidates
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.synthetic import generate


@dataclass(frozen=True)
class Lists:
    """Two tables of addresses with ids, their records, and candidate pairs by blocking."""

    left: pa.Table
    right: pa.Table
    a: Records
    b: Records
    pairs: Pairs

    @property
    def table(self) -> pa.Table:
        """The pairs with ids, and a column that says where each row stood."""
        return pa.table(
            {
                "note": [f"row {k}" for k in range(len(self.pairs))],
                "left_id": self.a.ids[self.pairs.left].tolist(),
                "right_id": self.b.ids[self.pairs.right].tolist(),
            }
        )

    def write(self, folder: Path, *, row_group_size: int = 17) -> Path:
        """Write the pairs as Parquet in small row groups."""
        path = folder / "pairs.parquet"
        pq.write_table(self.table, path, row_group_size=row_group_size)
        return path


@cache
def student() -> Student:
    """The bundled student."""
    return Student.load()


@cache
def addresses(n: int = 24) -> Lists:
    """Generate the tables."""
    task = generate("addresses", n, seed=12)
    left, right = (
        pa.table({"id": [f"{side}{k}" for k in range(len(next(iter(columns.values()))))], **columns})
        for side, columns in (("a", task.left), ("b", task.right))
    )
    a, b = Records.from_frame(left, name="left"), Records.from_frame(right, name="right")
    return Lists(left, right, a, b, candidates(a, b).pairs)


@cache
def scores() -> np.ndarray:
    """What the bundled student gives for all pairs of `addresses` at once."""
    lists = addresses()
    return student().score(lists.a, lists.b, lists.pairs)
