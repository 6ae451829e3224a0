"""One encoder for each domain, merged into one, against one trained on all domains and against each alone.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.merging

Three encoders learn the labels of the two Qwen teachers on products, publications and films; a fourth learns all of
them in one go. The three are merged by each method. Every encoder then scores a sample of the test queries of the four
open tasks by itself (no trees, no fusion; in bfloat16): a pair is a match where its log-odds against "none" are above
0, one-to-one. Merging is weighed alike, and once by fit: the likelihood each domain's encoder gives to a held-out fifth
of all domains' labels. Nothing is chosen by these figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.build_default_student import TEACHERS, offline_base
from benchmarks.gold import TASKS, Task, data_folder
from benchmarks.provenance import Benchmark
from er_distill import matching
from er_distill.metrics import pair_scores
from er_distill.pairs import Pairs
from er_distill.training import EncoderConfig, read_task
from er_distill.training.encoder import EncoderTask, train_encoder
from er_distill.training.merge import MergeConfig, merge, weights_by_fit
from er_distill.training.pretrained import EncoderModel, load_base

DOMAINS = {
    "products": ("abt-buy", "amazon-google", "walmart-amazon"),
    "publications": ("dblp-acm", "dblp-scholar"),
    "films": ("imdb-tmdb", "imdb-tvdb", "tmdb-tvdb"),
}
MERGES = {
    "soup": MergeConfig("soup"),
    "slerp": MergeConfig("slerp"),
    "ties": MergeConfig("ties"),
    "dare": MergeConfig("dare"),
}
HELD_OUT = 0.2  # share of the labelled queries that no encoder learns; weights by fit come from them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--queries", type=int, default=150, help="labelled queries a task that are learned")
    parser.add_argument("--test-queries", type=int, default=300, help="test queries an open task that are scored")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/merging"), help="keeps the trained encoders")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/merging.json")
    args = parser.parse_args()
    benchmark = Benchmark("merging", None, ("torch", "transformers", "peft"))
    config = EncoderConfig(offline_base(), max_length=96, epochs=args.epochs, seed=args.seed)

    learned, held_out = zip(*(_labelled(name, args) for names in DOMAINS.values() for name in names), strict=True)
    groups = {**DOMAINS, "joint": tuple(name for names in DOMAINS.values() for name in names)}
    seconds: dict[str, float] = {}
    folders: dict[str, Path] = {}
    for group, names in groups.items():
        folders[group], seconds[group] = _trained(group, [t for t in learned if t.name in names], config, args.work)

    fits = [_log_likelihoods(load_base(folders[domain], config.max_length), held_out) for domain in DOMAINS]
    weights = weights_by_fit(fits)
    with tempfile.TemporaryDirectory() as merged:
        merges = {**MERGES, "soup weighted by fit": MergeConfig("soup", weights)}
        for name, how in merges.items():
            domains = [folders[domain] for domain in DOMAINS]
            folders[name] = merge(domains, Path(merged) / name, how, base=config.base)
        scores = {
            name: {task: _scores(load_base(folder, config.max_length), *_sampled(task, args)) for task in TASKS}
            for name, folder in tqdm(folders.items(), "scoring", unit="encoder")
        }
    # Everything is decided before gold is read.
    gold = {task: Task(task).gold("merging") for task in TASKS}
    f1 = {
        name: {task: _f1(_sampled(task, args)[1], gold[task], of_task[task]) for task in TASKS}
        for name, of_task in scores.items()
    }
    figures: dict[str, Any] = {
        "f1": {name: {**of_task, "mean": statistics.fmean(of_task.values())} for name, of_task in f1.items()},
        "seconds_to_train": seconds,
        "weights_by_fit": dict(zip(DOMAINS, weights, strict=True)),
        "mean_log_likelihood": {d: float(np.mean(fit)) for d, fit in zip(DOMAINS, fits, strict=True)},
        "test_pairs": {task: len(_sampled(task, args)[1]) for task in TASKS},
        "labelled_pairs": {task.name: int((~np.isnan(task.target)).sum()) for task in learned},
    }
    benchmark.write(figures, [], args.output)
    for name, of_task in figures["f1"].items():
        print(f"{name:22s}", *(f"{task} {value:.3f}" for task, value in of_task.items()))


def _labelled(name: str, args: argparse.Namespace) -> tuple[EncoderTask, EncoderTask]:
    """A task's queries to learn, and those held out."""
    candidates, labels = read_task(data_folder() / name, TEACHERS, unlabelled=False)
    assert candidates.right is not None  # every task here has two tables
    queries = np.unique(candidates.pairs.left[labels.known])
    queries = np.random.default_rng(args.seed).permutation(queries)
    n_held_out = round(HELD_OUT * len(queries))
    parts = queries[n_held_out:][: args.queries], queries[:n_held_out]
    left, right = candidates.left.texts, candidates.right.texts
    return tuple(  # type: ignore[return-value]
        EncoderTask(
            left,
            right,
            candidates.pairs,
            np.where(np.isin(candidates.pairs.left, part), labels.target, np.nan),
            name=name,
        )
        for part in parts
    )


def _trained(name: str, tasks: Sequence[EncoderTask], config: EncoderConfig, work: Path) -> tuple[Path, float]:
    """Train an encoder, unless an earlier run has."""
    folder = (
        work / f"{name}-{len(tasks)}-{config.epochs}-{config.seed}-{sum((~np.isnan(t.target)).sum() for t in tasks)}"
    )
    taken = folder / "seconds.txt"
    if not taken.is_file():
        started = time.perf_counter()
        model = train_encoder(tasks, config, progress=True)
        seconds = time.perf_counter() - started
        model.model.save_pretrained(folder)
        model.tokenizer.save(str(folder / "tokenizer.json"))
        taken.write_text(f"{seconds}")
    return folder, float(taken.read_text())


def _log_likelihoods(model: EncoderModel, held_out: Sequence[EncoderTask]) -> np.ndarray:
    """Log-likelihood of each held-out label, pair by pair."""
    parts = []
    for task in held_out:
        known = np.flatnonzero(~np.isnan(task.target))
        logits = _scores(model, (task.left_texts, task.right_texts), task.pairs.take(known))
        target = task.target[known]
        parts.append(-target * np.logaddexp(0, -logits) - (1 - target) * np.logaddexp(0, logits))
    return np.concatenate(parts)


def _sampled(name: str, args: argparse.Namespace) -> tuple[tuple[list[str], list[str]], Pairs]:
    """Texts of an open task, and the candidate pairs of a sample of its test queries."""
    task = Task(name)
    pairs = task.test_pairs
    queries = np.random.default_rng(args.seed).permutation(np.unique(pairs.left))[: args.test_queries]
    left, right = task.records
    return (left.texts, right.texts), pairs.take(np.isin(pairs.left, queries))


def _scores(model: EncoderModel, texts: tuple[list[str], list[str] | None], pairs: Pairs) -> np.ndarray:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model.predict(*texts, pairs).astype(np.float64)


def _f1(pairs: Pairs, gold: Pairs, logits: np.ndarray) -> float:
    true = pairs.take(np.isin(pairs.keys(), gold.keys()))
    found = pairs.take(matching.one_to_one(pairs.left, pairs.right, 1 / (1 + np.exp(-logits)), 0.5))
    return pair_scores(found.left, found.right, true.left, true.right).f1


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
