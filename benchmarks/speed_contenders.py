"""The contenders of `speed` that run in this environment: each a function from a setting to what scores pairs.

What is loaded before the clock starts is made by the outer function; the inner one is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks.build_default_student import TEACHERS
from benchmarks.gold import data_folder
from benchmarks.speed_workloads import FEBRL, Workload
from benchmarks.tiers import trees_alone
from er_distill import lexical
from er_distill.pairs import Pairs
from er_distill.readers import PairReader
from er_distill.session import Session
from er_distill.student import CHUNK_SIZE, Student
from er_distill.threads import thread_count
from er_distill.training.export import ONE_BY_ONE
from er_distill.training.labels import read_task
from er_distill.vectors import vectorise

PEER_BATCH = 32
PEER_TOKENS = 128  # a pair; what the weights of the comparison were trained with
OUR_TOKENS = 96  # of a pair that we give the same weights: these did as well on held-out labels

Score = Callable[[Pairs], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What a contender is made from.

    Attributes
    ----------
    workload : Workload
    student : str
    weights : Path
        The trained encoder that the peers run.
    graphs : Path
        Holds its ``encoder.fp32.onnx`` and ``encoder.int8.onnx``.
    """

    workload: Workload
    student: str
    weights: Path
    graphs: Path


def cross_encoder(dtype: str) -> Callable[[Setting], Score]:
    """`CrossEncoder.predict` of sentence-transformers, on the pairs' texts; scores are probabilities."""

    def make(setting: Setting) -> Score:
        import torch
        from sentence_transformers import CrossEncoder

        kwargs = {"dtype": getattr(torch, dtype)}
        model = CrossEncoder(str(setting.weights), max_length=PEER_TOKENS, device="cpu", model_kwargs=kwargs)

        def score(pairs: Pairs) -> np.ndarray:
            texts = setting.workload.texts(pairs)
            activation = torch.nn.Sigmoid()
            scores = model.predict(texts, batch_size=PEER_BATCH, show_progress_bar=False, activation_fn=activation)
            return np.asarray(scores, dtype=np.float64)

        return score

    return make


def plain_loop(variant: str) -> Callable[[Setting], Score]:
    """The loop that anybody writes around onnxruntime: tokenise 32 pairs of texts, pad them, run the graph."""

    def make(setting: Setting) -> Score:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        graph = onnxruntime.InferenceSession(str(setting.graphs / f"encoder.{variant}.onnx"), options)
        names = [one.name for one in graph.get_inputs()]
        tokenizer = Tokenizer.from_file(str(setting.weights / "tokenizer.json"))
        tokenizer.enable_truncation(PEER_TOKENS)
        tokenizer.enable_padding()

        def score(pairs: Pairs) -> np.ndarray:
            texts = [tuple(pair) for pair in setting.workload.texts(pairs)]
            logits = []
            for begin in range(0, len(texts), PEER_BATCH):
                batch = tokenizer.encode_batch(texts[begin : begin + PEER_BATCH])
                columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
                feeds = {name: np.array([getattr(one, columns[name]) for one in batch]) for name in names}
                logits.append(np.ravel(graph.run(None, feeds)[0]))
            return probability(np.concatenate(logits))

        return score

    return make


def our_encoder(setting: Setting) -> Score:
    """Our int8 graph of the peers' weights, from the records' texts, a little shorter, to one probability a pair."""
    tokenizer = Tokenizer.from_file(str(setting.weights / "tokenizer.json"))
    graph = Session(setting.graphs / "encoder.int8.onnx", device="cpu")
    reader = PairReader(graph, tokenizer, OUR_TOKENS, "int8" in ONE_BY_ONE)
    left, right = (table.texts for table in setting.workload.records)

    def score(pairs: Pairs) -> np.ndarray:
        read = reader.over(left, right, pairs, context=True)
        return probability(read(np.arange(len(pairs)), lambda done: None))

    return score


