"""From a trained encoder to its ONNX graphs, and their logits."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.devices import CPU_TOKENS
from er_distill.errors import InputError, did_you_mean
from er_distill.logits import encoder_logits
from er_distill.pairs import Pairs
from er_distill.session import Session
from er_distill.tokens import PairEncoder
from er_distill.training import missing_extra
from er_distill.training.export_optimum import export_encoder_graph
from er_distill.training.exporter import Exporter, check_exporter, export_module
from er_distill.training.pretrained import EncoderModel, quiet_transformers

try:
    import torch
except ImportError as error:
    raise missing_extra(error) from error

VARIANTS = ("fp32", "fp16", "int8")
"""Encoder graphs that can be made: as trained; in half precision with fused operators, for GPUs; weights and embeddings
in 8 bits, a quarter of the size."""

ONE_BY_ONE = frozenset({"int8"})
"""Variants that quantise activations by the batch: each pair must run alone (see `er_distill.logits`)."""

LIMITS = {"fp32": 1e-4, "fp16": 0.01}
"""By how much a graph's probability may differ from its model's; int8 is held to its decisions alone."""


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
    model: EncoderModel,
    folder: Path,
    *,
    variants: Sequence[str] = VARIANTS,
    opset: int = 17,
    exporter: Exporter = "torch",
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
    exporter : {"torch", "optimum"}
        What traces the model; optimum needs its extra.

    Returns
    -------
    dict of variant to file name
        Each graph takes the model's `input_names`, int64 of shape (b, length), and gives ``logit``, float32 of (b,).

    Raises
    ------
    InputError
        When there is no variant, or no exporter, of a name.
    ExportError, MissingExtraError
        When optimum is asked for and cannot export the model, or is not there.
    """
    check_exporter(exporter)
    for variant in variants:
        if variant not in VARIANTS:
            raise InputError(f"There is no encoder variant {variant!r}. {did_you_mean(variant, VARIANTS)}")
    files = {variant: f"encoder.{variant}.onnx" for variant in variants}
    fp32 = folder / "encoder.fp32.onnx"
    if exporter == "optimum":
        export_encoder_graph(model.model, fp32, opset=opset)
    else:
        _export_fp32(model, fp32, opset)
    if "fp16" in variants:
        _halve(model, fp32, folder / files["fp16"])
    if "int8" in variants:
        _quantise(fp32, folder / files["int8"])
    if "fp32" not in variants:
        fp32.unlink()
    return files


def _export_fp32(model: EncoderModel, path: Path, opset: int) -> None:
    # A copy: the caller's model keeps its device and its attention. Only the plain attention can be quantised.
    plain = copy.deepcopy(model.model).to("cpu").eval()
    with quiet_transformers():  # version 4 says that it cannot for some models; these are exported as they are
        plain.set_attn_implementation("eager")
    axes = {name: {0: "pairs", 1: "tokens"} for name in model.input_names}
    export_module(
        _LogitOnly(plain, model.input_names),
        path,
        inputs=model.input_names,
        outputs=("logit",),
        axes={**axes, "logit": {0: "pairs"}},
        opset=opset,
    )


def _halve(model: EncoderModel, source: Path, path: Path) -> None:
    """Fuse attention and normalisation, which GPUs have kernels for, and halve the precision but for inputs and logit.

    What is no BERT in its layout keeps its plain operators. A CPU has no such kernels and computes in float32.
    """
    try:
        from onnxruntime.transformers.optimizer import optimize_model
    except ImportError as error:
        raise missing_extra(error) from error
    config = model.model.config
    fused = optimize_model(
        str(source),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        opt_level=0,  # the fusions alone: graph rewriting of the runtime itself would fit this machine only
        use_gpu=True,
    )
    fused.convert_float_to_float16(keep_io_types=True)
    fused.save_model_to_file(str(path))


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


def graph_logits(
    path: Path,
    model: EncoderModel,
    left_texts: list[str],
    right_texts: list[str] | None,
    pairs: Pairs,
    *,
    one_by_one: bool,
    progress: Callable[[int], object] | None = None,
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
    progress : callable, optional
        Called with the number of pairs done since the last call.

    Returns
    -------
    ndarray of float32, shape (m,)
    """
    encoder = PairEncoder(model.tokenizer, model.max_length)
    left = encoder.table(left_texts)
    right = left if right_texts is None else encoder.table(right_texts)
    batches = encoder.batches(left, right, pairs, CPU_TOKENS)
    session = Session(path, device="cpu")
    return encoder_logits(session, batches, len(pairs), one_by_one=one_by_one, progress=progress)
