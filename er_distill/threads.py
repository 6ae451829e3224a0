"""How many threads to use: one rule for blocking and scoring."""

from __future__ import annotations

import os

from er_distill.errors import InputError


def thread_count(threads: int | None = None) -> int:
    """Return `threads`, or the number of cores this process may use.

    Raises
    ------
    InputError
        When `threads` is less than 1.
    """
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}.")
        return threads
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1
