"""The lexical tier's features: similarities of a pair, and its context among the candidate lists.

Similarities compare two records on their own. Context compares a pair with the other pairs of either record: a good
match that has no rival is a better one. Context is taken in two passes, so that any chunk of the pairs sees the same:
pass 1 keeps the best and the second-best of a few similarities for each record, pass 2 turns them into margins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from er_distill.lexical.context import ListContext
from er_distill.lexical.layout import CONTEXT, CONTEXT_OF, DIRECTIONS, FEATURES, SIMILARITIES, VERSION
from er_distill.lexical.measures import MAX_VALUE_CHARS, value_similarity
from er_distill.lexical.similarity import Similarity
from er_distill.pairs import Pairs
from er_distill.vectors import Corpus

KEPT_PAIRS = 250_000
"""Pairs whose similarities are kept between the two passes: 60 MB."""

__all__ = [
    "CONTEXT",
    "CONTEXT_OF",
    "DIRECTIONS",
    "FEATURES",
    "KEPT_PAIRS",
    "MAX_VALUE_CHARS",
    "SIMILARITIES",
    "VERSION",
    "ListContext",
    "Similarity",
    "features",
    "value_similarity",
]


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
    kept: list[np.ndarray] = []
    if lists is not None:
        for rows in chunks:
            values = similarity(pairs.left[rows], pairs.right[rows])
            lists.add(pairs.left[rows], pairs.right[rows], values)
            # Memory is bounded by the chunk, and by what is kept: other chunks are made again.
            if rows.start == 0 or rows.start + len(values) <= KEPT_PAIRS:
                kept.append(values)
    for place, rows in enumerate(chunks):
        i, j = pairs.left[rows], pairs.right[rows]
        values = kept[place] if place < len(kept) else similarity(i, j)
        around = np.full((len(i), len(CONTEXT)), np.nan, np.float32) if lists is None else lists.of(i, j, values)
        yield rows, np.hstack([values, around])
