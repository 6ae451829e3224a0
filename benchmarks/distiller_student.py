"""A configuration made into scores and decisions; no gold.

As the package distils: trees cross-fitted over folds of the labelled queries, calibrated on what they had not seen,
fused with an encoder's logits where there are some. What a configuration switches is here, in this order: labels,
features, self-training, calibration and fusion, decisions.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import gold
from benchmarks.distiller_configurations import Configuration
from benchmarks.distiller_data import TaskData, fingerprint, keep, kept
from er_distill import lexical, matching
from er_distill.artefact import Line, Variant
from er_distill.student import sigmoid
from er_distill.training import calibrate
from er_distill.training.agreement import estimate
from er_distill.training.calibrate import HeldOut
from er_distill.training.criterion import likely_truth
from er_distill.training.exclusion import exclusive
from er_distill.training.trees import TreesConfig, TreeTask, fit_trees

REFERENCE_TREES = TreesConfig(150, 0.05, leaves=15, least_leaf=30, l2=5.0, monotone=False, alone=0.3, seed=0)
REFERENCE_FEATURES = (
    *(f"{name}{end}" for name in lexical.CONTEXT_OF[:5] for end in ("", "_margin_least", "_margin_most")),
    "list_length_most",
    "list_length_least",
)
"""What the criterion's reference reads: it is to stay the same where the lexical tier gets better."""


@dataclass(frozen=True)
class Problem:
    """A task with the labels a run may read.

    Attributes
    ----------
    data : TaskData
    votes : ndarray, shape (n_teachers, m)
        NaN on what is not labelled, or must not be read.
    weight : float
        Of the task in training.
    """

    data: TaskData
    votes: np.ndarray
    weight: float

    @property
    def known(self) -> np.ndarray:
        """The pairs with a label."""
        return ~np.isnan(self.votes).all(axis=0)


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


def problems(
    tasks: Sequence[TaskData], configuration: Configuration, *, seed: int, share: float = 1.0, left_out: str = ""
) -> list[Problem]:
    """Give each task the votes that may be read: of the configuration's teachers, on a share of the labelled queries.

    None at all on the task `left_out`.
    """
    given = []
    for task in tasks:
        votes = task.of(configuration.teachers)
        queries = np.unique(task.pairs.left[~np.isnan(votes).all(axis=0)])
        size = 0 if task.name == left_out else round(share * len(queries))
        kept = np.random.default_rng(seed).permutation(queries)[:size]
        votes = np.where(np.isin(task.pairs.left, kept), votes, np.nan)
        given.append(Problem(task, votes, 1.0 if task.name in gold.TASKS else configuration.held_out_weight))
    return given


def reference(given: Sequence[Problem]) -> list[np.ndarray]:
    """Probabilities by the student that the criterion trusts beside the teachers: small cross-fitted trees.

    It sees the votes that the configuration sees, and is the same for all configurations with the same votes.
    """
    votes = [_mean_votes(problem) for problem in given]
    columns = np.isin(lexical.FEATURES, REFERENCE_FEATURES)
    features = [np.where(columns, problem.data.features, 0.0).astype(np.float32) for problem in given]
    name = fingerprint(*(array.tobytes() for array in (*votes, *features)), repr(REFERENCE_TREES).encode())
    path = kept("reference", name)
    if not path.is_file():
        whole = TreesConfigured(Configuration((), trees=REFERENCE_TREES), features)
        logits, _ = whole.cross_fit(given, votes, seed=0)
        line = Line(1.0, 0.0, 0.0)
        keep(path, **{problem.data.name: sigmoid(z, 0.0, line) for problem, z in zip(given, logits, strict=True)})
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


def targets(given: Sequence[Problem], configuration: Configuration) -> list[np.ndarray]:
    """Soft labels of each task's pairs; NaN where there are none."""
    if configuration.labels == "likely":
        return likely(given)
    if configuration.labels == "error_model":
        return [_error_model(problem) for problem in given]
    votes = [_mean_votes(problem) for problem in given]
    if configuration.labels == "majority":
        return [np.where(np.isnan(vote), np.nan, vote > 0.5) for vote in votes]
    return votes


