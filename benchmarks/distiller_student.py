"""A configuration made into scores and decisions; no gold.

As the package distils: trees cross-fitted over folds of the labelled queries, calibrated on what they had not seen,
fused with an encoder's logits where there are some.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_data import TaskData, kept
from benchmarks.distiller_labels import targets
from benchmarks.distiller_made_up import made_up
from benchmarks.distiller_problem import Problem
from benchmarks.distiller_trees import LOGISTIC, TreesConfigured
from er_distill import matching
from er_distill.artefact import Line, Variant
from er_distill.curves import expected_f1_threshold
from er_distill.training import calibrate
from er_distill.training.calibrate import HeldOut


@dataclass(frozen=True)
class Scored:
    """What a student says of a task's pairs.

    Attributes
    ----------
    scores : ndarray of float64, shape (m,)
        Probabilities; of a labelled pair by a fit that has not seen its query's label.
    matched : ndarray of bool, shape (m,)
    refits : ndarray of bool, shape (folds, m)
        Decisions of the fits to all folds but one.
    unseen : ndarray of bool, shape (m,)
        The labelled pairs that no tier has learned from.
    threshold : float
    """

    scores: np.ndarray
    matched: np.ndarray
    refits: np.ndarray
    unseen: np.ndarray
    threshold: float


def score(
    given: Sequence[Problem], configuration: Configuration, *, seed: int
) -> tuple[list[Scored], dict[str, float]]:
    """Make the student and let it score every pair; also return the seconds of making and of scoring."""
    started = time.perf_counter()
    target, counts = targets(given, configuration)
    besides = made_up(configuration)
    target += [problem.votes[0].astype(np.float64) for problem in besides]
    counts += [np.ones(len(problem.data.pairs), dtype=np.float32) for problem in besides]
    learned = [*given, *besides]
    trees = TreesConfigured(configuration, [problem.data.features for problem in learned])
    labelled = time.perf_counter()
    logits, refits = trees.cross_fit(learned, target, counts, seed=seed)
    made = time.perf_counter()
    known = [~np.isnan(wanted) for wanted in target]
    # No encoder has read the generated tasks: where there is one, calibration does without them.
    settled_on = given if configuration.encoder else learned
    encoder = [encoder_logits(configuration.encoder, problem) for problem in settled_on]
    unseen = [rows & fresh for rows, (_, fresh) in zip(known, encoder, strict=False)]
    held_out = [
        _part(problem, z, other, wanted).take(rows)
        for problem, z, (other, _), wanted, rows in zip(settled_on, logits, encoder, target, unseen, strict=False)
        if rows.any()
    ]
    served = variant(held_out, configuration)
    scored = []
    for problem, z, own, (other, _), wanted, fresh in zip(given, logits, refits, encoder, target, unseen, strict=False):
        probability = served_probability(served, z, other)
        again = [decided(problem, configuration, served, served_probability(served, one, other), wanted) for one in own]
        matched = decided(problem, configuration, served, probability, wanted)
        scored.append(Scored(probability, matched, np.stack(again), fresh, served.threshold))
    return scored, {"make": labelled - started + trees.seconds, "decide": time.perf_counter() - made}


def _part(problem: Problem, logits: np.ndarray, encoder: np.ndarray, wanted: np.ndarray) -> HeldOut:
    target = wanted.astype(np.float32)
    return HeldOut(problem.data.name, logits, encoder, target, problem.data.pairs.left, problem.weight)


def variant(held_out: Sequence[HeldOut], configuration: Configuration) -> Variant:
    """Calibrate, and fuse where there is an encoder, as the package does."""
    if not configuration.calibrated:
        settled = LOGISTIC
    else:
        lexical_logits, wanted, weight = (
            [getattr(part, name) for part in held_out] for name in ("lexical", "target", "weight")
        )
        settled = calibrate.fit_settled(lexical_logits, wanted, weight)
    if configuration.encoder is None:
        at = matching.DEFAULT_THRESHOLD if configuration.threshold is None else configuration.threshold
        return Variant("", False, settled, settled, (2.0, 2.0), at)
    if not configuration.lexical:
        held_out = [dataclasses.replace(part, lexical=np.zeros_like(part.lexical)) for part in held_out]
        settled = Line(0.0, 0.0, 0.0)  # one probability for all: every pair is asked of the encoder
    return calibrate.fit_variant("", False, settled, held_out)


def served_probability(served: Variant, lexical_logits: np.ndarray, encoder: np.ndarray) -> np.ndarray:
    nothing = np.empty(0)
    return calibrate.tiered(served, HeldOut("", lexical_logits, encoder, nothing, nothing, 1.0))


def decided(
    problem: Problem, configuration: Configuration, served: Variant, chance: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Which pairs are matches. Labelled and unlabelled tuples are decided apart, but for claims."""
    pairs, labelled = problem.data.pairs, problem.data.labelled
    beside = chance
    if configuration.rivals:
        beside = np.empty_like(chance)
        for rows in (labelled, ~labelled):
            beside[rows] = matching.beside_rivals(pairs.left[rows], pairs.right[rows], chance[rows])
    at = expected_f1_threshold(beside[~labelled]) if configuration.threshold is None else served.threshold
    if not configuration.one_to_one:
        return beside >= at
    matched = np.zeros(len(pairs), dtype=bool)
    for rows in (labelled, ~labelled):
        matched[rows] = matching.one_to_one(pairs.left[rows], pairs.right[rows], beside[rows], at)
    if configuration.claims:
        claimed = np.where(np.isnan(wanted), chance, wanted)
        if configuration.rivals:
            claimed = matching.beside_rivals(pairs.left, pairs.right, claimed)
        together = matching.one_to_one(pairs.left, pairs.right, claimed, at)
        matched[~labelled] = together[~labelled]
    return matched


def encoder_logits(name: str | None, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """An encoder's logit of each pair, and whether it has learned nothing of the pair; NaN and True without one."""
    size = len(problem.data.pairs)
    if name is None:
        return np.full(size, np.nan), np.ones(size, dtype=bool)
    with np.load(kept("encoders", name, problem.data.name)) as stored:
        return stored["logits"].astype(np.float64), stored["unseen"]


def has_encoder(name: str, tasks: Sequence[TaskData]) -> bool:
    """Whether an encoder's logits of all these tasks are there (see `distiller_encoder`)."""
    return all(kept("encoders", name, task.name).is_file() for task in tasks)
