"""From logits to one probability: calibration, fusion, the uncertain band, the threshold.

Everything here is fitted on labels of queries that the scored model has not seen. Probabilities are logistic functions
of logits (Platt 1999). Isotonic steps were tried on teachers' labels of held-out queries: calibrated as well, with a
worse log loss; they would say 0 and 1 of pairs that nobody can be so sure of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from er_distill.artefact import Line, Variant
from er_distill.student import probability, sigmoid
from er_distill.training import missing_extra

try:
    from sklearn.linear_model import LogisticRegression
except ImportError as error:
    raise missing_extra(error) from error

AGREEMENT = 0.995
"""Share of decisions on which a student that asks its encoder only in the band agrees with one that always asks."""

_WEAK_PENALTY = 100.0
_UNSURE = (0.01, 0.99)
_FLAT = 0.003  # of F1: thresholds this close to the best are as good
_FEWEST = 10  # matches, and non-matches, that a fusion can be fitted on
_BANDS = np.arange(0.5, 8.01, 0.25)
_THRESHOLDS = np.arange(0.20, 0.801, 0.02)


@dataclass(frozen=True)
class HeldOut:
    """Labelled pairs of one task that neither tier was fitted on.

    Attributes
    ----------
    name : str
    lexical, encoder : ndarray of float64, shape (m,)
        Logits.
    target : ndarray of float32, shape (m,)
        Soft labels.
    query : ndarray of int64, shape (m,)
        Number of the pair's query.
    weight : float
        Of the task as a whole.
    """

    name: str
    lexical: np.ndarray
    encoder: np.ndarray
    target: np.ndarray
    query: np.ndarray
    weight: float

    @property
    def sure(self) -> np.ndarray:
        """Which pairs' labels say match or non-match, rather than one as much as the other."""
        return self.target != 0.5

    def take(self, rows: np.ndarray) -> HeldOut:
        """Return the pairs at `rows`."""
        arrays = {name: getattr(self, name)[rows] for name in ("lexical", "encoder", "target", "query")}
        return replace(self, **arrays)


def fit_line(lexical: np.ndarray, encoder: np.ndarray | None, target: np.ndarray, weight: np.ndarray) -> Line:
    """Fit a logistic function to soft labels (Platt 1999).

    Parameters
    ----------
    lexical : ndarray of float64, shape (m,)
    encoder : ndarray of float64, shape (m,), or None
        None calibrates the lexical logit alone.
    target : ndarray, shape (m,)
        Soft labels.
    weight : ndarray, shape (m,)

    Returns
    -------
    Line
    """
    features = np.column_stack([lexical] if encoder is None else [lexical, encoder])
    label = np.repeat([1, 0], len(target))
    weights = np.concatenate([weight * target, weight * (1 - target)]) * (len(target) / weight.sum())
    used = weights > 0
    model = LogisticRegression(C=_WEAK_PENALTY).fit(np.vstack([features, features])[used], label[used], weights[used])
    slopes = model.coef_[0]
    return Line(float(slopes[0]), 0.0 if encoder is None else float(slopes[1]), float(model.intercept_[0]))


def fit_settled(logits: Sequence[np.ndarray], targets: Sequence[np.ndarray], weights: Sequence[float]) -> Line:
    """Calibrate the cross-fitted lexical logits of all tasks; a task counts by its weight, not by its size."""
    return fit_line(np.concatenate(logits), None, np.concatenate(targets), _per_pair(targets, weights))


def fit_variant(graph: str, one_by_one: bool, settled: Line, held_out: Sequence[HeldOut]) -> Variant:
    """Fit fusion, band and threshold on a variant's own scores.

    The fusion is fitted where the encoder will be asked, and only on labels on which the teachers agree: a weight
    chosen by how well it repeats one teacher's answers would reward the encoder for repeating the mistakes among them.
    """
    lexical, encoder, target = (
        np.concatenate([getattr(part, name) for part in held_out]) for name in ("lexical", "encoder", "target")
    )
    weight = _per_pair([part.target for part in held_out], [part.weight for part in held_out])
    first = sigmoid(lexical, 0.0, settled)
    weight = weight * np.abs(2 * target - 1)
    unsure = (first > _UNSURE[0]) & (first < _UNSURE[1])
    if min(target[unsure].sum(), (1 - target[unsure]).sum()) < _FEWEST:  # trees that are sure of nearly everything
        unsure[:] = True
    fused = fit_line(lexical[unsure], encoder[unsure], target[unsure], weight[unsure])
    variant = Variant(graph, one_by_one, settled, fused, (0.0, 1.0), 0.5)
    variant = replace(variant, threshold=_fit_threshold(variant, held_out))
    return replace(variant, band=_fit_band(variant, held_out))


