"""From fitted trees to an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from er_distill.errors import ExportError
from er_distill.training import missing_extra

try:
    import onnx
    from onnx import helper
except ImportError as error:
    raise missing_extra(error) from error

_TREE_OPSET = 3
_IR_VERSION = 8  # of onnx 1.10; what older runtimes can read


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
