"""Rows of a 0/1 matrix without the ones: sets of words or trigrams, a row a record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Sets:
    """Rows of a 0/1 matrix, held as the columns of their ones: of millions of rows the ones themselves are too much.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n + 1,)
        Where each row begins.
    codes : ndarray of uint16 or int32
        The columns of the rows one after the other, ascending in each; where `numbered` is given, their places in it,
        for which two bytes mostly do.
    numbered : ndarray of int32 or None
        Columns that any row has.
    columns : int
    """

    indptr: np.ndarray
    codes: np.ndarray
    numbered: np.ndarray | None
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.indptr) - 1, self.columns

    @property
    def indices(self) -> np.ndarray:
        """The columns of all rows, int32."""
        return self._decoded(self.codes)

    def __getitem__(self, rows: np.ndarray | slice) -> sparse.csr_array:
        """Return some rows as a matrix of int8."""
        counts, codes = self._of(rows)
        return binary_rows(self._decoded(codes), counts, self.columns)

    def __matmul__(self, weights: np.ndarray) -> np.ndarray:
        """Return each row's sums of `weights`, of shape (columns,) or (columns, k)."""
        sums = np.empty((self.shape[0], *weights.shape[1:]), dtype=weights.dtype)
        for begin in range(0, len(sums), _ROWS_AT_ONCE):
            sums[begin : begin + _ROWS_AT_ONCE] = self[begin : begin + _ROWS_AT_ONCE] @ weights
        return sums

    def take(self, rows: np.ndarray) -> Sets:
        """Return the sets of some rows, which may repeat."""
        counts, codes = self._of(rows)
        return Sets(starts(counts), codes, self.numbered, self.columns)

    def _of(self, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """How many columns each of some rows has, and their codes."""
        if isinstance(rows, slice):
            begin, end, _ = rows.indices(self.shape[0])
            return np.diff(self.indptr[begin : end + 1]), self.codes[self.indptr[begin] : self.indptr[end]]
        begins = self.indptr[rows]
        counts = self.indptr[rows + 1] - begins
        own = starts(counts)
        return counts, self.codes[np.repeat(begins - own[:-1], counts) + np.arange(own[-1])]

    def _decoded(self, codes: np.ndarray) -> np.ndarray:
        return codes if self.numbered is None else np.take(self.numbered, codes)


def binary_rows(indices: np.ndarray, counts: np.ndarray, columns: int) -> sparse.csr_array:
    """A 0/1 matrix, given the columns of its rows one after the other, ascending, and how many each row has."""
    indptr = starts(counts)
    if indptr[-1] < 2**31:
        indptr = indptr.astype(np.int32)
    matrix = sparse.csr_array((np.ones(len(indices), dtype=np.int8), indices, indptr), shape=(len(counts), columns))
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def starts(counts: np.ndarray) -> np.ndarray:
    """Where rows of so many entries begin, and the last one ends; int64, shape (n + 1,)."""
    found = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=found[1:])
    return found
