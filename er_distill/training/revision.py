"""Labels as a student learns them: those that look wrong count less, and it may add some of its own where none are.

Trees on the lexical features give the evidence, those of one task at a time. The held-out fold has no part in it: its
labels are neither read nor changed, so that what is calibrated and measured on it is what teachers said of queries that
no model has met, directly or through what another model made of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from er_distill.errors import InputError
from er_distill.training.folds import HELD_OUT_FOLD, NO_FOLD, LabelledTask
from er_distill.training.noise import FitPredict, clean_labels, cross_fitted, try_cleaning
from er_distill.training.recipe import DistillConfig
from er_distill.training.self_training import self_train
from er_distill.training.trees import TreesConfig, TreeTask, fit_trees

_FOLDS = 5  # of the queries that are not held out: the evidence about one is of trees that learned the others
_REPORT = "report.json"
_ARRAYS = ("target", "weight", "own")


@dataclass(frozen=True)
class Revision:
    """The labels of one task, revised.

    Attributes
    ----------
    target, weight : ndarray of float32, shape (m,)
        Of all candidate pairs: what is learned (nan: nothing), and how much it counts.
    own : ndarray of bool, shape (m,)
        Labels that no teacher has given.
    noise, self_training : dict or None
        What was done, fit for JSON; None where it was not asked for.
    """

    target: np.ndarray
    weight: np.ndarray
    own: npt.NDArray[np.bool_]
    noise: dict[str, Any] | None
    self_training: dict[str, Any] | None


def revise(task: LabelledTask, features_of: Callable[[np.ndarray], np.ndarray], config: DistillConfig) -> Revision:
    """Clean a task's labels and add to them, as far as `config` asks for either.

    Parameters
    ----------
    task : LabelledTask
        As teachers labelled it.
    features_of : callable
        Returns the features of candidate pairs, given their rows; those of queries without labels are asked for when
        these are to be learned from.
    config : DistillConfig

    Returns
    -------
    Revision

    Raises
    ------
    InputError
        When the labels are too few to train on them and to judge by them.
    """
    target = task.labels.target.astype(np.float32)
    weight = (~np.isnan(target)).astype(np.float32)
    own = np.zeros(len(target), dtype=bool)
    rows = np.flatnonzero(task.fold != HELD_OUT_FOLD)
    given = task.known[rows]
    noise = self_training = None
    if config.noise.action != "off":
        target[given], weight[given], noise = _cleaned(task, rows, features_of(given), config)
    if config.self_training is not None:
        every = np.concatenate([given[~np.isnan(target[given])], task.unlabelled])
        target[every], weight[every], own[every], self_training = _with_own(
            task, every, features_of(every), target[every], weight[every], config
        )
    return Revision(target, weight, own, noise, self_training)


def write(revisions: Sequence[Revision], tasks: Sequence[LabelledTask], folder: Path) -> None:
    """Write the tasks' revisions into the folder of a stage."""
    report: dict[str, dict[str, Any]] = {"noise": {}, "self_training": {}}
    for k, (revision, task) in enumerate(zip(revisions, tasks, strict=True)):
        for array in _ARRAYS:
            np.save(folder / f"{array}-{k:03}.npy", getattr(revision, array))
        for part, found in report.items():
            if (about := getattr(revision, part)) is not None:
                found[task.candidates.name] = about
    asked = {part: found for part, found in report.items() if found}
    (folder / _REPORT).write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")


def read(folder: Path, tasks: Sequence[LabelledTask]) -> tuple[list[LabelledTask], dict[str, Any]]:
    """Return what `write` has left.

    Returns
    -------
    list of LabelledTask
        With the labels that are learned: the pairs that teachers labelled, then those of its own. One in which nothing
        was changed is the task itself.
    dict
        What was done, by kind (``noise``, ``self_training``) and task, for the manifest.
    """
    report: dict[str, Any] = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    arrays = ([np.load(folder / f"{array}-{k:03}.npy") for array in _ARRAYS] for k in range(len(tasks)))
    return [_revised(task, *own) for task, own in zip(tasks, arrays, strict=True)], report


def _revised(task: LabelledTask, target: np.ndarray, weight: np.ndarray, own: np.ndarray) -> LabelledTask:
    added = np.flatnonzero(own)
    if not len(added) and np.array_equal(target[task.known], task.target) and (weight[task.known] == 1).all():
        return task
    known = np.concatenate([task.known, added])
    query = np.unique(task.candidates.pairs.left[added], return_inverse=True)[1] + task.query.max() + 1
    return replace(
        task,
        known=known,
        target=target[known],
        query=np.concatenate([task.query, query]),
        fold=np.concatenate([task.fold, np.full(len(added), NO_FOLD)]),
        pair_weight=weight[known],
    )


def _cleaned(
    task: LabelledTask, rows: np.ndarray, features: np.ndarray, config: DistillConfig
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return targets and weights of the labelled pairs at `rows`, and what was found."""
    target, pairs, how = task.target[rows], task.pairs(rows), config.noise
    fit_predict = _learner(features, config.trees)
    queries, query = np.unique(task.query[rows], return_inverse=True)
    fold = (np.random.default_rng(config.seed).permutation(len(queries)) % _FOLDS)[query]
    trial = try_cleaning(fit_predict, target, pairs, fold, how) if how.on_trial else None
    used = trial is None or trial.helps
    ones = np.ones(len(rows), dtype=np.float32)
    cleaned = clean_labels(cross_fitted(fit_predict, target, ones, fold), target, pairs, how)
    about = {
        "action": how.action,
        "labels": cleaned.report.labels,
        "suspects": int(cleaned.suspect.sum()),
        "used": used,
        "trial": None if trial is None else {"plain": trial.plain, "cleaned": trial.cleaned},
    }
    return (cleaned.target, cleaned.weight, about) if used else (target, ones, about)


def _with_own(
    task: LabelledTask,
    every: np.ndarray,
    features: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    config: DistillConfig,
) -> tuple[np.ndarray, np.ndarray, npt.NDArray[np.bool_], dict[str, Any]]:
    """Return targets, weights and where labels are new, of the candidate pairs `every`, and what was found."""
    counts = np.where(np.isnan(target), 1.0, weight)
    learner = _learner(features, config.trees)
    try:
        found = self_train(
            lambda wanted, share: learner(wanted, share * counts),
            target,
            task.candidates.pairs.take(every),
            config.self_training,
        )
    except InputError as error:
        raise InputError(f"{task.candidates.name}: {error}") from error
    about = {
        "unlabelled": int((~found.by_teacher).sum()),
        "matches": int((found.target[found.by_student] == 1).sum()),
        "others": int((found.target[found.by_student] == 0).sum()),
        "best": found.best,
        "agreement": [one.agreement for one in found.rounds],
    }
    return found.target, (found.weight * counts).astype(np.float32), found.by_student, about


def _learner(features: np.ndarray, config: TreesConfig) -> FitPredict:
    def fit_predict(target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        known = ~np.isnan(target)
        votes = target[known]
        if not (votes > 0).any() or not (votes < 1).any():  # a few queries that all say the same
            return np.full(len(target), votes.mean() if len(votes) else 0.5)
        trees = fit_trees([TreeTask(features[known], votes, 1.0, weight[known])], config)
        probability: np.ndarray = trees.predict_proba(features)[:, 1]
        return probability

    return fit_predict
