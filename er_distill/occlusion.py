"""What a pair's score owes to each attribute and to each word: the pair is scored again without them.

To occlude an attribute is to empty it in both records of the pair. They stay candidates of the same records, which keep
all their values; the weights of words and values stay those of the whole tables. So the question is: what would the
student say of these two records, among the same candidates, had nobody filled that attribute in?
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from er_distill.errors import ErDistillWarning
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.scoring import Scorer
from er_distill.student import CHUNK_SIZE, Student
from er_distill.vectors import Corpus, Vectors, normalise, vectors_of

MAX_EXACT = 8
"""Attributes up to which every combination of them is scored: 256 at most."""

_PERMUTATIONS = 32
_SEED = 0
_PAIRS_AT_ONCE = 20_000
_SUREST = 1e-9

Row = tuple[str, ...]
"""A record's values, in the order of its table's fields."""

Floats = npt.NDArray[np.float64]


def log_odds(probability: float | Floats) -> Floats:
    """``log(p / (1 - p))``, finite also where a calibration says 0 or 1."""
    p = np.clip(probability, _SUREST, 1 - _SUREST)
    return np.asarray(np.log(p / (1 - p)))


class AlteredPair:
    """A candidate pair whose two records can be given other values, among candidates that stay as they are.

    Each version of the pair is scored in a copy of its surroundings: the two records and the candidates of either. No
    version sees another, and the scores of the unaltered pair are those it has among all candidate pairs.

    Parameters
    ----------
    scorer : Scorer
    left : Records
    right : Records or None
        None when both sides are one table.
    pairs : Pairs
        All candidate pairs, each once; the pair is one of them.
    i, j : int
        Row numbers of the pair's records.
    corpus : Corpus
        The tables' vectors.
    word_ids : dict
        As `er_distill.vectors.vectorise` filled it when it made `corpus`.
    context : bool
        Whether the pair is judged beside the other candidates of its records.
    """

    def __init__(
        self,
        scorer: Scorer,
        left: Records,
        right: Records | None,
        pairs: Pairs,
        i: int,
        j: int,
        corpus: Corpus,
        word_ids: dict[str, int],
        context: bool,
    ) -> None:
        self._scorer, self._corpus, self._word_ids, self._context = scorer, corpus, word_ids, context
        self._one_table = right is None
        around = pairs.take(np.flatnonzero(touching(pairs, [i], [j])))
        if right is None:
            rows = _first([i, j], np.concatenate([around.left, around.right]))
            self._left = _taken(left, rows)
            self._right: Records | None = None
            self._ends = _places(rows, around.left), _places(rows, around.right)
        else:
            left_rows, right_rows = _first([i], around.left), _first([j], around.right)
            self._left, self._right = _taken(left, left_rows), _taken(right, right_rows)
            self._ends = _places(left_rows, around.left), _places(right_rows, around.right)
        # The two records stand first: in one table at 0 and 1, else each at 0 of its own.
        self._target = int(np.flatnonzero(self._ends[0] + self._ends[1] == int(self._one_table))[0])
        self._known: dict[tuple[Row, Row], float] = {}

    def scores(self, versions: Sequence[tuple[Row, Row]]) -> Floats:
        """Return the probability that the pair is a match, for each version of its two records' values.

        Parameters
        ----------
        versions : sequence of (tuple of str, tuple of str)
            Values of the left and of the right record, made of words that the two have.

        Returns
        -------
        ndarray of float64, shape (len(versions),)
        """
        new = [version for version in dict.fromkeys(versions) if version not in self._known]
        at_once = max(_PAIRS_AT_ONCE // len(self._ends[0]), 1)
        for start in range(0, len(new), at_once):
            some = new[start : start + at_once]
            self._known |= zip(some, self._scores(some).tolist(), strict=True)
        return np.array([self._known[version] for version in versions])

    def log_odds(self, versions: Sequence[tuple[Row, Row]]) -> Floats:
        """Return the log-odds of `scores`."""
        return log_odds(self.scores(versions))

    def _scores(self, versions: Sequence[tuple[Row, Row]]) -> Floats:
        firsts, seconds = [list(side) for side in zip(*versions, strict=True)]
        if self._right is None:
            left = right = self._copies(self._left, [firsts, seconds])
        else:
            left, right = self._copies(self._left, [firsts]), self._copies(self._right, [seconds])
        sizes = len(left[0]) // len(versions), len(right[0]) // len(versions)
        copy = np.arange(len(versions))[:, None]
        pairs = Pairs(
            (copy * sizes[0] + self._ends[0]).ravel(),
            (copy * sizes[1] + self._ends[1]).ravel(),
            len(left[0]),
            len(right[0]),
            self._one_table,
        )
        corpus = Corpus(self._corpus.vocabulary, left[1], right[1])
        wanted = np.tile(np.arange(len(self._ends[0])) == self._target, len(versions))
        with warnings.catch_warnings():  # what there is to say of the tables, the unaltered pair's score has said
            warnings.simplefilter("ignore", ErDistillWarning)
            scores = scores_of(
                self._scorer, left[0], None if self._one_table else right[0], pairs, self._context, corpus, wanted
            )
        return scores[wanted]

    def _copies(self, table: Records, altered: Sequence[list[Row]]) -> tuple[Records, Vectors]:
        """Repeat the table for each version, with its first record(s) replaced by the version's."""
        rows = [row for version in altered for row in version]
        values = tuple(
            np.concatenate([column, np.array([row[k] for row in rows], dtype=object)])
            for k, column in enumerate(table.values)
        )
        small = Records(table.name, np.arange(len(table) + len(rows)), table.fields, values)
        times = len(altered[0])
        index = np.tile(np.arange(len(table)), (times, 1))
        for place in range(len(altered)):
            index[:, place] = len(table) + place * times + np.arange(times)
        return _taken(small, index.ravel()), vectors_of(small, self._corpus, self._word_ids).take(index.ravel())


