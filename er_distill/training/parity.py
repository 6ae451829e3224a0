"""The proof that a graph scores as its model does, and that a student decides alike with either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from er_distill.errors import ExportError
from er_distill.metrics import pair_scores


@dataclass(frozen=True)
class Scores:
    """How far a graph's probabilities are from its model's."""

    largest_difference: float
    mean_difference: float


@dataclass(frozen=True)
class Decisions:
    """How a variant decides beside the model it stands for.

    Attributes
    ----------
    flipped : float
        Share of pairs that it decides otherwise, each with its own threshold.
    f1_reference, f1 : float
        Against the labels.
    """

    flipped: float
    f1_reference: float
    f1: float


def check_scores(
    model_logits: np.ndarray, graph_logits: np.ndarray, *, graph: str, limit: float | None = None
) -> Scores:
    """Compare the probabilities of a model and of its graph on the same pairs.

    Parameters
    ----------
    model_logits, graph_logits : ndarray of float, shape (m,)
    graph : str
        What messages call the graph.
    limit : float, optional
        Largest difference of a probability that is let through.

    Returns
    -------
    Scores

    Raises
    ------
    ExportError
        When a difference is above `limit`, or not a number.
    """
    difference = np.abs(_probability(model_logits) - _probability(graph_logits))
    found = Scores(float(difference.max()), float(difference.mean()))
    # Not "above": a nan is above nothing.
    if limit is not None and not found.largest_difference <= limit:
        raise ExportError(
            f"{graph} is not what was trained: its probabilities differ from the model's by up to "
            f"{found.largest_difference:.2g}, {limit:g} is allowed. Try another opset, or versions of torch and "
            "onnxruntime that this er_distill was tested with."
        )
    return found


def _probability(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def check_decisions(
    reference_probabilities: np.ndarray,
    variant_probabilities: np.ndarray,
    reference_threshold: float,
    variant_threshold: float,
    labels: np.ndarray,
    *,
    variant: str = "the variant",
    most_flipped: float = 0.01,
    most_f1_difference: float = 0.01,
) -> Decisions:
    """Compare a variant's decisions with those of the model it stands for, each calibrated on its own scores.

    Parameters
    ----------
    reference_probabilities, variant_probabilities : ndarray of float, shape (m,)
        Of pairs that neither calibration nor training has seen.
    reference_threshold, variant_threshold : float
    labels : ndarray of bool, shape (m,)
        The teachers' decisions.
    variant : str
        What messages call the variant.
    most_flipped : float
        Share of pairs that may be decided otherwise.
    most_f1_difference : float
        By how much F1 may differ, either way.

    Returns
    -------
    Decisions

    Raises
    ------
    ExportError
        When one of the limits is passed, by more than a single decision.
    """
    reference = reference_probabilities >= reference_threshold
    decided = variant_probabilities >= variant_threshold
    true = np.flatnonzero(labels)
    f1_reference, f1 = (pair_scores(rows, rows, true, true).f1 for rows in map(np.flatnonzero, (reference, decided)))
    report = Decisions(float(np.mean(reference != decided)), f1_reference, f1)
    # One decision is no evidence: of a few dozen pairs it is more than the limits, and it may be a pair at the edge.
    several = int(np.sum(reference != decided)) > 1
    if several and (report.flipped > most_flipped or not abs(f1 - f1_reference) <= most_f1_difference):
        raise ExportError(
            f"{variant} is too far from the trained model: {report.flipped:.2%} of its decisions are flipped "
            f"({most_flipped:.0%} is allowed), and F1 against the labels is {f1:.3f} where the model has "
            f"{f1_reference:.3f} (a difference of {most_f1_difference:g} is allowed). Leave this variant out."
        )
    return report
