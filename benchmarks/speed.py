"""Pairs a second on the CPU: ours against sentence-transformers' `CrossEncoder.predict`, same weights, pairs and run.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.speed --weights <folder of the trained encoder>

The pairs are the candidate pairs of walmart-amazon's test tuples: all of them, or with `--pairs` those of queries taken
at random, while both tables stay whole. Three contenders, interleaved, each trial in a process of its own so that none
disturbs another's threads; loading the model and warming up are not timed, all else is:

- peer: `CrossEncoder.predict` (torch, float32, batches of 32), given the pairs' texts.
- neural: our int8 graph alone, from the records' texts to one logit a pair.
- student: `Student.score` as users call it, from records to probabilities, vectors of both whole tables included.

All read the two texts in the same order and cut them to the same length. Tokenising is timed for all of them. The
peer's match is a probability (sigmoid of the logit) of at least 0.5: it was trained so that its logit is the log-odds
of a match. Beside that stands its F1 at the threshold that is best on gold, which no user could know.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks.gold import Task
from benchmarks.provenance import ROOT, Benchmark, Target
from benchmarks.tiers import share_to_encoder, trees_alone
from er_distill import matching
from er_distill.logits import encoder_logits
from er_distill.metrics import best_threshold, pair_scores
from er_distill.pairs import Pairs
from er_distill.readers import BATCH_SIZE
from er_distill.session import Session
from er_distill.student import Student
from er_distill.tokens import PairEncoder

TASK = "walmart-amazon"
CONTENDERS = ("peer", "neural", "student")
PEER_BATCH = 32
WARM_UP = 64  # pairs
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="default: the newest runs/default-student/encoder-*")
    parser.add_argument("--student", default="default")
    parser.add_argument("--pairs", type=int, help="only so many, of queries taken at random; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/speed.json")
    parser.add_argument("--trial", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    pairs = sample(Task(TASK).test_pairs, args.pairs)
    if args.trial:
        run_trial(args, pairs)
        return
    benchmark = Benchmark("speed", args.student, ["sentence-transformers", "torch", "transformers"])
    args.weights = args.weights or newest_weights()
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    scores: dict[str, np.ndarray] = {}
    for _ in range(args.rounds):
        for name in CONTENDERS:
            taken, scores[name] = trial_in_own_process(name, args)
            seconds[name].append(taken)
            print(f"{name}: {len(pairs) / taken:,.0f} pairs/s", flush=True)
    student = Student.load(args.student)
    gold = Task(TASK).gold("speed")
    figures: dict[str, Any] = {
        "task": TASK,
        "pairs": len(pairs),
        "queries": len(np.unique(pairs.left)),
        "records": [pairs.n_left, pairs.n_right],
        "weights": args.weights.name,
        "share_to_encoder": share_to_encoder(student, trees_alone(student).score(*Task(TASK).records, pairs)),
        "peer": quality(pairs, gold, scores["peer"], 0.5) | {"best_f1_on_gold": best_f1(pairs, gold, scores["peer"])},
        "neural": quality(pairs, gold, scores["neural"], 0.5),
        "student": quality(pairs, gold, scores["student"], student.threshold),
    }
    for name in CONTENDERS:
        figures[name] |= speeds(len(pairs), seconds[name])
    ratio = {name: figures[name]["pairs_per_second"] / figures["peer"]["pairs_per_second"] for name in CONTENDERS[1:]}
    by_round = {name: [p / s for p, s in zip(seconds["peer"], seconds[name], strict=True)] for name in ratio}
    figures["times_the_peer"] = {name: {"median": ratio[name], "by_round": by_round[name]} for name in ratio}
    targets = [
        Target("neural tier alone: times the peer's pairs/s", ratio["neural"], at_least=3.0),
        Target("whole student: times the peer's pairs/s", ratio["student"], at_least=15.0),
        Target("whole student: F1 less the peer's", figures["student"]["f1"] - figures["peer"]["f1"], at_least=0.0),
    ]
    benchmark.write(figures, targets, args.output)


def sample(pairs: Pairs, size: int | None) -> Pairs:
    """Whole candidate lists of random queries, about `size` pairs, in random order: a sorted one would be a gift."""
    rng = np.random.default_rng(SEED)
    rows = rng.permutation(len(pairs))
    if size is None:
        return pairs.take(rows)
    queries, counts = np.unique(pairs.left, return_counts=True)
    order = rng.permutation(len(queries))
    taken = queries[order[np.cumsum(counts[order]) <= size]]
    return pairs.take(rows[np.isin(pairs.left[rows], taken)])


def newest_weights() -> Path:
    """Return the encoder that benchmarks.build_default_student trained last."""
    found = sorted((ROOT / "runs" / "default-student").glob("encoder-*"), key=lambda folder: folder.stat().st_mtime)
    if not found:
        raise SystemExit(
            "There is no runs/default-student/encoder-*. Name the trained encoder's folder with --weights."
        )
    return found[-1]


def trial_in_own_process(name: str, args: argparse.Namespace) -> tuple[float, np.ndarray]:
    """Return the seconds and scores of one trial."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "trial.npz"
        command = [sys.executable, "-m", "benchmarks.speed", "--trial", name, "--output", str(output)]
        command += ["--weights", str(args.weights), "--student", args.student]
        command += ["--pairs", str(args.pairs)] if args.pairs else []
        subprocess.run(command, check=True, cwd=ROOT)
        with np.load(output) as trial:
            return float(trial["seconds"]), trial["scores"]


