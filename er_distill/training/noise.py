"""Labels that look wrong: by what a model says that has not seen them, and by what cannot both be true.

Arrays in, arrays out: the same for what trees learn and what an encoder learns. The evidence is a model's probabilities
for pairs it was not trained on. No truth is needed, and none is read: whether it helps is measured on teacher labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from er_distill.errors import InputError, did_you_mean
from er_distill.pairs import Pairs
from er_distill.training import missing_extra
from er_distill.training.exclusion import at_most_one

try:
    from sklearn.metrics import roc_auc_score
except ImportError as error:
    raise missing_extra(error) from error

Floats = npt.NDArray[np.float64]
FitPredict = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Fits a model to targets (nan: the model must not see the pair's label) and weights, each of shape (m,), and returns
the match probabilities of all m pairs."""

_FEWEST = 5  # labels of either kind from which noise can be estimated


@dataclass(frozen=True)
class NoiseConfig:
    """What becomes of labels that look wrong.

    Raises
    ------
    InputError
        When a value is not known.
    """

    action: Literal["off", "weight", "drop"] = "off"  # weight: a suspect counts by how likely it is right
    suspects: Literal["matches", "both"] = "matches"  # which labels can be suspect; teachers err mostly with matches
    on_trial: bool = True  # whether a student is taught cleaned labels only where `try_cleaning` says that it helps

    def __post_init__(self) -> None:
        for name, known in (("action", ("off", "weight", "drop")), ("suspects", ("matches", "both"))):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"NoiseConfig: there is no {name} {value!r}. {did_you_mean(value, known)}")


@dataclass(frozen=True)
class NoiseReport:
    """What was found, in numbers of labels.

    Attributes
    ----------
    labels, matches : int
        All, and those that say match.
    suspect_matches, suspect_others : int
        Those that look wrong, by what they say.
    contested : int
        Those that say match of a right record that another query's label claims, in tables without duplicates.
    """

    labels: int
    matches: int
    suspect_matches: int
    suspect_others: int
    contested: int


@dataclass(frozen=True)
class CleanedLabels:
    """Labels after a look at their noise.

    Attributes
    ----------
    target : ndarray of float32, shape (m,)
        As given, but nan for those that were dropped.
    weight : ndarray of float32, shape (m,)
        How much a pair counts, from 0 to 1.
    suspicion : ndarray of float64, shape (m,)
        How likely the label is wrong; nan where there is none.
    suspect : ndarray of bool, shape (m,)
        Labels that look wrong.
    report : NoiseReport
    """

    target: np.ndarray
    weight: np.ndarray
    suspicion: Floats
    suspect: npt.NDArray[np.bool_]
    report: NoiseReport


def clean_labels(probability: npt.ArrayLike, target: npt.ArrayLike, pairs: Pairs, config: NoiseConfig) -> CleanedLabels:
    """Find the labels that look wrong, and let them count less, or not at all.

    Suspects are found by confident learning (Northcutt, Jiang, Chuang 2021, "Confident learning: estimating uncertainty
    in dataset labels"; the library cleanlab): of each kind of label as many as its estimated noise says, the least
    likely first. The other labels of a suspect's list stay: where a match is wrong, mostly none is right.

    Parameters
    ----------
    probability : array_like of shape (m,)
        Match probabilities, each by a model that was not trained on the pair's query.
    target : array_like of shape (m,)
        Labels from 0 to 1; nan for none.
    pairs : Pairs
        Of one task: noise differs between tasks.
    config : NoiseConfig

    Returns
    -------
    CleanedLabels

    Raises
    ------
    InputError
        When the arrays do not fit the pairs, or a labelled pair has no probability.
    """
    given, wanted = _checked(probability, target, len(pairs))
    known = ~np.isnan(wanted)
    evidence, contested = _exclusive(given, wanted, pairs)
    is_match = known & (wanted >= 0.5)
    suspicion = np.where(known, np.where(is_match, 1.0 - evidence, evidence), np.nan)
    suspect = np.zeros(len(pairs), dtype=bool)
    if config.action != "off" and min(is_match.sum(), (known & ~is_match).sum()) >= _FEWEST:
        suspect[known] = _least_likely(is_match[known], evidence[known])
        if config.suspects == "matches":
            suspect &= is_match
    weight = np.where(suspect, 1.0 - suspicion, 1.0) if config.action == "weight" else np.ones(len(pairs))
    kept = np.where(suspect, np.nan, wanted) if config.action == "drop" else wanted
    n_suspect = int((suspect & is_match).sum())
    report = NoiseReport(int(known.sum()), int(is_match.sum()), n_suspect, int(suspect.sum()) - n_suspect, contested)
    return CleanedLabels(kept.astype(np.float32), weight.astype(np.float32), suspicion, suspect, report)


