"""Are labels that look wrong better left out, and do a student's own labels help? Judged on teacher labels alone.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.label_noise

The labels are the published answers to the training tuples of the eight DistillER tasks, of the best teacher and of the
noisiest. No gold is read. The student is the lexical tier's trees, one model for all tasks.

- Noise: how many suspects the other teachers' majority contradicts, beside all labels of matches; and the area under
  the ROC curve on folds that were not learned, with and without cleaning (`noise.try_cleaning`).
- Self-training: a share of the lists keeps its labels, the others are labelled in rounds. Their teacher labels, which
  nobody has learned, judge the model before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score
from threadpoolctl import threadpool_limits

from benchmarks.gold import data_folder
from benchmarks.provenance import Benchmark
from er_distill import lexical
from er_distill.curves import best_threshold
from er_distill.pairs import Pairs
from er_distill.training.labels import read_task
from er_distill.training.noise import FitPredict, NoiseConfig, clean_labels, cross_fitted, try_cleaning
from er_distill.training.self_training import SelfTrainingConfig, self_train
from er_distill.training.trees import TreesConfig, TreeTask, fit_trees
from er_distill.vectors import vectorise

TEACHERS = ("llama3.1-8b", "qwen2.5-14b", "qwen2.5-32b", "llama3.1-70b")
JUDGED = ("qwen2.5-32b", "llama3.1-8b")
SHARES = (0.05, 0.10)
SEEDS = (0, 1, 2)
FOLDS = 3
TREES = TreesConfig(rounds=60, learning_rate=0.15, least_leaf=10)


@dataclass(frozen=True)
class Pool:
    """The training tuples of all tasks as one, with each teacher's votes (nan: no usable answer)."""

    pairs: Pairs
    task: np.ndarray
    features: np.ndarray
    votes: dict[str, np.ndarray]

    def trees(self) -> FitPredict:
        """Trees on the pool, each task with the same weight."""

        def fit_predict(target: np.ndarray, weight: np.ndarray) -> np.ndarray:
            known = ~np.isnan(target) & (weight > 0)
            tasks = [
                TreeTask(self.features[rows], target[rows].astype(np.float32), 1.0, weight[rows])
                for rows in (known & (self.task == number) for number in np.unique(self.task[known]))
            ]
            return fit_trees(tasks, TREES).predict_proba(self.features)[:, 1]

        return fit_predict


def read_pool(folder: Path) -> Pool:
    pairs, task, features = [], [], []
    votes: dict[str, list[np.ndarray]] = {name: [] for name in TEACHERS}
    n_left = n_right = 0
    for number, one in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for name in TEACHERS:
            candidates, labels = read_task(one, {name: ""}, unlabelled=False)
            votes[name].append(labels.target)
        own = candidates.pairs
        chunks = lexical.features(vectorise(candidates.left, candidates.right), own, chunk_size=len(own))
        features.append(next(values for _, values in chunks))
        pairs.append((own.left + n_left, own.right + n_right))
        task.append(np.full(len(own), number))
        n_left, n_right = n_left + own.n_left, n_right + own.n_right
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return Pool(
        Pairs(left, right, n_left, n_right),
        np.concatenate(task),
        np.concatenate(features),
        {name: np.concatenate(parts) for name, parts in votes.items()},
    )


def folds_of(pool: Pool, seed: int) -> np.ndarray:
    queries, query = np.unique(pool.pairs.left, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(queries)) % FOLDS)[query]


def measure_noise(pool: Pool, teacher: str) -> dict[str, Any]:
    target, fit_predict, fold = pool.votes[teacher], pool.trees(), folds_of(pool, 0)
    probability = cross_fitted(fit_predict, target, np.ones_like(target), fold)
    others = np.nanmean([votes for name, votes in pool.votes.items() if name != teacher], axis=0)
    found = np.zeros(len(target), dtype=bool)
    for number in np.unique(pool.task):  # noise differs between tasks
        rows = pool.task == number
        found[rows] = clean_labels(
            np.where(np.isnan(target), 0, probability)[rows], target[rows], pool.pairs.take(rows), NoiseConfig("drop")
        ).suspect
    matches = target >= 0.5
    result: dict[str, Any] = {
        "matches": int(matches.sum()),
        "contradicted": float((others < 0.5)[matches].mean()),
        "suspects": int(found.sum()),
        "suspects_contradicted": float((others < 0.5)[found].mean()),
    }
    for action in ("drop", "weight"):
        trial = try_cleaning(fit_predict, target, pool.pairs, fold, NoiseConfig(action))
        result[action] = asdict(trial) | {"helps": trial.helps}
    return result


def measure_self_training(pool: Pool, teacher: str, share: float, seed: int) -> dict[str, Any]:
    target, fit_predict = pool.votes[teacher], pool.trees()
    queries = np.random.default_rng(seed).permutation(np.unique(pool.pairs.left))
    asked = np.isin(pool.pairs.left, queries[: round(share * len(queries))])
    given = np.where(asked, target, np.nan).astype(np.float32)
    learned = self_train(fit_predict, given, pool.pairs, SelfTrainingConfig(seed=seed))
    judged = ~asked & ~np.isnan(target)
    truth = target[judged] >= 0.5
    own = learned.by_student & judged
    result: dict[str, Any] = {
        "rounds": len(learned.rounds),
        "best": learned.best,
        "own_labels": int(own.sum()),
        "own_labels_as_the_teacher": float((learned.target[own] == target[own]).mean()) if own.any() else None,
    }
    of = {"before": (given, np.ones_like(given)), "after": (learned.target, learned.weight)}
    for when, labels in of.items():
        scores = fit_predict(*labels)[judged]
        result[when] = {
            "f1": best_threshold(truth, scores).f1,
            "roc_auc": roc_auc_score(truth, scores),
            "log_loss": log_loss(truth, scores),
        }
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, help="where to write the result")
    options = parser.parse_args(arguments)
    benchmark = Benchmark("label_noise", None, ("cleanlab", "scikit-learn"))
    with threadpool_limits(1):
        pool = read_pool(data_folder())
        figures: dict[str, Any] = {"noise": {}, "self_training": {}}
        for teacher in JUDGED:
            figures["noise"][teacher] = measure_noise(pool, teacher)
            print(teacher, figures["noise"][teacher], flush=True)
        for share in SHARES:
            runs = [measure_self_training(pool, JUDGED[0], share, seed) for seed in SEEDS]
            figures["self_training"][f"{share:.0%}"] = runs
            print(share, runs, flush=True)
    benchmark.write(figures, [], options.output)


if __name__ == "__main__":
    main()
