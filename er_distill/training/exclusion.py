"""Probabilities of records that have at most one match.

A query has one match among its candidates, or none; between two tables without duplicates a candidate likewise. Both
turn probabilities of single pairs into probabilities of whole answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_ROUNDS = 200
_CLOSEST = 1e-12  # probabilities keep this distance from 0 and 1, so that their odds are numbers


def at_most_one(probabilities: npt.ArrayLike) -> Floats:
    """Turn the match probabilities of a query's pairs, each judged as if alone, into those of an answer.

    Of all combinations of independent pairs those with two matches are struck out. What is left is in proportion to the
    odds of each candidate, and 1 for none.

    Parameters
    ----------
    probabilities : array_like of shape (k,)

    Returns
    -------
    ndarray of float64, shape (k + 1,)
        Of each candidate and, last, of none, summing to 1.
    """
    pairs = np.clip(np.asarray(probabilities, dtype=np.float64), _CLOSEST, 1.0 - _CLOSEST)
    return _from_odds(pairs / (1.0 - pairs))


def exclusive(labels: Sequence[npt.ArrayLike], lists: Sequence[Sequence[int]]) -> list[Floats]:
    """Take into account that no record matches two queries.

    Two queries that both want one candidate speak against each other. The marginal probabilities under that
    constraint, and that of one answer a question, by sum-product message passing: exact where the questions that share
    candidates form no ring, and close elsewhere. Source: Williams & Lau (2014), "Approximate evaluation of marginal
    association probabilities with belief propagation", IEEE Transactions on Aerospace and Electronic Systems 50.

    Parameters
    ----------
    labels : sequence of array_like, each of shape (k + 1,)
        For each question the probability of each candidate and, last, of none.
    lists : sequence of sequences of int, each of length k
        The candidates' records.

    Returns
    -------
    list of ndarray of float64, each of shape (k + 1,)
    """
    if not labels:
        return []
    given = [np.clip(np.asarray(label, dtype=np.float64), _CLOSEST, None) for label in labels]
    size = np.array([len(records) for records in lists])
    question = np.repeat(np.arange(len(given)), size)
    record = np.unique(np.concatenate([np.asarray(records) for records in lists]), return_inverse=True)[1]
    # Odds against none: of a candidate on its own, and what its other claimants leave of them.
    odds = np.concatenate([label[:-1] / label[-1] for label in given])
    left = np.ones_like(odds)
    for _ in range(MOST_ROUNDS):
        wanted = odds * left
        claim = odds / (1.0 + _sum_of_others(wanted, question))
        before, left = left, 1.0 / (1.0 + _sum_of_others(claim, record))
        if np.max(np.abs(left - before), initial=0.0) < _CLOSEST:
            break
    against_none = np.split(odds * left, np.cumsum(size)[:-1])
    return [_from_odds(one) for one in against_none]


def _sum_of_others(values: Floats, group: npt.NDArray[np.int64]) -> Floats:
    """Sum of the group's other values, added up and not subtracted: one of them may dwarf the rest."""
    order = np.argsort(group, kind="stable")
    result = np.empty_like(values)
    for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        before = np.concatenate([[0.0], np.cumsum(values[part][:-1])])
        after = np.concatenate([np.cumsum(values[part][:0:-1])[::-1], [0.0]])
        result[part] = before + after
    return result


def _from_odds(odds: Floats) -> Floats:
    """Probabilities of each candidate and of none, from the candidates' odds against none."""
    return np.append(odds, 1.0) / (1.0 + odds.sum())
