"""From a generative student to its ONNX graphs: the options' scores after a prompt, read in one pass."""

from __future__ import annotations

import copy
import inspect
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.artefact import Question
from er_distill.errors import ExportError, InputError, did_you_mean
from er_distill.pairs import Pairs
from er_distill.readers import ListReader
from er_distill.session import Session
from er_distill.training import missing_extra
from er_distill.training.causal import CausalModel, last_logits
from er_distill.training.export_optimum import export_causal_graph
from er_distill.training.exporter import Exporter, check_exporter, export_module, save_graph

try:
    import onnx
    import torch
except ImportError as error:
    raise missing_extra(error) from error

VARIANTS = ("fp32", "fp16", "int8", "int4")
"""Graphs that can be made: as trained; in half precision, for GPUs; matrices in 8 or 4 bits, by blocks of weights.

Activations stay floats, so that a list's scores do not depend on the lists beside it and any number run together.
"""

_BITS = {"int8": 8, "int4": 4}
_BLOCK = 32  # weights that share one scale
_INPUTS = ("input_ids", "attention_mask")


class _Options(torch.nn.Module):
    """The options' logits after each prompt and, to explain, the most likely next token."""

    options: torch.Tensor

    def __init__(self, model: Any, options: Sequence[int], explains: bool) -> None:
        super().__init__()
        self.model = model
        self.explains = explains
        self.register_buffer("options", torch.tensor(options))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        logits = last_logits(self.model, input_ids, attention_mask).float()
        scores = logits[:, self.options]
        return (scores, logits.argmax(dim=-1)) if self.explains else scores


def export_causal(
    model: CausalModel,
    folder: Path,
    *,
    variants: Sequence[str] = ("fp32", "int8"),
    explains: bool = False,
    opset: int = 17,
    exporter: Exporter = "torch",
) -> dict[str, str]:
    """Write a generative student's graphs.

    Parameters
    ----------
    model : CausalModel
    folder : Path
        It must exist.
    variants : sequence of str
        Of :data:`VARIANTS`.
    explains : bool
        Whether the graph also gives the next token, from which an explanation can be generated.
    opset : int
        Of ONNX.
    exporter : {"torch", "optimum"}
        What traces the model; optimum needs its extra.

    Returns
    -------
    dict of variant to file name
        Each graph takes ``input_ids`` and ``attention_mask``, int64 of shape (b, length), padded on the right, and
        gives ``options``, float32 of shape (b, MAX_OPTIONS + 1), and ``next_token``, int64 of shape (b,), if it
        explains. Weights of more than some 2 GB stand in a file of their own beside the graph.

    Raises
    ------
    InputError
        When there is no variant of a name.
    ExportError
        When the exporter cannot export the model, or the installed onnxruntime cannot quantise it.
    MissingExtraError
        When optimum is asked for and not there.
    """
    check_exporter(exporter)
    for variant in variants:
        if variant not in VARIANTS:
            raise InputError(
                f"There is no variant {variant!r} of a generative student. {did_you_mean(variant, VARIANTS)}"
            )
    files = {variant: graph_name(variant) for variant in variants}
    # A folder of its own: of a big model torch writes each weight into a file beside the graph.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
        traced = Path(scratch) / "traced.onnx"
        if exporter == "optimum":
            export_causal_graph(model.model, traced, options=model.options, explains=explains, opset=opset)
        else:
            _trace(model, traced, explains, opset)
        for variant, file in files.items():
            proto = onnx.load(str(traced))
            if variant == "fp16":
                proto = _halved(proto)
            elif variant in _BITS:
                proto = _quantised(proto, _BITS[variant])
            save_graph(proto, folder / file)
    return files


def graph_name(variant: str) -> str:
    """Return the name of a variant's graph."""
    return f"reader.{variant}.onnx"


def _trace(model: CausalModel, path: Path, explains: bool, opset: int) -> None:
    # A copy: the caller's model keeps its device, its precision and its attention.
    plain = copy.deepcopy(model.model).to("cpu", torch.float32).eval()
    plain.set_attn_implementation("eager")
    outputs = ["options", *(["next_token"] if explains else [])]
    try:
        export_module(
            _Options(plain, model.options, explains),
            path,
            inputs=_INPUTS,
            outputs=outputs,
            axes={name: {0: "lists", 1: "tokens"} for name in _INPUTS} | {name: {0: "lists"} for name in outputs},
            opset=opset,
        )
    except (RuntimeError, TypeError, ValueError) as error:  # as many as a model has ways not to be traced
        raise ExportError(
            f"torch cannot export this {model.model.config.model_type} model ({str(error).splitlines()[0]}). "
            "Try another opset, a base of another architecture or, on transformers 4, exporter='optimum'."
        ) from error


def _halved(proto: onnx.ModelProto) -> onnx.ModelProto:
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise missing_extra(error) from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will be truncated")  # what masks a token stays far below all else
        return convert_float_to_float16(proto, keep_io_types=True)


def _too_old(bits: int) -> ExportError:
    return ExportError(f"Weights of {bits} bits need onnxruntime 1.24 or newer. Update it, or leave this variant out.")


def _quantised(proto: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    except ImportError as error:
        if error.name and not error.name.startswith("onnxruntime"):
            raise missing_extra(error) from error
        raise _too_old(bits) from error
    finally:
        # To import it is to have it set up logging, which is the application's business.
        root.handlers[:] = handlers
        root.setLevel(level)
    if "bits" not in inspect.signature(MatMulNBitsQuantizer).parameters:  # it knew 4 bits alone
        raise _too_old(bits)
    log = logging.getLogger(MatMulNBitsQuantizer.__module__)
    level = log.level
    log.setLevel(logging.WARNING)  # it tells of every node that it leaves as it is
    try:
        quantiser = MatMulNBitsQuantizer(proto, bits=bits, block_size=_BLOCK, is_symmetric=True)
        quantiser.process()
    finally:
        log.setLevel(level)
    return quantiser.model.model


def question_of(model: CausalModel) -> Question:
    """Return what the manifest of a student must say of how it is asked."""
    return Question(model.frame.prefix, model.frame.suffix, model.options, model.stops)


def list_logits(
    path: Path,
    model: CausalModel,
    left_texts: list[str],
    right_texts: list[str] | None,
    pairs: Pairs,
    rows: np.ndarray | None = None,
    *,
    progress: Callable[[int], object] = lambda _: None,
) -> np.ndarray:
    """Return an exported graph's logits of pairs, as a student computes them on the CPU.

    Parameters
    ----------
    path : Path
        The graph.
    model : CausalModel
        The model it was exported from, for its tokenizer and frame.
    left_texts, right_texts, pairs, rows
        As :meth:`CausalModel.predict`.
    progress : callable, optional
        Called with the number of pairs done since the last call.

    Returns
    -------
    ndarray of float64, shape (len(rows),)
    """
    reader = ListReader(Session(path, device="cpu"), model.tokenizer, model.frame, model.stops, one_by_one=False)
    read = reader.over(left_texts, right_texts, pairs, context=True)
    return read(np.arange(len(pairs)) if rows is None else rows, progress)
