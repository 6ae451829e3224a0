"""Write the scores that ``tests/test_student.py`` holds the bundled student to; run it when the student is replaced."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from er_distill import Student
from er_distill.pairs import Pairs
from er_distill.records import Records

GOLDEN = Path(__file__).parent.parent / "tests" / "data" / "golden_scores.csv"


def main() -> None:
    with GOLDEN.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    sides = []
    for side in ("left", "right"):
        texts = np.array([row[side] for row in rows], dtype=object)
        sides.append(Records(side, np.arange(len(rows)), ("text",), (texts,)))
    diagonal = np.arange(len(rows))
    scores = Student.load().score(*sides, Pairs(diagonal, diagonal, len(rows), len(rows)), context=False)
    with GOLDEN.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, fieldnames=("left", "right", "score"), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "score": f"{score:.4f}"} for row, score in zip(rows, scores, strict=True))


if __name__ == "__main__":
    main()
