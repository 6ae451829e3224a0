"""The eight DistillER tasks as the benchmark `distiller` learns from them: pairs, features, votes; no gold.

Features are kept in ``runs/distiller/features``, under the hash of all that they are made from.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.distiller_configurations import EVERYONE
from benchmarks.gold import data_folder
from benchmarks.provenance import ROOT
from er_distill import lexical
from er_distill.pairs import Pairs
from er_distill.training.labels import Candidates, pairs_of_tuples, read_answers, read_jsonl, read_task
from er_distill.vectors import vectorise

KEPT = ROOT / "runs" / "distiller"
_MADE_BY = (
    "lexical.py",
    "sets.py",
    "values.py",
    "vectors.py",
    "records.py",
    "rendering.py",
)  # what a feature's value depends on


@dataclass(frozen=True)
class TaskData:
    """A task: all its candidate pairs, sorted, those of the labelled tuples among them.

    Attributes
    ----------
    candidates : Candidates
    features : ndarray of float32, shape (m, len(FEATURES))
        With all lists of the task, labelled or not, as context.
    votes : dict of str to ndarray of float32, shape (m,)
        Each teacher's: 1 for the pair it picked, 0 for the others of the query, NaN where it said nothing.
    labelled : ndarray of bool, shape (m,)
        The pairs of the labelled tuples.
    seconds : float
        What the features took when they were made.
    """

    candidates: Candidates
    features: np.ndarray
    votes: dict[str, np.ndarray]
    labelled: np.ndarray
    seconds: float

    @property
    def name(self) -> str:
        return self.candidates.name

    @property
    def pairs(self) -> Pairs:
        return self.candidates.pairs

    def of(self, teachers: Sequence[str]) -> np.ndarray:
        """Votes of some teachers, shape (n_teachers, m)."""
        return np.stack([self.votes[name] for name in teachers])


def load() -> list[TaskData]:
    """Read all tasks of the data folder."""
    return [_load(folder) for folder in sorted(data_folder().iterdir())]


def _load(folder: Path) -> TaskData:
    candidates = read_task(folder, {})[0]
    pairs = candidates.pairs
    path = kept("features", f"{folder.name}-{source_print(folder)}")
    if path.is_file():
        with np.load(path) as stored:
            features, seconds = stored["features"], float(stored["seconds"])
    else:
        started = time.perf_counter()
        corpus = vectorise(candidates.left, candidates.right)
        features = next(values for _, values in lexical.features(corpus, pairs, chunk_size=len(pairs)))
        seconds = time.perf_counter() - started
        keep(path, features=features, seconds=seconds)
    tuples = read_jsonl(folder / "train_tuples.jsonl.gz")
    of_tuples = pairs_of_tuples(tuples, candidates.left, _right(candidates), source=f"{folder.name}: train tuples")
    labelled = np.isin(pairs.keys(), of_tuples.keys())
    votes = {}
    for teacher in EVERYONE:
        file = folder / "teachers" / f"{teacher}.jsonl.gz"
        answers = read_answers(file) if file.is_file() else {}
        said = []
        for entry in tuples:
            size = len(entry["candidate_ids"])
            answer = answers.get(str(entry["query_id"]))
            place = None if answer is None else answer.place_in(entry["candidate_ids"])
            said.append(np.full(size, np.nan) if place is None else np.arange(size) == place)
        vote = np.full(len(pairs), np.nan, dtype=np.float32)
        vote[np.searchsorted(pairs.keys(), of_tuples.keys())] = np.concatenate(said)
        votes[teacher] = vote
    return TaskData(candidates, features, votes, labelled, seconds)


def _right(candidates: Candidates):  # type: ignore[no-untyped-def]
    assert candidates.right is not None  # every task of the benchmark has two tables
    return candidates.right


def source_print(folder: Path, *more: str) -> str:
    """Name of the features of a task's folder: of its files and of the code, `more` of it, that reads them."""
    files = [folder / name for name in ("left.csv.gz", "right.csv.gz", "train_tuples.jsonl.gz", "test_tuples.jsonl.gz")]
    files += sorted(path for name in (*_MADE_BY, *more) for path in (ROOT / "er_distill").glob(name))
    return fingerprint(*(path.read_bytes() for path in files))


def fingerprint(*parts: bytes) -> str:
    """Name of what was made from `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def kept(*parts: str) -> Path:
    """Where arrays are kept: folders, and a name."""
    return KEPT.joinpath(*parts[:-1], f"{parts[-1]}.npz")


def keep(path: Path, **arrays: np.ndarray | float) -> None:
    """Write arrays, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")  # two processes may make the same
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
