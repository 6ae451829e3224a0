"""Labelled tasks, cut by query into folds: which pairs each tier learns, and which neither has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from er_distill import lexical
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.student import CHUNK_SIZE
from er_distill.training.encoder import EncoderTask
from er_distill.training.labels import Candidates, Labels
from er_distill.training.trees import TreesConfig, TreeTask, fit_trees
from er_distill.vectors import vectorise

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

HELD_OUT_FOLD = 0
"""The fold the encoder is not trained on; calibration, fusion and parity are measured on it."""

STOPPING_FOLD = 1
"""The fold whose loss says when to stop training the encoder, where that was asked for."""

NO_FOLD = -1
"""In the place of a fold: pairs with a label of the student's own, which it learns and is never judged by."""


@dataclass(frozen=True)
class LabelledTask:
    """A task's labelled pairs.

    Attributes
    ----------
    candidates : Candidates
        Of the whole task.
    labels : Labels
    known : ndarray of int64, shape (m,)
        Rows of the labelled pairs.
    target : ndarray of float32, shape (m,)
    query, fold : ndarray of int64, shape (m,)
        Number of a labelled pair's query, and of the part that belongs to.
    pair_weight : ndarray of float32, shape (m,), optional
        How much a pair counts beside the others in training; by default 1. A pair that is not learned has no target.
    """

    candidates: Candidates
    labels: Labels
    known: np.ndarray
    target: np.ndarray
    query: np.ndarray
    fold: np.ndarray
    pair_weight: np.ndarray | None = None

    @property
    def unlabelled(self) -> np.ndarray:
        """Rows of the candidate pairs of queries that have no label at all."""
        left = self.candidates.pairs.left
        return np.flatnonzero(~np.isin(left, left[self.known]))

    def labels_at(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return `rows` and what the labels of these pairs bring to training, for the inputs of a stage."""
        return rows, self.target[rows], *(values[rows] for values in self.revised)

    @property
    def texts(self) -> tuple[list[str], list[str] | None]:
        """Texts of the left and the right records; None in the place of the right ones when both are one table."""
        right = self.candidates.right
        return self.candidates.left.texts, None if right is None else right.texts

    def pairs(self, rows: np.ndarray) -> Pairs:
        """Return the labelled pairs at `rows`."""
        return self.candidates.pairs.take(self.known[rows])

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Return lexical features of candidate pairs, each beside all others, shape (len(rows), len(FEATURES)).

        `rows` ascend.
        """
        task = self.candidates
        wanted = np.zeros(len(task.pairs), dtype=bool)
        wanted[rows] = True
        chunks = lexical.features(vectorise(task.left, task.right), task.pairs, chunk_size=CHUNK_SIZE)
        return np.concatenate([values[wanted[chunk]] for chunk, values in chunks])

    def tree_task(self, features: np.ndarray, rows: np.ndarray) -> TreeTask:
        """Return what trees learn of the labelled pairs that the mask `rows` marks."""
        learned = rows & ~np.isnan(self.target)
        weight = None if self.pair_weight is None else self.pair_weight[learned]
        return TreeTask(features[learned], self.target[learned], self.labels.weight, weight)

    def encoder_task(self, rows: np.ndarray) -> EncoderTask:
        """Return what the encoder learns of the labelled pairs at `rows`."""
        target = np.full(len(self.candidates.pairs), np.nan, dtype=np.float32)
        target[self.known[rows]] = self.target[rows]
        weight = None
        if self.pair_weight is not None:
            weight = np.ones_like(target)
            weight[self.known[rows]] = self.pair_weight[rows]
        return EncoderTask(*self.texts, self.candidates.pairs, target, weight, name=self.candidates.name)

    @property
    def revised(self) -> tuple[np.ndarray, ...]:
        """What a revision of the labels has changed beside the targets, an entry a labelled pair; () without one."""
        return () if self.pair_weight is None else (self.known, self.pair_weight)


def cut(candidates: Candidates, labels: Labels, folds: int, seed: int) -> LabelledTask:
    """Draw a task's folds. All candidates of a query are in one, so that no tier is judged by a query it has seen."""
    known = np.flatnonzero(labels.known)
    queries, query = np.unique(candidates.pairs.left[known], return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(queries)) % folds
    return LabelledTask(candidates, labels, known, labels.target[known], query, fold[query])


def cross_fit(
    tasks: Sequence[LabelledTask],
    learned: Sequence[LabelledTask],
    features: Sequence[np.ndarray],
    n_folds: int,
    config: TreesConfig,
    progress: Callable[[], object] = lambda: None,
) -> tuple[HistGradientBoostingClassifier, list[np.ndarray]]:
    """Fit trees to all labels, and score labelled pairs by trees that learned the other folds of all tasks.

    Parameters
    ----------
    tasks, learned : sequence of LabelledTask
        As teachers labelled them, and with the labels that are learned: of the same pairs first, then of others.
    features : sequence of ndarray
        Of the pairs of `learned`.
    n_folds : int
        Folds to score pairs of, from the first on.
    config : TreesConfig
    progress : callable
        Called after each fit, of which there are `n_folds` + 1.

    Returns
    -------
    HistGradientBoostingClassifier
        Of all labels.
    list of ndarray of float64
        Logits of the pairs of `tasks`; nan in folds that are not scored.
    """

    def fit(rows: Sequence[np.ndarray]) -> HistGradientBoostingClassifier:
        parts = [task.tree_task(own, use) for task, own, use in zip(learned, features, rows, strict=True)]
        trees = fit_trees(parts, config)
        progress()
        return trees

    logits = [np.full(len(task.known), np.nan) for task in tasks]
    for fold in range(n_folds):
        trees = fit([task.fold != fold for task in learned])
        for task, own, out in zip(tasks, features, logits, strict=True):
            rows = np.flatnonzero(task.fold == fold)
            out[rows] = trees.decision_function(own[rows])
    return fit([task.fold >= NO_FOLD for task in learned]), logits


def rows_to_learn(task: LabelledTask, logits: np.ndarray, budget: float, seed: int) -> np.ndarray:
    """The labelled pairs the encoder learns: whole lists outside its held-out fold.

    Where there are more than `budget` allows, half are the lists the trees are least sure of, which is where the
    encoder will be asked; the other half is drawn at random.
    """
    doubt = np.full(task.query.max() + 1, np.inf)
    np.minimum.at(doubt, task.query, np.abs(logits))
    elsewhere = task.fold != HELD_OUT_FOLD
    half = _whole_lists(task, elsewhere, np.argsort(doubt, kind="stable"), budget / 2)
    rest = _whole_lists(task, elsewhere & ~half, _shuffled_queries(task, seed), budget - half.sum())
    return np.flatnonzero(half | rest)


def own_rows_to_learn(task: LabelledTask, budget: float, seed: int) -> np.ndarray:
    """The pairs with a label of the student's own that the encoder learns: whole lists, at random."""
    return np.flatnonzero(_whole_lists(task, task.fold == NO_FOLD, _shuffled_queries(task, seed), budget))


def rows_to_settle_on(task: LabelledTask) -> np.ndarray:
    """The labelled pairs that the trees' calibration is fitted on: those that cross-fitted trees know nothing of.

    Trees that learn revised labels know by way of these something of all folds but the held-out one.
    """
    return np.flatnonzero(task.fold == HELD_OUT_FOLD if task.revised else task.fold >= 0)


def rows_to_hold_out(task: LabelledTask, budget: float, seed: int) -> np.ndarray:
    """The labelled pairs that calibration and parity are measured on: whole lists of the held-out fold, at random."""
    return np.flatnonzero(_whole_lists(task, task.fold == HELD_OUT_FOLD, _shuffled_queries(task, seed), budget))


def check_held_out(tasks: Sequence[LabelledTask], rows: Sequence[np.ndarray]) -> None:
    """Raise InputError when the held-out pairs hold only one kind of label: nothing could be calibrated on them."""
    target = np.concatenate([task.target[own] for task, own in zip(tasks, rows, strict=True)])
    if (target > 0.5).any() and (target < 0.5).any():
        return
    names = ", ".join(task.candidates.name for task in tasks)
    kind = "match" if (target < 0.5).any() or not len(target) else "non-match"
    raise InputError(
        f"the queries that are held out to calibrate on hold no {kind} ({names}: {len(target)} labelled pairs). Label "
        "more queries, or lower folds so that more of them are held out."
    )


def _shuffled_queries(task: LabelledTask, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(task.query.max() + 1)


def _whole_lists(task: LabelledTask, among: np.ndarray, order: np.ndarray, budget: float) -> np.ndarray:
    """Mark the pairs of the first queries in `order` that, of the marked pairs, together have at most `budget`."""
    size = np.bincount(task.query[among], minlength=len(order))
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[np.cumsum(size[order]) <= budget]] = True
    return among & chosen[task.query]
