"""What can be known to be wrong before the first minute of work is spent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from er_distill import artefact
from er_distill.errors import InputError, did_you_mean
from er_distill.training import export
from er_distill.training.labels import Candidates, Labels
from er_distill.training.pretrained import EncoderModel, load_base

_FEATURE_BYTES = 4 * 128  # of a labelled pair, generously


def check_labels(tasks: Sequence[Candidates], labels: Sequence[Labels], folds: int) -> None:
    """Raise InputError unless each task has labels that something can be learned from."""
    if not tasks:
        raise InputError("fit_student needs candidate pairs of at least one task.")
    if len(tasks) != len(labels):
        raise InputError(
            f"fit_student got candidate pairs of {len(tasks)} task(s) and labels of {len(labels)}. Give one each."
        )
    names = [task.name for task in tasks]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two tasks are called {repeated!r}. Give each a name of its own.")
    for task, label in zip(tasks, labels, strict=True):
        task.pairs.checked(task.name)
        if len(task.pairs) != len(label.target):
            raise InputError(
                f"{task.name} has {len(task.pairs)} pairs and {len(label.target)} labels. "
                "Give a label, or NaN, for each."
            )
        known = label.target[label.known]
        if not len(known):
            raise InputError(f"{task.name} has no label. Ask a teacher, or bring labels of its candidate pairs.")
        if known.min() < 0 or known.max() > 1:
            raise InputError(f"{task.name} has a label that is no share of votes. Give values from 0 to 1.")
        if known.max() <= 0.5 or known.min() >= 0.5:
            kind = "match" if known.max() > 0.5 else "non-match"
            raise InputError(
                f"all labels of {task.name} say {kind}: there is nothing to tell apart. Label other pairs too."
            )
        queries = len(np.unique(task.pairs.left[label.known]))
        if queries < folds:
            raise InputError(f"{task.name} has labels on {queries} queries; {folds} folds need as many. Label more.")


def check_variants(variants: Sequence[str], default: str, known: Sequence[str] = export.VARIANTS) -> None:
    """Raise InputError unless the variants are among those `known` to be made, and the default is one of them."""
    for variant in variants:
        if variant not in known:
            raise InputError(f"there is no variant {variant!r}. {did_you_mean(variant, known)}")
    if default not in variants:
        raise InputError(f"default_variant {default!r} is not among the variants {tuple(variants)}.")


def check_output(output: Path) -> None:
    """Raise InputError unless a new folder can be put at `output`."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already. Name another output, or remove it first.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Asking for permissions is not enough: a read-only disk, or a root user, has them.
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent):
            pass
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}. Choose another output.") from error


def open_base(base: str | Path, max_length: int) -> EncoderModel:
    """Load the base; of a student folder, the encoder that it holds the weights of.

    Raises
    ------
    InputError, StudentError
        When there is no encoder that can be trained, with its tokenizer.
    """
    return load_base(weights_of(base), max_length)


def weights_of(base: str | Path) -> str | Path:
    """Return where an encoder's weights are: a student's ``weights/``, or what was named."""
    return artefact.weights(Path(base)) if (Path(base) / artefact.MANIFEST).is_file() else base


def check_space(run: Path, in_run: float, output: Path, in_output: float, n_described: int) -> None:
    """Raise InputError when the disks have no room for what the run and the student will hold.

    Parameters
    ----------
    run, output : Path
        The run folder, and the student folder, which need not be there yet.
    in_run, in_output : float
        Bytes of weights and graphs in either.
    n_described : int
        Labelled pairs.
    """
    in_run += n_described * _FEATURE_BYTES
    in_run -= sum(path.stat().st_size for path in run.rglob("*") if path.is_file())  # of stages that are done
    needed: dict[int, float] = {}
    for folder, amount in ((run, max(in_run, 0.0)), (output.parent, in_output)):
        disk = os.stat(folder).st_dev
        needed[disk] = needed.get(disk, 0.0) + amount
        free = shutil.disk_usage(folder).free
        if free < needed[disk]:
            raise InputError(
                f"the disk of {folder} has {free / 1e9:.2f} GB left, and this run needs some "
                f"{needed[disk] / 1e9:.2f} GB there. Free some space, or choose another folder."
            )
