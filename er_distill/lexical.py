"""The lexical tier's features: similarities of a pair, and its context among the candidate lists.

Similarities compare two records on their own. Context compares a pair with the other pairs of either record: a good
match that has no rival is a better one. Context is taken in two passes, so that any chunk of the pairs sees the same:
pass 1 keeps the best and the second-best of a few similarities for each record, pass 2 turns them into margins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import sparse

from er_distill.aside import Aside
from er_distill.pairs import Pairs
from er_distill.sets import Sets
from er_distill.threads import ahead, thread_count
from er_distill.values import FieldValues
from er_distill.vectors import Corpus, Vectors

VERSION = 1
"""Part of a student's manifest: a student is only as good as the features it was fitted on."""

SIMILARITIES = (
    "word_cosine",
    "word_jaccard",
    "word_contained_most",
    "word_contained_least",
    "word_rarest_shared",
    "word_rarest_unshared_most",
    "word_rarest_unshared_least",
    "number_jaccard",
    "number_shared",
    "number_unshared_most",
    "number_unshared_least",
    "number_shared_weight",
    "gram_cosine",
    "gram_jaccard",
    "gram_contained_most",
    "gram_contained_least",
    "words_most",
    "words_least",
    "fields_compared",
    "fields_missing",
    "field_mean",
    "field_weighted_mean",
    "field_lowest",
    "field_second_lowest",
    "field_highest",
    "field_equal_share",
    "field_equal_weight",
    "field_information",
    "field_conflicts",
    "field_conflict_weight",
    "key_field",
    "key_field_words",
    "one_table",
)
CONTEXT_OF = (
    "word_cosine",
    "word_contained_least",
    "number_jaccard",
    "gram_cosine",
    "field_weighted_mean",
    "key_field",
)
CONTEXT = (
    *(f"{name}_margin_{which}" for name in CONTEXT_OF for which in ("least", "most")),
    "list_length_most",
    "list_length_least",
)
FEATURES = SIMILARITIES + CONTEXT

_AGAINST = ("unshared", "conflict")  # parts of the names of what speaks against a match
_NEITHER = ("words_", "fields_", "field_information", "one_table", "list_length")  # beginnings of names
DIRECTIONS = tuple(
    0 if name.startswith(_NEITHER) else -1 if any(part in name for part in _AGAINST) else 1 for name in FEATURES
)
"""What more of a feature says: 1 for a match, -1 against one, 0 either. Sizes and counts say neither."""

_CONTEXT_COLUMNS = [SIMILARITIES.index(name) for name in CONTEXT_OF]
Put = Callable[[str, np.ndarray], None]
"""Takes the values of a similarity, given its name."""

_COLUMN = {name: column for column, name in enumerate(SIMILARITIES)}
_TIE = 1e-6
_PAIRS_AT_ONCE = 12_500  # that a thread compares at a time: more share the cost of a call, fewer stay in the cache


