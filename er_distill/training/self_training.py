"""Learning from pairs without labels: a model's own sure and consistent answers become labels of less weight.

Source: the pseudo-labels of Lee (2013), "Pseudo-label: the simple and efficient semi-supervised learning method", made
anew each round as in Xie et al. (2020), "Self-training with noisy student improves ImageNet classification". What keeps
the model from believing its own mistakes: probabilities are calibrated on teacher labels, answers must be those of a
one-to-one matching that teacher labels are part of, and teacher labels that no round learns decide when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from er_distill.errors import InputError
from er_distill.matching import one_to_one
from er_distill.pairs import Pairs
from er_distill.student import sigmoid
from er_distill.training.calibrate import fit_line
from er_distill.training.noise import FitPredict

_LEAST_GAIN = 1e-3  # of agreement that another round must bring: less is chance
_CLOSEST = 1e-6  # probabilities keep this distance from 0 and 1, so that their logits are numbers


@dataclass(frozen=True)
class SelfTrainingConfig:
    """How to learn from unlabelled pairs.

    Raises
    ------
    InputError
        When a value is out of its range.
    """

    rounds: int = 5  # at most, after the first fit
    confidence: float = 0.95  # a calibrated probability that an answer needs to become a label
    weight: float = 0.3  # of such a label, at most; a teacher's has 1
    held_out: float = 0.2  # share of the labelled queries that judge the rounds
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"SelfTrainingConfig: rounds must be 1 or above, not {self.rounds!r}.")
        for name, low, high in (("confidence", 0.5, 1.0), ("weight", 0.0, 1.0), ("held_out", 0.0, 1.0)):
            if not low < getattr(self, name) < high and not (name == "weight" and self.weight == 1):
                raise InputError(
                    f"SelfTrainingConfig: {name} must be between {low} and {high}, not {getattr(self, name)!r}."
                )


@dataclass(frozen=True)
class Round:
    """One fit.

    Attributes
    ----------
    matches, others : int
        Pairs that the round learned from the round before, by what they were taken for.
    agreement : float
        Geometric mean of the probability given to the labels of the held-out queries; 1 is certain and right.
    repeated : float
        Share of the unlabelled pairs that are decided as in the round before; nan in the first.
    """

    matches: int
    others: int
    agreement: float
    repeated: float


@dataclass(frozen=True)
class SelfTraining:
    """Labels after self-training.

    Attributes
    ----------
    target, weight : ndarray of float32, shape (m,)
        Labels and how much they count; nan and 0 for pairs without.
    by_teacher, by_student : ndarray of bool, shape (m,)
        Where a label is from.
    rounds : tuple of Round
        The first learned the teachers' labels alone.
    best : int
        The round whose labels these are; 0 when the model's own labels did not help, and there are none.
    """

    target: np.ndarray
    weight: np.ndarray
    by_teacher: npt.NDArray[np.bool_]
    by_student: npt.NDArray[np.bool_]
    rounds: tuple[Round, ...]
    best: int


def self_train(
    fit_predict: FitPredict, target: npt.ArrayLike, pairs: Pairs, config: SelfTrainingConfig | None = None
) -> SelfTraining:
    """Label pairs that no teacher has labelled, in rounds, for as long as held-out teacher labels gain by it.

    Parameters
    ----------
    fit_predict : callable
        See `FitPredict`: trees, a whole lexical tier, an encoder.
    target : array_like of shape (m,)
        Teachers' labels from 0 to 1; nan for the pairs to label.
    pairs : Pairs
        Of one task.
    config : SelfTrainingConfig, optional

    Returns
    -------
    SelfTraining

    Raises
    ------
    InputError
        When the array does not fit the pairs, or the labels are too few to hold some out.
    """
    how = config or SelfTrainingConfig()
    labels = np.asarray(target, dtype=np.float32)
    if labels.shape != (len(pairs),):
        raise InputError(f"self_train: target has shape {labels.shape}, the pairs need ({len(pairs)},).")
    by_teacher = ~np.isnan(labels)
    judges = by_teacher & np.isin(pairs.left, _queries_to_judge(pairs.left[by_teacher], how))
    learned = by_teacher & ~judges
    for rows, where in ((judges, "held out"), (learned, "not held out")):
        if not (labels[rows] >= 0.5).any() or not (labels[rows] < 0.5).any():
            raise InputError(
                f"self_train: the labelled queries that are {where} ({rows.sum()} pairs) need matches and non-matches. "
                "Label more queries, or change SelfTrainingConfig.held_out."
            )
    own = np.full(len(pairs), np.nan, dtype=np.float32)
    kept, best, rounds, before = own, 0, list[Round](), None
    for number in range(how.rounds + 1):
        given = np.where(learned, labels, own)
        weight = np.where(learned, 1.0, _weights(own, labels[learned], how.weight)).astype(np.float32)
        probability = _calibrated(fit_predict(given, weight), labels, judges)
        decided = probability[~by_teacher] >= 0.5
        rounds.append(
            Round(
                matches=int((own == 1).sum()),
                others=int((own == 0).sum()),
                agreement=_agreement(probability[judges], labels[judges]),
                repeated=float("nan") if before is None else float((decided == before).mean()),
            )
        )
        if number and rounds[number].agreement < rounds[best].agreement + _LEAST_GAIN:
            break
        kept, best, before = own, number, decided
        own = _sure_answers(probability, labels, by_teacher, pairs, how.confidence)
        if np.array_equal(own, kept, equal_nan=True):
            break
    by_student = ~np.isnan(kept)
    return SelfTraining(
        target=np.where(by_teacher, labels, kept),
        weight=np.where(by_teacher, 1.0, _weights(kept, labels[learned], how.weight)).astype(np.float32),
        by_teacher=by_teacher,
        by_student=by_student,
        rounds=tuple(rounds),
        best=best,
    )


def _queries_to_judge(labelled: np.ndarray, how: SelfTrainingConfig) -> np.ndarray:
    queries = np.unique(labelled)
    return np.random.default_rng(how.seed).permutation(queries)[: round(how.held_out * len(queries))]


def _calibrated(probability: np.ndarray, labels: np.ndarray, judges: npt.NDArray[np.bool_]) -> np.ndarray:
    """Calibrate on the judges, to targets short of 0 and 1 (Platt 1999): few labels make nothing nearly certain."""
    near = np.clip(np.asarray(probability, dtype=np.float64), _CLOSEST, 1.0 - _CLOSEST)
    logits = np.log(near) - np.log1p(-near)
    matches, others = labels[judges].sum(), (1.0 - labels[judges]).sum()
    most, least = (matches + 1.0) / (matches + 2.0), 1.0 / (others + 2.0)
    line = fit_line(logits[judges], None, least + (most - least) * labels[judges], np.ones(judges.sum()))
    return np.clip(sigmoid(logits, 0.0, line), _CLOSEST, 1.0 - _CLOSEST)


def _agreement(probability: np.ndarray, labels: np.ndarray) -> float:
    return float(np.exp(np.mean(labels * np.log(probability) + (1 - labels) * np.log1p(-probability))))


def _weights(own: np.ndarray, learned: np.ndarray, most: float) -> np.ndarray:
    """Weigh own labels so that matches are as frequent among them as among teachers' labels; 0 without a label.

    What a model is sure of is no fair sample: it finds far more pairs that are surely no match (Zou et al. 2018,
    "Unsupervised domain adaptation for semantic segmentation via class-balanced self-training").
    """
    is_match, is_other = own == 1, own == 0
    matches = learned.mean()
    excess = (is_match.sum() + 1e-9) / (is_other.sum() + 1e-9) * (1.0 - matches) / matches
    return most * (is_match / max(excess, 1.0) + is_other * min(excess, 1.0))


def _sure_answers(
    probability: np.ndarray, labels: np.ndarray, by_teacher: npt.NDArray[np.bool_], pairs: Pairs, confidence: float
) -> np.ndarray:
    """Return labels for unlabelled pairs: 1, 0, or nan for those that stay without."""
    sure_match, sure_other = probability >= confidence, probability <= 1.0 - confidence
    if pairs.one_table:
        own = np.where(sure_match, 1.0, np.where(sure_other, 0.0, np.nan))
    else:
        # What teachers said stands: their matches come first, and nothing else can be matched with these records.
        scores = np.where(by_teacher, np.where(labels >= 0.5, 1.0, 0.0), probability)
        chosen = one_to_one(pairs.left, pairs.right, scores, at=confidence) & ~by_teacher
        # A list is answered as a whole: one candidate for sure and no other likely, or none for sure.
        likely_too = pairs.left[(probability >= 0.5) & ~chosen & ~by_teacher]
        matched = np.isin(pairs.left, pairs.left[chosen]) & ~np.isin(pairs.left, likely_too)
        unmatched = ~np.isin(pairs.left, pairs.left[~sure_other & ~by_teacher])
        own = np.where(chosen & matched, 1.0, np.where(matched | unmatched, 0.0, np.nan))
    own = np.where(by_teacher, np.nan, own)
    # Without a match among them the answers would teach "no match" alone.
    return np.where((own == 1).any(), own, np.nan).astype(np.float32)
