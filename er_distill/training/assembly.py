"""The student folder, put together from what the stages left: manifest, card, files, all there or none."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from er_distill import artefact
from er_distill.artefact import FileEntry, Teacher
from er_distill.training.folds import LabelledTask
from er_distill.training.recipe import DistillConfig
from er_distill.training.runs import Run, publish

_PACKAGES = ("torch", "transformers", "tokenizers", "scikit-learn", "numpy", "scipy", "onnx", "onnxruntime")


def describe(sources: Mapping[str, Path]) -> dict[str, FileEntry]:
    """Return the manifest's entries of files by the names they will have."""
    return {name: FileEntry(artefact.sha256(path), path.stat().st_size) for name, path in sorted(sources.items())}


def provenance(
    config: DistillConfig, tasks: Sequence[LabelledTask], run: Run, checks: Mapping[str, Any], inputs: str
) -> dict[str, Any]:
    """Return the manifest's ``training``: how the student was made.

    Keys
    ----
    command, seed, python, machine, versions
        With what it was made.
    inputs : str
        Fingerprint of records, pairs, labels and settings: a call with the same makes the same student.
    seconds, seconds_by_stage
        Of each stage as it was finished, and together; a stage that was kept from an earlier call counts with what it
        took then, one that went on after a kill with what it took after that.
    peak_memory_bytes : int
        The most memory that a process had in use up to the end of one of its stages.
    labelled_pairs : by task
    config : the settings
    continued : str or None
        The student whose encoder this one goes on from.
    checks : by variant
        See `er_distill.training.checks`.
    """
    settings = dataclasses.asdict(config)
    del settings["output"]  # where it was made says nothing of what was made
    before = student_before(config)
    base = settings.pop("base_name") or (before.name if before else Path(str(config.reader.base)).name)
    settings[config.kind]["base"] = base
    if config.generative is not None:
        settings["generative"]["method"] = config.generative.about()["method"]  # with its name
    seconds = {name: result.seconds for name, result in run.results.items()}
    return {
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "seed": config.seed,
        "inputs": inputs,
        "seconds": round(sum(seconds.values())),
        "seconds_by_stage": seconds,
        "peak_memory_bytes": max(result.peak_memory for result in run.results.values()),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in _PACKAGES},
        "labelled_pairs": {task.candidates.name: len(task.known) for task in tasks},
        "config": json.loads(json.dumps(settings, default=str)),  # paths as text
        "continued": None if before is None else f"{before.name}, made on {before.created}",
        "checks": dict(checks),
    }


def student_before(config: DistillConfig) -> artefact.Manifest | None:
    """Return the manifest of the student whose encoder is trained further, if the base is one."""
    folder = Path(config.reader.base)
    return artefact.read(folder) if (folder / artefact.MANIFEST).is_file() else None


def teachers_of(given: Iterable[Teacher]) -> tuple[Teacher, ...]:
    """Return each teacher once, with all of its labels."""
    totals: dict[tuple[str, str], int] = {}
    for teacher in given:
        key = teacher.name, teacher.licence
        totals[key] = totals.get(key, 0) + teacher.labels
    return tuple(Teacher(name, licence, count) for (name, licence), count in totals.items())


def deliver(sources: Mapping[str, Path], weights: Mapping[str, Path], output: Path) -> None:
    """Copy the files to `output`, which must not be there or be empty: whole, or not at all."""
    # A copy under a hidden name and one rename: the student is there whole, or not at all.
    arriving = output.with_name(f".{output.name}.partial")
    shutil.rmtree(arriving, ignore_errors=True)  # of a run that was stopped here
    try:
        arriving.mkdir()
        for name, path in sources.items():
            shutil.copyfile(path, arriving / name)
        if weights:
            (arriving / artefact.WEIGHTS).mkdir()
        for name, path in weights.items():
            shutil.copyfile(path, arriving / artefact.WEIGHTS / name)
        if output.is_dir():
            output.rmdir()
        publish(arriving, output)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
