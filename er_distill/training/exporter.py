"""What makes ONNX graphs of torch modules: torch's own exporter, called in one way, or optimum."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from er_distill.errors import InputError, MissingExtraError, did_you_mean
from er_distill.training import missing_extra

try:
    import onnx
    import torch
except ImportError as error:
    raise missing_extra(error) from error

Exporter = Literal["torch", "optimum"]
"""torch's exporter is the default; optimum's is for transformers 4."""

DATA_SUFFIX = ".data"
"""Added to a graph's name for the file of its weights, where these are too many for the graph itself."""

_MOST_BYTES = 1_800_000_000  # of a graph in one file; protobuf ends at 2 GiB


def check_exporter(name: str) -> None:
    """Raise InputError unless there is such an exporter, MissingExtraError where it is not installed."""
    if name not in get_args(Exporter):
        raise InputError(f"There is no exporter {name!r}. {did_you_mean(name, get_args(Exporter))}")
    if name == "optimum":
        try:
            import optimum.exporters.onnx  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "exporter='optimum' needs optimum-onnx and transformers 4, which are not installed. In an environment "
                'of its own, run: pip install "er-distill[cpu,optimum]"'
            ) from error


def export_module(
    module: torch.nn.Module,
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    opset: int,
) -> None:
    """Write a module as an ONNX graph.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, in evaluation mode, with plain attention; takes `inputs`, int64 of shape (b, length), by position.
    path : Path
    inputs, outputs : sequence of str
        Their names.
    axes : mapping of name to {axis: name}
        Axes of any length.
    opset : int
        Of ONNX.
    """
    example = torch.ones((2, 8), dtype=torch.int64)
    with warnings.catch_warnings():
        # What the exporter says of itself, of python branches on shapes and of indices (never negative here).
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.onnx")
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*legacy TorchScript.*")
        warnings.filterwarnings("ignore", category=UserWarning, message="Exporting aten::index operator")
        torch.onnx.export(
            module,
            (example,) * len(inputs),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(named) for name, named in axes.items()},
            opset_version=opset,
            dynamo=False,
        )


def save_graph(proto: onnx.ModelProto, path: Path) -> None:
    """Write a graph: in one file where it fits, else with its weights in a second one beside it."""
    path.unlink(missing_ok=True)
    weights = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if weights <= _MOST_BYTES:
        onnx.save(proto, str(path))
        return
    data = path.name + DATA_SUFFIX
    path.with_name(data).unlink(missing_ok=True)  # onnx appends to what is there
    onnx.save(proto, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data)
