"""From trained models to ONNX graphs, and the proof that a graph scores as its model does."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.errors import ExportError, InputError, did_you_mean
from er_distill.metrics import pair_scores
from er_distill.pairs import Pairs
from er_distill.session import Session, encoder_logits
from er_distill.tokens import PairEncoder
from er_distill.training import missing_extra
from er_distill.training.pretrained import EncoderModel

try:
    import onnx
    import torch
    from onnx import helper
except ImportError as error:
    raise missing_extra(error) from error

VARIANTS = ("fp32", "int8")
"""Encoder graphs that can be made: as trained; weights and embeddings in 8 bits, a quarter of the size."""

ONE_BY_ONE = frozenset({"int8"})
"""Variants that quantise activations by the batch: each pair must run alone (see `session.encoder_logits`)."""

FP32_LIMIT = 1e-4
"""By how much an fp32 graph's probability may differ from its model's."""

_TREE_OPSET = 3
_IR_VERSION = 8  # of onnx 1.10; what older runtimes can read
_BATCH = 64


@dataclass(frozen=True)
class Parity:
    """How far a graph's probabilities are from its model's."""

    largest_difference: float
    mean_difference: float


@dataclass(frozen=True)
class VariantReport:
    """How a variant decides beside the model it stands for.

    Attributes
    ----------
    flipped : float
        Share of pairs that it decides otherwise, each with its own threshold.
    f1_reference, f1 : float
        Against the labels.
    """

    flipped: float
    f1_reference: float
    f1: float


class _LogitOnly(torch.nn.Module):
    """The model with positional inputs and one output, which is what the exporter can name."""

    def __init__(self, model: Any, input_names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.input_names = input_names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.input_names, inputs, strict=True))).logits
        return logits[:, 0]


def export_encoder(
    model: EncoderModel, folder: Path, *, variants: Sequence[str] = VARIANTS, opset: int = 17
) -> dict[str, str]:
    """Write the encoder's graphs.

    Parameters
    ----------
    model : EncoderModel
    folder : Path
        It must exist.
    variants : sequence of str
        Of :data:`VARIANTS`.
    opset : int
        Of ONNX.

    Returns
    -------
    dict of variant to file name
        Each graph takes the model's `input_names`, int64 of shape (b, length), and gives ``logit``, float32 of (b,).

    Raises
    ------
    InputError
        When there is no variant of a name.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise InputError(f"There is no encoder variant {variant!r}. {did_you_mean(variant, VARIANTS)}")
    files = {variant: f"encoder.{variant}.onnx" for variant in variants}
    fp32 = folder / "encoder.fp32.onnx"
    _export_fp32(model, fp32, opset)
    if "int8" in variants:
        _quantise(fp32, folder / files["int8"])
    if "fp32" not in variants:
        fp32.unlink()
    return files


def _export_fp32(model: EncoderModel, path: Path, opset: int) -> None:
    # A copy: the caller's model keeps its device and its attention. Only the plain attention can be quantised.
    plain = copy.deepcopy(model.model).to("cpu").eval()
    plain.set_attn_implementation("eager")
    example = torch.ones((2, 8), dtype=torch.int64)
    axes = {name: {0: "pairs", 1: "tokens"} for name in model.input_names}
    with warnings.catch_warnings():
        # What the exporter says of itself, of python branches on shapes and of indices (never negative here).
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.onnx")
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*legacy TorchScript.*")
        warnings.filterwarnings("ignore", category=UserWarning, message="Exporting aten::index operator")
        torch.onnx.export(
            _LogitOnly(plain, model.input_names),
            (example,) * len(model.input_names),
            str(path),
            input_names=list(model.input_names),
            output_names=["logit"],
            dynamic_axes={**axes, "logit": {0: "pairs"}},
            opset_version=opset,
            dynamo=False,
        )


def _quantise(source: Path, path: Path) -> None:
    """Dynamic int8: weights signed and by channel; embeddings too, which are half of a small encoder."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise missing_extra(error) from error
    with _without_advice():
        # Weights in 7 of the 8 bits: CPUs without VNNI add two products in 16 bits, which 8-bit weights overflow, and a
        # score would depend on the machine. It was no worse, rather better, where VNNI is there.
        quantize_dynamic(source, path, per_channel=True, weight_type=QuantType.QInt8, reduce_range=True)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Hold back the quantiser's advice to fuse the graph first: the plain one is smaller and as fast."""
    root = logging.getLogger()

    def unless_advice(record: logging.LogRecord) -> bool:
        return "run pre-processing before quantization" not in record.getMessage()

    root.addFilter(unless_advice)
    try:
        yield
    finally:
        root.removeFilter(unless_advice)


