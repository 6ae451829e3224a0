"""A student without a model, for tests of what is around it: its scores can be worked out by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import er_distill
from er_distill.pairs import Pairs
from er_distill.records import Records

BUNDLED = Path(er_distill.__file__).parent / "students" / "default" / "student.json"
needs_bundled_student = pytest.mark.skipif(not BUNDLED.is_file(), reason=f"{BUNDLED} has not been made yet")


class WordOverlap:
    """Scores a pair by the share of words that both records have (Jaccard); a whole student as far as doors can tell.

    With context that share is weighed by how close it comes to the best of either record's candidates, so that a
    candidate list that is cut gives other scores.
    """

    threshold = 0.5
    device = "cpu"

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def score(
        self, left: Records, right: Records | None, pairs: Pairs, *, context: bool = True, **options: Any
    ) -> np.ndarray:
        """Return the probability of each pair."""
        self.calls.append({"pid": os.getpid(), "one_table": right is None, "left": left, "right": right, **options})
        assert pairs.one_table == (right is None)
        words_left = [set(text.split()) for text in left.texts]
        words_right = words_left if right is None else [set(text.split()) for text in right.texts]
        shares = np.empty(len(pairs))
        for row, (i, j) in enumerate(zip(pairs.left, pairs.right, strict=True)):
            a, b = words_left[i], words_right[j]
            shares[row] = len(a & b) / max(len(a | b), 1)
        if not context:
            return shares
        best_left = np.zeros(pairs.n_left)
        best_right = best_left if right is None else np.zeros(pairs.n_right)
        np.maximum.at(best_left, pairs.left, shares)
        np.maximum.at(best_right, pairs.right, shares)
        best = np.maximum(best_left[pairs.left] + best_right[pairs.right], 1e-9)
        return shares * (2 * shares / best)
