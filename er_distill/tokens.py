"""Each record tokenised once; encoder inputs of pairs assembled from ids.

Tokenising the text of every pair costs some 150 microseconds a pair; a record stands in many pairs, so its ids are kept
and a pair's input is put together in numpy. The result equals what the tokenizer itself gives for the two texts
(``longest_first`` truncation included).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from er_distill.pairs import Pairs

_TOKENISE_AT_ONCE = 2_048


class TokenTable:
    """The token ids of one table's records, tokenised when first asked for.

    Parameters
    ----------
    texts : sequence of str
        The records' texts.
    tokenizer : tokenizers.Tokenizer
        The student's tokenizer.
    max_tokens : int
        Ids kept a record; no pair can use more.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> None:
        self.texts = texts
        self.start = np.zeros(len(texts), dtype=np.int64)
        self.length = np.full(len(texts), -1, dtype=np.int32)
        self.flat = np.zeros(1, dtype=np.int32)
        self._end = 1
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def ensure(self, rows: np.ndarray) -> None:
        """Tokenise those of the records `rows` that have not been yet."""
        missing = np.unique(rows[self.length[rows] < 0])
        for begin in range(0, len(missing), _TOKENISE_AT_ONCE):
            block = missing[begin : begin + _TOKENISE_AT_ONCE]
            encodings = self._tokenizer.encode_batch_fast([self.texts[row] for row in block], add_special_tokens=False)
            kept = [encoding.ids[: self._max_tokens] for encoding in encodings]
            # The true length, also of ids not kept: truncation asks which of two texts is the longer.
            self.length[block] = [len(encoding.ids) for encoding in encodings]
            ends = self._end + np.cumsum([len(ids) for ids in kept])
            self.start[block] = ends - [len(ids) for ids in kept]
            self._reserve(int(ends[-1]))
            self.flat[self._end : ends[-1]] = list(chain.from_iterable(kept))
            self._end = int(ends[-1])

    def ids(self, rows: np.ndarray, begin: np.ndarray, length: np.ndarray, width: int) -> np.ndarray:
        """Return the first `length` ids of each of the records `rows` from column `begin` on; zeros elsewhere.

        Parameters
        ----------
        rows, begin, length : ndarray of int, shape (b,)
        width : int

        Returns
        -------
        ndarray of int64, shape (b, width)
        """
        offset = np.arange(width)[None, :] - begin[:, None]
        inside = (offset >= 0) & (offset < length[:, None])
        return self.flat[np.where(inside, self.start[rows][:, None] + offset, 0)].astype(np.int64)  # flat[0] is 0

    def _reserve(self, size: int) -> None:
        """Make room in steps that grow with what is there, so that many small additions copy it only a few times."""
        if size > len(self.flat):
            grown = np.zeros(max(size, len(self.flat) * 5 // 4), dtype=np.int32)
            grown[: self._end] = self.flat[: self._end]
            self.flat = grown


@dataclass(frozen=True)
class Batch:
    """Encoder inputs of pairs of one length, or of lengths rounded up to one.

    Attributes
    ----------
    rows : ndarray of int64, shape (b,)
        Which pairs these are.
    input_ids, token_type_ids : ndarray of int64, shape (b, width)
    lengths : ndarray of int64, shape (b,)
        Tokens of each pair; what lies behind them is padding.
    """

    rows: np.ndarray
    input_ids: np.ndarray
    token_type_ids: np.ndarray
    lengths: np.ndarray

    @cached_property
    def attention_mask(self) -> np.ndarray:
        """1 for a token, 0 for padding; int64, shape (b, width)."""
        return (np.arange(self.input_ids.shape[1])[None, :] < self.lengths[:, None]).astype(np.int64)


class PairEncoder:
    """Assembles the encoder's inputs for pairs.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        Its own truncation and padding are switched off on a copy.
    max_length : int
        Tokens of a pair, special tokens included.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.max_length = max_length
        # The special tokens around a pair are read off the tokenizer rather than assumed.
        template = self.tokenizer.encode("a", "b")
        sides = template.sequence_ids
        first, second = sides.index(0), sides.index(1)
        end_first = len(sides) - sides[::-1].index(0)
        end_second = len(sides) - sides[::-1].index(1)
        ids, types = np.asarray(template.ids), np.asarray(template.type_ids)
        self._prefix, self._middle, self._suffix = ids[:first], ids[end_first:second], ids[end_second:]
        self._types = (types[:first], types[first], types[end_first:second], types[second], types[end_second:])
        self.budget = max_length - len(self._prefix) - len(self._middle) - len(self._suffix)

    def table(self, texts: Sequence[str]) -> TokenTable:
        """Return an empty token table for `texts`."""
        return TokenTable(texts, self.tokenizer, self.budget)

    def batches(
        self, left: TokenTable, right: TokenTable, pairs: Pairs, tokens: int, *, multiple: int = 1
    ) -> Iterator[Batch]:
        """Yield the pairs' inputs in batches of one length, shortest first.

        The two texts of a pair stand in alphabetical order: a score does not depend on which side a record is on.

        Parameters
        ----------
        left, right : TokenTable
            The same one when both sides are one table.
        pairs : Pairs
        tokens : int
            Tokens of a batch, padding included; a pair that is longer comes alone.
        multiple : int
            Lengths are rounded up to a multiple of it, at most to `max_length`. With 1 nothing is padded.
        """
        left.ensure(pairs.left)
        right.ensure(pairs.right)
        a_texts, b_texts = left.texts, right.texts
        swap = np.fromiter(
            (a_texts[i] > b_texts[j] for i, j in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)),
            bool,
            len(pairs),
        )
        len_l, len_r = left.length[pairs.left], right.length[pairs.right]
        len_a, len_b = self._truncate(np.where(swap, len_r, len_l), np.where(swap, len_l, len_r))
        special = self.max_length - self.budget
        width = np.minimum(-(-(len_a + len_b + special) // multiple) * multiple, self.max_length)
        order = np.argsort(width, kind="stable")
        edges = np.flatnonzero(np.diff(width[order])) + 1
        for group in np.split(order, edges) if len(order) else ():
            size = max(1, tokens // int(width[group[0]]))
            for begin in range(0, len(group), size):
                rows = group[begin : begin + size]
                yield self._assemble(
                    rows, left, right, pairs.take(rows), swap[rows], len_a[rows], len_b[rows], int(width[rows[0]])
                )

    def blocks(
        self, left: TokenTable, right: TokenTable, pairs: Pairs, size: int, tokens: int, *, multiple: int = 1
    ) -> Iterator[Batch]:
        """Yield batches of `size` pairs after each other: the records of the first are tokenised before it, no others.

        Parameters
        ----------
        left, right, pairs, tokens, multiple
            As for :meth:`batches`.
        size : int
            Pairs of a block.
        """
        for begin in range(0, len(pairs), size):
            rows = slice(begin, begin + size)
            for batch in self.batches(left, right, pairs.take(rows), tokens, multiple=multiple):
                yield replace(batch, rows=batch.rows + begin)

    def _truncate(self, len_a: np.ndarray, len_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lengths after the tokenizer library's ``longest_first`` rule: the longer text gives way."""
        short, long = np.minimum(len_a, len_b), np.maximum(len_a, len_b)
        half = self.budget // 2
        kept_short = np.where(short > half, half, short)
        kept_long = np.minimum(long, self.budget - kept_short)
        over = len_a + len_b > self.budget
        first_is_long = len_a > len_b
        cut_a = np.where(first_is_long, kept_long, kept_short)
        cut_b = np.where(first_is_long, kept_short, kept_long)
        return np.where(over, cut_a, len_a), np.where(over, cut_b, len_b)

    def _assemble(
        self,
        rows: np.ndarray,
        left: TokenTable,
        right: TokenTable,
        pairs: Pairs,
        swap: np.ndarray,
        len_a: np.ndarray,
        len_b: np.ndarray,
        width: int,
    ) -> Batch:
        begin_a = np.full(len(rows), len(self._prefix))
        end_a = begin_a + len_a
        begin_b = end_a + len(self._middle)
        end_b = begin_b + len_b
        ids = left.ids(pairs.left, np.where(swap, begin_b, begin_a), np.where(swap, len_b, len_a), width)
        ids += right.ids(pairs.right, np.where(swap, begin_a, begin_b), np.where(swap, len_a, len_b), width)
        prefix_types, type_a, middle_types, type_b, suffix_types = self._types
        types = np.where(np.arange(width) >= begin_b[:, None], type_b, type_a).astype(np.int64)
        ids[:, : len(self._prefix)], types[:, : len(self._prefix)] = self._prefix, prefix_types
        every = np.arange(len(rows))
        for begin, inserted, kinds in ((end_a, self._middle, middle_types), (end_b, self._suffix, suffix_types)):
            for k in range(len(inserted)):
                ids[every, begin + k] = inserted[k]
                types[every, begin + k] = kinds[k]
        return Batch(rows, ids, types, end_b + len(self._suffix))
