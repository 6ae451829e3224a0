"""The encoders that `distiller` fuses: trained once, their logits of every pair kept in ``runs/distiller/encoders``.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.distiller_encoder --name qwen32b

Two cores take half an hour for `qwen32b` and five minutes for each small one. `--weights` takes a trained encoder
instead of training one: the folder of a run's stage ``encoder``, as of ``python -m benchmarks.distil``. The first fold
of each task's labelled queries is held out, as the package does, so that fusion and criterion have pairs that no tier
has learned.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.build_default_student import offline_base
from benchmarks.distiller_configurations import QWEN_32B, Configuration
from benchmarks.distiller_data import keep, kept, load
from benchmarks.distiller_labels import targets
from benchmarks.distiller_problem import Problem, problems
from benchmarks.distiller_student import has_encoder
from benchmarks.distiller_trees import folds
from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder
from er_distill.training.export import export_encoder, graph_logits
from er_distill.training.folds import HELD_OUT_FOLD
from er_distill.training.pretrained import EncoderModel, load_base


@dataclass(frozen=True)
class Recipe:
    """What an encoder learns, and how."""

    teachers: tuple[str, ...]
    objective: Literal["listwise", "pairwise", "both"] = "listwise"
    epochs: int = 3
    max_length: int = 128  # tokens a pair
    layers: int = 0  # lowest of the base that are kept; 0: all
    pairs: int = 2_500  # labelled ones of a task of weight 1 that are learned, at random in whole lists

    @property
    def configuration(self) -> Configuration:
        """Of the labels and folds."""
        return Configuration(self.teachers)


SMALL = Recipe(QWEN_32B, epochs=1, max_length=64, layers=3, pairs=300)
RECIPES = {
    "qwen32b": Recipe(QWEN_32B),
    "qwen32b-small": SMALL,  # with what is the same but for its objective, to compare these
    "qwen32b-small-pairwise": replace(SMALL, objective="pairwise"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, choices=RECIPES)
    parser.add_argument("--weights", type=Path, help="a trained encoder, to score with")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    recipe = RECIPES[args.name]
    given = problems(load(), recipe.configuration, seed=args.seed)
    if has_encoder(args.name, [problem.data for problem in given]):
        print(f"the logits of {args.name} are there already")
        return
    wanted, _ = targets(given, recipe.configuration)
    learned = [_learned(p, t, recipe, args.seed) for p, t in zip(given, wanted, strict=True)]
    encoder = (
        load_base(args.weights, recipe.max_length) if args.weights else train(given, wanted, learned, recipe, args.seed)
    )
    write(args.name, encoder, given, learned)


def _learned(problem: Problem, target: np.ndarray, recipe: Recipe, seed: int) -> np.ndarray:
    """Mark the pairs to learn."""
    fold = folds(problem, ~np.isnan(target), recipe.configuration, seed)
    learned = (fold >= 0) & (fold != HELD_OUT_FOLD)
    left = problem.data.pairs.left
    queries, sizes = np.unique(left[learned], return_counts=True)
    order = np.random.default_rng(seed).permutation(len(queries))
    within = order[np.cumsum(sizes[order]) <= recipe.pairs * problem.weight]
    return learned & np.isin(left, queries[within])


def train(
    given: list[Problem], wanted: list[np.ndarray], learned: list[np.ndarray], recipe: Recipe, seed: int
) -> EncoderModel:
    """Train an encoder on the pairs marked as learned."""
    tasks = []
    for problem, target, rows in zip(given, wanted, learned, strict=True):
        candidates = problem.data.candidates
        right = None if candidates.right is None else candidates.right.texts
        label = np.where(rows, target, np.nan).astype(np.float32)
        weight = np.full(len(rows), problem.weight, dtype=np.float32)
        tasks.append(EncoderTask(candidates.left.texts, right, candidates.pairs, label, weight, candidates.name))
    config = EncoderConfig(
        base=offline_base(),
        max_length=recipe.max_length,
        layers=recipe.layers,
        epochs=recipe.epochs,
        objective=recipe.objective,
        seed=seed,
    )
    return train_encoder(tasks, config, progress=True)


def write(name: str, encoder: EncoderModel, given: list[Problem], learned: list[np.ndarray]) -> None:
    """Score every pair of every task by the int8 graph, which is what a student asks.

    A task at a time: a run that was stopped goes on where it was.
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / export_encoder(encoder, Path(folder), variants=("int8",))["int8"]
        for problem, rows in zip(given, learned, strict=True):
            path = kept("encoders", name, problem.data.name)
            if path.is_file():
                continue
            candidates, started = problem.data.candidates, time.perf_counter()
            right = None if candidates.right is None else candidates.right.texts
            logits = graph_logits(graph, encoder, candidates.left.texts, right, candidates.pairs, one_by_one=True)
            seconds = time.perf_counter() - started
            keep(path, logits=logits, unseen=~rows, seconds=seconds)
            print(f"{problem.data.name}: {len(logits) / seconds:,.0f} pairs/s", flush=True)


if __name__ == "__main__":
    main()
