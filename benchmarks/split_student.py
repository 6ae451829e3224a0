"""An experiment: lower layers once a record and kept, upper layers once a pair; what it gains and what it costs.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.split_student --weights <folder of a trained encoder>

As in PreTTR (MacAvaney et al. 2020, arXiv 2004.14255) and DeFormer (Cao et al. 2020, arXiv 2005.00697), the tokens of
two records do not see each other in the lowest k layers, so that what these make of a record can be kept for all of its
pairs. A trained cross-encoder is split after k layers, for several k, 0 being the whole one, and each is trained a
little further in the same way: same lists, same steps, same seed, on the teachers' labels outside the held-out fold.
Both texts are cut to the same length in all of them. On the held-out fold: log loss and F1 against the labels (no gold
is read). Pairs a second: int8 graphs by one plain loop over two threads, on pairs of walmart-amazon, in rounds that go
through all of them; a record's pass counts once. Two quiet cores take some fifteen minutes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import trange

from benchmarks.build_default_student import SEED
from benchmarks.provenance import Benchmark
from benchmarks.speed_quality import held_out
from benchmarks.speed_workloads import WALMART, Workload
from benchmarks.split_model import Records, Split, export, seconds_of
from er_distill.tokens import PairEncoder
from er_distill.training.folds import LabelledTask
from er_distill.training.lists import CandidateList
from er_distill.training.losses import list_loss
from er_distill.training.pretrained import has_bfloat16, load_base

RECORD_TOKENS = 48  # of each of a pair's two records
LISTS_A_STEP = 4
LEARNING_RATE = 5e-5
EVALUATED_AT_ONCE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="a trained encoder of the BERT kind: its folder")
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 1, 3], help="of each record alone")
    parser.add_argument("--steps", type=int, default=200, help=f"of {LISTS_A_STEP} lists, for each of them")
    parser.add_argument("--pairs", type=int, default=2_000, help="that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/split_student.json")
    args = parser.parse_args()
    benchmark = Benchmark("split_student", None, ["torch", "transformers"])
    tokenizer = load_base(args.weights, 2 * RECORD_TOKENS).tokenizer
    encoder = PairEncoder(tokenizer, 2 * RECORD_TOKENS)
    tasks = held_out()
    learned, judged = [], []
    for task, rows in tasks:
        learned.append(lists_of(task, np.setdiff1d(np.arange(len(task.known)), rows), encoder))
        judged.append(lists_of(task, rows, encoder))
    figures: dict[str, Any] = {"weights": args.weights.name, "record_tokens": RECORD_TOKENS, "steps": args.steps}
    with tempfile.TemporaryDirectory() as folder:
        timed = Workload(WALMART, args.pairs)
        records, first, second = records_of(timed, encoder)
        figures |= {"pairs": len(first), "records": len(np.unique([*first, *second]))}
        graphs = {}
        for k in args.layers:
            model = Split(load_base(args.weights, 2 * RECORD_TOKENS).model, k)
            seconds = train(model, learned, args.steps)
            figures[f"split_{k}"] = {"training_seconds": seconds} | judge(model, judged)
            graphs[k] = export(model, Path(folder))
            print(k, figures[f"split_{k}"], flush=True)
        rounds: dict[int, list[float]] = {k: [] for k in args.layers}
        for _ in range(args.rounds):
            for k, graph in graphs.items():
                rounds[k].append(len(first) / seconds_of(graph, records, first, second))
    for k, rates in rounds.items():
        figures[f"split_{k}"] |= {"pairs_per_second": statistics.median(rates), "by_round": rates}
    hidden = load_base(args.weights, 2 * RECORD_TOKENS).model.config.hidden_size
    figures["kept_bytes_a_record"] = float(np.mean([len(ids) for ids in records.ids]) * hidden * 4)
    benchmark.write(figures, [], args.output)


@dataclass(frozen=True)
class Lists:
    """A task's labelled lists: records, and of each list its two records a pair and its targets."""

    records: Records
    lists: list[tuple[list[int], list[int], torch.Tensor]]


def lists_of(task: LabelledTask, rows: np.ndarray, encoder: PairEncoder) -> Lists:
    """Return the lists of the labelled pairs at `rows`, the two texts of each pair in alphabetical order."""
    left, right = task.texts
    right = left if right is None else right
    pairs = task.pairs(rows)
    texts = [*left, *right]
    first, second = pairs.left, pairs.right + len(left)
    swap = np.array([texts[a] > texts[b] for a, b in zip(first, second, strict=True)], dtype=bool)
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    used, place = np.unique([first, second], return_inverse=True)
    first, second = place.reshape(2, -1)
    records = tokenised([texts[row] for row in used], encoder)
    lists = []
    for query in np.unique(task.query[rows]):
        own = np.flatnonzero(task.query[rows] == query)
        lists.append((first[own].tolist(), second[own].tolist(), torch.from_numpy(task.target[rows][own])))
    return Lists(records, lists)


def records_of(workload: Workload, encoder: PairEncoder) -> tuple[Records, np.ndarray, np.ndarray]:
    """Return the records of a workload's sample, and its pairs as rows among them."""
    left, right = (table.texts for table in workload.records)
    pairs = workload.pairs.take(workload.in_sample)
    used, place = np.unique([pairs.left, pairs.right + len(left)], return_inverse=True)
    texts = [*left, *right]
    return tokenised([texts[row] for row in used], encoder), *place.reshape(2, -1)


def tokenised(texts: list[str], encoder: PairEncoder) -> Records:
    """Return the texts' ids, each between [CLS] and [SEP]."""
    begin, end = (encoder.tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    found = encoder.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return Records([np.array([begin, *one.ids[: RECORD_TOKENS - 2], end]) for one in found])


def train(model: Split, learned: Sequence[Lists], steps: int) -> float:
    """Train on lists drawn at random, a task as often as another; return the seconds."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    model.train()
    started = time.perf_counter()
    for _ in trange(steps, desc=f"split after {model.k}", leave=False):
        for _ in range(LISTS_A_STEP):
            task = learned[rng.integers(len(learned))]
            first, second, target = task.lists[rng.integers(len(task.lists))]
            one = CandidateList([], target, torch.ones(len(target)), float(target.sum()) <= 1.001)
            with bfloat16():
                logits = model(task.records, first, second)
            (list_loss(logits.float(), one, "listwise") / LISTS_A_STEP).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        plan.step()
        optimizer.zero_grad()
    return time.perf_counter() - started


def judge(model: Split, judged: Sequence[Lists]) -> dict[str, float]:
    """Log loss and F1 against the labels of the held-out fold, each pair alike."""
    model.eval()
    logits, target = [], []
    with torch.inference_mode(), bfloat16():
        for task in judged:
            pairs = [(a, b) for first, second, _ in task.lists for a, b in zip(first, second, strict=True)]
            for begin in range(0, len(pairs), EVALUATED_AT_ONCE):
                first, second = zip(*pairs[begin : begin + EVALUATED_AT_ONCE], strict=True)
                logits.append(model(task.records, first, second).float())
            target.extend(wanted for _, _, wanted in task.lists)
    score, label = torch.cat(logits), torch.cat(target)
    both = ((score > 0) & (label > 0.5)).sum()
    return {
        "held_out_pairs": len(label),
        "log_loss": float(torch.nn.functional.binary_cross_entropy_with_logits(score, label)),
        "f1": float(2 * both / ((score > 0).sum() + (label > 0.5).sum())),
    }


def bfloat16() -> torch.autocast:
    """Autocast where the processor multiplies in bfloat16."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu")))


if __name__ == "__main__":
    main()
