"""`fit_student`: from candidate pairs and teacher labels to a student folder.

Here is what is seen to before the work; the work itself is in `stages`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from er_distill import artefact
from er_distill.errors import InputError
from er_distill.training import folds, precheck
from er_distill.training.exporter import check_exporter
from er_distill.training.labels import Candidates, Labels
from er_distill.training.recipe import DistillConfig
from er_distill.training.runs import Run, fingerprint
from er_distill.training.stages import STAGES, VERSIONS, Stages, content_of, planned
from er_distill.training.tiers import tier_of

__all__ = ["STAGES", "DistillConfig", "fit_student", "planned"]

log = logging.getLogger(__name__)


def fit_student(
    pairs: Candidates | Sequence[Candidates],
    labels: Labels | Sequence[Labels],
    config: DistillConfig,
    *,
    run: Run | None = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Path:
    """Distil a student from labelled candidate pairs.

    Parameters
    ----------
    pairs : Candidates or sequence of Candidates
        The candidate pairs of each task; one student learns all of them.
    labels : Labels or sequence of Labels
        What teachers said, in the order of `pairs`.
    config : DistillConfig
    run : Run, optional
        Keeps the result of each stage: the same call with the same run folder goes on where it was stopped, and another
        call repeats only what its settings change. By default nothing is kept.
    about : mapping, optional
        What the manifest is to say besides, fit for JSON. The card shows where the labels come from (``tables``,
        ``blocking``, ``selection``, ``cost``) and what to expect of tables without labels (``left_out``: ``f1`` by
        task, of students made without the labels of each, and ``how`` that was measured).
    progress : bool
        Whether to show stages and bars on stderr; a given `run` shows what it was opened to show.

    Returns
    -------
    Path
        The student folder, written whole or not at all. It is returned as it is when the same call made it before.

    Raises
    ------
    InputError
        Before any work: when labels and pairs do not fit, labels are missing or of one class, the base is no encoder
        with a tokenizer, the output or the run folder cannot be written, or their disks have too little room. Later:
        when a disk is full nevertheless.
    StudentError
        When the base is a student folder that is damaged or holds no weights.
    ExportError
        When an exported graph does not score as the trained model does.
    """
    tasks = [pairs] if isinstance(pairs, Candidates) else list(pairs)
    labelled = [labels] if isinstance(labels, Labels) else list(labels)
    precheck.check_labels(tasks, labelled, config.folds)
    tier = tier_of(config)
    precheck.check_variants(config.variants, config.default_variant, tier.variants)
    check_exporter(config.exporter)
    if tier.stops_early and config.folds < 3:
        raise InputError(f"patience needs a fold of its own: folds={config.folds} must be 3 or more.")
    base = tier.open_base()
    inputs = _fingerprint_of_inputs(tasks, labelled, config, base)
    if _made_by(config.output) == inputs:
        log.info("%s is there already, made by the same call", config.output)
        return config.output
    precheck.check_output(config.output)
    cut = [folds.cut(task, label, config.folds, config.seed) for task, label in zip(tasks, labelled, strict=True)]
    with contextlib.nullcontext(run) if run is not None else _run_of_its_own(config.output, progress) as held:
        stages = Stages(cut, config, _identity(config.reader.base, base), held, about or {})
        n_described = sum(map(len, stages.described))
        size = sum(parameter.numel() * 4 for parameter in base.parameters())
        graphs = sum(tier.shares[variant] for variant in config.variants)
        # The trained weights, what training leaves beside them, the fp32 graph and those that are made from it.
        in_run = size * (1 + tier.in_training + 1 + graphs)
        precheck.check_space(held.folder, in_run, config.output, size * (config.weights + graphs), n_described)
        del base  # its memory; training loads its own
        stages.make(inputs)
    return config.output


@contextlib.contextmanager
def _run_of_its_own(output: Path, progress: bool) -> Iterator[Run]:
    with (
        tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as folder,
        Run(Path(folder), progress=progress) as run,
    ):
        yield run


def _identity(base: str | Path, model: Any) -> Any:
    """What a base is known by: the content of its files, or the hub's name and revision."""
    place = Path(precheck.weights_of(base))
    return place if place.is_dir() else [str(base), getattr(model.config, "_commit_hash", None)]


def _fingerprint_of_inputs(
    tasks: Sequence[Candidates], labels: Sequence[Labels], config: DistillConfig, base: Any
) -> str:
    settings = {name: getattr(config, name) for name in (f.name for f in dataclasses.fields(config))}
    settings |= {"output": None, config.kind: dataclasses.replace(config.reader, base="")}
    parts = [(content_of(task), label) for task, label in zip(tasks, labels, strict=True)]
    return fingerprint([VERSIONS, parts, settings, _identity(config.reader.base, base)])


def _made_by(output: Path) -> str | None:
    """The fingerprint of the inputs that the student at `output` was made from, if there is one."""
    there = (output / artefact.MANIFEST).is_file()
    return artefact.read(output).training.get("inputs") if there else None