def run_trial(args: argparse.Namespace, pairs: Pairs) -> None:
    """Time one contender in this process."""
    make = {"peer": peer, "neural": neural, "student": whole_student}[args.trial]
    score = make(args)
    score(pairs.take(slice(WARM_UP)))
    started = time.perf_counter()
    scores = score(pairs)
    np.savez(args.output, seconds=time.perf_counter() - started, scores=scores)


def peer(args: argparse.Namespace) -> Callable[[Pairs], np.ndarray]:
    """The trained encoder in sentence-transformers; scores are probabilities."""
    import torch
    from sentence_transformers import CrossEncoder

    max_length = Student.load(args.student).manifest.max_length
    model = CrossEncoder(str(args.weights), max_length=max_length, device="cpu", model_kwargs={"dtype": torch.float32})
    left, right = (table.texts for table in Task(TASK).records)

    def score(pairs: Pairs) -> np.ndarray:
        texts = [sorted((left[i], right[j])) for i, j in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)]
        return model.predict(
            texts, batch_size=PEER_BATCH, show_progress_bar=False, activation_fn=torch.nn.Sigmoid()
        ).astype(np.float64)

    return score


def neural(args: argparse.Namespace) -> Callable[[Pairs], np.ndarray]:
    """The student's encoder alone; scores are probabilities, without calibration."""
    student = Student.load(args.student)
    session = Session(student.folder / student.variant.encoder, device="cpu")
    tokenizer = Tokenizer.from_file(str(student.folder / student.manifest.tokenizer))
    left, right = (table.texts for table in Task(TASK).records)

    def score(pairs: Pairs) -> np.ndarray:
        encoder = PairEncoder(tokenizer, student.manifest.max_length)
        batches = encoder.batches(encoder.table(left), encoder.table(right), pairs, BATCH_SIZE)
        logits = encoder_logits(session, batches, len(pairs), one_by_one=student.variant.one_by_one)
        return 1 / (1 + np.exp(-logits.astype(np.float64)))

    return score


def whole_student(args: argparse.Namespace) -> Callable[[Pairs], np.ndarray]:
    """The student as users call it; scores are calibrated probabilities."""
    student = Student.load(args.student, device="cpu")
    left, right = Task(TASK).records
    return lambda pairs: student.score(left, right, pairs)


def speeds(n_pairs: int, seconds: list[float]) -> dict[str, Any]:
    """Pairs a second: the median of the rounds, and their spread."""
    each = [n_pairs / taken for taken in seconds]
    return {"pairs_per_second": statistics.median(each), "lowest": min(each), "highest": max(each), "seconds": seconds}


def quality(pairs: Pairs, gold: Pairs, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """Pairwise F1 at a threshold, and after one-to-one, against the true matches among the pairs."""
    true = pairs.take(np.isin(pairs.keys(), gold.keys()))

    def f1(chosen: np.ndarray) -> float:
        found = pairs.take(chosen)
        return pair_scores(found.left, found.right, true.left, true.right).f1

    return {
        "threshold": threshold,
        "f1": f1(matching.threshold(scores, threshold)),
        "f1_one_to_one": f1(matching.one_to_one(pairs.left, pairs.right, scores, threshold)),
    }


def best_f1(pairs: Pairs, gold: Pairs, scores: np.ndarray) -> float:
    """F1 at the threshold that is best on gold: a bound that no user can know."""
    return best_threshold(np.isin(pairs.keys(), gold.keys()), scores).f1


if __name__ == "__main__":
    main()
