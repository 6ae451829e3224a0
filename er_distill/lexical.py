"""The lexical tier's features: similarities of a pair, and its context among the candidate lists.

Similarities compare two records on their own. Context compares a pair with the other pairs of either record: a good
match that has no rival is a better one. Context is taken in two passes, so that any chunk of the pairs sees the same:
pass 1 keeps the best and the second-best of a few similarities for each record, pass 2 turns them into margins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel
from scipy import sparse

from er_distill.pairs import Pairs
from er_distill.vectors import Corpus

VERSION = 1
"""Part of a student's manifest: a student is only as good as the features it was fitted on."""

MAX_VALUE_CHARS = 60
"""Characters of a field's value that enter its edit similarity, whose cost grows with the square of the length."""

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
_TIE = 1e-6


class Similarity:
    """Compares records of a corpus.

    Parameters
    ----------
    corpus : Corpus
        The two tables' vectors.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.vocabulary, self.left, self.right = corpus.vocabulary, corpus.left, corpus.right
        self.one_table = corpus.one_table

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
        out = np.full((len(i), len(SIMILARITIES)), np.nan, dtype=np.float32)

        def put(name: str, values: np.ndarray) -> None:
            out[:, SIMILARITIES.index(name)] = values

        self._words(i, j, put)
        self._grams(i, j, put)
        self._fields(i, j, put)
        put("one_table", np.full(len(i), self.one_table))
        return out

    def _words(self, i: np.ndarray, j: np.ndarray, put: Callable[[str, np.ndarray], None]) -> None:
        idf, has_digit = self.vocabulary.word_idf, self.vocabulary.word_has_digit
        a, b = self.left.words[i], self.right.words[j]
        shared = a.multiply(b).tocsr()
        mass = _Sums(shared, idf, has_digit), _Sums(a, idf, has_digit), _Sums(b, idf, has_digit)
        both, of_a, of_b = mass
        put("word_cosine", _ratio(both.squares, np.sqrt(of_a.squares * of_b.squares)))
        put("word_jaccard", _ratio(both.count, of_a.count + of_b.count - both.count))
        _put_two(put, "word_contained", _ratio(both.weight, of_a.weight), _ratio(both.weight, of_b.weight))
        put("word_rarest_shared", _row_max(shared, idf))
        _put_two(put, "word_rarest_unshared", _row_max(_without(a, shared), idf), _row_max(_without(b, shared), idf))
        put("number_jaccard", _ratio(both.numbers, of_a.numbers + of_b.numbers - both.numbers, empty=np.nan))
        put("number_shared", both.numbers)
        _put_two(put, "number_unshared", of_a.numbers - both.numbers, of_b.numbers - both.numbers)
        put("number_shared_weight", both.number_weight)
        _put_two(put, "words", of_a.count, of_b.count)

    def _grams(self, i: np.ndarray, j: np.ndarray, put: Callable[[str, np.ndarray], None]) -> None:
        weights = self.vocabulary.gram_idf
        a, b = self.left.grams[i], self.right.grams[j]
        shared = a.multiply(b).tocsr()
        both, of_a, of_b = _Sums(shared, weights), _Sums(a, weights), _Sums(b, weights)
        put("gram_cosine", _ratio(both.squares, np.sqrt(of_a.squares * of_b.squares)))
        put("gram_jaccard", _ratio(both.count, of_a.count + of_b.count - both.count))
        _put_two(put, "gram_contained", _ratio(both.weight, of_a.weight), _ratio(both.weight, of_b.weight))

    def _fields(self, i: np.ndarray, j: np.ndarray, put: Callable[[str, np.ndarray], None]) -> None:
        n_fields, m = len(self.vocabulary.aligned), len(i)
        if not n_fields:
            return
        alike = np.full((n_fields, m), np.nan, dtype=np.float32)
        missing = np.zeros(m, dtype=np.float32)
        for field in range(n_fields):
            a, b = self.left.values[field][i], self.right.values[field][j]
            has_a, has_b = a != "", b != ""
            here = np.flatnonzero(has_a & has_b)
            missing += has_a ^ has_b
            if len(here):
                alike[field, here] = value_similarity(a[here], b[here])
        weight = np.where(np.isnan(alike), 0.0, self.vocabulary.field_weight[:, None])
        known = np.where(np.isnan(alike), 0.0, alike)
        compared = (~np.isnan(alike)).sum(0).astype(np.float32)
        equal, conflict = alike == 1, alike < 0.5
        total = weight.sum(0)
        put("fields_compared", compared)
        put("fields_missing", missing)
        put("field_mean", _ratio(known.sum(0), compared, empty=np.nan))
        put("field_weighted_mean", _ratio((known * weight).sum(0), total, empty=np.nan))
        ranked = np.sort(alike, axis=0)  # NaN goes last
        put("field_lowest", ranked[0])
        if n_fields > 1:
            put("field_second_lowest", ranked[1])
        put("field_highest", np.where(compared > 0, np.where(np.isnan(alike), -1, alike).max(0), np.nan))
        put("field_equal_share", _ratio(equal.sum(0), compared, empty=np.nan))
        put("field_equal_weight", _ratio((equal * weight).sum(0), total, empty=np.nan))
        information = np.minimum(self.left.information[:, i], self.right.information[:, j])
        put("field_information", (information * equal).sum(0))
        put("field_conflicts", conflict.sum(0))
        put("field_conflict_weight", (conflict * weight).sum(0))
        # The key field is the most telling one that both records have: a title, a number, a name.
        key = weight.argmax(0)
        put("key_field", alike[key, np.arange(m)])
        key_words = np.full(m, np.nan, dtype=np.float32)
        for field in np.unique(key).tolist():
            here = np.flatnonzero((key == field) & (compared > 0))
            if len(here):
                key_words[here] = _word_overlap(self.left.values[field][i[here]], self.right.values[field][j[here]])
        put("key_field_words", key_words)


def features(
    corpus: Corpus, pairs: Pairs, *, context: bool = True, chunk_size: int
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
        Pairs a chunk.

    Yields
    ------
    rows : slice
        The pairs of this chunk.
    features : ndarray of float32, shape (rows, len(FEATURES))
    """
    similarity = Similarity(corpus)
    chunks = [slice(begin, begin + chunk_size) for begin in range(0, len(pairs), chunk_size)]
    lists = ListContext(pairs.n_left, pairs.n_right, pairs.one_table) if context else None
    kept = None
    if lists is not None:
        for rows in chunks:
            kept = similarity(pairs.left[rows], pairs.right[rows])
            lists.add(pairs.left[rows], pairs.right[rows], kept)
    for rows in chunks:
        i, j = pairs.left[rows], pairs.right[rows]
        # Similarities are made again rather than kept: memory is bounded by the chunk. A single chunk is still at hand.
        values = kept if kept is not None and len(chunks) == 1 else similarity(i, j)
        around = np.full((len(i), len(CONTEXT)), np.nan, np.float32) if lists is None else lists.of(i, j, values)
        yield rows, np.hstack([values, around])


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
        short_a = [value[:MAX_VALUE_CHARS] for value in a[differ]]
        short_b = [value[:MAX_VALUE_CHARS] for value in b[differ]]
        found = process.cpdist(short_a, short_b, scorer=Indel.normalized_similarity, dtype=np.float32)
        # Values equal up to the cut differ behind it, and must not count as equal.
        alike[differ] = np.minimum(found, 0.999)
    return alike


