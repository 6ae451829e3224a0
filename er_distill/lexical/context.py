"""A pair's context: how far it is above the other candidate pairs of its records."""

from __future__ import annotations

import numpy as np

from er_distill.lexical.layout import CONTEXT, CONTEXT_OF, SIMILARITIES

_COLUMNS = [SIMILARITIES.index(name) for name in CONTEXT_OF]
_TIE = 1e-6


class ListContext:
    """Best and second-best similarities of every record among its candidate pairs.

    Parameters
    ----------
    n_left, n_right : int
        Number of records on either side.
    one_table : bool
        Whether both sides are one table: a record's list is then every pair it stands in.
    """

    def __init__(self, n_left: int, n_right: int, one_table: bool) -> None:
        self._left = _Best(n_left)
        self._right = self._left if one_table else _Best(n_right)

    def add(self, i: np.ndarray, j: np.ndarray, similarities: np.ndarray) -> None:
        """Pass 1: take in a chunk of pairs; each pair once."""
        values = np.nan_to_num(similarities[:, _COLUMNS])
        self._left.add(i, values)
        self._right.add(j, values)

    def of(self, i: np.ndarray, j: np.ndarray, similarities: np.ndarray) -> np.ndarray:
        """Pass 2: return the context of a chunk of pairs that pass 1 has seen.

        Returns
        -------
        ndarray of float32, shape (m, len(CONTEXT))
            For each similarity the smaller and the larger margin to the best other pair of either record, then the
            lengths of the two lists.
        """
        values = np.nan_to_num(similarities[:, _COLUMNS])
        a, b = self._left.margin(i, values), self._right.margin(j, values)
        out = np.empty((len(i), len(CONTEXT)), dtype=np.float32)
        out[:, 0:-2:2], out[:, 1:-2:2] = np.minimum(a, b), np.maximum(a, b)
        lengths = self._left.count[i], self._right.count[j]
        out[:, -2], out[:, -1] = np.maximum(*lengths), np.minimum(*lengths)
        return out


class _Best:
    def __init__(self, n: int) -> None:
        self.best = np.zeros((n, len(CONTEXT_OF)), dtype=np.float32)
        self.second = np.zeros_like(self.best)
        self.count = np.zeros(n, dtype=np.int32)

    def add(self, rows: np.ndarray, values: np.ndarray) -> None:
        order = np.argsort(rows, kind="stable")
        found, starts, counts = np.unique(rows[order], return_index=True, return_counts=True)
        self.count[found] += counts.astype(np.int32)
        ranked = values[order]
        first = np.maximum.reduceat(ranked, starts, axis=0)
        # The second-best is the best of what is left when one of the best is taken away.
        is_best = ranked == np.repeat(first, counts, axis=0)
        places = np.where(is_best, np.arange(len(rows))[:, None], len(rows))
        ranked[np.minimum.reduceat(places, starts, axis=0), np.arange(ranked.shape[1])] = 0.0
        second = np.maximum.reduceat(ranked, starts, axis=0)
        old_best, old_second = self.best[found], self.second[found]
        self.second[found] = np.maximum(np.minimum(old_best, first), np.maximum(old_second, second))
        self.best[found] = np.maximum(old_best, first)

    def margin(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        best = self.best[rows]
        return values - np.where(values >= best - _TIE, self.second[rows], best)
