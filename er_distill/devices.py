"""Which device a name means, and what onnxruntime must be told to run there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from er_distill.errors import DeviceError, did_you_mean

CPU = "CPUExecutionProvider"
"""What runs everywhere, and whatever a GPU has no kernel for."""

TENSORRT_CACHE = "ER_DISTILL_TENSORRT_CACHE"
"""The variable that names the folder of TensorRT's engines."""

CPU_TOKENS, GPU_TOKENS = 4_096, 65_536
"""Tokens of a batch: enough to keep two cores, or a data-centre GPU, busy."""

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_BUILDS = {"cuda": "CUDA", "tensorrt": "TensorRT"}
_GPU_MULTIPLE = 8  # what matrix units ask of a side in half precision


@dataclass(frozen=True)
class Device:
    """A device by name.

    Attributes
    ----------
    kind : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"tensorrt"``.
    number : int
        Which of the GPUs.
    """

    kind: str
    number: int = 0

    @classmethod
    def named(cls, name: str) -> Device:
        """Return the device of a name.

        Raises
        ------
        DeviceError
            When there is none.
        """
        found = re.fullmatch(r"(auto|cpu|cuda|tensorrt)|(cuda|tensorrt):(\d+)", name)
        if found is None:
            hint = did_you_mean(name, ("auto", "cpu", "cuda", "cuda:0", "tensorrt"))
            raise DeviceError(f"There is no device {name!r}. {hint} A GPU is 'cuda', or 'cuda:1' for the second one.")
        return cls(found[1] or found[2], int(found[3] or 0))

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}" if self.on_gpu else self.kind

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU by name."""
        return self.kind in _PROVIDERS

    @property
    def memory(self) -> tuple[str, int]:
        """What onnxruntime calls the memory that its inputs lie in, and its number."""
        return ("cuda" if self.on_gpu else "cpu"), self.number

    @property
    def build(self) -> str:
        """What onnxruntime must be built with."""
        return _BUILDS[self.kind]

    @property
    def provider(self) -> str:
        """The execution provider that must be got."""
        return _PROVIDERS[self.kind]

    @property
    def providers(self) -> list[Any]:
        """Execution providers of a GPU in order of preference, with their options.

        float32 is float32 on CUDA: what is called TF32 keeps 10 bits of a product's mantissa, as fp16 does, and a
        threshold that was fitted to exact scores would be applied to others.
        """
        cuda = (_PROVIDERS["cuda"], {"device_id": self.number, "use_tf32": 0})
        if self.kind == "cuda":
            return [cuda, CPU]
        folder = tensorrt_cache()
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            "device_id": self.number,
            "trt_fp16_enable": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
        }
        return [(_PROVIDERS["tensorrt"], options), cuda, CPU]


def tensorrt_cache() -> Path:
    """Return where TensorRT keeps its engines: ``ER_DISTILL_TENSORRT_CACHE``, or a folder of the user's cache."""
    own = os.environ.get(TENSORRT_CACHE)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(cache) / "er_distill" / "tensorrt"


def tokens_of_a_batch(device: str) -> int:
    """Tokens that a batch may hold on a device."""
    return GPU_TOKENS if Device.named(device).on_gpu else CPU_TOKENS


def length_multiple(device: str) -> int:
    """What the length of a batch is rounded up to on a device: a pair's own length decides, never its company."""
    return _GPU_MULTIPLE if Device.named(device).on_gpu else 1
