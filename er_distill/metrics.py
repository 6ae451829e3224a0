"""Measures of matches, rankings, clusters, blocking and calibration, by counting.

Pairs are given by the ids of their records: codes, strings or any hashable value. A repeated pair counts once. With
`one_table` a pair has no direction. A share 0/0 (nothing predicted, or nothing true) is 1.0 where the other side is
empty as well, because the prediction is then perfect, and 0.0 otherwise.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from er_distill.curves import (
    BestThreshold,
    Floats,
    Labels,
    PrecisionRecallCurve,
    average_precision,
    best_threshold,
    checked_labels,
    expected_calibration_error,
    expected_f1_threshold,
    precision_recall_curve,
)
from er_distill.errors import InputError
from er_distill.matching import checked_count, ranks

__all__ = [
    "BestThreshold",
    "BlockingScores",
    "ClusterScores",
    "PairScores",
    "PrecisionRecallCurve",
    "accuracy_at",
    "average_precision",
    "best_threshold",
    "blocking_scores",
    "cluster_scores",
    "expected_calibration_error",
    "expected_f1_threshold",
    "label_pairs",
    "mean_reciprocal_rank",
    "pair_scores",
    "precision_recall_curve",
    "select_accuracy",
]

Ids = Iterable[Hashable]


@dataclass(frozen=True)
class PairScores:
    """Precision, recall and F1 of a set of pairs, and the counts they come from."""

    precision: float
    recall: float
    f1: float
    true_positives: int
    false_positives: int
    false_negatives: int


@dataclass(frozen=True)
class BlockingScores:
    """What blocking kept: see `blocking_scores`."""

    pair_completeness: float
    reduction_ratio: float
    pairs_quality: float
    candidates: int
    lost_matches: int


@dataclass(frozen=True)
class ClusterScores:
    """B-cubed and pairwise measures of a clustering: see `cluster_scores`."""

    b_cubed_precision: float
    b_cubed_recall: float
    b_cubed_f1: float
    pair_precision: float
    pair_recall: float
    pair_f1: float


def pair_scores(
    predicted_left: Ids, predicted_right: Ids, true_left: Ids, true_right: Ids, *, one_table: bool = False
) -> PairScores:
    """Compare predicted with true pairs.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN). Source: van Rijsbergen (1979),
    "Information Retrieval", chapter 7. For 0/0 see the module.
    """
    predicted, true = map(np.unique, _pair_keys(predicted_left, predicted_right, true_left, true_right, one_table)[:2])
    return _scores_of_counts(len(np.intersect1d(predicted, true, assume_unique=True)), len(predicted), len(true))


def label_pairs(left: Ids, right: Ids, true_left: Ids, true_right: Ids, *, one_table: bool = False) -> Labels:
    """Return which of the pairs (left, right) are among the true ones, shape (n_pairs,)."""
    pairs, true, _ = _pair_keys(left, right, true_left, true_right, one_table)
    return np.isin(pairs, true)


def select_accuracy(query: Ids, candidate: Ids, chosen: npt.ArrayLike, true_query: Ids, true_candidate: Ids) -> float:
    """Return the share of queries whose chosen candidate, or "none", is right (SELECT).

    A chosen candidate is right when the pair is true; "none" is right only where no candidate of the query is. Queries
    are those of the candidate pairs: a true pair that blocking lost is counted by `blocking_scores`, not here. Source:
    Wang et al. (2025), "Match, Compare, or Select? An Investigation of Large Language Models for Entity Matching",
    COLING.

    Parameters
    ----------
    query, candidate : iterable of hashable, length n_pairs
        The candidate pairs.
    chosen : array_like of bool, shape (n_pairs,)
        At most one True a query, as `er_distill.matching.select` returns it.
    true_query, true_candidate : iterable of hashable
        The true pairs.
    """
    pairs, true, queries = _pair_keys(query, candidate, true_query, true_candidate, one_table=False)
    picked, is_true = checked_labels("chosen", chosen, len(pairs)), np.isin(pairs, true)
    if not len(queries):
        raise InputError("query is empty: there is no list to choose from. Pass at least one candidate pair.")
    n_queries = int(queries.max()) + 1
    listed, answered, has_match, right = (
        np.bincount(queries[which], minlength=n_queries) for which in (slice(None), picked, is_true, picked & is_true)
    )
    if answered.max() > 1:
        raise InputError(f"chosen marks {answered.max()} candidates of one query. Choose one, as matching.select does.")
    correct = np.where(answered > 0, right > 0, has_match == 0)
    return float(correct[listed > 0].mean())


def accuracy_at(
    query: Ids, candidate: Ids, scores: npt.ArrayLike, true_query: Ids, true_candidate: Ids, *, k: int
) -> float:
    """Return Acc@k: the share of queries with a true match among their `k` best candidates.

    Queries are those of the true pairs: a query without a true match is left out, one whose true match is not among its
    candidates counts as a miss. Equal scores are ranked by candidate id. Also known as recall@k or hits@k for one true
    match a query; source: Wu et al. (2020), "Scalable Zero-shot Entity Linking with Dense Entity Retrieval", EMNLP.
    """
    places = _first_true_ranks(query, candidate, scores, true_query, true_candidate)
    return float((places <= checked_count("k", k)).mean())


def mean_reciprocal_rank(
    query: Ids, candidate: Ids, scores: npt.ArrayLike, true_query: Ids, true_candidate: Ids
) -> float:
    """Return MRR: the mean over queries of 1 / rank of the first true match, 0 where no candidate is one.

    Queries and ties as in `accuracy_at`. Source: Voorhees (1999), "The TREC-8 Question Answering Track Report".
    """
    return float((1.0 / _first_true_ranks(query, candidate, scores, true_query, true_candidate)).mean())


def blocking_scores(
    left: Ids, right: Ids, true_left: Ids, true_right: Ids, *, n_left: int, n_right: int | None = None
) -> BlockingScores:
    """Measure the candidate pairs that blocking kept.

    pair completeness = kept matches / matches, pairs quality = kept matches / candidates, reduction ratio = 1 -
    candidates / all pairs. All pairs are n_left * n_right between two tables and, where `n_right` is None, the
    n_left * (n_left - 1) / 2 of one table, whose pairs have no direction; the reduction of no pairs at all is 0.0.
    Source: Christen (2012), "A survey of indexing techniques for scalable record linkage and deduplication", TKDE 24.
    """
    kept = pair_scores(left, right, true_left, true_right, one_table=n_right is None)
    candidates = kept.true_positives + kept.false_positives
    every = n_left * (n_left - 1) // 2 if n_right is None else n_left * n_right
    if candidates > every:
        raise InputError(
            f"left and right hold {candidates} distinct pairs; n_left={n_left} and n_right={n_right} allow {every}. "
            "Pass the numbers of records of the tables."
        )
    reduction = 1.0 - candidates / every if every else 0.0
    return BlockingScores(kept.recall, reduction, kept.precision, candidates, kept.false_negatives)


def cluster_scores(predicted: Ids, true: Ids) -> ClusterScores:
    """Compare two clusterings of the same records, given as one label a record each.

    With n_pt records in predicted cluster p and true cluster t, of N: B-cubed precision = sum n_pt^2 / n_p / N, recall
    = sum n_pt^2 / n_t / N (Bagga & Baldwin, 1998, "Entity-based cross-document coreferencing using the vector space
    model", COLING-ACL); the pair measures are `pair_scores` on the pairs inside clusters, TP = sum n_pt (n_pt - 1) / 2.
    F1 is the harmonic mean. Counted on the contingency table, never by listing pairs.
    """
    (predicted_codes,), (true_codes,) = _codes(predicted), _codes(true)
    if not len(predicted_codes) == len(true_codes) > 0:
        raise InputError(
            f"predicted and true hold {len(predicted_codes)} and {len(true_codes)} labels. Pass one of each a record."
        )
    p, t = np.bincount(predicted_codes), np.bincount(true_codes)
    cells, counts = np.unique(predicted_codes * len(t) + true_codes, return_counts=True)
    precision = float(np.sum(counts**2 / p[cells // len(t)]) / len(true_codes))
    recall = float(np.sum(counts**2 / t[cells % len(t)]) / len(true_codes))
    pairs = _scores_of_counts(*(int(np.sum(sizes * (sizes - 1) // 2)) for sizes in (counts, p, t)))
    f1 = 2.0 * precision * recall / (precision + recall)
    return ClusterScores(precision, recall, f1, pairs.precision, pairs.recall, pairs.f1)


def _scores_of_counts(both: int, predicted: int, true: int) -> PairScores:
    empty = float(predicted == true)  # of 0/0: perfect where both sides are empty
    precision = both / predicted if predicted else empty
    recall = both / true if true else empty
    f1 = 2.0 * both / (predicted + true) if predicted + true else 1.0
    return PairScores(precision, recall, f1, both, predicted - both, true - both)


def _first_true_ranks(
    query: Ids, candidate: Ids, scores: npt.ArrayLike, true_query: Ids, true_candidate: Ids
) -> Floats:
    """Rank from 1 of the first true candidate of each query of the true pairs; infinite where it has none."""
    (queries, true_queries), (candidates, true_candidates) = (
        _codes(query, true_query),
        _codes(candidate, true_candidate),
    )
    if not len(true_queries):
        raise InputError("true_query is empty, so no query can be ranked. Pass at least one true pair.")
    place = ranks(queries, scores, right=candidates) + 1
    is_true = label_pairs(queries, candidates, true_queries, true_candidates)
    first = np.full(max(queries.max(initial=-1), true_queries.max()) + 1, np.inf)
    np.minimum.at(first, queries[is_true], place[is_true])
    return first[np.unique(true_queries)]


def _pair_keys(
    left: Ids, right: Ids, true_left: Ids, true_right: Ids, one_table: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One number per pair and per true pair, equal for equal pairs; and the code of the left record of each pair."""
    if one_table:
        a, true_a, b, true_b = _codes(left, true_left, right, true_right)
    else:
        (a, true_a), (b, true_b) = _codes(left, true_left), _codes(right, true_right)
    for name, first, second in (("left and right", a, b), ("true_left and true_right", true_a, true_b)):
        if len(first) != len(second):
            raise InputError(f"{name} hold {len(first)} and {len(second)} ids. Pass both ids of every pair.")
    if one_table:
        a, b, true_a, true_b = (
            np.minimum(a, b),
            np.maximum(a, b),
            np.minimum(true_a, true_b),
            np.maximum(true_a, true_b),
        )
    width = int(max(b.max(initial=-1), true_b.max(initial=-1))) + 1
    return a * width + b, true_a * width + true_b, a


def _codes(*lists: Ids) -> list[npt.NDArray[np.int64]]:
    """Codes of the ids of several lists: equal for equal ids, and in an order that depends on the ids alone."""
    arrays = [np.asarray(ids) if hasattr(ids, "__array__") else np.fromiter(ids, dtype=object) for ids in lists]
    ends = np.cumsum([len(array) for array in arrays])[:-1]
    if len({array.dtype.kind for array in arrays}) == 1 and arrays[0].dtype.kind in "iuU":
        codes = np.unique(np.concatenate(arrays), return_inverse=True)[1].astype(np.int64)
    else:
        ids = [one for array in arrays for one in array.tolist()]
        number = {one: code for code, one in enumerate(sorted(set(ids), key=repr))}
        codes = np.fromiter((number[one] for one in ids), dtype=np.int64, count=len(ids))
    return np.split(codes, ends)