def whole_student(setting: Setting) -> Score:
    """`Student.score` as users call it, vectors of both whole tables included; scores are calibrated probabilities."""
    left, right = setting.workload.records
    student = Student.load(setting.student, device="cpu")
    return lambda pairs: student.score(left, right, pairs)


def lexical_tier(setting: Setting) -> Score:
    """The student without its encoder, given the records' vectors: blocking has made them before it scores."""
    left, right = setting.workload.records
    student, corpus = trees_alone(Student.load(setting.student)), vectorise(left, right)
    return lambda pairs: student.score(left, right, pairs, corpus=corpus)


def string_compares(setting: Setting) -> Score:
    """recordlinkage: Jaro-Winkler of each shared field, on all cores; the mean is the score."""
    import pandas as pd
    import recordlinkage

    frames = []
    for table in setting.workload.records:
        columns = dict(zip(table.fields, table.values, strict=True))
        frames.append(pd.DataFrame({name: columns[name] for name in setting.workload.shared_fields}))
    compare = recordlinkage.Compare(n_jobs=thread_count())
    for name in setting.workload.shared_fields:
        compare.string(name, name, method="jarowinkler", label=name)

    def score(pairs: Pairs) -> np.ndarray:
        index = pd.MultiIndex.from_arrays([pairs.left, pairs.right])
        return compare.compute(index, *frames).mean(axis=1).to_numpy()

    return score


def forest(kind: str) -> Callable[[Setting], Score]:
    """A forest of scikit-learn on our features, fitted to the teachers' labels of the workload's own task."""

    def make(setting: Setting) -> Score:
        model = _forest(kind)
        candidates, labels = read_task(data_folder() / setting.workload.name, TEACHERS)
        values = _features(candidates.left, candidates.right, candidates.pairs)[labels.known]
        target = labels.target[labels.known]
        model.fit(values[target != 0.5], target[target != 0.5] > 0.5)
        left, right = setting.workload.records
        return lambda pairs: model.predict_proba(_features(left, right, pairs))[:, 1]

    return make


def _forest(kind: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if kind == "random":
        return RandomForestClassifier(random_state=0, n_jobs=thread_count())
    return HistGradientBoostingClassifier(random_state=0)


def _features(left: Any, right: Any, pairs: Pairs) -> np.ndarray:
    values = np.empty((len(pairs), len(lexical.FEATURES)), dtype=np.float32)
    for rows, part in lexical.features(vectorise(left, right), pairs, chunk_size=CHUNK_SIZE):
        values[rows] = part
    return values


def probability(logits: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64))))


@dataclass(frozen=True)
class Contender:
    """Who runs.

    Attributes
    ----------
    make : callable
    slow : bool
        Whether rounds after the first give it few pairs.
    all_pairs : bool
        Whether it gets all pairs of the workload, and not the sample.
    decides : bool
        Whether its score is the probability of a match.
    needs_labels : bool
        Whether it runs only where teachers have labelled.
    """

    make: Callable[[Setting], Score]
    slow: bool = False
    all_pairs: bool = False
    decides: bool = True
    needs_labels: bool = False

    def fits(self, workload: str) -> bool:
        """Whether it can run on a workload."""
        return not self.needs_labels or workload != FEBRL


CONTENDERS = {
    "peer": Contender(cross_encoder("float32"), slow=True),
    "peer_bf16": Contender(cross_encoder("bfloat16"), slow=True),
    "onnxruntime_fp32": Contender(plain_loop("fp32"), slow=True),
    "onnxruntime_int8": Contender(plain_loop("int8"), slow=True),
    "neural": Contender(our_encoder),
    "student": Contender(whole_student, all_pairs=True),
    "lexical": Contender(lexical_tier, all_pairs=True),
    "random_forest": Contender(forest("random"), all_pairs=True, needs_labels=True),
    "boosted_trees": Contender(forest("boosted"), all_pairs=True, needs_labels=True),
    "recordlinkage": Contender(string_compares, all_pairs=True, decides=False),
}
OTHERS = ("fastembed", "splink")
"""Contenders in an environment of their own: see `speed_others`."""
