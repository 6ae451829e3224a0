"""A graph run on batches: the next ones are made and brought to the device while one runs; memory that is short.

Which batches there are changes nothing but the time. A batch that the device has no memory for is cut in halves until
it fits, and those that come after it are cut likewise: no row is lost, and none counts twice.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np

from er_distill.binding import Binding
from er_distill.errors import DeviceError
from er_distill.session import OpenGraph, Session
from er_distill.threads import ahead

logger = logging.getLogger("er_distill")

AHEAD = 2
"""Batches that wait, made and on the device, while one runs."""

# What onnxruntime's arena, CUDA, cuBLAS and cuDNN say; these errors have no class of their own.
_OUT_OF_MEMORY = re.compile(
    r"failed to allocate memory|smaller than requested bytes|out of memory|_STATUS_ALLOC_FAILED|bad.?alloc",
    re.IGNORECASE,
)


class Inputs(Protocol):
    """A batch of a graph's inputs: arrays whose rows belong together."""

    @property
    def rows(self) -> np.ndarray:
        """Which pairs, or prompts, these are."""

    @property
    def input_ids(self) -> np.ndarray:
        """Token ids, shape (b, width)."""

    @property
    def attention_mask(self) -> np.ndarray:
        """1 for a token, 0 for padding."""


def in_batches(session: Session, graph: OpenGraph, batches: Iterable[Inputs], logits: np.ndarray) -> Iterator[int]:
    """Fill in the logits of all rows.

    Parameters
    ----------
    session : Session
        What knows how much memory there is.
    graph : OpenGraph
        Its graph.
    batches : iterable of Inputs
        Read by another thread, :data:`AHEAD` batches before they are run.
    logits : ndarray of float32, shape (n_rows, n_outputs)
        Written to, by `Inputs.rows`.

    Yields
    ------
    int
        Rows that were done since the last.

    Raises
    ------
    DeviceError
        When the device has no memory for a single row.
    """
    bindings = [graph.borrow() for _ in range(AHEAD + 1)]

    def loaded() -> Iterator[tuple[Binding, Inputs]]:
        for binding, batch in zip(itertools.cycle(bindings), batches, strict=False):
            try:
                binding.load(_feeds(graph, batch, slice(None)))
            except Exception as error:  # onnxruntime's errors have no base class of their own
                if not out_of_memory(error):
                    raise
                raise no_room(session, graph, batch.input_ids.size, error) from error
            yield binding, batch

    with contextlib.closing(ahead(loaded(), AHEAD)) as ready:
        for binding, batch in ready:
            yield from _run(session, graph, binding, batch, logits)
    graph.give_back(bindings)


def out_of_memory(error: Exception) -> bool:
    """Whether a run failed for want of memory on its device."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def no_room(session: Session, graph: OpenGraph, tokens: int, error: Exception) -> DeviceError:
    """Return the error that ends it: not even one row fits."""
    return DeviceError(
        f"{graph.device} has no memory left to run {session.path} on an input of {tokens} tokens "
        f"({str(error).strip().splitlines()[-1][-200:]}). See with nvidia-smi what else holds its memory and end that, "
        "take another GPU (device='cuda:1'), or use device='cpu'."
    )


def _run(session: Session, graph: OpenGraph, binding: Binding, batch: Inputs, logits: np.ndarray) -> Iterator[int]:
    """Run a batch that is loaded, in parts where it is too large for the device's memory."""
    n_rows, width = batch.input_ids.shape
    begin = 0
    while begin < n_rows:
        fits = n_rows if session.most_tokens is None else max(1, session.most_tokens // width)
        size = min(fits, n_rows - begin)
        part = slice(begin, begin + size)
        try:
            if size < n_rows:  # otherwise it is what has been loaded
                binding.load(_feeds(graph, batch, part))
            found = binding.run()
        except Exception as error:  # onnxruntime's errors have no base class of their own
            if not out_of_memory(error):
                raise
            if size == 1:
                raise no_room(session, graph, width, error) from error
            _halve(session, graph, size, width)
            continue
        logits[batch.rows[part]] = found.reshape(size, -1)
        begin += size
        yield size


def _halve(session: Session, graph: OpenGraph, size: int, width: int) -> None:
    """Let batches hold half of what did not fit, from now on; the first time this is said aloud."""
    level = logging.WARNING if session.most_tokens is None else logging.INFO
    half = size // 2 * width
    session.most_tokens = half if session.most_tokens is None else min(half, session.most_tokens)
    logger.log(
        level,
        "%s has no memory for %s on %d x %d tokens: goes on in batches of at most %d tokens",
        graph.device,
        session.path.name,
        size,
        width,
        session.most_tokens,
    )


def _feeds(graph: OpenGraph, batch: Inputs, part: slice) -> Mapping[str, np.ndarray]:
    return {name: getattr(batch, name)[part] for name in graph.inputs}
