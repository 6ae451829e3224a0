"""How well what `speed` times decides: F1 on gold, and thresholds that labels alone set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.build_default_student import SEED, TEACHERS
from benchmarks.gold import data_folder
from benchmarks.speed_contenders import OUR_TOKENS, PEER_TOKENS, probability
from er_distill import matching
from er_distill.metrics import pair_scores
from er_distill.pairs import Pairs
from er_distill.readers import PairReader
from er_distill.session import Session
from er_distill.training import read_task
from er_distill.training.calibrate import fit_line
from er_distill.training.folds import HELD_OUT_FOLD, LabelledTask, cut

FOLDS = 5
_ALIKE = {
    ("fp32", PEER_TOKENS): ("peer", "peer_bf16", "onnxruntime_fp32", "fastembed"),
    ("int8", PEER_TOKENS): ("onnxruntime_int8",),
    ("int8", OUR_TOKENS): ("neural",),
}
"""Contenders by graph and tokens."""


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


@dataclass(frozen=True)
class OnLabels:
    """An encoder on the labelled pairs that no encoder was trained on.

    Attributes
    ----------
    threshold : float
        The probability, by the encoder's own logit, from which labels say match rather than not.
    log_loss, f1 : float
        Against the labels, once a logistic function of the logit is fitted to them. No gold is read: a student's
        encoder can be chosen by these.
    """

    threshold: float
    log_loss: float
    f1: float


def on_labels(graphs: Path, weights: Path) -> dict[str, OnLabels]:
    """Return how each encoder does on held-out labels, contenders that share a graph alike."""
    tasks = held_out()
    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    found = {}
    for (variant, tokens), names in _ALIKE.items():
        logits = graph_logits(graphs / f"encoder.{variant}.onnx", tokenizer, tokens, variant == "int8", tasks)
        found |= dict.fromkeys(names, _fitted(logits, tasks))
    return found


def held_out() -> list[tuple[LabelledTask, np.ndarray]]:
    """Return the tasks, and which of their labelled pairs no encoder was trained on."""
    tasks = [cut(*read_task(folder, TEACHERS), FOLDS, SEED) for folder in sorted(data_folder().iterdir())]
    return [(task, np.flatnonzero(task.fold == HELD_OUT_FOLD)) for task in tasks]


def graph_logits(
    graph: Path,
    tokenizer: Tokenizer,
    max_length: int,
    one_by_one: bool,
    tasks: list[tuple[LabelledTask, np.ndarray]],
) -> np.ndarray:
    """Return a graph's logits of labelled pairs, one task after the other."""
    reader = PairReader(Session(graph, device="cpu"), tokenizer, max_length, one_by_one)
    parts = []
    for task, rows in tasks:
        read = reader.over(*task.texts, task.pairs(rows), context=True)
        parts.append(read(np.arange(len(rows)), lambda done: None))
    return np.concatenate(parts)


def _fitted(logits: np.ndarray, tasks: list[tuple[LabelledTask, np.ndarray]]) -> OnLabels:
    return fitted(logits, np.concatenate([task.target[rows] for task, rows in tasks]))


def fitted(logits: np.ndarray, target: np.ndarray) -> OnLabels:
    """Fit a logistic function of logits to soft labels; F1 is over pairs whose label says one thing or the other."""
    line = fit_line(logits, None, target, np.ones(len(target)))
    fit = line.lexical * logits + line.bias
    said, wanted = fit > 0, target > 0.5
    sure = target != 0.5
    both, either = (said & wanted)[sure].sum(), said[sure].sum() + wanted[sure].sum()
    return OnLabels(
        threshold=float(probability(np.array(-line.bias / line.lexical))),
        log_loss=float(np.mean(np.logaddexp(0, fit) - target * fit)),
        f1=float(2 * both / either),
    )
