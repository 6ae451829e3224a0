"""What the bundled student's encoder starts from: the lowest half of all-MiniLM-L6-v2, taught by trees.

Three layers learn more slowly what six do, and a teacher's labels are few. So the small encoder learns first from
candidate lists of the same tasks that nobody labelled: trees on the lexical features, fitted to the labels outside the
held-out fold, say how likely each candidate is, and these probabilities are its labels (Hinton, Vinyals, Dean 2015,
arXiv 1503.02531, at temperature 1). No gold is read. Two CPU cores take some eight minutes.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from er_distill.training import EncoderConfig, Run
from er_distill.training.exclusion import at_most_one
from er_distill.training.folds import HELD_OUT_FOLD, NO_FOLD, LabelledTask
from er_distill.training.stages import content_of
from er_distill.training.tiers import EncoderTier
from er_distill.training.trees import TreesConfig, fit_trees

LAYERS = 3
MAX_LENGTH = 96  # tokens a pair; the encoder of six layers explained held-out labels with 96 as well as with 128
PAIRS = 2_500  # of each task
EPOCHS = 2
LEARNING_RATE = 1.5e-4
SEED = 0

log = logging.getLogger(__name__)


def default_base(tasks: Sequence[LabelledTask], base: str, run: Run, pairs: int = PAIRS) -> Path:
    """Train the base, or find it in the run folder.

    Parameters
    ----------
    tasks : sequence of LabelledTask
        Links, with the folds that the student is made with.
    base : str
        Folder of the encoder whose lowest layers it starts with.
    run : Run
    pairs : int
        Of each task, that trees label.

    Returns
    -------
    Path
        A folder of weights and tokenizer.
    """
    config = EncoderConfig(
        base, max_length=MAX_LENGTH, layers=LAYERS, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=SEED
    )

    def make(folder: Path) -> None:
        learned = [(task, np.arange(len(task.known))) for task in taught_by_trees(tasks, pairs)]
        EncoderTier(config).train(learned, [], folder, progress=run.progress)

    inputs = {
        # Not the version of the features: trees on another one say about the same, and training takes long.
        "tasks": [(content_of(task.candidates), task.known, task.target, task.fold) for task in tasks],
        "config": dataclasses.replace(config, base=""),
        "base": Path(base),
        "pairs": pairs,
    }
    return run.stage("base", inputs, make).folder


def taught_by_trees(tasks: Sequence[LabelledTask], pairs: int) -> list[LabelledTask]:
    """Return the tasks with labels by trees, on about so many pairs of each: lists that have no label of a teacher."""
    trees = fit_trees(
        [task.tree_task(task.features(task.known), task.fold != HELD_OUT_FOLD) for task in tasks], TreesConfig()
    )
    rng = np.random.default_rng(SEED)
    taught = []
    for task in tasks:
        left = task.candidates.pairs.left
        queries = rng.permutation(np.unique(left[task.unlabelled]))
        size = np.bincount(left, minlength=task.candidates.pairs.n_left)[queries]
        known = np.flatnonzero(np.isin(left, queries[np.cumsum(size) <= pairs]))
        query = left[known]
        target = expit(trees.decision_function(task.features(known)))
        order = np.argsort(query, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(query[order])) + 1):
            target[own] = at_most_one(target[own])[:-1]
        log.info("%s: %d pairs labelled by trees", task.candidates.name, len(known))
        fold = np.full_like(known, NO_FOLD)
        taught.append(dataclasses.replace(task, known=known, target=target.astype(np.float32), query=query, fold=fold))
    return taught
