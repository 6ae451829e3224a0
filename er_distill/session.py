"""Opens an ONNX graph, on the device that was asked for, and sees which device it really got.

onnxruntime does not fail where CUDA was asked for and its libraries are missing: it runs on the CPU. So what a session
got is read back, and an explicit device that was not got is an error.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import re
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.errors import DeviceError, MissingExtraError, StudentError, did_you_mean
from er_distill.threads import thread_count

logger = logging.getLogger("er_distill")

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# Graphs of a parent process, kept from being freed.
_INHERITED: list[Any] = []


@dataclass(frozen=True)
class OpenGraph:
    """A graph ready to run; threads may share it.

    Attributes
    ----------
    inputs, outputs : tuple of str
        The inputs that the graph asks for, and what it gives.
    device : str
        Where it runs: ``"cpu"`` or ``"cuda:N"``.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    device: str
    _inference: Any

    def run(self, feeds: Mapping[str, np.ndarray], output: str | None = None) -> np.ndarray:
        """Return an output of the graph, by default the first, flat, for feeds that hold at least what it asks for."""
        wanted = [self.outputs[0] if output is None else output]
        return np.ravel(self._inference.run(wanted, {name: feeds[name] for name in self.inputs})[0])


class Session:
    """An ONNX graph on disk, opened when first used, once in each process.

    Parameters
    ----------
    path : str or Path
        The graph.
    device : str
        ``"auto"`` takes CUDA where it really works, else the CPU. ``"cpu"``, ``"cuda"`` (the first GPU) and
        ``"cuda:N"`` are that device or an error.
    threads : int, optional
        Default: the cores this process may use.

    Raises
    ------
    DeviceError
        When there is no device of that name.
    InputError
        When `threads` is less than 1.

    Notes
    -----
    It can be pickled, and used after a fork (by multiprocessing, say): the other process opens the graph anew.
    """

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int | None = None) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            hint = did_you_mean(device, ("auto", "cpu", "cuda", "cuda:0"))
            raise DeviceError(f"There is no device {device!r}. {hint} A GPU is 'cuda', or 'cuda:1' for the second one.")
        thread_count(threads)
        self.path = Path(path)
        self._asked = device
        self._threads = threads
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._graphs: dict[int, OpenGraph] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_asked": self._asked, "_threads": self._threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_empty()

    @property
    def threads(self) -> int:
        """Number of threads it runs on."""
        return thread_count(self._threads)

    @property
    def device(self) -> str:
        """The device it really runs on.

        Raises
        ------
        DeviceError, MissingExtraError, StudentError
            As :meth:`open`.
        """
        if self._asked == "cpu" or (self._asked == "auto" and not _knows_cuda()):
            _import_onnxruntime()
            return "cpu"
        return self.open().device

    def open(self, threads: int | None = None) -> OpenGraph:
        """Open the graph, once for each number of threads.

        Parameters
        ----------
        threads : int, optional
            Threads of one run; by default the session's.

        Returns
        -------
        OpenGraph

        Raises
        ------
        MissingExtraError
            When onnxruntime is not installed.
        DeviceError
            When the device that was asked for by name was not got.
        StudentError
            When the file is missing or holds no graph.
        """
        threads = self.threads if threads is None else threads
        with self._lock:
            if threads not in self._graphs:
                if not self._graphs and hasattr(os, "register_at_fork"):  # not on Windows
                    os.register_at_fork(after_in_child=functools.partial(_abandon, weakref.ref(self)))
                self._graphs[threads] = _open(self.path, self._asked, threads)
            return self._graphs[threads]

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the graph's output, flat.

        Parameters
        ----------
        feeds : mapping of input name to ndarray
            At least the inputs that the graph asks for.

        Returns
        -------
        ndarray of float32
        """
        return self.open().run(feeds)


def _abandon(session: weakref.ref[Session]) -> None:
    """Forget the parent's graphs in a forked child; to free one would wait for threads that only the parent has."""
    inherited = session()
    if inherited is not None:
        _INHERITED.append(inherited._graphs)
        inherited._start_empty()


def _open(path: Path, asked: str, threads: int) -> OpenGraph:
    """Open a session, verify its device and log the choice."""
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A waiting thread that spins takes a core from whoever could use it, and slows the others down severalfold.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    inference, problem = None, ""
    number = int(asked.partition(":")[2] or 0)
    if asked != "cpu" and _knows_cuda():
        inference, problem = _open_on_cuda(onnxruntime, path, options, number)
    elif asked not in ("auto", "cpu"):
        problem = "the onnxruntime that is installed is built without CUDA"
    if inference is not None:
        device = f"cuda:{number}"
    else:
        try:
            # On its own, so that a graph that is broken is told from a device that is not there.
            inference = onnxruntime.InferenceSession(str(path), options, providers=[_CPU])
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise StudentError(f"{path} cannot be opened as an ONNX graph ({error}). Get the student anew.") from error
        device = "cpu"
        if asked not in ("auto", "cpu"):
            raise DeviceError(
                f"The device {asked!r} cannot be had for {path}: {problem}. See that nvidia-smi lists the GPU, "
                "uninstall onnxruntime and onnxruntime-gpu, and install 'er-distill[gpu]'; or use device='cpu'."
            )
        if problem:
            logger.warning("CUDA is not used: %s", problem)
    logger.info("%s runs on %s, %d thread(s) a run", path.name, device, threads)
    inputs, outputs = ([one.name for one in ends] for ends in (inference.get_inputs(), inference.get_outputs()))
    return OpenGraph(tuple(inputs), tuple(outputs), device, inference)


def _open_on_cuda(onnxruntime: Any, path: Path, options: Any, number: int) -> tuple[Any, str]:
    """Return a session that runs on the GPU, or None and what is wrong."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it does not find; stdout belongs to our caller
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
    providers = [(_CUDA, {"device_id": number}), _CPU]
    try:
        inference = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:
        return None, f"{error}".strip()
    if _CUDA not in inference.get_providers():
        return None, " ".join(["onnxruntime fell back to the CPU", *said.getvalue().split("\n")]).strip()
    return inference, ""


def _knows_cuda() -> bool:
    """Whether the installed onnxruntime is built with CUDA; whether that works is only seen when a graph is opened."""
    return _CUDA in _import_onnxruntime().get_available_providers()


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            'Scoring needs onnxruntime, which is not installed. Run: pip install "er-distill[cpu]", '
            'or "er-distill[gpu]" for an NVIDIA GPU.'
        ) from error
    return onnxruntime
