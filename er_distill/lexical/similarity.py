"""Similarities of two records on their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from er_distill.lexical import measures
from er_distill.lexical.layout import SIMILARITIES
from er_distill.lexical.measures import Weights, ratio
from er_distill.vectors import CODE, NUMBER, QUANTITY, YEAR, Corpus

_PLACE = {name: place for place, name in enumerate(SIMILARITIES)}

Put = Callable[[str, np.ndarray], None]


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
        idf, kind, gram_idf = self.vocabulary.word_idf, self.vocabulary.word_kind, self.vocabulary.gram_idf
        numbers = (kind == NUMBER).astype(np.float32)
        self._sets = {
            "words": Weights(idf, idf * idf, numbers, idf * numbers),
            "main": Weights(idf, idf * idf),
            "marks": Weights(*(idf * (kind == which) for which in (CODE, QUANTITY, YEAR))),
            "grams": Weights(gram_idf, gram_idf * gram_idf),
        }
        # What a record brings to all of its pairs is added up once.
        self._of_left = {name: weights.of(getattr(self.left, name)) for name, weights in self._sets.items()}
        self._of_right = (
            self._of_left
            if self.one_table
            else {name: weights.of(getattr(self.right, name)) for name, weights in self._sets.items()}
        )

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
        out = np.full((len(SIMILARITIES), len(i)), np.nan, dtype=np.float32)

        def put(name: str, values: np.ndarray) -> None:
            out[_PLACE[name]] = values

        both_have = self._words(i, j, put)
        self._main(i, j, both_have, put)
        self._marks(i, j, put)
        self._codes_and_years(i, j, put)
        self._grams(i, j, put)
        self._fields(i, j, put)
        put("one_table", np.full(len(i), self.one_table))
        return out.T

    def _sums(
        self, name: str, i: np.ndarray, j: np.ndarray, common: sparse.csr_array
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of what both have, of the left records' and of the right ones' sets."""
        return self._sets[name].of(common), self._of_left[name][:, i], self._of_right[name][:, j]

    def _words(self, i: np.ndarray, j: np.ndarray, put: Put) -> sparse.csr_array:
        idf, a, b = self.vocabulary.word_idf, self.left.words[i], self.right.words[j]
        common = measures.shared(a, b)
        both, of_a, of_b = self._sums("words", i, j, common)
        put("word_cosine", _cosine(both, of_a, of_b))
        put("word_jaccard", ratio(both[0], of_a[0] + of_b[0] - both[0]))
        _put_two(put, "word_contained", ratio(both[1], of_a[1]), ratio(both[1], of_b[1]))
        put("word_rarest_shared", measures.heaviest(common, idf))
        _put_two(
            put,
            "word_rarest_unshared",
            measures.heaviest(measures.left_over(a, common), idf),
            measures.heaviest(measures.left_over(b, common), idf),
        )
        put("number_jaccard", ratio(both[3], of_a[3] + of_b[3] - both[3], empty=np.nan))
        put("number_shared", both[3])
        _put_two(put, "number_unshared", of_a[3] - both[3], of_b[3] - both[3])
        put("number_shared_weight", both[4])
        _put_two(put, "words", of_a[0], of_b[0])
        return common

    def _main(self, i: np.ndarray, j: np.ndarray, both_have: sparse.csr_array, put: Put) -> None:
        """Main values against each other, and against the whole other record."""
        idf, a, b = self.vocabulary.word_idf, self.left.main[i], self.right.main[j]
        a_inside, b_inside = measures.shared(a, both_have), measures.shared(b, both_have)
        common = measures.shared(a_inside, b_inside)
        both, of_a, of_b = self._sums("main", i, j, common)
        put("main_cosine", _cosine(both, of_a, of_b))
        _put_two(put, "main_contained", ratio(both[1], of_a[1]), ratio(both[1], of_b[1]))
        inside = [self._sets["main"].of(found)[1] for found in (a_inside, b_inside)]
        _put_two(put, "main_inside", ratio(inside[0], of_a[1]), ratio(inside[1], of_b[1]))
        _put_two(
            put,
            "main_rarest_unshared",
            measures.heaviest(measures.left_over(a, common), idf),
            measures.heaviest(measures.left_over(b, common), idf),
        )
        ends_a, ends_b = self.left.main_ends[i], self.right.main_ends[j]
        for place, name in enumerate(("main_first_word", "main_last_word")):
            known = (ends_a[:, place] >= 0) & (ends_b[:, place] >= 0)
            put(name, np.where(known, ends_a[:, place] == ends_b[:, place], np.nan))
        values_a, values_b = self.left.main_values[i], self.right.main_values[j]
        put("main_value", _where_both(measures.value_similarity, values_a, values_b))
        put("main_value_start", _where_both(measures.start_similarity, values_a, values_b))

    def _marks(self, i: np.ndarray, j: np.ndarray, put: Put) -> None:
        common = measures.shared(self.left.marks[i], self.right.marks[j])
        both, of_a, of_b = self._sums("marks", i, j, common)
        for k, name in enumerate(("code", "quantity", "year"), 1):
            known = np.where((of_a[k] > 0) & (of_b[k] > 0), both[k], np.nan)
            put(f"{name}_jaccard", known / np.maximum(of_a[k] + of_b[k] - both[k], 1))  # an idf is 1 at least
            put(f"{name}_contained", known / np.maximum(np.minimum(of_a[k], of_b[k]), 1))
            put(f"{name}_shared_weight", both[k])
            _put_two(put, f"{name}_unshared_weight", of_a[k] - both[k], of_b[k] - both[k])

    def _codes_and_years(self, i: np.ndarray, j: np.ndarray, put: Put) -> None:
        codes_a, codes_b = self.left.main_codes[i], self.right.main_codes[j]
        put("main_code", _where_both(measures.value_similarity, codes_a, codes_b))
        put("main_code_start", _where_both(measures.same_start, codes_a, codes_b))
        years_a, years_b = self.left.years[i], self.right.years[j]
        gaps = np.abs(years_a[:, :, None] - years_b[:, None, :])
        put("year_unshared_gap", gaps.min(axis=(1, 2)))  # a record has two years or none

    def _grams(self, i: np.ndarray, j: np.ndarray, put: Put) -> None:
        both, of_a, of_b = self._sums("grams", i, j, measures.shared(self.left.grams[i], self.right.grams[j]))
        put("gram_cosine", _cosine(both, of_a, of_b))
        put("gram_jaccard", ratio(both[0], of_a[0] + of_b[0] - both[0]))
        _put_two(put, "gram_contained", ratio(both[1], of_a[1]), ratio(both[1], of_b[1]))

    def _fields(self, i: np.ndarray, j: np.ndarray, put: Put) -> None:
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
                alike[field, here] = measures.value_similarity(a[here], b[here])
        weight = np.where(np.isnan(alike), 0.0, self.vocabulary.field_weight[:, None])
        known = np.where(np.isnan(alike), 0.0, alike)
        compared = (~np.isnan(alike)).sum(0).astype(np.float32)
        equal, conflict = alike == 1, alike < 0.5
        total = weight.sum(0)
        put("fields_compared", compared)
        put("fields_missing", missing)
        put("field_mean", ratio(known.sum(0), compared, empty=np.nan))
        put("field_weighted_mean", ratio((known * weight).sum(0), total, empty=np.nan))
        ranked = np.sort(alike, axis=0)  # NaN goes last
        put("field_lowest", ranked[0])
        if n_fields > 1:
            put("field_second_lowest", ranked[1])
        put("field_highest", np.where(compared > 0, np.where(np.isnan(alike), -1, alike).max(0), np.nan))
        put("field_equal_share", ratio(equal.sum(0), compared, empty=np.nan))
        put("field_equal_weight", ratio((equal * weight).sum(0), total, empty=np.nan))
        information = np.minimum(self.left.information[:, i], self.right.information[:, j])
        put("field_information", (information * equal).sum(0))
        put("field_conflicts", conflict.sum(0))
        put("field_conflict_weight", (conflict * weight).sum(0))
        # The key field is the most telling one that both records have: a title, a number, a name.
        key = weight.argmax(0)
        put("key_field", alike[key, np.arange(m)])


def _cosine(both: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    return ratio(both[2], np.sqrt(of_a[2] * of_b[2]))


def _where_both(similarity: Callable[[np.ndarray, np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare strings; NaN where either is missing."""
    alike = np.full(len(a), np.nan, dtype=np.float32)
    here = np.flatnonzero((a != "") & (b != ""))
    if len(here):
        alike[here] = similarity(a[here], b[here])
    return alike


def _put_two(put: Put, name: str, a: np.ndarray, b: np.ndarray) -> None:
    """Which record is left means nothing: keep the larger and the smaller of the two sides' values."""
    put(f"{name}_most", np.maximum(a, b))
    put(f"{name}_least", np.minimum(a, b))
