"""From scores to matches: pure functions on candidate pairs given as integer codes.

Every rule breaks ties by (score descending, left code, right code), so that a result never depends on the order in
which the pairs come. Inputs are never changed.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from er_distill import graphs
from er_distill.errors import InputError, did_you_mean
from er_distill.graphs import Codes, Scores

Mask = npt.NDArray[np.bool_]
Matching = Literal["one_to_one", "many_to_one", "best", "all"]

DEFAULT_THRESHOLD = 0.5  # scores are calibrated probabilities: above it a pair is more likely a match than not


def match(
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    matching: Matching,
    at: float | None = None,
    optimal: bool = False,
    one_table: bool = False,
) -> Mask:
    """Choose the matches among candidate pairs.

    Parameters
    ----------
    left, right : array_like of int, shape (n_pairs,)
        Codes of the two records of each pair.
    scores : array_like of float, shape (n_pairs,)
        Score of each pair; a probability wherever a threshold applies.
    matching : {"one_to_one", "many_to_one", "best", "all"}
        "one_to_one": no record is in two matches. "many_to_one": a left record has at most one match, right records may
        repeat. "best": the best candidate of each left record, however low, unless `at` is given. "all": every pair at
        or above the threshold.
    at : float, optional
        Threshold in [0, 1]. By default 0.5, and none for "best".
    optimal : bool
        "one_to_one" only: the matching of highest total score instead of the greedy one.
    one_table : bool
        Both codes index the same table. A pair then has no direction, which rules out "many_to_one" and "best".

    Returns
    -------
    ndarray of bool, shape (n_pairs,)
        True for the pairs that are matches.

    Raises
    ------
    InputError
        An unknown `matching`, a combination that has no meaning, or codes, scores or a threshold that cannot be used.
    """
    if matching not in ("one_to_one", "many_to_one", "best", "all"):
        hint = did_you_mean(matching, ("one_to_one", "many_to_one", "best", "all"))
        raise InputError(f"matching={matching!r} is not known. {hint}")
    if optimal and matching != "one_to_one":
        raise InputError(f"optimal=True needs matching='one_to_one', not {matching!r}. Leave optimal out.")
    if one_table and matching in ("many_to_one", "best"):
        raise InputError(
            f"matching={matching!r} needs a left and a right table; the pairs of one table have no direction. "
            "Use matching='one_to_one' or 'all', or group the records with clusters."
        )
    if matching == "best":
        return select(left, scores, at, right=right)
    at = DEFAULT_THRESHOLD if at is None else at
    if matching == "many_to_one":
        return select(left, scores, at, right=right)
    if matching == "one_to_one":
        return one_to_one(left, right, scores, at, "optimal" if optimal else "greedy", one_table=one_table)
    _checked_pairs(left, right, scores)
    return threshold(scores, at)


def threshold(scores: npt.ArrayLike, at: float = DEFAULT_THRESHOLD) -> Mask:
    """Return which probabilities are at or above `at`, as a mask of shape (n_pairs,)."""
    at, values = _checked_threshold(at), checked_scores(scores)
    if values.size and not (values.min() >= 0.0 and values.max() <= 1.0):
        raise InputError(
            f"scores lie between {values.min():g} and {values.max():g}, but a threshold needs probabilities in [0, 1]. "
            "Scale the scores first."
        )
    return values >= at


def select(
    left: npt.ArrayLike, scores: npt.ArrayLike, at: float | None = DEFAULT_THRESHOLD, *, right: npt.ArrayLike
) -> Mask:
    """Return the best candidate of each left record, or none where its score is below `at` (SELECT).

    `at=None` sets no threshold: every left record keeps its best candidate, and scores may be on any scale. `right`
    only breaks ties. Source: the SELECT formulation of entity matching, Wang et al. (2025), "Match, Compare, or Select?
    An Investigation of Large Language Models for Entity Matching", COLING.
    """
    best = top_k(left, scores, 1, right=right)
    return best if at is None else best & threshold(scores, at)


def ranks(left: npt.ArrayLike, scores: npt.ArrayLike, *, right: npt.ArrayLike) -> Codes:
    """Return the rank of each pair in the list of its left record: 0 for the best candidate, shape (n_pairs,).

    Scores may be on any scale. `right` only breaks ties; a repeated pair has a rank of its own.
    """
    queries, candidates, values = _checked_pairs(left, right, scores)
    order = np.lexsort((candidates, -values, queries))
    ordered, places = queries[order], np.arange(len(order))
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    result = np.empty(len(order), dtype=np.int64)
    result[order] = places - np.repeat(starts, np.diff(starts, append=len(order)))
    return result


def top_k(left: npt.ArrayLike, scores: npt.ArrayLike, k: int, *, right: npt.ArrayLike) -> Mask:
    """Return the best `k` candidates of each left record as a mask, for ranking; see `ranks`."""
    return ranks(left, scores, right=right) < checked_count("k", k)


def one_to_one(
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    scores: npt.ArrayLike,
    at: float = DEFAULT_THRESHOLD,
    method: Literal["greedy", "optimal"] = "greedy",
    *,
    one_table: bool = False,
) -> Mask:
    """Match every record at most once, by pairs at or above `at`.

    Parameters
    ----------
    left, right, scores : array_like, shape (n_pairs,)
        Codes and probabilities of the pairs.
    at : float
        Threshold in [0, 1].
    method : {"greedy", "optimal"}
        "greedy" takes the pairs by descending score and skips those whose records are used. "optimal" takes the set of
        pairs with the highest total score (maximum-weight bipartite matching), and the larger one of equal sets.
    one_table : bool
        Both codes index the same table: a record is used whichever side of the pair it is on. Only for "greedy",
        because the pairs of one table are no bipartite graph.

    Returns
    -------
    ndarray of bool, shape (n_pairs,)
    """
    if method not in ("greedy", "optimal"):
        raise InputError(f"method={method!r} is not known. {did_you_mean(method, ('greedy', 'optimal'))}")
    if method == "optimal" and one_table:
        raise InputError(
            "method='optimal' needs a left and a right table. For one table use method='greedy', or group the records "
            "with clusters."
        )
    first, second, values = _checked_pairs(left, right, scores, one_table=one_table)
    n_pairs, kept = len(values), np.flatnonzero(threshold(values, at))
    first, second, values = first[kept], second[kept], values[kept]
    solve = graphs.optimal_matching if method == "optimal" else graphs.greedy_matching
    if not one_table and len(kept):
        second = second + (first.max() + 1)  # one range of codes for both tables
    mask = np.zeros(n_pairs, dtype=np.bool_)
    mask[kept[solve(first, second, values)]] = True
    return mask


def beside_rivals(
    left: npt.ArrayLike, right: npt.ArrayLike, scores: npt.ArrayLike, *, one_table: bool = False
) -> Scores:
    """Turn probabilities of pairs judged each for itself into those of matches where a record has at most one.

    Each record's candidates and none share its one match, on both sides; `er_distill.graphs.beside_rivals` says how.
    For deciding one-to-one: the pairs' own probabilities stay the calibrated ones.

    Parameters
    ----------
    left, right, scores : array_like, shape (n_pairs,)
        Codes and probabilities of the pairs, each pair once.
    one_table : bool
        Both codes index the same table: a record's rivals are all pairs it stands in.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
    """
    first, second, values = _checked_pairs(left, right, scores, one_table=one_table)
    threshold(values, 0.0)  # refuses what is no probability
    return graphs.beside_rivals(first, second if one_table else second + first.max(initial=-1) + 1, values)


def clusters(
    n_records: int,
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    scores: npt.ArrayLike,
    at: float = DEFAULT_THRESHOLD,
    method: Literal["components", "average"] = "components",
) -> Codes:
    """Group the records of one table into entities.

    Parameters
    ----------
    n_records : int
        Number of records; the codes lie in [0, n_records).
    left, right, scores : array_like, shape (n_pairs,)
        Codes and probabilities of all the scored pairs, also of those below `at`: "average" uses them as evidence.
    at : float
        Threshold in [0, 1].
    method : {"components", "average"}
        "components": records joined by a chain of pairs at or above `at`. "average": agglomerative clustering inside
        each component, which joins the two most similar clusters as long as their average probability is at least `at`.

    Returns
    -------
    ndarray of int64, shape (n_records,)
        Entity of each record, numbered 0, 1, ... by the first record of each; a record without a match is its own.

    Notes
    -----
    Components are exact where every score is right, and chain: one false pair joins two entities. "average" resists
    that, because a false pair between two groups is outvoted by the other pairs between them;
    `er_distill.graphs.split_by_average` says how it weighs the pairs that blocking never proposed.
    """
    if method not in ("components", "average"):
        raise InputError(f"method={method!r} is not known. {did_you_mean(method, ('components', 'average'))}")
    first, second, values = _checked_pairs(left, right, scores, one_table=True)
    if len(first) and max(first.max(), second.max()) >= n_records:
        raise InputError(
            f"left or right holds code {max(first.max(), second.max())}, but n_records={n_records}. "
            "Pass the number of records of the table the pairs index."
        )
    linked = threshold(values, at)
    entity = graphs.components(n_records, first[linked], second[linked])
    if method == "average":
        entity = graphs.split_by_average(entity, first, second, values, float(at))
    return graphs.numbered_by_first_record(entity)


def _checked_pairs(
    left: npt.ArrayLike, right: npt.ArrayLike, scores: npt.ArrayLike, *, one_table: bool = False
) -> tuple[Codes, Codes, Scores]:
    first, second, values = _checked_codes("left", left), _checked_codes("right", right), checked_scores(scores)
    if not len(first) == len(second) == len(values):
        raise InputError(
            f"left, right and scores must be three lists of one length, not {len(first)}, {len(second)} and "
            f"{len(values)}. Pass one value a pair."
        )
    if not one_table:
        return first, second, values
    if np.any(first == second):
        record = int(first[first == second][0])
        raise InputError(f"left and right pair record {record} with itself. Drop the pairs of a record with itself.")
    return np.minimum(first, second), np.maximum(first, second), values


def _checked_codes(name: str, codes: npt.ArrayLike) -> Codes:
    array = np.asarray(codes)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"{name} must be a list of integer record codes, not {array.dtype} of shape {array.shape}.")
    if array.size and array.min() < 0:
        raise InputError(f"{name} holds the negative code {array.min()}. Codes are row numbers from 0.")
    return array.astype(np.int64, copy=False)


def checked_scores(scores: npt.ArrayLike) -> Scores:
    """Return scores as float64, refusing what is no number."""
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("scores must be numbers. Pass the score of each pair as a float.") from error
    if values.ndim != 1:
        raise InputError(f"scores must be a list, not an array of shape {values.shape}. Pass one score a pair.")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError(f"scores holds {bad} values that are NaN or infinite. Score these pairs or drop them.")
    return values


def checked_count(name: str, count: int) -> int:
    """Return a whole number of at least 1, refusing anything else; `name` is the argument it came in."""
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise InputError(f"{name}={count!r} must be a whole number of at least 1.")
    return int(count)


def _checked_threshold(at: float) -> float:
    try:
        value = float(at)
    except (TypeError, ValueError) as error:
        raise InputError(f"at={at!r} must be a number in [0, 1]. Pass a probability as the threshold.") from error
    if math.isnan(value) or not 0.0 <= value <= 1.0:
        raise InputError(f"at={at!r} must lie in [0, 1]. Pass a probability as the threshold.")
    return value