@dataclass(frozen=True)
class NoiseTrial:
    """What cleaning did for models that were judged by labels they had not seen.

    Attributes
    ----------
    plain, cleaned : tuple of float
        By fold, the area under the ROC curve of a model trained on the labels as they are, and of one trained on
        cleaned labels, against the fold's labels as they are.
    """

    plain: tuple[float, ...]
    cleaned: tuple[float, ...]

    @property
    def helps(self) -> bool:
        """Whether the mean gain is above its standard error."""
        gain = np.subtract(self.cleaned, self.plain)
        return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def try_cleaning(
    fit_predict: FitPredict, target: np.ndarray, pairs: Pairs, fold: np.ndarray, config: NoiseConfig
) -> NoiseTrial:
    """Measure on teacher labels whether cleaning makes better models.

    Each fold judges models that learned the others, by its labels as they are. They hold errors too; the area under the
    ROC curve ranks models the same with and without errors that depend on a label's kind alone (Menon et al. 2015,
    "Learning from corrupted binary labels via class-probability estimation"), where a log loss would punish a model for
    not repeating them.

    Parameters
    ----------
    fit_predict : callable
        See `FitPredict`. It is called ``fold.max() + 2`` times for each fold.
    target : ndarray of shape (m,)
        Labels, nan for none.
    pairs : Pairs
    fold : ndarray of int, shape (m,)
        From 0; all pairs of a query are in one.
    config : NoiseConfig

    Returns
    -------
    NoiseTrial
    """
    ones = np.ones(len(pairs), dtype=np.float32)
    plain: list[float] = []
    cleaned: list[float] = []
    for judge in np.unique(fold[~np.isnan(target)]):
        inside = fold == judge
        seen = inside & ~np.isnan(target)
        truth = target[seen] >= 0.5
        if truth.all() or not truth.any():
            continue
        others = np.where(inside, np.nan, target)
        labels = clean_labels(cross_fitted(fit_predict, others, ones, fold), others, pairs, config)
        for scores, of in ((plain, fit_predict(others, ones)), (cleaned, fit_predict(labels.target, labels.weight))):
            scores.append(float(roc_auc_score(truth, of[seen])))
    return NoiseTrial(tuple(plain), tuple(cleaned))


def cross_fitted(fit_predict: FitPredict, target: np.ndarray, weight: np.ndarray, fold: np.ndarray) -> Floats:
    """Return each labelled pair's probability by a model that learned the other folds; nan for pairs without label."""
    known = ~np.isnan(target)
    out = np.full(len(target), np.nan)
    for own in np.unique(fold[known]):
        rows = known & (fold == own)
        out[rows] = fit_predict(np.where(fold == own, np.nan, target), weight)[rows]
    return out


def _checked(probability: npt.ArrayLike, target: npt.ArrayLike, m: int) -> tuple[Floats, Floats]:
    given, wanted = np.asarray(probability, dtype=np.float64), np.asarray(target, dtype=np.float64)
    for name, values in (("probability", given), ("target", wanted)):
        if values.shape != (m,):
            raise InputError(f"clean_labels: {name} has shape {values.shape}, the pairs need ({m},).")
    known = ~np.isnan(wanted)
    if not ((given[known] >= 0) & (given[known] <= 1)).all():
        raise InputError(
            "clean_labels: each labelled pair needs a probability from 0 to 1. Score the labelled pairs by models that "
            "were not trained on their queries."
        )
    return given, wanted


def _exclusive(probability: Floats, target: Floats, pairs: Pairs) -> tuple[Floats, int]:
    """Of several queries that labels give one right record, at most one is right: their claims share a probability."""
    if pairs.one_table:
        return probability, 0
    evidence, contested = probability.copy(), 0
    claims = np.flatnonzero(target >= 0.5)
    claims = claims[np.argsort(pairs.right[claims], kind="stable")]
    for rows in np.split(claims, np.flatnonzero(np.diff(pairs.right[claims])) + 1):
        if len(rows) > 1:
            evidence[rows] = at_most_one(probability[rows])[:-1]
            contested += len(rows)
    return evidence, contested


def _least_likely(is_match: npt.NDArray[np.bool_], probability: Floats) -> npt.NDArray[np.bool_]:
    # Imported here: cleanlab brings pandas, which most runs do without.
    from cleanlab.filter import find_label_issues

    both = np.column_stack([1.0 - probability, probability])
    found = find_label_issues(is_match.astype(np.int64), both, filter_by="prune_by_noise_rate", n_jobs=1)
    return np.asarray(found, dtype=bool)
