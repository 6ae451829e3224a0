"""How many candidate pairs a student scores in a second: part of its card."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from er_distill import artefact
from er_distill.artefact import FileEntry, Manifest
from er_distill.errors import ErDistillWarning
from er_distill.pairs import Pairs
from er_distill.student import Student
from er_distill.training.labels import Candidates
from er_distill.vectors import vectorise

_PAIRS = 2_000


def pairs_per_second(
    manifest: Manifest, sources: Mapping[str, Path], tasks: Sequence[Candidates], within: Path
) -> dict[str, float]:
    """Time each variant on some of the candidate pairs it was made for, on this machine, as `er_distill.link` runs it.

    Reading tables, finding candidates and loading the student are not counted.

    Parameters
    ----------
    manifest : Manifest
        With all files of `sources` described.
    sources : mapping of str to Path
        The files of the student, by the names it gives them.
    tasks : sequence of Candidates
        Of the one with the most pairs whole candidate lists are scored, some two thousand pairs together.
    within : Path
        A folder for a copy of the files while it lasts.

    Returns
    -------
    dict of str to float
        By variant.
    """
    task = max(tasks, key=lambda one: len(one.pairs))
    some = _whole_lists(task)
    corpus = vectorise(task.left, task.right)
    found = {}
    with tempfile.TemporaryDirectory(prefix=".speed-", dir=within) as name:
        folder = Path(name)
        for file, path in sources.items():
            try:
                os.link(path, folder / file)  # takes no room
            except OSError:  # another disk, or one without links
                shutil.copyfile(path, folder / file)
        described: Mapping[str, FileEntry] = {file: manifest.files[file] for file in sources}
        artefact.write(dataclasses.replace(manifest, files=described, weights={}), folder)
        with warnings.catch_warnings():  # what there is to say of the tables is for those who use the student
            warnings.simplefilter("ignore", ErDistillWarning)
            for variant in manifest.variants:
                student = Student.load(folder, variant=variant)
                student.score(task.left, task.right, some.take(slice(0, 1)), corpus=corpus)  # opens the graphs
                started = time.perf_counter()
                student.score(task.left, task.right, some, corpus=corpus)
                found[variant] = round(len(some) / (time.perf_counter() - started), 1)
    return found


def _whole_lists(task: Candidates) -> Pairs:
    pairs = task.pairs.unique()[0]
    queries, counts = np.unique(pairs.left, return_counts=True)
    last = queries[min(int(np.searchsorted(np.cumsum(counts), _PAIRS)), len(queries) - 1)]
    return pairs.take(np.flatnonzero(pairs.left <= last))
