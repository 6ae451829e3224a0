"""Which scored candidates are matches: of all of them at once, or list by list as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from er_distill import matching as rules
from er_distill.chunks import lists_in_memory
from er_distill.errors import InputError
from er_distill.matching import Matching
from er_distill.pairs import Pairs
from er_distill.scoring import check_threshold
from er_distill.tables import Matches


@dataclass(frozen=True)
class Decision:
    """How matches are chosen among scored candidates of two tables; see `er_distill.link`.

    Attributes
    ----------
    matching : {"one_to_one", "many_to_one", "best", "all"}
    threshold : float or None
        Probability from which a pair is a match; None for the student's, or for none with "best" and `top_k`.
    optimal : bool
    top_k : int or None

    Raises
    ------
    InputError
        When they do not go together, before anything is scored.
    """

    matching: Matching = "one_to_one"
    threshold: float | None = None
    optimal: bool = False
    top_k: int | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        rules.match([], [], [], matching=self.matching, at=self.threshold, optimal=self.optimal)
        if self.top_k is not None:
            rules.checked_count("top_k", self.top_k)

    @property
    def by_list(self) -> bool:
        """Whether the list of a left record is decided by itself."""
        return self.top_k is not None or self.matching != "one_to_one"

    def at(self, default: float) -> Decision:
        """Return the decision with the threshold of a student, where it needs one and has none."""
        unlimited = self.matching == "best" or self.top_k is not None
        return self if self.threshold is not None or unlimited else replace(self, threshold=default)

    def check_shard(self, parts: int) -> None:
        """Raise InputError when one of several parts of the lists cannot be decided by itself."""
        if parts > 1 and not self.by_list:
            raise InputError(
                "one-to-one matching needs the scores of all shards. Link each shard with matching='all', which keeps "
                "every pair that may be a match, and decide when all are there (er-distill link --scored, or "
                "match_pairs)."
            )

    def matches(self, pairs: Pairs, scores: np.ndarray) -> Matches:
        """Choose among pairs, each of which is there once."""
        if self.top_k is None:
            chosen = rules.match(
                pairs.left, pairs.right, scores, matching=self.matching, at=self.threshold, optimal=self.optimal
            )
            return Matches(pairs.left[chosen], pairs.right[chosen], scores[chosen])
        ranks = rules.ranks(pairs.left, scores, right=pairs.right) + 1
        chosen = ranks <= self.top_k
        if self.threshold is not None:
            chosen &= rules.threshold(scores, self.threshold)
        return Matches(pairs.left[chosen], pairs.right[chosen], scores[chosen], ranks[chosen])

    def as_they_come(self, chunks: Iterable[tuple[Pairs, np.ndarray]], chunk_size: int) -> Iterator[Matches]:
        """Choose among chunks of whole candidate lists; together the matches are those of all chunks at once.

        A list that is decided by itself gives its matches with its chunk. One-to-one matching keeps the pairs at or
        above the threshold, which alone decide it, and gives its matches after the last chunk, `chunk_size` at a time.
        """
        once = (_each_once(pairs, scores) for pairs, scores in chunks)
        if self.by_list:
            yield from (found for found in (self.matches(*chunk) for chunk in once) if len(found.left))
            return
        kept = [(pairs.take(rows), scores[rows]) for pairs, scores in once for rows in [scores >= self.threshold]]
        if not kept:
            return
        shape = kept[0][0]
        left, right = (np.concatenate([getattr(pairs, side) for pairs, _ in kept]) for side in ("left", "right"))
        found = self.matches(
            Pairs(left, right, shape.n_left, shape.n_right, shape.one_table), np.concatenate([some for _, some in kept])
        )
        matched = Pairs(found.left, found.right, shape.n_left, shape.n_right, shape.one_table)
        for rows in lists_in_memory(matched, chunk_size):
            yield Matches(found.left[rows], found.right[rows], found.scores[rows])


def joined(matches: Iterable[Matches], *, ranked: bool) -> Matches:
    """Put chunks of matches together; there may be none. `ranked` says whether they have ranks."""
    chunks = list(matches)
    none = np.empty(0, dtype=np.int64)
    return Matches(
        np.concatenate([none, *(chunk.left for chunk in chunks)]),
        np.concatenate([none, *(chunk.right for chunk in chunks)]),
        np.concatenate([np.empty(0), *(chunk.scores for chunk in chunks)]),
        np.concatenate([none, *(chunk.ranks for chunk in chunks if chunk.ranks is not None)]) if ranked else None,
    )


def _each_once(pairs: Pairs, scores: np.ndarray) -> tuple[Pairs, np.ndarray]:
    unique, inverse = pairs.unique()
    if inverse is None:
        return pairs, scores
    of_unique = np.empty(len(unique))
    of_unique[inverse] = scores
    return unique, of_unique
