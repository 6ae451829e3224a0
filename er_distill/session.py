"""Opens an ONNX graph, on the device that was asked for, and sees which device it really got.

onnxruntime does not fail where a GPU was asked for and its libraries are missing: it runs on the CPU. So what a session
got is read back, and an explicit device that was not got is an error.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.binding import Binding
from er_distill.devices import CPU, Device, tokens_of_a_batch
from er_distill.errors import DeviceError, MissingExtraError, StudentError
from er_distill.threads import thread_count

logger = logging.getLogger("er_distill")

_FIRST_GPU = Device("cuda")
_EXTRA_STEP = {"cuda": "", "tensorrt": " and tensorrt, with its libraries on LD_LIBRARY_PATH"}
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
        Where it runs: ``"cpu"``, ``"cuda:N"`` or ``"tensorrt:N"``.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    device: str
    _inference: Any
    _idle: deque[Binding] = field(default_factory=deque, repr=False)

    def borrow(self) -> Binding:
        """Return buffers for inputs that nobody else uses, to be given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return Binding(self._inference, self.inputs, self.outputs[0], Device.named(self.device))

    def give_back(self, bindings: Sequence[Binding]) -> None:
        """Let others use borrowed buffers; those of a run that failed are better dropped."""
        self._idle.extend(bindings)

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
        ``"auto"`` takes CUDA where it really works, else the CPU. ``"cpu"``, ``"cuda"`` (the first GPU), ``"cuda:N"``,
        ``"tensorrt"`` and ``"tensorrt:N"`` are that device or an error.
    threads : int, optional
        Default: the cores this process may use.

    Attributes
    ----------
    most_tokens : int or None
        Tokens of a batch that its device has had no memory for, halved until it had; None until that happens.

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
        thread_count(threads)
        self.path = Path(path)
        self._kind = Device.named(device).kind
        self._asked = device
        self._threads = threads
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._graphs: dict[int, OpenGraph] = {}
        self.most_tokens: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_kind": self._kind, "_asked": self._asked, "_threads": self._threads}

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
        if self._kind == "cpu" or (self._kind == "auto" and not _knows(_FIRST_GPU)):
            _import_onnxruntime()
            return "cpu"
        return self.open().device

    @property
    def batch_tokens(self) -> int:
        """Tokens that a batch should hold on its device: what keeps it busy, or what has been found to fit."""
        usual = tokens_of_a_batch(self.device)
        return usual if self.most_tokens is None else min(usual, self.most_tokens)

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


def _open(path: Path, name: str, threads: int) -> OpenGraph:
    """Open a session, verify its device and log the choice."""
    asked = Device.named(name)
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A waiting thread that spins takes a core from whoever could use it, and slows the others down severalfold.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    inference, problem = None, ""
    device = _FIRST_GPU if asked.kind == "auto" else asked
    if device.on_gpu and _knows(device):
        inference, problem = _open_on_gpu(onnxruntime, path, options, device)
    elif asked.on_gpu:
        problem = f"the onnxruntime that is installed is built without {device.build}"
    if inference is None:
        device = Device("cpu")
        try:
            # On its own, so that a graph that is broken is told from a device that is not there.
            inference = onnxruntime.InferenceSession(str(path), options, providers=[CPU])
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise StudentError(f"{path} cannot be opened as an ONNX graph ({error}). Get the student anew.") from error
        if asked.on_gpu:
            raise DeviceError(
                f"The device {name!r} cannot be had for {path}: {problem}. See that nvidia-smi lists the GPU, "
                f"uninstall onnxruntime and onnxruntime-gpu, and install 'er-distill[gpu]'{_EXTRA_STEP[asked.kind]}; "
                "or use device='cpu'."
            )
        if problem:
            logger.warning("CUDA is not used: %s", problem)
    logger.info("%s runs on %s, %d thread(s) a run", path.name, device, threads)
    inputs, outputs = ([one.name for one in ends] for ends in (inference.get_inputs(), inference.get_outputs()))
    return OpenGraph(tuple(inputs), tuple(outputs), str(device), inference)


def _open_on_gpu(onnxruntime: Any, path: Path, options: Any, device: Device) -> tuple[Any, str]:
    """Return a session that runs on the GPU, or None and what is wrong."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it does not find; stdout belongs to our caller
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
    try:
        inference = onnxruntime.InferenceSession(str(path), options, providers=device.providers, enable_fallback=0)
    except Exception as error:
        return None, f"{error}".strip()
    if device.provider not in inference.get_providers():
        got = "CUDA" if device.kind == "tensorrt" and _FIRST_GPU.provider in inference.get_providers() else "the CPU"
        return None, " ".join([f"onnxruntime fell back to {got}", *said.getvalue().split("\n")]).strip()
    return inference, ""


def _knows(device: Device) -> bool:
    """Whether the installed onnxruntime is built for a GPU; whether that works is only seen when a graph is opened."""
    return device.provider in _import_onnxruntime().get_available_providers()


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            'Scoring needs onnxruntime, which is not installed. Run: pip install "er-distill[cpu]", '
            'or "er-distill[gpu]" for an NVIDIA GPU.'
        ) from error
    return onnxruntime
