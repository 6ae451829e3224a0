"""The questions that are asked about candidate pairs, and prompts in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from er_distill.pairs import Pairs
from er_distill.selecting import cut

Asked = Sequence[tuple[str, Sequence[str]]]
"""Questions: a query's text and its candidates' texts, each."""


class CandidateLists:
    """The questions that are asked about candidate pairs.

    In a link the left record is the query, as it was for the teacher. In one table (dedup) either record of a pair is,
    and the pair's logit is the mean of both readings, so that a pair has no direction. A query's candidates stand in
    lists as `er_distill.selecting.cut` makes them, by text alone: a logit depends on what is in the lists, not on rows
    or order.

    Parameters
    ----------
    left_texts : sequence of str
    right_texts : sequence of str or None
        None when both sides are one table.
    pairs : Pairs
        All candidate pairs.
    context : bool
        With False each pair is a list of its own.
    """

    def __init__(
        self, left_texts: Sequence[str], right_texts: Sequence[str] | None, pairs: Pairs, *, context: bool = True
    ) -> None:
        self._queries = left_texts
        self._candidates = left_texts if right_texts is None else right_texts
        self._pairs = pairs
        self._context = context

    def logits(self, rows: np.ndarray, read: Callable[[Asked], np.ndarray]) -> np.ndarray:
        """Return pairs' log-odds of "this candidate" against "none".

        Parameters
        ----------
        rows : ndarray of int64, shape (m,)
            Which pairs. Only the lists in which one of them stands are read.
        read : callable
            Given questions, returns the logits of their options, shape (questions, MAX_OPTIONS + 1), none first.

        Returns
        -------
        ndarray of float64, shape (m,)
        """
        if not len(rows):
            return np.empty(0)
        queries, candidates = _ends(self._pairs.take(rows))
        asked: list[tuple[str, list[str]]] = []
        question, option = np.empty((2, len(queries)), dtype=np.int64)
        order = np.argsort(queries, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(queries[order])) + 1):
            query = int(queries[group[0]])
            lists = self._lists(query, candidates[group])
            place = {text: (one, k) for one in range(len(lists)) for k, text in enumerate(lists[one], start=1)}
            number: dict[int, int] = {}
            for row in group.tolist():
                one, option[row] = place[self._candidates[candidates[row]]]
                if one not in number:
                    number[one] = len(asked)
                    asked.append((self._queries[query], lists[one]))
                question[row] = number[one]
        scores = read(asked).astype(np.float64)
        # The softmax over the options cancels: log p(candidate) - log p(none).
        odds = scores[question, option] - scores[question, 0]
        return odds.reshape(2, -1).mean(axis=0) if self._pairs.one_table else odds

    def _lists(self, query: int, wanted: np.ndarray) -> list[list[str]]:
        if not self._context:
            return [[text] for text in dict.fromkeys(self._candidates[code] for code in wanted)]
        start, candidates = self._of_query
        codes = candidates[start[query] : start[query + 1]]
        return cut(self._queries[query], [self._candidates[code] for code in codes])

    @cached_property
    def _of_query(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each query's candidates begin, and all candidates by query."""
        queries, candidates = _ends(self._pairs)
        order = np.argsort(queries, kind="stable")
        return np.searchsorted(queries[order], np.arange(self._pairs.n_left + 1)), candidates[order]


def _ends(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Queries and their candidates: each pair once, or from either end in one table."""
    if not pairs.one_table:
        return pairs.left, pairs.right
    return np.concatenate([pairs.left, pairs.right]), np.concatenate([pairs.right, pairs.left])


@dataclass(frozen=True)
class ListBatch:
    """Prompts of about one length, padded on the right: a causal model does not see what comes after.

    Attributes
    ----------
    rows : ndarray of int64, shape (b,)
        Which prompts these are.
    input_ids, attention_mask : ndarray of int64, shape (b, length)
    """

    rows: np.ndarray
    input_ids: np.ndarray
    attention_mask: np.ndarray


def list_batches(prompts: Sequence[Sequence[int]], tokens: int) -> Iterator[ListBatch]:
    """Yield prompts in batches, shortest first.

    Parameters
    ----------
    prompts : sequence of sequence of int
        Token ids.
    tokens : int
        Tokens of a batch, padding included; a prompt that is longer comes alone.
    """
    length = np.array([len(ids) for ids in prompts], dtype=np.int64)
    order = np.argsort(length, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * length[order[end]] <= tokens:
            end += 1
        rows = order[begin:end]
        mask = (np.arange(length[rows].max())[None, :] < length[rows][:, None]).astype(np.int64)
        ids = np.zeros_like(mask)
        ids[mask == 1] = np.concatenate([prompts[row] for row in rows])
        yield ListBatch(rows, ids, mask)
        begin = end
