"""Two small tables of lamps whose true matches can be read off their ids, and a teacher who reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from er_distill.files import write_table
from er_distill.training.labels import Candidates
from er_distill.training.teachers.base import NONE, Answer, Question

WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "iris", "jade", "kelp", "lotus"]
N, N_MATCHED = 48, 36

SMALL: dict[str, Any] = {
    "folds": 3,
    "encoder_pairs": 300,
    "variants": ["fp32"],
    "default_variant": "fp32",
    "encoder": {"max_length": 48, "epochs": 1, "device": "cpu"},
    "trees": {"rounds": 40, "least_leaf": 10},
}
"""Settings that make a student in seconds."""


def lamps() -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Columns of the left and of the right table: `a7` and `b7` are one lamp, from `a36` on there is no match."""
    rng = np.random.default_rng(0)
    names = [" ".join(rng.choice(WORDS, 4, replace=False)) + f" {k:02}" for k in range(N)]
    others = [" ".join(rng.choice(WORDS, 4, replace=False)) + f" {k + 50}" for k in range(N - N_MATCHED)]
    years = rng.integers(1990, 2020, N).astype(str).tolist()
    left = {"id": [f"a{k}" for k in range(N)], "name": names, "year": years}
    right = {"id": [f"b{k}" for k in range(N)], "name": [*names[:N_MATCHED], *others], "year": years}
    return left, right


def is_match(left: str, right: str) -> bool:
    """Whether two ids are of one lamp."""
    return left[1:] == right[1:] and int(left[1:]) < N_MATCHED


def write_lamps(folder: Path) -> tuple[str, str]:
    """Write both tables as CSV and return their paths."""
    paths = (folder / "a.csv", folder / "b.csv")
    for path, columns in zip(paths, lamps(), strict=True):
        write_table(pa.table(columns), path)
    return str(paths[0]), str(paths[1])


def labels_of_all(every: int = 1) -> dict[str, list[Any]]:
    """Columns of labelled pairs: each lamp with its namesake and three others, of each `every`-th left lamp."""
    pairs = [(f"a{k}", f"b{(k + step) % N}") for k in range(0, N, every) for step in range(4)]
    columns: dict[str, list[Any]] = {"left_id": [a for a, _ in pairs], "right_id": [b for _, b in pairs]}
    return columns | {"label": [int(is_match(a, b)) for a, b in pairs]}


class Lamplighter:
    """A teacher who knows, free of charge.

    Attributes
    ----------
    asked : int
        Questions so far.
    """

    licence = "MIT"

    def __init__(self, name: str = "lamplighter", *, always_none: bool = False) -> None:
        self.name, self.always_none, self.asked = name, always_none, 0

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        right = candidates.left if candidates.right is None else candidates.right
        for position, question in enumerate(questions):
            self.asked += 1
            query = str(candidates.left.ids[question.query])
            right_ones = [
                place
                for place, row in enumerate(question.candidates)
                if is_match(query, str(right.ids[row])) and not self.always_none
            ]
            yield position, Answer(right_ones[0] if right_ones else NONE)
