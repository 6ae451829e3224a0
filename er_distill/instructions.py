"""Whether int8 arithmetic is exact on this processor.

A kernel for int8 multiplies unsigned activations with signed weights. With VNNI (x86) or on ARM the products are added
in 32 bits. Without, AVX2 and AVX-512 add two of them in 16 bits first (``vpmaddubsw``), which saturates: two products
of 255 and 127 are 64,770, and 32,767 comes out. Weights of 7 bits, from -64 to 64, cannot: 2 * 255 * 64 is 32,640.
Source: the onnxruntime documentation, "Quantize ONNX models", on ``reduce_range``.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from er_distill.errors import StudentError

SAFE_REACH = 64
"""The largest weight whose products never saturate."""

_CPUINFO = Path("/proc/cpuinfo")
_GRAPH, _INITIALIZER, _DATA_TYPE, _RAW_DATA, _INT8 = 7, 5, 2, 9, 3  # numbers of ONNX's protocol buffers
_FIXED = {1: 8, 5: 4}


@dataclass(frozen=True)
class Instructions:
    """What int8 runs on.

    Attributes
    ----------
    name : str
        Of the instruction set.
    exact : bool
        Whether sums cannot saturate, whatever the weights.
    """

    name: str
    exact: bool


@functools.cache
def instructions() -> Instructions:
    """Return what this processor offers to int8; where that cannot be seen, it is taken for inexact."""
    machine = platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return Instructions("ARM", exact=True)
    flags = set(_CPUINFO.read_text(encoding="utf-8", errors="replace").split()) if _CPUINFO.is_file() else set()
    for flag, name in (("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX VNNI")):
        if flag in flags:
            return Instructions(name, exact=True)
    for flag, name in (("avx512bw", "AVX-512 without VNNI"), ("avx2", "AVX2 without VNNI")):
        if flag in flags:
            return Instructions(name, exact=False)
    return Instructions(f"{machine}, instructions unknown", exact=False)


def int8_reach(path: Path) -> int:
    """Return the largest absolute value among the int8 weights of an ONNX graph; 0 where there are none.

    Raises
    ------
    StudentError
        When the file holds no graph.
    """
    reach = 0
    try:
        for graph in _fields(memoryview(path.read_bytes()), _GRAPH):
            for tensor in _fields(graph, _INITIALIZER):
                if next(_fields(tensor, _DATA_TYPE), b"") == bytes([_INT8]):
                    for raw in _fields(tensor, _RAW_DATA):
                        weights = np.frombuffer(raw, dtype=np.int8).astype(np.int16)
                        reach = max(reach, int(np.abs(weights).max(initial=0)))
    except (IndexError, ValueError, TypeError) as error:
        raise StudentError(f"{path} cannot be read as an ONNX graph ({error}). Get the student anew.") from error
    return reach


def saturates(path: Path) -> bool:
    """Whether a graph's int8 sums may saturate on this processor."""
    return not instructions().exact and int8_reach(path) > SAFE_REACH


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the values of one field of a protocol buffer message, as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        begin = at
        if kind == 0:
            at = _varint(message, at)[1]
        elif kind == 2:
            length, begin = _varint(message, at)
            at = begin + length
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if number == wanted:
            yield message[begin:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
