"""One finished run: what was compared, how it scored and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from er_distill.blocking import BlockingReport
from er_distill.curves import precision_recall_curve
from er_distill.matching import clusters
from er_distill.metrics import cluster_scores, pair_scores
from er_distill.pairs import Pairs
from er_distill.records import Records

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdCurve:
    """Precision, recall and F1 at each threshold of a grid, each of shape (101,); NaN where no pair is left."""

    thresholds: Floats
    precision: Floats
    recall: Floats
    f1: Floats

    @property
    def best(self) -> int:
        """Position of the highest F1, of equal ones that of the highest threshold."""
        return len(self.f1) - 1 - int(np.nanargmax(self.f1[::-1]))


def threshold_curve(labels: Mask, scores: Floats, n_true: int) -> ThresholdCurve:
    """Measure the pairs at or above each of 101 thresholds against all `n_true` matches, found or not.

    Parameters
    ----------
    labels : ndarray of bool, shape (n,)
        Which pairs are true matches; at least one.
    scores : ndarray of float64, shape (n,)
    n_true : int
        True matches there are, also among pairs that were never candidates.
    """
    curve = precision_recall_curve(labels, scores)
    thresholds = np.linspace(0.0, 1.0, 101)
    at = np.searchsorted(-curve.thresholds, -thresholds, side="right") - 1
    precision = np.where(at >= 0, curve.precision[at], np.nan)
    recall = np.where(at >= 0, curve.recall[at] * labels.sum() / n_true, 0.0)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return ThresholdCurve(thresholds, precision, recall, f1)


@dataclass(frozen=True)
class Run:
    """A finished link or dedupe.

    Attributes
    ----------
    left : Records
    right : Records or None
        None when one table was deduplicated.
    pairs : Pairs
        The candidate pairs that were scored.
    scores : ndarray of float64, shape (len(pairs),)
    matched : ndarray of bool, shape (len(pairs),)
        In a link, the matches; in dedup, the pairs whose records are in one entity.
    kept : ndarray of bool, shape (len(pairs),)
        The pairs that the matching would leave if the threshold were 0.
    threshold : float or None
        Probability from which a pair may match; None where none applies.
    matching : str
        The rule that chose the matches: ``"one_to_one"``, ``"many_to_one"``, ``"best"``, ``"all"``, or how records were
        grouped.
    device : str
    seconds, scoring_seconds : float
        Of the whole run, and of scoring alone.
    blocking : BlockingReport or None
        None when the caller brought the pairs.
    entities : ndarray of int64, shape (len(left),), or None
        In dedup, the entity of each record.
    truth : Pairs or None
        The true matches, each once, where they are known.
    """

    left: Records
    right: Records | None
    pairs: Pairs
    scores: npt.NDArray[np.float64]
    matched: Mask
    kept: Mask
    threshold: float | None
    matching: str
    device: str
    seconds: float
    scoring_seconds: float
    blocking: BlockingReport | None = None
    entities: npt.NDArray[np.int64] | None = None
    truth: Pairs | None = None

    @cached_property
    def curve(self) -> ThresholdCurve | None:
        """What other thresholds would have given, after the matching; None where the truth is not known."""
        if self.labels is None or self.truth is None or not self.labels[self.kept].any():
            return None
        return threshold_curve(self.labels[self.kept], self.scores[self.kept], len(self.truth))

    @property
    def title(self) -> str:
        """The names of the tables."""
        return self.left.name if self.right is None else f"{self.left.name} and {self.right.name}"

    @property
    def n_entities(self) -> int:
        """Number of entities, in dedup."""
        return 0 if self.entities is None else int(self.entities.max(initial=-1)) + 1

    @property
    def pairs_per_second(self) -> float:
        """Candidate pairs scored in a second."""
        return len(self.pairs) / max(self.scoring_seconds, 1e-9)

    @cached_property
    def labels(self) -> Mask | None:
        """Which candidate pairs are true matches; None where the truth is not known."""
        return None if self.truth is None else np.isin(self.pairs.keys(), self.truth.keys())

    @cached_property
    def quality(self) -> dict[str, float]:
        """Precision, recall and F1 of the outcome by name; empty where the truth is not known.

        In dedup they are those of all pairs inside the entities, against the entities that the true pairs span.
        """
        if self.truth is None:
            return {}
        if self.entities is None:
            found, truth = self.pairs.take(self.matched), self.truth
            pairs = pair_scores(found.left, found.right, truth.left, truth.right)
            return {"precision": pairs.precision, "recall": pairs.recall, "F1": pairs.f1}
        true = clusters(len(self.left), self.truth.left, self.truth.right, np.ones(len(self.truth)))
        scores = cluster_scores(self.entities, true)
        return {
            "precision": scores.pair_precision,
            "recall": scores.pair_recall,
            "F1": scores.pair_f1,
            "B-cubed F1": scores.b_cubed_f1,
        }

    @cached_property
    def contested(self) -> Mask:
        """Pairs at or above the threshold that are no match because a match holds one of their records."""
        if self.threshold is None or self.matching not in ("one_to_one", "many_to_one"):
            return np.zeros(len(self.pairs), dtype=np.bool_)
        taken = np.isin(self.pairs.left, self.pairs.left[self.matched])
        if self.matching == "one_to_one":
            taken |= np.isin(self.pairs.right, self.pairs.right[self.matched])
        return (self.scores >= self.threshold) & ~self.matched & taken

    def winner(self, row: int) -> int:
        """Row of the best match that holds a record of the contested pair at `row`."""
        shares = self.pairs.left == self.pairs.left[row]
        if self.matching == "one_to_one":
            shares |= self.pairs.right == self.pairs.right[row]
        rivals = np.flatnonzero(shares & self.matched)
        return int(rivals[np.argmax(self.scores[rivals])])
