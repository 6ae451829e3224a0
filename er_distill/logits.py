"""What a graph says of many pairs or prompts: batches run one after the other, or spread over threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from er_distill.errors import StudentError
from er_distill.session import Session
from er_distill.tokens import Batch

_PROMPT_INPUTS = ("input_ids", "attention_mask")
_PAIR_INPUTS = (*_PROMPT_INPUTS, "token_type_ids")
# Pairs a thread takes at a time: few enough for the threads to end together, enough to hide the hand-over.
_PAIRS_A_TURN = 16


class Inputs(Protocol):
    """A batch of a graph's inputs: arrays whose rows belong together."""

    @property
    def rows(self) -> np.ndarray:
        """Which pairs, or prompts, these are."""

    @property
    def input_ids(self) -> np.ndarray:
        """Token ids."""

    @property
    def attention_mask(self) -> np.ndarray:
        """1 for a token, 0 for padding."""


def encoder_logits(
    session: Session,
    batches: Iterable[Batch],
    n_pairs: int,
    *,
    one_by_one: bool,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Return the encoder's logit of each pair.

    Parameters
    ----------
    session : Session
        A cross-encoder's graph.
    batches : iterable of Batch
        The pairs' inputs, each batch of one exact length. Read as they are needed.
    n_pairs : int
        Number of pairs in all batches together.
    one_by_one : bool
        Whether each pair runs alone. A graph that quantises its activations while it runs has one scale for all of a
        batch, so that only then a pair's score does not depend on the pairs beside it. The pairs are spread over
        Python threads, and each run takes one thread.
    progress : callable, optional
        Called with the number of pairs done since the last call.

    Returns
    -------
    ndarray of float32, shape (n_pairs,)
        By `Batch.rows`.

    Raises
    ------
    MissingExtraError, DeviceError, StudentError
        As :meth:`Session.open`; also when the graph asks for inputs that a pair does not have.
    """
    return _logits(session, batches, (n_pairs, 1), _PAIR_INPUTS, one_by_one, progress)[:, 0]


def option_logits(
    session: Session,
    batches: Iterable[Inputs],
    n_prompts: int,
    n_options: int,
    *,
    one_by_one: bool,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Return the logits of the options after each prompt.

    Parameters
    ----------
    session : Session
        A causal language model's graph.
    batches : iterable of Inputs
        The prompts, padded on the right; each alone where they run one by one.
    n_prompts, n_options : int
    one_by_one, progress
        As for :func:`encoder_logits`.

    Returns
    -------
    ndarray of float32, shape (n_prompts, n_options)

    Raises
    ------
    MissingExtraError, DeviceError, StudentError
        As :func:`encoder_logits`.
    """
    return _logits(session, batches, (n_prompts, n_options), _PROMPT_INPUTS, one_by_one, progress)


def _logits(
    session: Session,
    batches: Iterable[Inputs],
    shape: tuple[int, int],
    known: tuple[str, ...],
    one_by_one: bool,
    progress: Callable[[int], object] | None,
) -> np.ndarray:
    graph = session.open(threads=1 if one_by_one else None)
    unknown = sorted(set(graph.inputs) - set(known))
    if unknown:
        raise StudentError(
            f"{session.path} asks for the input {unknown[0]!r}; it can be given {', '.join(known)}. "
            "Export the student again."
        )
    logits = np.empty(shape, dtype=np.float32)

    def run(batch: Inputs, begin: int, size: int) -> int:
        turn = slice(begin, begin + size)
        feeds = {name: getattr(batch, name)[turn] for name in graph.inputs}
        rows = batch.rows[turn]
        if one_by_one:
            for k, row in enumerate(rows.tolist()):
                logits[row] = graph.run({name: values[k : k + 1] for name, values in feeds.items()})
        else:
            logits[rows] = graph.run(feeds).reshape(len(rows), -1)
        return len(rows)

    workers = session.threads if one_by_one else 1
    for done in _spread(run, _turns(batches, _PAIRS_A_TURN if one_by_one else None), workers):
        if progress is not None:
            progress(done)
    return logits


def _turns(batches: Iterable[Inputs], size: int | None) -> Iterator[tuple[Inputs, int, int]]:
    for batch in batches:
        step = size or len(batch.rows)
        for begin in range(0, len(batch.rows), step):
            yield batch, begin, step


def _spread(run: Callable[..., int], turns: Iterator[tuple[Inputs, int, int]], workers: int) -> Iterator[int]:
    """Yield what `run` returns for each turn; only a few turns are held at a time."""
    if workers == 1:
        yield from (run(*turn) for turn in turns)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="er_distill") as pool:
        waiting: deque[Future[int]] = deque()
        for turn in turns:
            waiting.append(pool.submit(run, *turn))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
