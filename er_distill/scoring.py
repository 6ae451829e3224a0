"""A student, named or loaded, and candidate pairs scored by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from er_distill import artefact
from er_distill.blocking import Rule, candidates
from er_distill.errors import DeviceError, InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.student import Student
from er_distill.tables import open_frame, pairs_of
from er_distill.vectors import Corpus


class Scorer(Protocol):
    """What the doors need of a student; bring your own, or load one with `Student.load`."""

    @property
    def threshold(self) -> float:
        """Probability from which a pair counts as a match."""

    @property
    def device(self) -> str:
        """Where it runs."""

    def score(
        self,
        left: Records,
        right: Records | None,
        pairs: Pairs,
        *,
        context: bool,
        corpus: Corpus | None,
        chunk_size: int,
        progress: bool,
    ) -> np.ndarray:
        """Return the probability that each pair is a match, shape (len(pairs),)."""


def load_student(student: str | Path | Scorer, device: str, threads: int | None) -> Scorer:
    """Return a loaded student: `student` itself where it is one, else `Student.load`.

    Raises
    ------
    DeviceError
        When an explicit device cannot be had, or `student` is loaded on another one.
    """
    if isinstance(student, (str, Path)):
        return Student.load(student, device=device, threads=threads)
    if not hasattr(student, "score"):
        raise InputError(f"student={student!r} is no student. Pass a name, a folder, or what Student.load returns.")
    if device not in ("auto", student.device, student.device.partition(":")[0]):
        raise DeviceError(
            f"device={device!r}, but the student is loaded on {student.device}. Load it with Student.load(device=)."
        )
    return student


def threshold_of(student: str | Path | Scorer) -> float:
    """Return a student's threshold; of one that is not loaded, only the manifest is read."""
    if isinstance(student, (str, Path)):
        return artefact.read(artefact.locate(student)).variant().threshold
    return load_student(student, "auto", None).threshold


def candidate_pairs(
    left: Records,
    right: Records | None,
    blocking: Sequence[Rule] | None,
    pairs: Any,
    threads: int | None,
    corpus: Corpus | None = None,
    *,
    progress: bool = False,
) -> tuple[Pairs, Corpus | None]:
    """Return the candidate pairs, each once: those of the frame `pairs`, else those that `blocking` finds.

    With them the tables' vectors, where they are at hand. Arguments as in `er_distill.link`.
    """
    if pairs is not None and blocking is not None:
        raise InputError("pairs= brings candidate pairs, blocking= finds them. Pass one.")
    if pairs is not None:
        return pairs_of(open_frame(pairs, "pairs")[0], left, right).unique()[0], corpus
    blocks = candidates(left, right, rules=blocking, threads=threads, corpus=corpus, progress=progress)
    return blocks.pairs, blocks.corpus


def scored_candidates(
    left: Records,
    right: Records | None,
    scorer: Scorer,
    blocking: Sequence[Rule] | None,
    pairs: Any,
    threads: int | None,
    context: bool,
    chunk_size: int,
    progress: bool,
) -> tuple[Pairs, np.ndarray]:
    """Return the candidate pairs, each once, and their probabilities.

    The pairs are those of `candidate_pairs`; there may be none. Arguments as in `er_distill.link`.
    """
    found, corpus = candidate_pairs(left, right, blocking, pairs, threads, progress=progress)
    if not len(found):
        return found, np.empty(0)
    scores = scorer.score(left, right, found, context=context, corpus=corpus, chunk_size=chunk_size, progress=progress)
    return found, scores


def check_threshold(threshold: float | None) -> None:
    """Raise InputError unless `threshold` is None or a number in [0, 1]."""
    if threshold is None:
        return
    number = isinstance(threshold, (int, float, np.number)) and not isinstance(threshold, bool)
    if not number or math.isnan(threshold) or not 0 <= threshold <= 1:
        raise InputError(
            f"threshold={threshold!r} must be a number in [0, 1]: the probability from which a pair is a match."
        )