def scores_of(
    scorer: Scorer,
    left: Records,
    right: Records | None,
    pairs: Pairs,
    context: bool,
    corpus: Corpus,
    wanted: npt.NDArray[np.bool_],
) -> Floats:
    """Return the pairs' scores; those that are not wanted may be anything, which spares a student most of the work."""
    spared: dict[str, Any] = {"wanted": wanted} if isinstance(scorer, Student) else {}
    return scorer.score(
        left, right, pairs, context=context, corpus=corpus, chunk_size=CHUNK_SIZE, progress=False, **spared
    )


def touching(pairs: Pairs, left: npt.ArrayLike, right: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Mark the pairs that have one of the records `left`, or of `right`, at an end."""
    if pairs.one_table:
        left = right = np.union1d(left, right)
    return np.isin(pairs.left, left) | np.isin(pairs.right, right)


def shapley(value: Callable[[npt.NDArray[np.bool_]], Floats], n: int) -> Floats:
    """Return each player's Shapley value; together they are the value of all players less that of none.

    Of up to :data:`MAX_EXACT` players every coalition is valued (Shapley 1953, "A value for n-person games"). Of more,
    the players' gains are averaged over random orders with a fixed seed (Štrumbelj & Kononenko 2010, "An efficient
    explanation of individual classifications using game theory", JMLR 11), each taken forwards and backwards, which
    lowers the variance (Mitchell et al. 2022, "Sampling permutations for Shapley value estimation", JMLR 23).

    Parameters
    ----------
    value : callable
        Given coalitions as booleans of shape (m, n), returns their values, shape (m,).
    n : int
        Number of players.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    if n <= MAX_EXACT:
        codes = np.arange(2**n)
        coalitions = (codes[:, None] >> np.arange(n)) & 1 == 1
        values = value(coalitions)
        size = coalitions.sum(axis=1)
        # The share of all orders in which exactly these come before a player that is not among them.
        weight = np.array([math.factorial(k) * math.factorial(n - k - 1) for k in range(n)]) / math.factorial(n)
        gains = np.empty(n)
        for player in range(n):
            without = codes[~coalitions[:, player]]
            gains[player] = (weight[size[without]] * (values[without | 1 << player] - values[without])).sum()
        return gains
    chance = np.random.default_rng(_SEED)
    drawn = [chance.permutation(n) for _ in range(_PERMUTATIONS // 2)]
    orders = np.array([order for one in drawn for order in (one, one[::-1])])
    coalitions = np.zeros((len(orders), n + 1, n), dtype=bool)
    for k in range(n):
        coalitions[:, k + 1] = coalitions[:, k]
        coalitions[np.arange(len(orders)), k + 1, orders[:, k]] = True
    values = value(coalitions.reshape(-1, n)).reshape(len(orders), n + 1)
    return np.bincount(orders.ravel(), weights=np.diff(values).ravel(), minlength=n) / len(orders)


def without(row: Row, places: Sequence[int]) -> Row:
    """Return a record's values with those at `places` emptied."""
    return tuple("" if place in places else value for place, value in enumerate(row))


def without_word(row: Row, place: int | None, word: str) -> Row:
    """Return a record's values with a word, as `words_of` names it, left out of the one at `place`, if any."""
    if place is None:
        return row
    kept = " ".join(part for part in row[place].split() if normalise(part) != word)
    return (*row[:place], kept, *row[place + 1 :])


def words_of(value: str) -> dict[str, str]:
    """Return the words of a value as they are compared, without case and punctuation, and as they first stand in it."""
    words: dict[str, str] = {}
    for part in value.split():
        words.setdefault(normalise(part), part)
    words.pop("", None)  # punctuation on its own
    return words


def _first(rows: Sequence[int], others: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.setdiff1d(others, rows)])


def _places(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    order = np.argsort(rows)
    return order[np.searchsorted(rows, wanted, sorter=order)]


def _taken(table: Records, rows: np.ndarray) -> Records:
    return Records(table.name, np.arange(len(rows)), table.fields, tuple(column[rows] for column in table.values))
