"""What a student learns: labels out of votes, and the likely truth that the criterion holds students against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_data import fingerprint, keep, kept
from benchmarks.distiller_problem import Problem
from benchmarks.distiller_trees import LOGISTIC, TreesConfigured
from er_distill import lexical
from er_distill.student import sigmoid
from er_distill.training.agreement import estimate
from er_distill.training.criterion import likely_truth
from er_distill.training.exclusion import exclusive
from er_distill.training.noise import NoiseConfig, clean_labels
from er_distill.training.trees import TreesConfig

REFERENCE_TREES = TreesConfig(150, 0.05, leaves=15, least_leaf=30, l2=5.0, monotone=False, alone=0.3, seed=0)
_COMPARED = ("word_cosine", "word_contained_least", "number_jaccard", "gram_cosine", "field_weighted_mean")
REFERENCE_FEATURES = (
    *(f"{name}{end}" for name in _COMPARED for end in ("", "_margin_least", "_margin_most")),
    "list_length_most",
    "list_length_least",
)
"""What the criterion's reference reads: it is to stay the same where the lexical tier gets better."""


def reference(given: Sequence[Problem]) -> list[np.ndarray]:
    """Probabilities by the student that the criterion trusts beside the teachers: small cross-fitted trees.

    It sees the votes that the configuration sees, and is the same for all configurations with the same votes.
    """
    votes = [mean_votes(problem) for problem in given]
    columns = np.isin(lexical.FEATURES, REFERENCE_FEATURES)
    if columns.sum() != len(REFERENCE_FEATURES):
        missing = set(REFERENCE_FEATURES) - set(lexical.FEATURES)
        raise SystemExit(f"the criterion's reference reads {sorted(missing)}, which the lexical tier no longer has.")
    features = [np.where(columns, problem.data.features, 0.0).astype(np.float32) for problem in given]
    name = fingerprint(*(array.tobytes() for array in (*votes, *features)), repr(REFERENCE_TREES).encode())
    path = kept("reference", name)
    if not path.is_file():
        whole = TreesConfigured(Configuration((), trees=REFERENCE_TREES), features)
        logits, _ = whole.cross_fit(given, votes, [np.ones(len(vote), dtype=np.float32) for vote in votes], seed=0)
        keep(path, **{problem.data.name: sigmoid(z, 0.0, LOGISTIC) for problem, z in zip(given, logits, strict=True)})
    with np.load(path) as stored:
        return [stored[problem.data.name] for problem in given]


def likely(given: Sequence[Problem]) -> list[np.ndarray]:
    """The criterion's likely truth of each task; all NaN where a task has no labels."""
    trusted = reference(given)
    found = []
    for problem, chance in zip(given, trusted, strict=True):
        path = kept("likely", fingerprint(problem.votes.tobytes(), chance.tobytes()))
        if not path.is_file():
            nothing = np.full(len(chance), np.nan)
            keep(
                path, likely=likely_truth(problem.data.pairs, problem.votes, chance) if problem.known.any() else nothing
            )
        with np.load(path) as stored:
            found.append(stored["likely"])
    return found


def targets(given: Sequence[Problem], configuration: Configuration) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Soft labels of each task's pairs, NaN where there are none, and how much each counts."""
    wanted = _labels(given, configuration)
    if configuration.noise == "off":
        return wanted, [np.ones(len(labels), dtype=np.float32) for labels in wanted]
    how = NoiseConfig(configuration.noise)
    cleaned = [
        clean_labels(chance, labels, problem.data.pairs, how)
        for problem, labels, chance in zip(given, wanted, reference(given), strict=True)
    ]
    return [one.target.astype(np.float64) for one in cleaned], [one.weight for one in cleaned]


def _labels(given: Sequence[Problem], configuration: Configuration) -> list[np.ndarray]:
    if configuration.labels == "likely":
        return likely(given)
    if configuration.labels == "error_model":
        return [error_model(problem) for problem in given]
    votes = [mean_votes(problem) for problem in given]
    if configuration.labels == "majority":
        return [np.where(np.isnan(vote), np.nan, vote > 0.5) for vote in votes]
    return votes


def mean_votes(problem: Problem) -> np.ndarray:
    mean = np.full(problem.votes.shape[1], np.nan)
    mean[problem.known] = np.nanmean(problem.votes[:, problem.known], axis=0)
    return mean


def error_model(problem: Problem) -> np.ndarray:
    """As `Ensemble(teachers, one_to_one=True)` labels."""
    target = np.full(problem.votes.shape[1], np.nan)
    rows = np.flatnonzero(problem.known)
    if not len(rows):
        return target
    lists = np.split(rows, np.flatnonzero(np.diff(problem.data.pairs.left[rows])) + 1)
    votes = [np.hstack([part := problem.votes[:, row], 1.0 - part.sum(axis=1, keepdims=True)]) for row in lists]
    found = exclusive(estimate(votes).labels, [problem.data.pairs.right[row].tolist() for row in lists])
    for row, label in zip(lists, found, strict=True):
        target[row] = label[:-1]
    return target
