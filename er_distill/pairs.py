"""Candidate pairs as integer codes into the records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from er_distill.errors import InputError
from er_distill.records import Records


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs.

    Attributes
    ----------
    left, right : ndarray of int64, shape (m,)
        Row numbers of the two records of each pair.
    n_left, n_right : int
        Number of records on either side.
    one_table : bool
        Whether both sides are one table (dedup). Then a pair has no direction and `n_left` equals `n_right`.
    """

    left: np.ndarray
    right: np.ndarray
    n_left: int
    n_right: int
    one_table: bool = False

    def __len__(self) -> int:
        return len(self.left)

    @classmethod
    def from_ids(
        cls,
        left_ids: Iterable[Any],
        right_ids: Iterable[Any],
        left: Records,
        right: Records | None,
        *,
        source: str = "pairs",
    ) -> Pairs:
        """Look record ids up.

        Parameters
        ----------
        left_ids, right_ids : iterable, each of m ids
            The two ends of each pair.
        left : Records
            The table of the left ids.
        right : Records or None
            The table of the right ids; None when both sides are one table.
        source : str
            What messages call the pairs.

        Raises
        ------
        InputError
            When there is no pair, an id belongs to no record, or a record is paired with itself.
        """
        other = left if right is None else right
        pairs = cls(
            left.codes(left_ids, source=f"{source}: column 'left_id'"),
            other.codes(right_ids, source=f"{source}: column 'right_id'"),
            len(left),
            len(other),
            right is None,
        )
        return pairs.checked(source)

    def checked(self, source: str) -> Pairs:
        """Return self when it holds pairs that can be scored.

        Raises
        ------
        InputError
            When there is no pair, or a record is paired with itself.
        """
        if len(self) == 0:
            raise InputError(f"{source} holds no candidate pair. Bring pairs, or let blocking find them.")
        if self.one_table and (self.left == self.right).any():
            row = int(np.flatnonzero(self.left == self.right)[0])
            raise InputError(f"{source}: row {row} pairs a record with itself. Drop such pairs.")
        return self

    def keys(self) -> np.ndarray:
        """One int64 a pair, equal for the same pair whatever its direction in one table."""
        if self.one_table:
            return np.minimum(self.left, self.right) * self.n_right + np.maximum(self.left, self.right)
        return self.left * self.n_right + self.right

    def unique(self) -> tuple[Pairs, np.ndarray | None]:
        """Return the pairs without repeats, sorted by query, and where each given pair stands among them.

        Returns
        -------
        pairs : Pairs
            Sorted by left code, then right code; in one table the smaller code is on the left.
        inverse : ndarray of int64, shape (m,), or None
            ``score_of_given = score_of_unique[inverse]``; None when nothing had to be moved.
        """
        keys = self.keys()
        steps = np.diff(keys)
        directed = not self.one_table or bool((self.left < self.right).all())
        if directed and (steps > 0).all():
            return self, None
        found, inverse = np.unique(keys, return_inverse=True)
        return Pairs(found // self.n_right, found % self.n_right, self.n_left, self.n_right, self.one_table), inverse

    def take(self, rows: np.ndarray | slice) -> Pairs:
        """Return the pairs at `rows`."""
        return Pairs(self.left[rows], self.right[rows], self.n_left, self.n_right, self.one_table)
