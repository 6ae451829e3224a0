"""Each record once, as sparse sets of words, marks and character trigrams with corpus weights.

Blocking and the lexical tier read the same vectors. Words, marks and trigrams are sets (a repeat counts once); their
weight is the smoothed inverse document frequency over both tables (Sparck Jones 1972, as in scikit-learn's
``smooth_idf``). A record's *main value* is its name, title or the like: the first value it has of the fields whose
values are words and tell most records apart. Where the tables' fields differ, it still says what the record is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from er_distill.marks import Marks, marks_of
from er_distill.records import Records
from er_distill.terms import binary, grams_of, normalised, words_of

_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")

WORD, NUMBER, CODE, QUANTITY, YEAR = range(5)
"""Kinds of columns: words without and with a digit, then marks."""

_PREFIXES = {CODE: "code:", QUANTITY: "quantity:", YEAR: "year:"}  # no word has a colon
_LEAST_NAME = 6.0  # characters that values of a field must have on average to be names


@dataclass(frozen=True)
class Vocabulary:
    """What both tables share.

    Attributes
    ----------
    word_idf : ndarray of float32, shape (columns,)
        Of words and marks, which have columns of their own.
    word_kind : ndarray of int8, shape (columns,)
        WORD, NUMBER, CODE, QUANTITY or YEAR.
    gram_idf : ndarray of float32, shape (GRAM_COLUMNS,)
    aligned : tuple of str
        Fields both tables have.
    field_weight : ndarray of float32, shape (aligned fields,)
        How much a field tells records apart: the mean information of its values over that of a unique value, in [0, 1].
    main_fields : tuple of str
        All fields; the first that a record has a value of is its main one.
    """

    word_idf: np.ndarray
    word_kind: np.ndarray
    gram_idf: np.ndarray
    aligned: tuple[str, ...]
    field_weight: np.ndarray
    main_fields: tuple[str, ...]


@dataclass(frozen=True)
class Vectors:
    """One table's records.

    Attributes
    ----------
    words : csr_array of int8, shape (n, columns)
    marks : csr_array of int8, shape (n, columns)
        See :mod:`er_distill.marks`.
    main : csr_array of int8, shape (n, columns)
        The words of the main value, among `words`.
    grams : csr_array of int8, shape (n, GRAM_COLUMNS)
        Trigrams of all fields.
    values : tuple of ndarray of str objects, each of shape (n,)
        Normalised values of the aligned fields.
    information : ndarray of float32, shape (aligned fields, n)
        ``-log`` of the share of records that have the value, over that of a unique value; 0 for a missing one.
    main_values, main_codes : ndarray of str objects, shape (n,)
        The main value, normalised, and the main code; empty where there is none.
    main_ends : ndarray of int32, shape (n, 2)
        Columns of the main value's first and last word; -1 where it has none.
    years : ndarray of float32, shape (n, 2)
        The earliest and the latest; NaN where there is none.
    """

    words: sparse.csr_array
    marks: sparse.csr_array
    main: sparse.csr_array
    grams: sparse.csr_array
    values: tuple[np.ndarray, ...]
    information: np.ndarray
    main_values: np.ndarray
    main_codes: np.ndarray
    main_ends: np.ndarray
    years: np.ndarray

    def __len__(self) -> int:
        return int(self.words.shape[0])

    def take(self, rows: np.ndarray) -> Vectors:
        """Return the vectors of the records `rows`, which may repeat."""
        return Vectors(
            self.words[rows],
            self.marks[rows],
            self.main[rows],
            self.grams[rows],
            tuple(column[rows] for column in self.values),
            self.information[:, rows],
            self.main_values[rows],
            self.main_codes[rows],
            self.main_ends[rows],
            self.years[rows],
        )


@dataclass(frozen=True)
class Corpus:
    """Both tables' vectors and what they share; `left` and `right` are one object when there is one table."""

    vocabulary: Vocabulary
    left: Vectors
    right: Vectors

    @property
    def one_table(self) -> bool:
        """Whether this is the corpus of one table (dedup)."""
        return self.left is self.right


