"""How many threads to use: one rule for blocking, tokenising and scoring; and work that is done ahead of its use.

In this order: the argument ``threads``; the variable ``ER_DISTILL_THREADS``; ``OMP_NUM_THREADS``, in which joblib,
Spark, Ray and Dask tell each of their workers its share of the machine; the cores this process may use.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from er_distill.errors import InputError

VARIABLE = "ER_DISTILL_THREADS"

_OF_WORKERS = "OMP_NUM_THREADS"
_OF_TOKENIZERS = "RAYON_NUM_THREADS"
_SET_HERE = "ER_DISTILL_TOKENIZER_THREADS"  # what `limit_tokenizers` has put there, seen by processes started since
_Item = TypeVar("_Item")


def thread_count(threads: int | None = None) -> int:
    """Return `threads`, or the number that the environment or the machine allows.

    Raises
    ------
    InputError
        When `threads` is less than 1, or ``ER_DISTILL_THREADS`` is no number from 1.
    """
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}.")
        return threads
    own = os.environ.get(VARIABLE, "").strip()
    if own:
        if not own.isdecimal() or int(own) < 1:
            raise InputError(f"{VARIABLE}={own!r} must be a whole number of at least 1, or unset.")
        return int(own)
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    # OpenMP takes a list, a number for each nesting level: the first is ours. What is no number is not ours to judge.
    share = os.environ.get(_OF_WORKERS, "").partition(",")[0].strip()
    return min(int(share), cores) if share.isdecimal() and int(share) else cores


def limit_tokenizers(threads: int | None = None) -> None:
    """Hold the tokenizers' threads to `thread_count`, unless the caller's environment does already.

    They are one pool for the whole process, made when it first tokenises several texts: the first student decides. A
    process that is started later inherits what its parent was held to, and has a share of its own all the same.
    """
    inherited = os.environ.get(_OF_TOKENIZERS)
    if inherited is None or inherited == os.environ.get(_SET_HERE):
        os.environ[_OF_TOKENIZERS] = os.environ[_SET_HERE] = str(thread_count(threads))


def ahead(items: Iterator[_Item], depth: int, *, threads: int | None = 2) -> Generator[_Item, None, None]:
    """Yield the items, made by another thread, at most `depth` of them before they are asked for.

    An error of theirs is raised where the item would have come. Where `threads`, as `thread_count` reads it, allows
    one alone, each is made when it is asked for.
    """
    if thread_count(threads) == 1:
        yield from items
        return
    with ThreadPoolExecutor(1, thread_name_prefix="er_distill") as pool:
        end = object()
        waiting = deque(pool.submit(next, items, end) for _ in range(depth))
        while True:
            item = waiting.popleft().result()
            if item is end:
                return
            waiting.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
