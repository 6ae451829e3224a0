"""The k nearest records by TF-IDF cosine of character trigrams, in work that is bounded for each record.

The plain way reads, for each trigram of a record, the list of all records that have it. In large tables nearly all
that is read are lists of trigrams which tell little, and the work grows with the square of the records. So among more
than `MOST_EXACT` records a query is looked up in two steps (Broder et al. 2003, "Efficient query evaluation using a
two-level retrieval process"): it reads the lists of its rarest words, and of its rarest trigrams since a word may be
mistyped, `MOST_READ` entries of each; the records that share most with it there are then compared by all trigrams.

What a query finds depends on itself and on the records it is looked for among, never on the queries beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from sparse_dot_topn import sp_matmul_topn, zip_sp_matmul_topn

from er_distill.threads import thread_count
from er_distill.vectors import Vectors, Vocabulary

MOST_EXACT = 100_000
"""Records up to which all trigrams are read, which takes as many short records a few minutes on two cores."""

MOST_READ = 30_000
"""List entries one query reads for its words, and again for its trigrams: some 0.3 ms each."""

_COMPARED = 3  # times k: records that either step sends on
_QUERIES_AT_ONCE = 5_000  # a second or two, until the bar moves and Ctrl-C is heard
_PAIRS_AT_ONCE = 100_000  # compared by all trigrams: some 100 MB
_OTHERS_AT_ONCE = 1 << 16  # their sums stay in a core's cache


def nearest(
    queries: Vectors,
    others: Vectors,
    vocabulary: Vocabulary,
    k: int,
    *,
    threads: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` records of `others` most similar to each of `queries`.

    Parameters
    ----------
    queries, others : Vectors
        A record that stands in both is its own nearest.
    vocabulary : Vocabulary
        What the records weigh.
    k : int
    threads : int, optional
        Default: the cores this process may use.
    progress : callable
        Called with numbers of queries done.

    Returns
    -------
    rows, found : ndarray of int64, shape (pairs,)
        Row numbers of a query and of one of its nearest. A record without a trigram in common is never among them.
    """
    look_up = (_Exact if len(others) <= MOST_EXACT else _RarestFirst)(others, vocabulary, thread_count(threads))
    k = min(k, len(others))
    rows, found = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        stop = min(start + _QUERIES_AT_ONCE, len(queries))
        row, other = look_up(queries.words[start:stop], queries.grams[start:stop], k)
        rows.append(row + start)
        found.append(other)
        progress(stop - start)
    return np.concatenate(rows), np.concatenate(found)


class _Exact:
    """Reads the lists of all trigrams."""

    def __init__(self, others: Vectors, vocabulary: Vocabulary, threads: int) -> None:
        self._idf, self._threads = vocabulary.gram_idf, threads
        self._lists = _weighted(others.grams, self._idf).T.tocsr()

    def __call__(self, words: sparse.csr_array, grams: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
        asked = _weighted(grams, self._idf)
        return _pairs(sp_matmul_topn(asked, self._lists, k, threshold=0.0, sort=True, n_threads=self._threads))


class _RarestFirst:
    """Reads the lists of rare words and trigrams, and compares what they share most with."""

    def __init__(self, others: Vectors, vocabulary: Vocabulary, threads: int) -> None:
        self._idf, self._threads = (vocabulary.word_idf, vocabulary.gram_idf), threads
        self._others = _weighted(others.grams, vocabulary.gram_idf)
        self._lists = _Lists(_weighted(others.words, vocabulary.word_idf)), _Lists(self._others)

    def __call__(self, words: sparse.csr_array, grams: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
        asked = tuple(_weighted(own, idf) for own, idf in zip((words, grams), self._idf, strict=True))
        shared = [
            _pairs(lists.best(own, _COMPARED * k, self._threads)) for own, lists in zip(asked, self._lists, strict=True)
        ]
        n = self._others.shape[0]
        keys = np.unique(np.concatenate([row * n + other for row, other in shared]))
        row, other = keys // n, keys % n
        similar = _cosines(asked[1], self._others, row, other)
        order = np.lexsort((other, -similar, row))
        place = np.arange(len(order)) - np.searchsorted(row, row)  # `row` is sorted, before as after
        chosen = order[(place < k) & (similar[order] > 0)]
        return row[chosen], other[chosen]


class _Lists:
    """For each column the rows that have it."""

    def __init__(self, rows: sparse.csr_matrix) -> None:
        starts = range(0, rows.shape[0], _OTHERS_AT_ONCE)
        self._parts = [rows[start : start + _OTHERS_AT_ONCE].T.tocsr() for start in starts]
        self._lengths = np.bincount(rows.indices, minlength=rows.shape[1])
        self._rank = np.empty(rows.shape[1], dtype=np.int64)  # the shortest first, of equally long ones the first
        self._rank[np.argsort(self._lengths, kind="stable")] = np.arange(rows.shape[1])

    def best(self, asked: sparse.csr_matrix, k: int, threads: int) -> sparse.csr_matrix:
        """Return the `k` rows with which each of `asked` shares most in its rarest columns."""
        rare = self._rarest(asked)
        return zip_sp_matmul_topn(
            k, [sp_matmul_topn(rare, part, k, threshold=0.0, n_threads=threads) for part in self._parts]
        )

    def _rarest(self, asked: sparse.csr_matrix) -> sparse.csr_matrix:
        """The shortest lists of each row, as many as may be read, and one in any case."""
        present = self._lengths[asked.indices] > 0
        row = np.repeat(np.arange(asked.shape[0]), np.diff(asked.indptr))[present]
        columns, data = asked.indices[present], asked.data[present]
        order = np.argsort(row * len(self._rank) + self._rank[columns])
        columns, data = columns[order], data[order]
        read = np.cumsum(self._lengths[columns])
        starts = np.searchsorted(row, np.arange(asked.shape[0]))  # `row` is sorted, before as after
        before = np.concatenate([[0], read])[starts]
        kept = read - before[row] <= MOST_READ
        kept[starts[starts < len(row)]] = True
        indptr = np.zeros(asked.shape[0] + 1, dtype=np.int32)
        np.cumsum(np.bincount(row[kept], minlength=asked.shape[0]), out=indptr[1:])
        return sparse.csr_matrix((data[kept], columns[kept], indptr), shape=asked.shape)


def _weighted(rows: sparse.csr_array, idf: np.ndarray) -> sparse.csr_matrix:
    """Rows of unit length, their columns weighted by idf."""
    weights = idf[rows.indices]
    lengths = np.sqrt(rows @ (idf * idf))
    weights /= np.repeat(np.maximum(lengths, 1e-12), np.diff(rows.indptr)).astype(np.float32)
    return sparse.csr_matrix((weights, rows.indices, rows.indptr), shape=rows.shape)


def _pairs(best: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    rows = np.repeat(np.arange(best.shape[0]), np.diff(best.indptr))
    return rows, best.indices[: len(rows)].astype(np.int64)


def _cosines(one: sparse.csr_matrix, other: sparse.csr_matrix, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    cosines = np.empty(len(i), dtype=np.float32)
    for start in range(0, len(i), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        cosines[part] = np.asarray(one[i[part]].multiply(other[j[part]]).sum(axis=1)).ravel()
    return cosines