def vectorise(left: Records, right: Records | None = None, *, word_ids: dict[str, int] | None = None) -> Corpus:
    """Turn records into vectors with a shared vocabulary.

    Parameters
    ----------
    left : Records
    right : Records or None
        None when there is one table (dedup).
    word_ids : dict, optional
        An empty one is filled with the column of each word, which `vectors_of` asks for. Else it is not kept.

    Returns
    -------
    Corpus
    """
    tables = [left] if right is None else [left, right]
    total = sum(map(len, tables))
    aligned = tuple(field for field in left.fields if all(field in table.fields for table in tables))
    word_ids = {} if word_ids is None else word_ids
    clean = [[normalised(column) for column in table.values] for table in tables]
    main_fields = _main_fields(tables, clean)
    values = [
        tuple(own[table.fields.index(field)] for field in aligned) for table, own in zip(tables, clean, strict=True)
    ]
    information, field_weight = _information(values, total)

    def numbered(row: Iterable[str]) -> list[int]:
        return sorted({word_ids.setdefault(word, len(word_ids)) for word in row})

    vectors = [
        _vectors(table, own, main_fields, word_ids, numbered, (value, of_values))
        for table, own, value, of_values in zip(tables, clean, values, information, strict=True)
    ]
    n_columns = max(len(word_ids), 1)  # a matrix needs a column, also where no record has a word
    for own in vectors:
        for matrix in (own.words, own.marks, own.main):
            matrix.resize(len(own), n_columns)
    vocabulary = Vocabulary(
        word_idf=_idf([matrix for own in vectors for matrix in (own.words, own.marks)], total),
        word_kind=np.array([_kind(word) for word in word_ids] or [WORD], dtype=np.int8),
        gram_idf=_idf([own.grams for own in vectors], total),
        aligned=aligned,
        field_weight=field_weight,
        main_fields=main_fields,
    )
    return Corpus(vocabulary, vectors[0], vectors[-1])


def vectors_of(table: Records, corpus: Corpus, word_ids: Mapping[str, int]) -> Vectors:
    """Turn further records into vectors, weighed as `corpus` weighs its own, whose statistics stay as they are.

    Parameters
    ----------
    table : Records
        With the aligned fields of `corpus`. A word that no record of `corpus` has is left out; a value that none has
        tells as much as one that a single record has.
    corpus : Corpus
    word_ids : mapping
        As `vectorise` filled it when it made `corpus`.

    Returns
    -------
    Vectors
    """
    clean = [normalised(column) for column in table.values]
    values = tuple(clean[table.fields.index(field)] for field in corpus.vocabulary.aligned)
    information = np.ones((len(values), len(table)), dtype=np.float32)
    for field, column in enumerate(values):
        known = {"": 0.0}
        for side in (corpus.left, corpus.right):
            known |= zip(side.values[field].tolist(), side.information[field].tolist(), strict=True)
        information[field] = [known.get(value, 1.0) for value in column.tolist()]

    def known_columns(row: Iterable[str]) -> list[int]:
        return sorted({word_ids[word] for word in row if word in word_ids})

    found = _vectors(table, clean, corpus.vocabulary.main_fields, word_ids, known_columns, (values, information))
    for matrix in (found.words, found.marks, found.main):
        matrix.resize(len(table), len(corpus.vocabulary.word_idf))
    return found


def _kind(word: str) -> int:
    plain = NUMBER if _DIGIT.search(word) else WORD
    return next((kind for kind, prefix in _PREFIXES.items() if word.startswith(prefix)), plain)