class Similarity:
    """Compares records of a corpus.

    Parameters
    ----------
    corpus : Corpus
        The two tables' vectors.
    threads : int, optional
        Default: the cores this process may use. They never change a value.
    """

    def __init__(self, corpus: Corpus, *, threads: int | None = None) -> None:
        # Of the corpus it keeps what it reads: the records' values, which it has as codes, need not stay in memory.
        left, right = corpus.left, corpus.right
        self._vocabulary, self._one_table = corpus.vocabulary, corpus.one_table
        self._threads = thread_count(threads)
        idf, digit = corpus.vocabulary.word_idf, corpus.vocabulary.word_has_digit.astype(np.float32)
        gram_idf = corpus.vocabulary.gram_idf
        self._word_weights = np.stack([idf, idf * idf, digit, idf * digit], axis=1)
        self._gram_weights = np.stack([gram_idf, gram_idf * gram_idf], axis=1)
        n_fields = len(corpus.vocabulary.aligned)
        self._left = self._side(left, n_fields)
        self._right = self._left if self._one_table else self._side(right, n_fields)
        self._fields = []
        for field in range(n_fields):
            values, self._left.codes[:, field], self._right.codes[:, field] = FieldValues.coded(left, right, field)
            self._fields.append(values)

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return the similarities of the pairs ``(i, j)``.

        Parameters
        ----------
        i, j : ndarray of int64, shape (m,)
            Left and right row numbers.

        Returns
        -------
        ndarray of float32, shape (m, len(SIMILARITIES))
            Symmetric in the two records. A similarity is NaN where it cannot be had: fields missing on a side.
        """
        out = np.empty((len(i), len(SIMILARITIES)), dtype=np.float32)

        def compare(begin: int) -> None:
            rows = slice(begin, begin + _PAIRS_AT_ONCE)
            self._compare(i[rows], j[rows], out[rows])

        blocks = range(0, len(i), _PAIRS_AT_ONCE)
        workers = min(self._threads, len(blocks))
        if workers < 2:
            for begin in blocks:
                compare(begin)
        else:
            with ThreadPoolExecutor(workers, thread_name_prefix="er_distill") as pool:
                list(pool.map(compare, blocks))
        return out

    def _compare(self, i: np.ndarray, j: np.ndarray, out: np.ndarray) -> None:
        out[:] = np.nan

        def put(name: str, values: np.ndarray) -> None:
            out[:, _COLUMN[name]] = values

        of_a, of_b = _Sums(self._left.sums[i]), _Sums(self._right.sums[j])
        self._words(self._left.words[i], self._right.words[j], of_a, of_b, put)
        self._grams(self._left.grams[i].multiply(self._right.grams[j]).tocsr(), of_a, of_b, put)
        if self._fields:
            self._values(self._left.codes[i], self._right.codes[j], put)
        put("one_table", np.full(len(i), self._one_table))

    def _side(self, vectors: Vectors, n_fields: int) -> _Side:
        words, grams = vectors.words, vectors.grams
        sums = np.empty((len(vectors), len(_SUMS)), dtype=np.float32)
        sums[:, 0], sums[:, 1:5] = np.diff(words.indptr), words @ self._word_weights
        sums[:, 5], sums[:, 6:8] = np.diff(grams.indptr), grams @ self._gram_weights
        return _Side(words, grams, sums, np.empty((len(vectors), n_fields), dtype=np.int32))

    def _words(self, a: sparse.csr_array, b: sparse.csr_array, of_a: _Sums, of_b: _Sums, put: Put) -> None:
        b.data[:] = 2
        either = (a + b).tocsr()  # a word of both records is 3
        shared = _kept(either, either.data == 3)
        both = shared @ self._word_weights
        count, (weight, squares, numbers, number_weight) = np.diff(shared.indptr).astype(np.float32), both.T
        put("word_cosine", _ratio(squares, np.sqrt(of_a["word_squares"] * of_b["word_squares"])))
        put("word_jaccard", _ratio(count, of_a["words"] + of_b["words"] - count))
        _put_two(put, "word_contained", _ratio(weight, of_a["word_weight"]), _ratio(weight, of_b["word_weight"]))
        rarity = np.take(self._vocabulary.word_idf, either.indices)
        put("word_rarest_shared", _row_max(either.indptr, np.where(either.data == 3, rarity, 0)))
        _put_two(
            put,
            "word_rarest_unshared",
            *(_row_max(either.indptr, np.where(either.data == side, rarity, 0)) for side in (1, 2)),
        )
        put("number_jaccard", _ratio(numbers, of_a["numbers"] + of_b["numbers"] - numbers, empty=np.nan))
        put("number_shared", numbers)
        _put_two(put, "number_unshared", of_a["numbers"] - numbers, of_b["numbers"] - numbers)
        put("number_shared_weight", number_weight)
        _put_two(put, "words", of_a["words"], of_b["words"])

    def _grams(self, shared: sparse.csr_array, of_a: _Sums, of_b: _Sums, put: Put) -> None:
        count, (weight, squares) = np.diff(shared.indptr).astype(np.float32), (shared @ self._gram_weights).T
        put("gram_cosine", _ratio(squares, np.sqrt(of_a["gram_squares"] * of_b["gram_squares"])))
        put("gram_jaccard", _ratio(count, of_a["grams"] + of_b["grams"] - count))
        _put_two(put, "gram_contained", _ratio(weight, of_a["gram_weight"]), _ratio(weight, of_b["gram_weight"]))

    def _values(self, a: np.ndarray, b: np.ndarray, put: Put) -> None:
        """Compare the fields of pairs, given the codes of their values, of shape (m, fields)."""
        a, b = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
        has_a, has_b = a != 0, b != 0
        known = has_a & has_b
        equal = known & (a == b)
        alike = equal.astype(np.float32)
        information = np.zeros(a.shape, dtype=np.float32)
        for field, values in enumerate(self._fields):
            differ, same = np.flatnonzero(known[field] & ~equal[field]), np.flatnonzero(equal[field])
            alike[field, differ] = values.alike(a[field, differ], b[field, differ])
            information[field, same] = values.information[a[field, same]]
        weight = np.where(known, self._vocabulary.field_weight[:, None], 0.0)
        compared = known.sum(0).astype(np.float32)
        conflict = known & (alike < 0.5)
        total = weight.sum(0)
        put("fields_compared", compared)
        put("fields_missing", (has_a ^ has_b).sum(0))
        put("field_mean", _ratio(alike.sum(0), compared, empty=np.nan))
        put("field_weighted_mean", _ratio((alike * weight).sum(0), total, empty=np.nan))
        lowest, second = _two_lowest(np.where(known, alike, np.inf))
        put("field_lowest", np.where(compared > 0, lowest, np.nan))
        put("field_second_lowest", np.where(compared > 1, second, np.nan))
        put("field_highest", np.where(compared > 0, alike.max(0), np.nan))
        put("field_equal_share", _ratio(equal.sum(0), compared, empty=np.nan))
        put("field_equal_weight", _ratio((equal * weight).sum(0), total, empty=np.nan))
        put("field_information", information.sum(0))
        put("field_conflicts", conflict.sum(0))
        put("field_conflict_weight", (conflict * weight).sum(0))
        # The key field is the most telling one that both records have: a title, a number, a name.
        key = weight.argmax(0)
        rows = np.arange(len(key))
        there = known[key, rows]
        put("key_field", np.where(there, alike[key, rows], np.nan))
        key_words = np.full(len(key), np.nan, dtype=np.float32)
        for field, values in enumerate(self._fields):
            here = np.flatnonzero(there & (key == field))
            if len(here):
                key_words[here] = values.words_in_common(a[field, here], b[field, here])
        put("key_field_words", key_words)


def features(
    corpus: Corpus, pairs: Pairs, *, context: bool = True, chunk_size: int, threads: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the features of the pairs, a chunk at a time.

    Parameters
    ----------
    corpus : Corpus
    pairs : Pairs
        Each pair once (:meth:`er_distill.pairs.Pairs.unique`).
    context : bool
        Without context, its features are NaN.
    chunk_size : int
        Pairs a chunk. Memory is bounded by it: between the two passes that context takes, the similarities of several
        chunks are on disk, 132 bytes a pair, or where there is no room are made twice.
    threads : int, optional
        As for :class:`Similarity`.

    Yields
    ------
    rows : slice
        The pairs of this chunk.
    features : ndarray of float32, shape (rows, len(FEATURES))
    """
    similarity = Similarity(corpus, threads=threads)
    del corpus  # of which it may have held the last reference
    chunks = [slice(begin, begin + chunk_size) for begin in range(0, len(pairs), chunk_size)]
    if not context:
        for rows in chunks:
            values = similarity(pairs.left[rows], pairs.right[rows])
            yield rows, np.hstack([values, np.full((len(values), len(CONTEXT)), np.nan, dtype=np.float32)])
        return
    lists = ListContext(pairs.n_left, pairs.n_right, pairs.one_table)
    values = np.empty((0, len(SIMILARITIES)), dtype=np.float32)
    with Aside(len(pairs) * values.itemsize * len(SIMILARITIES) if len(chunks) > 1 else 0) as aside:
        compared = (similarity(pairs.left[rows], pairs.right[rows]) for rows in chunks)
        for rows, values in zip(chunks, ahead(compared, 1, threads=threads), strict=True):
            lists.add(pairs.left[rows], pairs.right[rows], values)
            aside.put(values)
        aside.rewind()
        for rows in chunks:
            i, j = pairs.left[rows], pairs.right[rows]
            if len(chunks) > 1:  # a single chunk is still at hand
                values = np.empty((len(i), len(SIMILARITIES)), dtype=np.float32)
                if not aside.take(values):
                    values = similarity(i, j)
            yield rows, np.hstack([values, lists.of(i, j, values)])


