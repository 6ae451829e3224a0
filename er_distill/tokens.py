"""Each record tokenised once; encoder inputs of pairs assembled from ids.

Tokenising the text of every pair costs some 150 microseconds a pair; a record stands in many pairs, so its ids are kept
and a pair's input is put together in numpy. The result equals what the tokenizer itself gives for the two texts
(``longest_first`` truncation included).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer

from er_distill.pairs import Pairs

_TOKENISE_AT_ONCE = 2_048


class TokenTable:
    """The token ids of one table's records, tokenised when first asked for.

    Parameters
    ----------
    texts : list of str
        The records' texts.
    tokenizer : tokenizers.Tokenizer
        The student's tokenizer.
    max_tokens : int
        Ids kept a record; no pair can use more.
    """

    def __init__(self, texts: list[str], tokenizer: Tokenizer, max_tokens: int) -> None:
        self.texts = texts
        self.start = np.zeros(len(texts), dtype=np.int64)
        self.length = np.full(len(texts), -1, dtype=np.int32)
        self.flat = np.zeros(1, dtype=np.int32)
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def ensure(self, rows: np.ndarray) -> None:
        """Tokenise those of the records `rows` that have not been yet."""
        missing = np.unique(rows[self.length[rows] < 0])
        parts = [self.flat]
        end = len(self.flat)
        for begin in range(0, len(missing), _TOKENISE_AT_ONCE):
            block = missing[begin : begin + _TOKENISE_AT_ONCE]
            encodings = self._tokenizer.encode_batch_fast([self.texts[row] for row in block], add_special_tokens=False)
            for row, encoding in zip(block, encodings, strict=True):
                ids = np.asarray(encoding.ids[: self._max_tokens], dtype=np.int32)
                # The true length, also of ids not kept: truncation asks which of two texts is the longer.
                self.start[row], self.length[row] = end, len(encoding.ids)
                end += len(ids)
                parts.append(ids)
        if len(parts) > 1:
            self.flat = np.concatenate(parts)


@dataclass(frozen=True)
class Batch:
    """Encoder inputs of pairs of one exact length: no padding, so no attention mask but ones.

    Attributes
    ----------
    rows : ndarray of int64, shape (b,)
        Which pairs these are.
    input_ids, token_type_ids : ndarray of int64, shape (b, length)
    """

    rows: np.ndarray
    input_ids: np.ndarray
    token_type_ids: np.ndarray

    @cached_property
    def attention_mask(self) -> np.ndarray:
        """Ones, shape (b, length)."""
        return np.ones_like(self.input_ids)


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

    def table(self, texts: list[str]) -> TokenTable:
        """Return an empty token table for `texts`."""
        return TokenTable(texts, self.tokenizer, self.budget)

    def batches(self, left: TokenTable, right: TokenTable, pairs: Pairs, batch_size: int) -> Iterator[Batch]:
        """Yield the pairs' inputs in batches of one exact length, shortest first.

        The two texts of a pair stand in alphabetical order: a score does not depend on which side a record is on.
        """
        left.ensure(pairs.left)
        right.ensure(pairs.right)
        a_texts, b_texts = left.texts, right.texts
        swap = np.fromiter(
            (a_texts[i] > b_texts[j] for i, j in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)),
            bool,
            len(pairs),
        )
        # One flat buffer for both tables lets either of them stand first.
        flat = left.flat if right is left else np.concatenate([left.flat, right.flat])
        shift = 0 if right is left else len(left.flat)
        start_l, start_r = left.start[pairs.left], right.start[pairs.right] + shift
        len_l, len_r = left.length[pairs.left], right.length[pairs.right]
        start_a, start_b = np.where(swap, start_r, start_l), np.where(swap, start_l, start_r)
        len_a, len_b = self._truncate(np.where(swap, len_r, len_l), np.where(swap, len_l, len_r))
        total = len_a + len_b
        order = np.argsort(total, kind="stable")
        edges = np.flatnonzero(np.diff(total[order])) + 1
        for group in np.split(order, edges):
            for begin in range(0, len(group), batch_size):
                rows = group[begin : begin + batch_size]
                yield self._assemble(rows, flat, start_a[rows], start_b[rows], len_a[rows], int(total[rows[0]]))

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
        flat: np.ndarray,
        start_a: np.ndarray,
        start_b: np.ndarray,
        len_a: np.ndarray,
        total: int,
    ) -> Batch:
        n_prefix, n_middle, n_suffix = len(self._prefix), len(self._middle), len(self._suffix)
        length = total + n_prefix + n_middle + n_suffix
        position = np.arange(length)[None, :]
        end_a = (n_prefix + len_a)[:, None]
        begin_b = end_a + n_middle
        end_b = length - n_suffix
        in_a = (position >= n_prefix) & (position < end_a)
        in_b = (position >= begin_b) & (position < end_b)
        source = np.where(in_a, start_a[:, None] + position - n_prefix, start_b[:, None] + position - begin_b)
        ids = flat[np.where(in_a | in_b, source, 0)].astype(np.int64)
        prefix_types, type_a, middle_types, type_b, suffix_types = self._types
        types = np.where(position >= begin_b, type_b, type_a).astype(np.int64) + np.zeros_like(ids)
        ids[:, :n_prefix], types[:, :n_prefix] = self._prefix, prefix_types
        for k in range(n_middle):
            at = end_a[:, 0] + k
            ids[np.arange(len(rows)), at] = self._middle[k]
            types[np.arange(len(rows)), at] = middle_types[k]
        ids[:, end_b:], types[:, end_b:] = self._suffix, suffix_types
        return Batch(rows, ids, types)
