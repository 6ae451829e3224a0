"""What the manifest says of each variant's scores on queries that neither tier was trained on.

`check` makes the entry ``training["checks"][variant]`` of a student's manifest:

    parity                            graph against trained model: `parity.Scores`, and `parity.Decisions` of the
                                      ``student`` and of the ``encoder`` alone
    held_out                          by task: pairs, f1, f1_lexical, calibration_error, encoder_share
    calibration_error_cross_fitted    ``mean`` over the tasks by weight, and ``by_task``
    curves                            ``calibration``: [mean probability, share of matches, pairs] a bin;
                                      ``scores``: ``edges`` of bins of probability, and the pairs labelled ``match`` and
                                      ``non_match`` in each;
                                      ``thresholds``: [threshold, precision, recall, f1, share called a match]

``calibration_error`` is measured on the pairs that calibration was fitted on; ``calibration_error_cross_fitted`` and
``curves`` on scores whose calibration was fitted on the queries of the other four of five folds. These two are None
where the labels are too few for that. Labels are the teachers' aggregated votes, a match above one half; pairs on which
they are split evenly are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from er_distill.artefact import Variant
from er_distill.curves import calibration_bins, expected_calibration_error
from er_distill.metrics import pair_scores
from er_distill.student import sigmoid
from er_distill.training import calibrate, export, parity
from er_distill.training.calibrate import HeldOut

_DIGITS = 4
_SCORE_EDGES = np.linspace(0, 1, 21)
_THRESHOLDS = np.linspace(0.05, 0.95, 19)


def check(
    name: str, variant: Variant, own: Sequence[HeldOut], reference: Variant, held_out: Sequence[HeldOut]
) -> dict[str, Any]:
    """Measure a variant, and refuse one that is too far from the trained model.

    Parameters
    ----------
    name : str
        Of the variant.
    variant : Variant
    own : sequence of HeldOut
        With the logits of the variant's graph.
    reference : Variant
        The trained model, fitted in the same way.
    held_out : sequence of HeldOut
        The same pairs with the model's logits.

    Returns
    -------
    dict
        Fit for JSON; see above.

    Raises
    ------
    ExportError
        When the graph does not score, or the student does not decide, as with the trained model.
    """
    crossed = calibrate.fit_on_other_folds(variant, own)
    return {
        "parity": _parity(name, variant, own, reference, held_out),
        "held_out": _summary(variant, own),
        "calibration_error_cross_fitted": None if crossed is None else _calibration_error(own, crossed),
        "curves": None if crossed is None else _curves(variant.threshold, own, crossed),
    }


def _parity(
    name: str, variant: Variant, own: Sequence[HeldOut], reference: Variant, held_out: Sequence[HeldOut]
) -> dict[str, Any]:
    """Compare probabilities, what the student decides, and the encoder alone.

    A student hardly asks its encoder where the trees are sure, and would hide a bad graph; so the encoder alone,
    calibrated on its own scores, is held to the same limits.
    """
    model_logits, graph_logits = (np.concatenate([part.encoder for part in parts]) for parts in (held_out, own))
    scores = parity.check_scores(model_logits, graph_logits, graph=variant.encoder, limit=export.LIMITS.get(name))
    labels = np.concatenate([part.target > 0.5 for part in own])
    student = parity.check_decisions(
        np.concatenate([calibrate.tiered(reference, part) for part in held_out]),
        np.concatenate([calibrate.tiered(variant, part) for part in own]),
        reference.threshold,
        variant.threshold,
        labels,
        variant=f"the {name} student",
    )
    of_model, of_graph = (calibrate.encoder_alone(parts) for parts in (held_out, own))
    encoder = parity.check_decisions(of_model, of_graph, 0.5, 0.5, labels, variant=f"the {name} encoder")
    return dataclasses.asdict(scores) | {
        "student": dataclasses.asdict(student),
        "encoder": dataclasses.asdict(encoder),
    }


def _summary(variant: Variant, held_out: Sequence[HeldOut]) -> dict[str, dict[str, float | None]]:
    """By task: agreement, calibration, use of the encoder."""
    summary: dict[str, dict[str, float | None]] = {}
    for part in held_out:
        probabilities = calibrate.tiered(variant, part)
        first = sigmoid(part.lexical, 0.0, variant.settled)
        summary[part.name] = {
            "pairs": len(part.target),
            "f1": round(calibrate.mean_f1([part], [probabilities >= variant.threshold]), _DIGITS),
            "f1_lexical": round(calibrate.mean_f1([part], [first >= 0.5]), _DIGITS),
            "calibration_error": _error_of(part, probabilities),
            "encoder_share": round(float(((first >= variant.band[0]) & (first <= variant.band[1])).mean()), _DIGITS),
        }
    return summary


def _error_of(part: HeldOut, probabilities: np.ndarray) -> float | None:
    if not part.sure.any():
        return None
    return round(expected_calibration_error(part.target[part.sure] > 0.5, probabilities[part.sure]), _DIGITS)


def _calibration_error(held_out: Sequence[HeldOut], probabilities: Sequence[np.ndarray]) -> dict[str, Any]:
    by_task = {part.name: _error_of(part, own) for part, own in zip(held_out, probabilities, strict=True)}
    known = [(error, part.weight) for part in held_out if (error := by_task[part.name]) is not None]
    mean = np.average([error for error, _ in known], weights=[weight for _, weight in known])
    return {"mean": round(float(mean), _DIGITS), "by_task": by_task}


def _curves(threshold: float, held_out: Sequence[HeldOut], probabilities: Sequence[np.ndarray]) -> dict[str, Any]:
    sure = np.concatenate([part.sure for part in held_out])
    label = np.concatenate([part.target > 0.5 for part in held_out])[sure]
    values = np.concatenate(list(probabilities))[sure]
    bins = calibration_bins(label, values)
    table, true = [], np.flatnonzero(label)
    for at in np.unique(np.append(_THRESHOLDS, threshold).round(_DIGITS)):
        chosen = np.flatnonzero(values >= at)
        scores = pair_scores(chosen, chosen, true, true)
        row = (at, scores.precision, scores.recall, scores.f1, len(chosen) / len(values))
        table.append([round(float(value), _DIGITS) for value in row])
    return {
        "calibration": [
            [round(float(mean), _DIGITS), round(float(share), _DIGITS), round(float(weight) * len(values))]
            for mean, share, weight in zip(bins.probability, bins.share, bins.weight, strict=True)
        ],
        "scores": {
            "edges": [round(float(edge), 2) for edge in _SCORE_EDGES],
            "match": np.histogram(values[label], _SCORE_EDGES)[0].tolist(),
            "non_match": np.histogram(values[~label], _SCORE_EDGES)[0].tolist(),
        },
        "thresholds": table,
    }
