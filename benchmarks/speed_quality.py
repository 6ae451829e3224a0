"""How well what `speed` times decides: F1 on gold, and thresholds that labels alone set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.build_default_student import SEED, TEACHERS
from benchmarks.gold import data_folder
from benchmarks.speed_contenders import PEER_TOKENS, probability
from er_distill import matching
from er_distill.metrics import pair_scores
from er_distill.pairs import Pairs
from er_distill.readers import PairReader
from er_distill.session import Session
from er_distill.student import Student
from er_distill.training import read_task
from er_distill.training.calibrate import fit_line
from er_distill.training.folds import HELD_OUT_FOLD, LabelledTask, cut

FOLDS = 5
_SHARED = {
    "fp32": ("peer", "peer_bf16", "onnxruntime_fp32", "fastembed"),
    "int8": ("onnxruntime_int8", "neural"),
}


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


def label_thresholds(graphs: Path, weights: Path, student: Student) -> dict[str, float]:
    """Return each encoder's threshold: where a logistic fit of the labels to its own logits says one half.

    The labels are the teachers', of the queries that the bundled student's encoder is not trained on.
    """
    tasks = held_out()
    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    found = {}
    for variant, names in _SHARED.items():
        logits = graph_logits(graphs / f"encoder.{variant}.onnx", tokenizer, PEER_TOKENS, variant == "int8", tasks)
        found |= dict.fromkeys(names, threshold_of(logits, tasks))
    own = Tokenizer.from_file(str(student.folder / student.manifest.tokenizer))
    graph, one_by_one = student.folder / student.variant.encoder, student.variant.one_by_one
    logits = graph_logits(graph, own, student.manifest.max_length, one_by_one, tasks)
    return found | {"neural_fast": threshold_of(logits, tasks)}


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


def threshold_of(logits: np.ndarray, tasks: list[tuple[LabelledTask, np.ndarray]]) -> float:
    """Return the probability, by the encoder's own logit, from which labels say match rather than not."""
    target = np.concatenate([task.target[rows] for task, rows in tasks])
    line = fit_line(logits, None, target, np.ones(len(target)))
    return float(probability(np.array(-line.bias / line.lexical)))
