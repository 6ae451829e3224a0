"""What a graph says of many pairs or prompts: batches run one after the other, or spread over threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from er_distill.batching import Inputs, in_batches, no_room, out_of_memory
from er_distill.errors import StudentError
from er_distill.session import OpenGraph, Session
from er_distill.tokens import Batch

_PROMPT_INPUTS = ("input_ids", "attention_mask")
_PAIR_INPUTS = (*_PROMPT_INPUTS, "token_type_ids")
# Pairs a thread takes at a time: few enough for the threads to end together, enough to hide the hand-over.
_PAIRS_A_TURN = 16


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
        The pairs' inputs. Read as they are needed, or a few batches before.
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
        As :meth:`Session.open`; also when the graph asks for inputs that a pair does not have, or the device has no
        memory for a single pair.
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
    run = _each_alone if one_by_one else in_batches
    for done in run(session, graph, batches, logits):
        if progress is not None:
            progress(done)
    return logits


def _each_alone(session: Session, graph: OpenGraph, batches: Iterable[Inputs], logits: np.ndarray) -> Iterator[int]:
    """Fill in the logits one row a run, a few rows at a time on each thread."""

    def run(batch: Inputs, begin: int) -> int:
        turn = slice(begin, begin + _PAIRS_A_TURN)
        feeds = {name: getattr(batch, name)[turn] for name in graph.inputs}
        rows = batch.rows[turn]
        for k, row in enumerate(rows.tolist()):
            try:
                logits[row] = graph.run({name: values[k : k + 1] for name, values in feeds.items()})
            except Exception as error:  # onnxruntime's errors have no base class of their own
                if not out_of_memory(error):
                    raise
                raise no_room(session, graph, batch.input_ids.shape[1], error) from error
        return len(rows)

    turns = ((batch, begin) for batch in batches for begin in range(0, len(batch.rows), _PAIRS_A_TURN))
    if session.threads == 1:
        yield from (run(*turn) for turn in turns)
        return
    with ThreadPoolExecutor(session.threads, thread_name_prefix="er_distill") as pool:
        waiting: deque[Future[int]] = deque()
        for turn in turns:
            waiting.append(pool.submit(run, *turn))
            if len(waiting) > 4 * session.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