def _word_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the shorter value's words that the longer one has."""

    def overlap(one: str, other: str) -> float:
        first, second = set(one.split()), set(other.split())
        return len(first & second) / max(min(len(first), len(second)), 1)

    return np.fromiter((overlap(x, y) for x, y in zip(a, b, strict=True)), np.float32, len(a))


class _Sums:
    """Row sums of a 0/1 matrix under several weights of its columns.

    A sparse product with a vector adds each row in column order, so a sum never depends on the other rows.
    """

    def __init__(self, matrix: sparse.csr_array, weight: np.ndarray, has_digit: np.ndarray | None = None) -> None:
        self.count = np.diff(matrix.indptr).astype(np.float32)
        self.weight = matrix @ weight
        self.squares = matrix @ (weight * weight)
        if has_digit is not None:
            self.numbers = matrix @ has_digit.astype(np.float32)
            self.number_weight = matrix @ (weight * has_digit)


def _put_two(put: Callable[[str, np.ndarray], None], name: str, a: np.ndarray, b: np.ndarray) -> None:
    """Which record is left means nothing: keep the larger and the smaller of the two sides' values."""
    put(f"{name}_most", np.maximum(a, b))
    put(f"{name}_least", np.minimum(a, b))


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), empty, dtype=np.float32), where=whole > 0, casting="unsafe")


def _without(rows: sparse.csr_array, shared: sparse.csr_array) -> sparse.csr_array:
    left_over = (rows - shared).tocsr()
    left_over.eliminate_zeros()
    return left_over


def _row_max(matrix: sparse.csr_array, weight: np.ndarray) -> np.ndarray:
    result = np.zeros(matrix.shape[0], dtype=np.float32)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if len(filled):
        result[filled] = np.maximum.reduceat(weight[matrix.indices], matrix.indptr[filled])
    return result


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
        found, counts = np.unique(rows, return_counts=True)
        self.count[found] += counts.astype(np.int32)
        starts = np.cumsum(counts) - counts
        several = counts > 1
        for k in range(values.shape[1]):
            ranked = values[np.lexsort((-values[:, k], rows)), k]
            first, second = ranked[starts], np.zeros(len(found), dtype=np.float32)
            second[several] = ranked[starts[several] + 1]
            old_best, old_second = self.best[found, k], self.second[found, k]
            self.second[found, k] = np.maximum(np.minimum(old_best, first), np.maximum(old_second, second))
            self.best[found, k] = np.maximum(old_best, first)

    def margin(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        best = self.best[rows]
        return values - np.where(values >= best - _TIE, self.second[rows], best)
