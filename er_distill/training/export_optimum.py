"""optimum as the exporter: for those who are on transformers 4, which it is written for.

Needs the ``optimum`` extra, which takes the place of the ``train`` extra: both cannot be installed together. The graphs
that optimum writes are given the inputs and outputs of this project's own, and are held to the same parity checks.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.errors import ExportError
from er_distill.training import missing_extra
from er_distill.training.exporter import check_exporter, save_graph

try:
    import onnx
    import torch
    from onnx import helper, numpy_helper
except ImportError as error:
    raise missing_extra(error) from error

_OLDEST_OPSET = 18  # what optimum recommends; with an older one it only warns


def export_encoder_graph(model: Any, path: Path, *, opset: int) -> None:
    """Write a cross-encoder's graph: its inputs as the model names them, and ``logit``, float32 of shape (b,).

    Parameters
    ----------
    model : transformers.PreTrainedModel
        With a head of one logit.
    path : Path
    opset : int
        Of ONNX; raised to what optimum needs.

    Raises
    ------
    MissingExtraError
        When optimum is not there.
    ExportError
        When optimum cannot export the model.
    """
    proto = _export(model, "text-classification", opset)
    proto.graph.initializer.append(_constant("flat", [-1]))
    proto.graph.node.append(helper.make_node("Reshape", [proto.graph.output[0].name, "er/flat"], ["logit"]))
    _set_outputs(proto, helper.make_tensor_value_info("logit", onnx.TensorProto.FLOAT, ["pairs"]))
    save_graph(proto, path)


def export_causal_graph(model: Any, path: Path, *, options: Sequence[int], explains: bool, opset: int) -> None:
    """Write a causal language model's graph, with the inputs and outputs of `export_causal.export_causal`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    path : Path
    options : sequence of int
        Tokens whose logits are wanted.
    explains : bool
        Whether the next token is an output too.
    opset : int
        Of ONNX; raised to what optimum needs.

    Raises
    ------
    MissingExtraError, ExportError
        As :func:`export_encoder_graph`.
    """
    proto = _export(model, "text-generation", opset)
    graph = proto.graph
    graph.initializer.extend(
        [_constant("one", 1), _constant("axis", [1]), _constant("tokens", list(options)), _constant("along", 1)]
    )
    ahead = [
        helper.make_node("ReduceSum", ["attention_mask", "er/axis"], ["er/length"], keepdims=1),
        helper.make_node("Sub", ["er/length", "er/one"], ["er/last"]),
    ]
    if any(given.name == "position_ids" for given in graph.input):
        ahead.append(helper.make_node("CumSum", ["attention_mask", "er/along"], ["er/count"]))
        ahead.append(helper.make_node("Sub", ["er/count", "er/one"], ["position_ids"]))
    kept = [given for given in graph.input if given.name in ("input_ids", "attention_mask")]
    del graph.input[:]
    graph.input.extend(sorted(kept, key=lambda given: given.name, reverse=True))
    after = _at_last(graph)
    after.append(helper.make_node("Gather", ["er/scores", "er/tokens"], ["options"], axis=1))
    outputs = [helper.make_tensor_value_info("options", onnx.TensorProto.FLOAT, ["lists", len(options)])]
    if explains:
        after.append(helper.make_node("ArgMax", ["er/scores"], ["next_token"], axis=1, keepdims=0))
        outputs.append(helper.make_tensor_value_info("next_token", onnx.TensorProto.INT64, ["lists"]))
    nodes = [*ahead, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    _set_outputs(proto, *outputs)
    save_graph(proto, path)


def _at_last(graph: Any) -> list[Any]:
    """Take the last position: before the multiplication with the vocabulary where that comes last, else after it."""
    head = next(node for node in graph.node if graph.output[0].name in node.output)
    if head.op_type != "MatMul":  # a model that caps its logits, say
        return [helper.make_node("GatherND", [graph.output[0].name, "er/last"], ["er/scores"], batch_dims=1)]
    weights = head.input[1]
    graph.node.remove(head)
    return [
        helper.make_node("GatherND", [head.input[0], "er/last"], ["er/hidden"], batch_dims=1),
        helper.make_node("MatMul", ["er/hidden", weights], ["er/scores"]),
    ]


def _export(model: Any, task: str, opset: int) -> onnx.ModelProto:
    check_exporter("optimum")
    from optimum.exporters.onnx import onnx_export_from_model

    # A copy: what optimum patches, it patches there.
    plain = copy.deepcopy(model).to("cpu", torch.float32).eval()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            onnx_export_from_model(
                plain,
                folder,
                opset=max(opset, _OLDEST_OPSET),
                task=task,
                no_post_process=True,
                do_validation=False,  # what it would check is checked on the adapted graph
            )
        except (RuntimeError, TypeError, ValueError, KeyError) as error:  # as many as a model has ways not to fit
            raise ExportError(
                f"optimum cannot export this {model.config.model_type} model ({str(error).splitlines()[0]}). "
                "Use torch's exporter, which is the default."
            ) from error
        return onnx.load(str(Path(folder) / "model.onnx"))


def _constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.array(value, dtype=np.int64), f"er/{name}")


def _set_outputs(proto: onnx.ModelProto, *outputs: Any) -> None:
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what exporters say of themselves and of tracing."""
    log = logging.getLogger("optimum")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