def _vectors(
    table: Records,
    clean: list[np.ndarray],
    main_fields: Sequence[str],
    word_ids: Mapping[str, int],
    columns: Callable[[Iterable[str]], list[int]],
    values: tuple[tuple[np.ndarray, ...], np.ndarray],
) -> Vectors:
    """The vectors of a table. Sets have as many columns as they need; `columns` numbers words, or skips them."""
    words = binary([columns(row) for row in words_of(table, clean)])
    rows, codes, years = [], [], np.full((len(table), 2), np.nan, dtype=np.float32)
    for k, marks in enumerate(map(marks_of, table.texts)):
        rows.append(columns(_named(marks)))
        codes.append(marks.main_code)
        if marks.years:
            years[k] = min(marks.years), max(marks.years)
    main_values = np.full(len(table), "", dtype=object)
    for field in main_fields:
        if field in table.fields:
            main_values = np.where(main_values == "", clean[table.fields.index(field)], main_values)
    main_words = [value.split() for value in main_values.tolist()]
    ends = [(word_ids.get(row[0], -1), word_ids.get(row[-1], -1)) if row else (-1, -1) for row in main_words]
    return Vectors(
        words=words,
        marks=binary(rows),
        main=binary([columns(row) for row in main_words]),
        grams=grams_of(clean, len(table)),
        values=values[0],
        information=values[1],
        main_values=main_values,
        main_codes=np.array(codes, dtype=object),
        main_ends=np.array(ends, dtype=np.int32).reshape(-1, 2),
        years=years,
    )


def _named(marks: Marks) -> Iterator[str]:
    for kind, own in ((CODE, marks.codes), (QUANTITY, marks.quantities), (YEAR, marks.years)):
        yield from (f"{_PREFIXES[kind]}{mark}" for mark in own)


def _main_fields(tables: Sequence[Records], clean: Sequence[Sequence[np.ndarray]]) -> tuple[str, ...]:
    """All fields: first those of words that tell the most records apart, and of equal ones the foremost."""
    ranked = []
    for field in dict.fromkeys(field for table in tables for field in table.fields):
        places = [table.fields.index(field) for table in tables if field in table.fields]
        columns = [
            own[table.fields.index(field)] for table, own in zip(tables, clean, strict=True) if field in table.fields
        ]
        present = sum(int((column != "").sum()) for column in columns)
        distinct = [value for column in columns for value in set(column.tolist()) - {""}]
        share = len(distinct) / max(present, 1)
        letters = sum(map(bool, map(_LETTER.search, distinct)))
        is_name = 2 * letters > len(distinct) and sum(map(len, distinct)) > _LEAST_NAME * len(distinct)
        # Of near-equal shares none is the better: a few repeated titles must not make a description the main value.
        ranked.append((-round(share, 1) * is_name, sum(places) / len(places), field))
    return tuple(field for _, _, field in sorted(ranked))


def _idf(matrices: Sequence[sparse.csr_array], total: int) -> np.ndarray:
    frequency = np.zeros(matrices[0].shape[1], dtype=np.int64)
    for matrix in matrices:
        frequency += np.bincount(matrix.indices, minlength=len(frequency))
    return (np.log((1 + total) / (1 + frequency)) + 1).astype(np.float32)


def _information(values: list[tuple[np.ndarray, ...]], total: int) -> tuple[list[np.ndarray], np.ndarray]:
    n_fields = len(values[0])
    information = [np.zeros((n_fields, len(table[0]) if table else 0), dtype=np.float32) for table in values]
    weight = np.zeros(n_fields, dtype=np.float32)
    most = np.log(max(total, 2))
    for field in range(n_fields):
        counts = Counter(value for table in values for value in table[field].tolist())
        counts.pop("", None)
        present = sum(counts.values())
        if not present:
            continue
        bits = {value: (np.log(total) - np.log(count)) / most for value, count in counts.items()}
        bits[""] = 0.0
        weight[field] = sum(bits[value] * count for value, count in counts.items()) / present
        for table, out in zip(values, information, strict=True):
            out[field] = np.fromiter((bits[value] for value in table[field].tolist()), np.float32, out.shape[1])
    return information, weight
