"""The values of a field that both tables have, each once: what two of them have in common.

A value stands in many records, and a record in many pairs. So a value is a number here, its code, and two records have
the same value where their codes are equal; only values that differ are compared as text.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel
from scipy import sparse

from er_distill.sets import binary_rows
from er_distill.vectors import Vectors, word_columns

MAX_VALUE_CHARS = 60
"""Characters of a field's value that enter its edit similarity, whose cost grows with the square of the length."""

_CUT_ALIKE = 0.999  # values equal up to the cut differ behind it, and must not count as equal


class FieldValues:
    """The values of one aligned field.

    Parameters
    ----------
    values : ndarray of str objects, shape (values,)
        By code; the first is the missing value.
    information : ndarray of float32, shape (values,)
        As `Vectors.information`, by code.
    """

    def __init__(self, values: np.ndarray, information: np.ndarray) -> None:
        self._values = values
        self.information = information

    @classmethod
    def coded(cls, left: Vectors, right: Vectors, field: int) -> tuple[FieldValues, np.ndarray, np.ndarray]:
        """Return the values of one of the aligned fields, and the code of each record's, int32 of shape (n,)."""
        sides = [left] if left is right else [left, right]
        columns = [side.values[field].tolist() for side in sides]
        codes = dict.fromkeys([""], 0)
        for column in columns:
            codes.update(dict.fromkeys(column, 0))
        for code, value in enumerate(codes):
            codes[value] = code
        of_records = [np.fromiter(map(codes.__getitem__, column), np.int32, len(column)) for column in columns]
        information = np.zeros(len(codes), dtype=np.float32)
        for side, of_side in zip(sides, of_records, strict=True):
            information[of_side] = side.information[field]
        found = cls(np.fromiter(codes, dtype=object, count=len(codes)), information)
        return found, of_records[0], of_records[-1]

    def alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return how alike values of different codes are, as `value_similarity` does; float32, shape (m,)."""
        return _edit_similarity(self._short[a], self._short[b])

    def words_in_common(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the share of the shorter value's words that the longer one has, of values that are not missing."""
        share = np.ones(len(a), dtype=np.float32)
        differ = np.flatnonzero(a != b)
        first, second = self._words[a[differ]], self._words[b[differ]]
        common, shorter = first.multiply(second), np.minimum(np.diff(first.indptr), np.diff(second.indptr))
        share[differ] = np.diff(common.tocsr().indptr) / np.maximum(shorter, 1)
        return share

    @cached_property
    def _short(self) -> np.ndarray:
        long = any(len(value) > MAX_VALUE_CHARS for value in self._values)
        return _cut(self._values) if long else self._values

    @cached_property
    def _words(self) -> sparse.csr_array:
        words: dict[str, int] = {}
        indices, counts = word_columns((value.split() for value in self._values), words)
        return binary_rows(indices, counts, max(len(words), 1))


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
    alike[differ] = _edit_similarity(_cut(a[differ]), _cut(b[differ]))
    return alike


def _edit_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same of values that are cut, and that differed before."""
    found = process.cpdist(a.tolist(), b.tolist(), scorer=Indel.normalized_similarity, dtype=np.float32)
    return np.minimum(found, _CUT_ALIKE)


def _cut(values: np.ndarray) -> np.ndarray:
    return np.fromiter((value[:MAX_VALUE_CHARS] for value in values.tolist()), dtype=object, count=len(values))
