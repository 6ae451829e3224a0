"""Each record once, as sparse sets of words and character trigrams with corpus weights.

Blocking and the lexical tier read the same vectors. Words and trigrams are sets (a repeat counts once); their weight is
the smoothed inverse document frequency over both tables (Sparck Jones 1972, as in scikit-learn's ``smooth_idf``).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from er_distill.records import Records
from er_distill.sets import Sets, starts

GRAM_COLUMNS = 1 << 20
"""Trigrams are hashed into this many columns."""

MAX_GRAM_CHARS = 300
"""Characters of one value whose trigrams count: a long description would drown the name."""

_ROWS_AT_ONCE = 5_000  # some 20 MB of trigrams
_NOT_WORD = re.compile(r"[\W_]+")
_SPLIT_CODE = re.compile(r"[^\W_]+(?:[-/.][^\W_]+)+")
_JOINED = str.maketrans("", "", "-/.")
_DIGIT = re.compile(r"\d")
_ASCII_WORDS = bytes(code if code < 128 and chr(code).isalnum() else ord(" ") for code in range(256))


@dataclass(frozen=True)
class Vocabulary:
    """What both tables share.

    Attributes
    ----------
    word_idf : ndarray of float32, shape (words,)
    word_has_digit : ndarray of bool, shape (words,)
    gram_idf : ndarray of float32, shape (GRAM_COLUMNS,)
    aligned : tuple of str
        Fields both tables have.
    field_weight : ndarray of float32, shape (aligned fields,)
        How much a field tells records apart: the mean information of its values over that of a unique value, in [0, 1].
    """

    word_idf: np.ndarray
    word_has_digit: np.ndarray
    gram_idf: np.ndarray
    aligned: tuple[str, ...]
    field_weight: np.ndarray


@dataclass(frozen=True)
class Vectors:
    """One table's records.

    Attributes
    ----------
    words : Sets, shape (n, words)
    grams : Sets, shape (n, GRAM_COLUMNS)
        Trigrams of all fields.
    values : tuple of ndarray of str objects, each of shape (n,)
        Normalised values of the aligned fields.
    information : ndarray of float32, shape (aligned fields, n)
        ``-log`` of the share of records that have the value, over that of a unique value; 0 for a missing one.
    """

    words: Sets
    grams: Sets
    values: tuple[np.ndarray, ...]
    information: np.ndarray

    def __len__(self) -> int:
        return self.words.shape[0]

    def take(self, rows: np.ndarray) -> Vectors:
        """Return the vectors of the records `rows`, which may repeat."""
        values = tuple(column[rows] for column in self.values)
        return Vectors(self.words.take(rows), self.grams.take(rows), values, self.information[:, rows])


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


def normalise(text: str) -> str:
    """Lower case, without accents and punctuation, words parted by one space."""
    lower = text.lower()
    if lower.isascii():  # the same, at half the time
        clean = " ".join(lower.encode("ascii").translate(_ASCII_WORDS).decode("ascii").split())
    else:
        lower = "".join(char for char in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(char))
        clean = _NOT_WORD.sub(" ", lower).strip()
    return text if clean == text else clean  # one object in memory, not two equal ones


def _normalised(column: np.ndarray) -> np.ndarray:
    """Normalise each value once: equal values are one object, which counts where a town stands in many records."""
    clean = {value: normalise(value) for value in set(column.tolist())}
    return np.fromiter(map(clean.__getitem__, column.tolist()), dtype=object, count=len(column))


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
    words, grams, values = [], [], []
    for table in tables:
        clean = [_normalised(column) for column in table.values]
        values.append([clean[table.fields.index(field)] for field in aligned])
        words.append(word_columns(_words(table, clean), word_ids))
        grams.append(_gram_sets(clean, len(table)))
    n_words = max(len(word_ids), 1)  # a matrix needs a column, also where no record has a word
    word_sets = [Sets(starts(counts), indices, None, n_words) for indices, counts in words]
    information, field_weight = _information(values, total)
    vocabulary = Vocabulary(
        word_idf=_idf(word_sets, total),
        word_has_digit=np.array([bool(_DIGIT.search(word)) for word in word_ids] or [False]),
        gram_idf=_idf(grams, total),
        aligned=aligned,
        field_weight=field_weight,
    )
    vectors = [Vectors(w, g, tuple(v), i) for w, g, v, i in zip(word_sets, grams, values, information, strict=True)]
    return Corpus(vocabulary, vectors[0], vectors[-1])


def vectors_of(table: Records, corpus: Corpus, word_ids: dict[str, int]) -> Vectors:
    """Turn further records into vectors, weighed as `corpus` weighs its own, whose statistics stay as they are.

    Parameters
    ----------
    table : Records
        With the aligned fields of `corpus`. A word that no record of `corpus` has is left out; a value that none has
        tells as much as one that a single record has.
    corpus : Corpus
    word_ids : dict
        As `vectorise` filled it when it made `corpus`.

    Returns
    -------
    Vectors
    """
    clean = [_normalised(column) for column in table.values]
    values = tuple(clean[table.fields.index(field)] for field in corpus.vocabulary.aligned)
    known_words = ([word for word in row if word in word_ids] for row in _words(table, clean))
    indices, counts = word_columns(known_words, word_ids)
    words = Sets(starts(counts), indices, None, corpus.left.words.columns)
    information = np.ones((len(values), len(table)), dtype=np.float32)
    for field, column in enumerate(values):
        known = {"": 0.0}
        for side in (corpus.left, corpus.right):
            known |= zip(side.values[field].tolist(), side.information[field].tolist(), strict=True)
        information[field] = [known.get(value, 1.0) for value in column.tolist()]
    return Vectors(words, _gram_sets(clean, len(table)), values, information)


def _idf(tables: Sequence[Sets], total: int) -> np.ndarray:
    frequency = np.zeros(tables[0].columns, dtype=np.int64)
    for table in tables:
        if table.numbered is None:
            frequency += np.bincount(table.codes, minlength=len(frequency))
        else:
            frequency[table.numbered] += np.bincount(table.codes, minlength=len(table.numbered))
    return (np.log((1 + total) / (1 + frequency)) + 1).astype(np.float32)


def _words(table: Records, clean: list[np.ndarray]) -> Iterator[list[str]]:
    """The words of each record, repeats included."""
    # A model number is written ps-lx350h and pslx350h: the joined form makes the two meet.
    codes = [(column, found) for column in table.values if (found := _joined_codes(column))]
    for begin in range(0, len(table), _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        found_in = [(column[rows].tolist(), found) for column, found in codes]
        for row, parts in enumerate(zip(*(column[rows].tolist() for column in clean), strict=True)):
            tokens = " ".join(parts).split()
            for column, found in found_in:
                tokens.extend(found.get(column[row], ()))
            yield tokens


def _joined_codes(column: np.ndarray) -> dict[str, list[str]]:
    """The codes with a digit in the values that have any, without their separators."""
    found = {}
    for value in set(column.tolist()):
        if ("-" in value or "/" in value or "." in value) and _DIGIT.search(value):
            joined = (code.translate(_JOINED) for code in _SPLIT_CODE.findall(value.lower()))
            codes = [code for code in joined if _DIGIT.search(code)]
            if codes:
                found[value] = codes
    return found


def word_columns(rows: Iterator[list[str]], word_ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The columns of each row's words, ascending, and how many each row has; a new word gets the next column."""
    indices, counts = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
    while block := list(islice(rows, _ROWS_AT_ONCE)):
        words = list(chain.from_iterable(block))
        for word in dict.fromkeys(words):
            word_ids.setdefault(word, len(word_ids))
        row = np.repeat(np.arange(len(block)), [len(found) for found in block])
        columns = np.fromiter(map(word_ids.__getitem__, words), np.int64, len(words))
        keys = _distinct((row << 32) | columns)
        indices.append((keys & 0xFFFFFFFF).astype(np.int32))
        counts.append(np.bincount(keys >> 32, minlength=len(block)))
    return np.concatenate(indices), np.concatenate(counts)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The keys in ascending order, each once. Sorting is many times faster than `numpy.unique`, which hashes."""
    keys.sort()
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _gram_sets(clean: list[np.ndarray], n_rows: int) -> Sets:
    number = np.full(GRAM_COLUMNS, -1, dtype=np.int32)
    numbered = np.zeros(0, dtype=np.int32)
    blocks: list[np.ndarray] = []
    counts = np.zeros(n_rows, dtype=np.int64)
    for begin in range(0, n_rows, _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        columns, counts[rows] = _gram_columns([column[rows].tolist() for column in clean])
        fresh = _distinct(columns[number[columns] < 0])
        number[fresh] = np.arange(len(numbered), len(numbered) + len(fresh))
        numbered = np.concatenate([numbered, fresh])
        blocks.append(number[columns].astype(np.uint16 if len(numbered) <= 1 << 16 else np.int32))
    codes = np.empty(counts.sum(), dtype=blocks[-1].dtype)
    end = len(codes)
    while blocks:  # from the last one on, each freed once it is copied
        block = blocks.pop()
        codes[end - len(block) : end] = block
        end -= len(block)
    return Sets(starts(counts), codes, numbered, GRAM_COLUMNS)


def _gram_columns(block: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """The hashed trigrams of each row, int32 and ascending, and how many each row has."""
    # Between words stands a space, so a trigram whose middle is a space would join two words: it is left out.
    texts = [" " + " ".join(value[:MAX_GRAM_CHARS] for value in row if value) + " " for row in zip(*block, strict=True)]
    chars = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    row = np.repeat(np.arange(len(texts), dtype=np.uint64), [len(text) for text in texts])
    inside = (row[:-2] == row[2:]) & (chars[1:-1] != ord(" "))
    packed = (chars[:-2] << np.uint64(42)) | (chars[1:-1] << np.uint64(21)) | chars[2:]
    hashed = (packed[inside] * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(44)
    keys = _distinct((row[:-2][inside] << np.uint64(20)) | hashed)
    counts = np.bincount((keys >> np.uint64(20)).astype(np.int64), minlength=len(texts))
    return (keys & np.uint64(GRAM_COLUMNS - 1)).astype(np.int32), counts


def _information(values: list[list[np.ndarray]], total: int) -> tuple[list[np.ndarray], np.ndarray]:
    n_fields = len(values[0])
    information = [np.zeros((n_fields, len(table[0]) if table else 0), dtype=np.float32) for table in values]
    weight = np.zeros(n_fields, dtype=np.float32)
    most = np.log(max(total, 2))
    for field in range(n_fields):
        columns = [table[field].tolist() for table in values]
        counts = Counter(chain.from_iterable(columns))
        counts.pop("", None)
        if not counts:
            continue
        present = np.fromiter(counts.values(), np.int64, len(counts))
        told = (np.log(total) - np.log(present)) / most
        weight[field] = sum((told * present).tolist()) / sum(counts.values())
        bits = dict(zip(counts, told.tolist(), strict=True)) | {"": 0.0}
        for column, out in zip(columns, information, strict=True):
            out[field] = np.fromiter(map(bits.__getitem__, column), np.float32, len(column))
    return information, weight
