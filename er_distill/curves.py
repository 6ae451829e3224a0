"""Measures of scores against labels: precision-recall curve, best threshold, average precision, calibration error.

`er_distill.metrics` offers them together with the measures of pairs, rankings and clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from er_distill.errors import InputError
from er_distill.matching import checked_count, checked_scores

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """One point per distinct score, thresholds descending: a pair is a match when its score is at or above it."""

    thresholds: Floats
    precision: Floats
    recall: Floats


class BestThreshold(NamedTuple):
    """The threshold with the highest F1, and that F1."""

    threshold: float
    f1: float


def precision_recall_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> PrecisionRecallCurve:
    """Return precision and recall at every distinct score, equal scores being decided together.

    At threshold t: precision = TP(t) / #(score >= t), recall = TP(t) / #matches. Source: Davis & Goadrich (2006), "The
    relationship between Precision-Recall and ROC curves", ICML. Raises InputError where `labels` holds no match.
    """
    values = checked_scores(scores)
    is_match = checked_labels("labels", labels, len(values))
    if not is_match.any():
        raise InputError("labels hold no match, so recall has no meaning. Pass labels with at least one match.")
    order = np.argsort(-values, kind="stable")
    values, found = values[order], np.cumsum(is_match[order])
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # the last pair of each group of equal scores
    return PrecisionRecallCurve(values[last], found[last] / (last + 1), found[last] / found[-1])


def best_threshold(labels: npt.ArrayLike, scores: npt.ArrayLike) -> BestThreshold:
    """Return the threshold with the highest F1, of equal ones the highest, and that F1.

    The threshold lies half-way between the lowest score it accepts and the highest it rejects, so that it holds for
    scores that differ a little. Raises InputError where `labels` holds no match.
    """
    curve = precision_recall_curve(labels, scores)
    total = curve.precision + curve.recall
    f1 = np.divide(2.0 * curve.precision * curve.recall, total, out=np.zeros_like(total), where=total > 0.0)
    best = int(np.argmax(f1))
    accepted, rejected = curve.thresholds[best], curve.thresholds[min(best + 1, len(f1) - 1)]
    middle = rejected + (accepted - rejected) / 2.0
    return BestThreshold(float(middle if middle > rejected else accepted), float(f1[best]))


def expected_f1_threshold(probabilities: npt.ArrayLike) -> float:
    """Return the threshold with the highest F1 to be expected, were the probabilities right; no labels are needed.

    Where a matcher is unsure, the best threshold is below one half: it is half of the F1 that can be reached. Of equal
    ones it is the highest. Source: Lipton, Elkan & Naryanaswamy (2014), "Optimal thresholding of classifiers to
    maximize F1 measure", ECML PKDD; here F1 of the expected counts.

    Parameters
    ----------
    probabilities : array_like of float in [0, 1], shape (n_pairs,)
        Calibrated, such as a student's scores of all candidate pairs.

    Returns
    -------
    float
        The lowest probability that is called a match; 1 where there are no pairs.
    """
    values = np.sort(checked_scores(probabilities))[::-1]
    if not len(values):
        return 1.0
    f1 = 2.0 * np.cumsum(values) / (np.arange(1, len(values) + 1) + values.sum())
    return float(values[int(np.argmax(f1))])


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return AP = sum over thresholds n of (recall_n - recall_(n-1)) * precision_n, equal scores being one threshold.

    Source: Manning, Raghavan & Schuetze (2008), "Introduction to Information Retrieval", chapter 8. Raises InputError
    where `labels` holds no match.
    """
    curve = precision_recall_curve(labels, scores)
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


@dataclass(frozen=True)
class CalibrationBins:
    """Pairs in bins of equal weight, from the lowest probabilities to the highest; no bin is empty."""

    probability: Floats  # mean of the bin's pairs
    share: Floats  # of its pairs that are matches
    weight: Floats  # of the bin; all of them sum to 1


def expected_calibration_error(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 15, weights: npt.ArrayLike | None = None
) -> float:
    """Return ECE = sum over bins of (weight of the bin) * |share of matches - mean probability|, weights summing to 1.

    Source: Naeini, Cooper & Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning", AAAI.
    Parameters and errors are those of `calibration_bins`.
    """
    found = calibration_bins(labels, probabilities, bins, weights)
    return float(np.sum(found.weight * np.abs(found.share - found.probability)))


def calibration_bins(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 15, weights: npt.ArrayLike | None = None
) -> CalibrationBins:
    """Return the share of matches beside the mean probability, in bins of equal weight.

    Bins hold equal weight, not equal ranges, because most candidate pairs have a probability near 0. Equal
    probabilities stay together, in the bin of the middle of their weight. Source: Nguyen & O'Connor (2015), "Posterior
    calibration and exploratory analysis for natural language processing models", EMNLP.

    Parameters
    ----------
    labels : array_like of bool or 0/1, shape (n_pairs,)
    probabilities : array_like of float in [0, 1], shape (n_pairs,)
    bins : int
        Number of bins; ties may leave fewer.
    weights : array_like of float, shape (n_pairs,), optional
        Weight of each pair, not negative. By default all equal.
    """
    values = checked_scores(probabilities)
    is_match = checked_labels("labels", labels, len(values))
    mass = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not values.size or values.min() < 0.0 or values.max() > 1.0:
        raise InputError("probabilities must be a list of at least one number in [0, 1]. Calibrate the scores first.")
    if mass.shape != values.shape or not np.all(mass >= 0.0) or not 0.0 < mass.sum() < np.inf:
        raise InputError("weights must be one finite number a pair, none negative and not all 0.")
    distinct, group = np.unique(values, return_inverse=True)
    held = np.bincount(group, weights=mass)
    middle = (np.cumsum(held) - held / 2.0) / mass.sum()
    bin_of = (middle * checked_count("bins", bins)).astype(np.int64)
    in_bin = np.bincount(bin_of, weights=held)
    used = in_bin > 0.0
    matches = np.bincount(bin_of, weights=np.bincount(group, weights=mass * is_match))[used]
    expected = np.bincount(bin_of, weights=held * distinct)[used]
    return CalibrationBins(expected / in_bin[used], matches / in_bin[used], in_bin[used] / mass.sum())


def checked_labels(name: str, labels: npt.ArrayLike, n_pairs: int) -> Labels:
    """Return labels as booleans of shape (n_pairs,), refusing anything else; `name` is the argument they came in."""
    array = np.asarray(labels)
    if array.shape != (n_pairs,) or (n_pairs and not np.isin(array, (0, 1)).all()):
        raise InputError(f"{name} must be {n_pairs} values of True/False or 1/0, one a pair. Check the labels.")
    return array.astype(np.bool_)
