"""Measures of sets and of strings, many pairs at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel, JaroWinkler, Prefix
from scipy import sparse

MAX_VALUE_CHARS = 60
"""Characters of a value that enter its edit similarity, whose cost grows with the square of the length."""


class Weights:
    """Sums of sets under several weights of their members.

    A sparse product adds each row in column order, so a sum never depends on the other rows.

    Parameters
    ----------
    *weights : ndarray of float32, shape (columns,)
    """

    def __init__(self, *weights: np.ndarray) -> None:
        self._weights = np.column_stack(weights)

    def of(self, sets: sparse.csr_array) -> np.ndarray:
        """Return float32 sums of shape (1 + weights, rows): first the sizes, then the sums of each weight."""
        sums = np.empty((1 + self._weights.shape[1], sets.shape[0]), dtype=np.float32)
        sums[0], sums[1:] = np.diff(sets.indptr), (sets @ self._weights).T
        return sums


def shared(a: sparse.csr_array, b: sparse.csr_array) -> sparse.csr_array:
    """Return the intersections of sets, row by row."""
    return a.multiply(b).tocsr()


def left_over(sets: sparse.csr_array, subsets: sparse.csr_array) -> sparse.csr_array:
    """Return what sets have beyond their subsets, row by row."""
    rest = (sets - subsets).tocsr()
    rest.eliminate_zeros()
    return rest


def heaviest(sets: sparse.csr_array, weight: np.ndarray) -> np.ndarray:
    """Return the largest weight of a member of each set; 0 where a set is empty."""
    result = np.zeros(sets.shape[0], dtype=np.float32)
    filled = np.flatnonzero(np.diff(sets.indptr))
    if len(filled):
        result[filled] = np.maximum.reduceat(weight[sets.indices], sets.indptr[filled])
    return result


def ratio(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """Divide; `empty` where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), empty, dtype=np.float32), where=whole > 0, casting="unsafe")


def value_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalised Indel similarity (longest common subsequence) of values, pair by pair; equal values give 1.

    Parameters
    ----------
    a, b : ndarray of str objects, shape (m,)

    Returns
    -------
    ndarray of float32, shape (m,)
    """
    alike = np.ones(len(a), dtype=np.float32)
    differ = np.flatnonzero(a != b)
    if len(differ):
        found = process.cpdist(_cut(a[differ]), _cut(b[differ]), scorer=Indel.normalized_similarity, dtype=np.float32)
        # Values equal up to the cut differ behind it, and must not count as equal.
        alike[differ] = np.minimum(found, 0.999)
    return alike


def same_start(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the share of the longer value that the two begin with alike; as `value_similarity`."""
    return process.cpdist(_cut(a), _cut(b), scorer=Prefix.normalized_similarity, dtype=np.float32)


def start_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Jaro-Winkler similarity of values, which trusts their beginnings more; as `value_similarity`."""
    return process.cpdist(_cut(a), _cut(b), scorer=JaroWinkler.normalized_similarity, dtype=np.float32)


def _cut(values: np.ndarray) -> Sequence[str]:
    listed: list[str] = values.tolist()
    if max(map(len, listed), default=0) <= MAX_VALUE_CHARS:
        return listed
    return [value[:MAX_VALUE_CHARS] for value in listed]