def export_trees(classifier: Any, path: Path, *, n_features: int) -> None:
    """Write a two-class ``HistGradientBoostingClassifier`` as an ONNX graph.

    The graph takes ``features``, float32 of shape (m, n_features), nan for a missing value, and gives ``logit``,
    float32 of shape (m,): the classifier's ``decision_function``. Thresholds are rounded down to float32, so that each
    float32 feature takes the same branch as in scikit-learn.

    Parameters
    ----------
    classifier : sklearn.ensemble.HistGradientBoostingClassifier
        Fitted.
    path : Path
    n_features : int
        Number of features it was fitted on.

    Raises
    ------
    ExportError
        When it has more than two classes, splits on categories, or was fitted on another number of features.
    """
    trees = [tree for iteration in classifier._predictors for tree in iteration]
    if len(classifier.classes_) != 2 or any(tree.nodes["is_categorical"].any() for tree in trees):
        raise ExportError(f"{path.name}: only trees of two classes and numerical features can be exported.")
    if classifier.n_features_in_ != n_features:
        raise ExportError(
            f"{path.name}: the trees were fitted on {classifier.n_features_in_} features, not {n_features}."
        )
    nodes = np.concatenate([tree.nodes for tree in trees])
    sizes = [len(tree.nodes) for tree in trees]
    tree_ids, node_ids = np.repeat(np.arange(len(trees)), sizes), np.concatenate([np.arange(size) for size in sizes])
    leaf = nodes["is_leaf"].astype(bool)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["column"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[float(classifier._baseline_prediction.item())],
        nodes_treeids=tree_ids.tolist(),
        nodes_nodeids=node_ids.tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        nodes_values=np.where(leaf, 0.0, _floor_to_float32(nodes["num_threshold"])).tolist(),
        nodes_truenodeids=np.where(leaf, 0, nodes["left"]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, nodes["right"]).tolist(),
        nodes_missing_value_tracks_true=np.where(leaf, 0, nodes["missing_go_to_left"]).tolist(),
        target_treeids=tree_ids[leaf].tolist(),
        target_nodeids=node_ids[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()),
        target_weights=nodes["value"][leaf].tolist(),
    )
    flat = helper.make_node("Reshape", ["column", "shape"], ["logit"])
    graph = helper.make_graph(
        [ensemble, flat],
        "trees",
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["pairs", n_features])],
        [helper.make_tensor_value_info("logit", onnx.TensorProto.FLOAT, ["pairs"])],
        [helper.make_tensor("shape", onnx.TensorProto.INT64, [1], [-1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", _TREE_OPSET)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _floor_to_float32(values: np.ndarray) -> np.ndarray:
    """The largest float32 not above each value: for a float32 x, ``x <= value`` says the same of both."""
    with np.errstate(over="ignore"):  # a value that float32 does not reach becomes infinite, and is floored below
        nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def graph_logits(
    path: Path,
    model: EncoderModel,
    left_texts: list[str],
    right_texts: list[str] | None,
    pairs: Pairs,
    *,
    one_by_one: bool,
) -> np.ndarray:
    """Return an exported graph's logits of the pairs, as a student computes them on the CPU.

    Parameters
    ----------
    path : Path
        The graph.
    model : EncoderModel
        The model it was exported from, for its tokenizer.
    left_texts, right_texts, pairs
        As :meth:`EncoderModel.predict`.
    one_by_one : bool
        Whether its variant is in :data:`ONE_BY_ONE`.

    Returns
    -------
    ndarray of float32, shape (m,)
    """
    encoder = PairEncoder(model.tokenizer, model.max_length)
    left = encoder.table(left_texts)
    right = left if right_texts is None else encoder.table(right_texts)
    batches = encoder.batches(left, right, pairs, _BATCH)
    return encoder_logits(Session(path, device="cpu"), batches, len(pairs), one_by_one=one_by_one)


def parity(model_logits: np.ndarray, graph_logits: np.ndarray, *, graph: str, limit: float | None = None) -> Parity:
    """Compare the probabilities of a model and of its graph on the same pairs.

    Parameters
    ----------
    model_logits, graph_logits : ndarray of float, shape (m,)
    graph : str
        What messages call the graph.
    limit : float, optional
        Largest difference of a probability that is let through; :data:`FP32_LIMIT` for an fp32 graph.

    Returns
    -------
    Parity

    Raises
    ------
    ExportError
        When a difference is above `limit`, or not a number.
    """
    difference = np.abs(_probability(model_logits) - _probability(graph_logits))
    found = Parity(float(difference.max()), float(difference.mean()))
    # Not "above": a nan is above nothing.
    if limit is not None and not found.largest_difference <= limit:
        raise ExportError(
            f"{graph} is not what was trained: its probabilities differ from the model's by up to "
            f"{found.largest_difference:.2g}, {limit:g} is allowed. Try another opset, or versions of torch and "
            "onnxruntime that this er_distill was tested with."
        )
    return found


def _probability(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def check_variant(
    reference_probabilities: np.ndarray,
    variant_probabilities: np.ndarray,
    reference_threshold: float,
    variant_threshold: float,
    labels: np.ndarray,
    *,
    variant: str = "the variant",
    most_flipped: float = 0.01,
    most_f1_difference: float = 0.01,
) -> VariantReport:
    """Compare a variant's decisions with those of the model it stands for, each calibrated on its own scores.

    Parameters
    ----------
    reference_probabilities, variant_probabilities : ndarray of float, shape (m,)
        Of pairs that neither calibration nor training has seen.
    reference_threshold, variant_threshold : float
    labels : ndarray of bool, shape (m,)
        The teachers' decisions.
    variant : str
        What messages call the variant.
    most_flipped : float
        Share of pairs that may be decided otherwise.
    most_f1_difference : float
        By how much F1 may differ, either way.

    Returns
    -------
    VariantReport

    Raises
    ------
    ExportError
        When one of the limits is passed.
    """
    reference = reference_probabilities >= reference_threshold
    decided = variant_probabilities >= variant_threshold
    true = np.flatnonzero(labels)
    f1_reference, f1 = (pair_scores(rows, rows, true, true).f1 for rows in map(np.flatnonzero, (reference, decided)))
    report = VariantReport(float(np.mean(reference != decided)), f1_reference, f1)
    if report.flipped > most_flipped or not abs(f1 - f1_reference) <= most_f1_difference:
        raise ExportError(
            f"{variant} is too far from the trained model: {report.flipped:.2%} of its decisions are flipped "
            f"({most_flipped:.0%} is allowed), and F1 against the labels is {f1:.3f} where the model has "
            f"{f1_reference:.3f} (a difference of {most_f1_difference:g} is allowed). Leave this variant out."
        )
    return report