def _mean_votes(problem: Problem) -> np.ndarray:
    mean = np.full(problem.votes.shape[1], np.nan)
    mean[problem.known] = np.nanmean(problem.votes[:, problem.known], axis=0)
    return mean


def _error_model(problem: Problem) -> np.ndarray:
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


class TreesConfigured:
    """The trees of a configuration on the features it may read."""

    def __init__(self, configuration: Configuration, features: Sequence[np.ndarray]) -> None:
        self.configuration = configuration
        left_out = np.array([name.startswith(configuration.without or "\0") for name in lexical.FEATURES])
        if not configuration.context:
            left_out |= np.isin(lexical.FEATURES, lexical.CONTEXT)
        self.features = [np.where(left_out, 0.0, values).astype(np.float32) for values in features]

    def fit(
        self, given: Sequence[Problem], target: Sequence[np.ndarray], use: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Learn the labels of the pairs marked in `use`; return the logits of all pairs of each task."""
        parts = [
            TreeTask(values[rows], wanted[rows].astype(np.float32), problem.weight)
            for values, wanted, rows, problem in zip(self.features, target, use, given, strict=True)
            if rows.any()
        ]
        trees = fit_trees(parts, self.configuration.trees)
        if self.configuration.self_training:
            for values, problem in zip(self.features, given, strict=True):
                if not problem.weight:
                    continue
                free = ~problem.data.labelled
                own = believed(problem, free, _sigmoid(trees.decision_function(values[free])))
                parts.append(TreeTask(values[free], own, problem.weight * self.configuration.self_training))
            trees = fit_trees(parts, self.configuration.trees)
        return [trees.decision_function(values) for values in self.features]

    def cross_fit(
        self, given: Sequence[Problem], target: Sequence[np.ndarray], *, seed: int
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return logits, of labelled pairs out of fold and of others by a fit to all labels, and each fold's fit's."""
        known = [~np.isnan(wanted) for wanted in target]
        fold = [folds(problem, rows, self.configuration, seed) for problem, rows in zip(given, known, strict=True)]
        # Fits this small gain nothing from a second thread, and crawl with one where another process is busy.
        with threadpool_limits(1):
            refits = [
                self.fit(given, target, [rows & (of != k) for rows, of in zip(known, fold, strict=True)])
                for k in range(self.configuration.folds)
            ]
            logits = self.fit(given, target, known)
        for k, fitted in enumerate(refits):
            for out, own, of in zip(logits, fitted, fold, strict=True):
                out[of == k] = own[of == k]
        return logits, [np.stack(fitted) for fitted in zip(*refits, strict=True)]


def folds(problem: Problem, known: np.ndarray, configuration: Configuration, seed: int) -> np.ndarray:
    """Fold of each pair, by its query, as the package draws them; -1 for a pair without a label."""
    fold = np.full(len(known), -1)
    if known.any():
        queries, query = np.unique(problem.data.pairs.left[known], return_inverse=True)
        fold[known] = (np.random.default_rng(seed).permutation(len(queries)) % configuration.folds)[query]
    return fold


def believed(problem: Problem, rows: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """A student's own labels of pairs: its probabilities, less what a better pair of either record explains away."""
    pairs = problem.data.pairs.take(rows)
    kept = matching.one_to_one(pairs.left, pairs.right, chance, 0.0)
    holds_left, holds_right = np.zeros(pairs.n_left), np.zeros(pairs.n_right)
    holds_left[pairs.left[kept]] = holds_right[pairs.right[kept]] = chance[kept]
    rival = np.maximum(holds_left[pairs.left], holds_right[pairs.right])
    return np.where(kept, chance, chance * (1.0 - rival)).astype(np.float32)


def score(
    given: Sequence[Problem], configuration: Configuration, *, seed: int
) -> tuple[list[Scored], dict[str, float]]:
    """Make the student and let it score every pair; also return the seconds of making and of scoring."""
    started = time.perf_counter()
    target = targets(given, configuration)
    trees = TreesConfigured(configuration, [problem.data.features for problem in given])
    logits, refits = trees.cross_fit(given, target, seed=seed)
    made = time.perf_counter()
    known = [~np.isnan(wanted) for wanted in target]
    encoder = [encoder_logits(configuration.encoder, problem) for problem in given]
    unseen = [rows & fresh for rows, (_, fresh) in zip(known, encoder, strict=True)]
    held_out = [
        HeldOut(problem.data.name, z[rows], other[rows], wanted[rows].astype(np.float32), problem.weight)
        for problem, z, (other, _), wanted, rows in zip(given, logits, encoder, target, unseen, strict=True)
        if rows.any()
    ]
    served = variant(held_out, configuration)
    scored = []
    for problem, z, own, (other, _), wanted, fresh in zip(given, logits, refits, encoder, target, unseen, strict=True):
        probability = served_probability(served, z, other)
        again = [decided(problem, configuration, served, served_probability(served, one, other), wanted) for one in own]
        matched = decided(problem, configuration, served, probability, wanted)
        scored.append(Scored(probability, matched, np.stack(again), fresh, served.threshold))
    return scored, {"make": made - started, "decide": time.perf_counter() - made}


def variant(held_out: Sequence[HeldOut], configuration: Configuration) -> Variant:
    """Calibrate, and fuse where there is an encoder, as the package does."""
    if not configuration.calibrated:
        settled = Line(1.0, 0.0, 0.0)
    else:
        lexical_logits, wanted, weight = (
            [getattr(part, name) for part in held_out] for name in ("lexical", "target", "weight")
        )
        settled = calibrate.fit_settled(lexical_logits, wanted, weight)
    if configuration.encoder is None:
        return Variant("", False, settled, settled, (2.0, 2.0), configuration.threshold)
    if not configuration.lexical:
        held_out = [dataclasses.replace(part, lexical=np.zeros_like(part.lexical)) for part in held_out]
        settled = Line(0.0, 0.0, 0.0)  # one probability for all: every pair is asked of the encoder
    return calibrate.fit_variant("", False, settled, held_out)


def served_probability(served: Variant, lexical_logits: np.ndarray, encoder: np.ndarray) -> np.ndarray:
    part = HeldOut("", lexical_logits, encoder, np.empty(0), 1.0)
    return calibrate.tiered(served, part)


def decided(
    problem: Problem, configuration: Configuration, served: Variant, chance: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Which pairs are matches. Labelled and unlabelled tuples are decided apart, but for claims."""
    if not configuration.one_to_one:
        return chance >= served.threshold
    pairs, labelled = problem.data.pairs, problem.data.labelled
    matched = np.zeros(len(pairs), dtype=bool)
    for rows in (labelled, ~labelled):
        matched[rows] = matching.one_to_one(pairs.left[rows], pairs.right[rows], chance[rows], served.threshold)
    if configuration.claims:
        held = np.where(np.isnan(wanted), chance, wanted)
        together = matching.one_to_one(pairs.left, pairs.right, held, served.threshold)
        matched[~labelled] = together[~labelled]
    return matched


def encoder_logits(name: str | None, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """An encoder's logit of each pair, and whether it has learned nothing of the pair; NaN and True without one."""
    size = len(problem.data.pairs)
    if name is None:
        return np.full(size, np.nan), np.ones(size, dtype=bool)
    with np.load(kept("encoders", name, problem.data.name)) as stored:
        return stored["logits"].astype(np.float64), stored["unseen"]


def has_encoder(name: str) -> bool:
    """Whether an encoder's logits are there (see `distiller_encoder`)."""
    return kept("encoders", name, "").parent.is_dir()


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return sigmoid(logits, 0.0, Line(1.0, 0.0, 0.0))