def _per_pair(targets: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    return np.concatenate([np.full(len(t), w / len(t)) for t, w in zip(targets, weights, strict=True)])


def tiered(variant: Variant, part: HeldOut) -> np.ndarray:
    """The probabilities the student serves: the encoder's logit counts only inside the band."""
    first = sigmoid(part.lexical, 0.0, variant.settled)
    inside = (first >= variant.band[0]) & (first <= variant.band[1])
    return probability(variant, part.lexical, np.where(inside, part.encoder, np.nan))


def encoder_alone(held_out: Sequence[HeldOut]) -> np.ndarray:
    """The encoder's own probabilities, calibrated on these pairs, for measuring it apart from the trees."""
    logits, target = (np.concatenate([getattr(part, name) for part in held_out]) for name in ("encoder", "target"))
    weight = _per_pair([part.target for part in held_out], [part.weight for part in held_out])
    return sigmoid(logits, 0.0, fit_line(logits, None, target, weight))


def mean_f1(held_out: Sequence[HeldOut], decisions: Sequence[np.ndarray]) -> float:
    """Mean over the tasks, by weight, of the expected F1 against soft labels."""
    scores = []
    for part, chosen in zip(held_out, decisions, strict=True):
        whole = chosen.sum() + part.target.sum()
        scores.append(2 * float(part.target[chosen].sum()) / float(whole) if whole else 1.0)
    return float(np.average(scores, weights=[part.weight for part in held_out]))


def _fit_threshold(variant: Variant, held_out: Sequence[HeldOut]) -> float:
    """The threshold nearest to 0.5 whose F1 is as good as the best.

    F1 is flat around its top, where chance and the teachers' mistakes decide; those are mostly false positives, so the
    very best threshold on their labels tends to be too low.
    """
    probabilities = [tiered(variant, part) for part in held_out]
    f1 = np.array([mean_f1(held_out, [p >= at for p in probabilities]) for at in _THRESHOLDS])
    # A mean over neighbours: the single best of a jagged curve is chance.
    smooth = np.convolve(np.pad(f1, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    good = _THRESHOLDS[smooth >= smooth.max() - _FLAT]
    return round(float(good[np.abs(good - 0.5).argmin()]), 2)


def _fit_band(variant: Variant, held_out: Sequence[HeldOut]) -> tuple[float, float]:
    """The narrowest band in which asking the encoder decides as asking it always would."""
    always = [tiered(variant, part) >= variant.threshold for part in held_out]
    for half in _BANDS:
        low, high = (float(sigmoid(np.array(z), 0.0, Line(1.0, 0.0, 0.0))) for z in (-half, half))
        narrow = replace(variant, band=(low, high))
        agree = [
            (tiered(narrow, part) >= variant.threshold) == full for part, full in zip(held_out, always, strict=True)
        ]
        if np.concatenate(agree).mean() >= AGREEMENT:
            break
    return round(low, 6), round(high, 6)


def fit_on_other_folds(
    variant: Variant, held_out: Sequence[HeldOut], *, folds: int = 5, seed: int = 0
) -> list[np.ndarray] | None:
    """Score each pair by a calibration, fusion and band that were fitted without its query.

    What a variant's own calibration gives for the pairs it was fitted on flatters it; this does not.

    Parameters
    ----------
    variant : Variant
        Names the graph; everything fitted is fitted anew.
    held_out : sequence of HeldOut
        Scores of that graph.
    folds : int
        Parts of each task's queries.
    seed : int
        Of the parts.

    Returns
    -------
    list of ndarray of float64, or None
        Probabilities by task; None where the labels are too few to fit on the other folds.
    """
    rng = np.random.default_rng(seed)
    fold = []
    for part in held_out:
        queries, query = np.unique(part.query, return_inverse=True)
        fold.append((rng.permutation(len(queries)) % folds)[query])
    probabilities = [np.empty(len(part.target)) for part in held_out]
    for k in range(folds):
        others = [part.take(own != k) for part, own in zip(held_out, fold, strict=True) if (own != k).any()]
        if not can_be_fitted(others):
            return None
        settled = fit_settled(*([getattr(part, name) for part in others] for name in ("lexical", "target", "weight")))
        fitted = fit_variant(variant.encoder, variant.one_by_one, settled, others)
        for part, own, out in zip(held_out, fold, probabilities, strict=True):
            out[own == k] = tiered(fitted, part.take(own == k))
    return probabilities


def can_be_fitted(held_out: Sequence[HeldOut]) -> bool:
    """Whether the labels hold matches and non-matches on which the teachers lean one way."""
    target = np.concatenate([part.target for part in held_out]) if held_out else np.empty(0)
    return bool((target > 0.5).any() and (target < 0.5).any())
