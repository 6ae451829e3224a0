"""A record's text as sets: its words, and its character trigrams.

Words and trigrams are sets (a repeat counts once), one sparse row a record.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from er_distill.records import Records

GRAM_COLUMNS = 1 << 20
"""Trigrams are hashed into this many columns."""

MAX_GRAM_CHARS = 300
"""Characters of one value whose trigrams count: a long description would drown the name."""

_ROWS_AT_ONCE = 5_000  # some 20 MB of trigrams
_NOT_WORD = re.compile(r"[\W_]+")
_SPLIT_CODE = re.compile(r"[^\W_]+(?:[-/.][^\W_]+)+")
_DIGIT = re.compile(r"\d")


def normalise(text: str) -> str:
    """Lower case, without accents and punctuation, words parted by one space."""
    lower = text.lower()
    if not lower.isascii():
        lower = "".join(char for char in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(char))
    clean = _NOT_WORD.sub(" ", lower).strip()
    return text if clean == text else clean  # one object in memory, not two equal ones


def normalised(column: np.ndarray) -> np.ndarray:
    """Normalise each value once: equal values are one object, which counts where a town stands in many records."""
    clean = {value: normalise(value) for value in set(column.tolist())}
    return np.array([clean[value] for value in column.tolist()], dtype=object)


def words_of(table: Records, clean: list[np.ndarray]) -> Iterator[list[str]]:
    """The words of each record, repeats included."""
    for raw, parts in zip(table.texts, zip(*clean, strict=True), strict=True):
        tokens = " ".join(parts).split()
        # A model number is written ps-lx350h and pslx350h: the joined form makes the two meet.
        if "-" in raw or "/" in raw or "." in raw:
            joined = (re.sub(r"[-/.]", "", code) for code in _SPLIT_CODE.findall(raw.lower()))
            tokens.extend(code for code in joined if _DIGIT.search(code))
        yield tokens


def binary(rows: Sequence[list[int]]) -> sparse.csr_array:
    """Return sets of column numbers, each sorted, as rows of ones; there are as many columns as they need."""
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    indices = np.fromiter((column for row in rows for column in row), np.int32, indptr[-1])
    return _csr(indices, indptr, len(rows), int(indices.max(initial=0)) + 1)


def _csr(indices: np.ndarray, indptr: np.ndarray, rows: int, columns: int) -> sparse.csr_array:
    if indptr[-1] < 2**31:
        indptr = indptr.astype(np.int32)
    matrix = sparse.csr_array((np.ones(len(indices), dtype=np.int8), indices, indptr), shape=(rows, columns))
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def grams_of(clean: list[np.ndarray], n_rows: int) -> sparse.csr_array:
    """Return the hashed trigrams of each record's normalised values, of all its fields."""
    indices, counts = [], []
    for begin in range(0, n_rows, _ROWS_AT_ONCE):
        block = [column[begin : begin + _ROWS_AT_ONCE] for column in clean]
        # Between words stands a space, so a trigram whose middle is a space would join two words: it is left out.
        texts = [
            " " + " ".join(value[:MAX_GRAM_CHARS] for value in row if value) + " " for row in zip(*block, strict=True)
        ]
        chars = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
        row = np.repeat(np.arange(len(texts), dtype=np.uint64), [len(text) for text in texts])
        inside = (row[:-2] == row[2:]) & (chars[1:-1] != ord(" "))
        packed = (chars[:-2] << np.uint64(42)) | (chars[1:-1] << np.uint64(21)) | chars[2:]
        hashed = (packed[inside] * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(44)
        keys = np.sort((row[:-2][inside] << np.uint64(20)) | hashed)  # np.unique would hash first, which is slower
        keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
        indices.append((keys & np.uint64(GRAM_COLUMNS - 1)).astype(np.int32))
        counts.append(np.bincount((keys >> np.uint64(20)).astype(np.int64), minlength=len(texts)))
    indptr = np.zeros(n_rows + 1, dtype=np.int64)
    np.cumsum(np.concatenate(counts), out=indptr[1:])
    return _csr(np.concatenate(indices), indptr, n_rows, GRAM_COLUMNS)
