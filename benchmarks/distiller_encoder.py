"""The encoders that `distiller` fuses: trained once, their logits of every pair kept in ``runs/distiller/encoders``.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.distiller_encoder --name qwen32b

Two cores take about an hour; a GPU takes minutes. `--weights` takes a trained encoder instead of training one (a
folder that `EncoderModel` was saved to): the one of the bundled student is ``runs/default-student/encoder-<hash>``. The
first fold of each task's labelled queries is held out, as the package does, so that fusion and criterion have pairs
that no tier has learned.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.build_default_student import LEARNING_RATE, MAX_LENGTH, offline_base
from benchmarks.distiller_configurations import EVERYONE, QWEN, QWEN_32B, Configuration
from benchmarks.distiller_data import keep, kept, load
from benchmarks.distiller_labels import targets
from benchmarks.distiller_problem import Problem, problems
from benchmarks.distiller_trees import folds
from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder
from er_distill.training.folds import HELD_OUT_FOLD
from er_distill.training.pretrained import EncoderModel, has_bfloat16, load_base


@dataclass(frozen=True)
class Recipe:
    """What an encoder learns, and how."""

    teachers: tuple[str, ...]
    labels: Literal["votes", "majority", "error_model", "likely"] = "votes"
    objective: Literal["listwise", "pairwise", "both"] = "listwise"
    epochs: int = 3

    @property
    def configuration(self) -> Configuration:
        """Of the labels and folds."""
        return Configuration(self.teachers, labels=self.labels)


RECIPES = {
    "everyone": Recipe(EVERYONE, "error_model"),
    "everyone-pairwise": Recipe(EVERYONE, "error_model", "pairwise"),
    "qwen32b": Recipe(QWEN_32B),
    "qwen32b-pairwise": Recipe(QWEN_32B, objective="pairwise"),
    "default": Recipe(QWEN),  # the bundled student's
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, choices=RECIPES)
    parser.add_argument("--weights", type=Path, help="a trained encoder, to score with")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    recipe = RECIPES[args.name]
    given = problems(load(), recipe.configuration, seed=args.seed)
    wanted, _ = targets(given, recipe.configuration)
    learned = [_learned(p, t, recipe, args.seed) for p, t in zip(given, wanted, strict=True)]
    encoder = load_base(args.weights, MAX_LENGTH) if args.weights else train(given, wanted, learned, recipe, args.seed)
    write(args.name, encoder, given, learned)


def _learned(problem: Problem, target: np.ndarray, recipe: Recipe, seed: int) -> np.ndarray:
    fold = folds(problem, ~np.isnan(target), recipe.configuration, seed)
    return (fold >= 0) & (fold != HELD_OUT_FOLD)


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
        max_length=MAX_LENGTH,
        epochs=recipe.epochs,
        learning_rate=LEARNING_RATE,
        objective=recipe.objective,
        seed=seed,
    )
    return train_encoder(tasks, config, progress=True)


def write(name: str, encoder: EncoderModel, given: list[Problem], learned: list[np.ndarray]) -> None:
    """Score every pair of every task, a task at a time: a run that was stopped goes on where it was.

    In bfloat16 where the CPU multiplies in it, three times as fast; what is fused is as coarse.
    """
    half = torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu")))
    for problem, rows in zip(given, learned, strict=True):
        path = kept("encoders", name, problem.data.name)
        if path.is_file():
            continue
        candidates, started = problem.data.candidates, time.perf_counter()
        right = None if candidates.right is None else candidates.right.texts
        with half:
            logits = encoder.predict(candidates.left.texts, right, candidates.pairs)
        seconds = time.perf_counter() - started
        keep(path, logits=logits, unseen=~rows, seconds=seconds)
        print(f"{problem.data.name}: {len(logits) / seconds:,.0f} pairs/s")


if __name__ == "__main__":
    main()