_SUMS = ("words", "word_weight", "word_squares", "numbers", "number_weight", "grams", "gram_weight", "gram_squares")


class _Side(NamedTuple):
    """A table as it is compared: what `_Sums` reads of each record, the codes of its values, shape (n, fields)."""

    words: Sets
    grams: Sets
    sums: np.ndarray
    codes: np.ndarray


class _Sums:
    """Sums over the words and trigrams of some records, each of shape (m,): their number, weights, weights squared."""

    def __init__(self, table: np.ndarray) -> None:
        self._table = table

    def __getitem__(self, name: str) -> np.ndarray:
        return self._table[:, _SUMS.index(name)]


def _kept(matrix: sparse.csr_array, which: np.ndarray) -> sparse.csr_array:
    """A 0/1 matrix of some of the entries of another."""
    before = np.zeros(len(which) + 1, dtype=matrix.indptr.dtype)
    np.cumsum(which, out=before[1:])
    indices = matrix.indices[which]
    return sparse.csr_array((np.ones(len(indices), np.float32), indices, before[matrix.indptr]), shape=matrix.shape)


def _row_max(indptr: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The largest of each row's values, none of which is negative; 0 where it has none."""
    result = np.zeros(len(indptr) - 1, dtype=np.float32)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        result[filled] = np.maximum.reduceat(values, indptr[filled])
    return result


def _two_lowest(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the second-lowest of each column; infinite where there is none."""
    lowest = np.full(values.shape[1], np.inf, dtype=np.float32)
    second = lowest.copy()
    for row in values:
        np.minimum(second, np.maximum(lowest, row), out=second)
        np.minimum(lowest, row, out=lowest)
    return lowest, second


def _put_two(put: Put, name: str, a: np.ndarray, b: np.ndarray) -> None:
    """Which record is left means nothing: keep the larger and the smaller of the two sides' values."""
    put(f"{name}_most", np.maximum(a, b))
    put(f"{name}_least", np.minimum(a, b))


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), empty, dtype=np.float32), where=whole > 0, casting="unsafe")


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
        values = np.nan_to_num(similarities[:, _CONTEXT_COLUMNS])
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
        values = np.nan_to_num(similarities[:, _CONTEXT_COLUMNS])
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
        if not len(rows):
            return
        order = np.argsort(rows)
        ordered = rows[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        found, counts = ordered[starts], np.diff(starts, append=len(rows))
        self.count[found] += counts.astype(np.int32)
        best, second = np.empty((2, len(found), values.shape[1]), dtype=np.float32)
        for k in range(values.shape[1]):
            of_lists = values[order, k]
            best[:, k] = np.maximum.reduceat(of_lists, starts)
            is_best = of_lists == np.repeat(best[:, k], counts)
            without = np.maximum.reduceat(np.where(is_best, 0, of_lists), starts)
            second[:, k] = np.where(np.add.reduceat(is_best, starts, dtype=np.int32) > 1, best[:, k], without)
        old_best, old_second = self.best[found], self.second[found]
        self.second[found] = np.maximum(np.minimum(old_best, best), np.maximum(old_second, second))
        self.best[found] = np.maximum(old_best, best)

    def margin(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        best = self.best[rows]
        return values - np.where(values >= best - _TIE, self.second[rows], best)
