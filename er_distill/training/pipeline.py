"""`fit_student`: from candidate pairs and teacher labels to a student folder.

Read it from top to bottom: features, trees (cross-fitted), encoder (trained on all folds but one), calibration and
fusion on what neither has seen, export with a parity check, manifest and card.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import logging
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import er_distill
from er_distill import artefact, lexical
from er_distill.artefact import Manifest, Teacher, Variant
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.student import CHUNK_SIZE
from er_distill.training import calibrate, card, export
from er_distill.training.calibrate import HeldOut
from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder
from er_distill.training.labels import Candidates, Labels
from er_distill.training.pretrained import EncoderModel, load_base
from er_distill.training.trees import TreesConfig, TreeTask, fit_trees
from er_distill.vectors import vectorise

log = logging.getLogger(__name__)

HELD_OUT_FOLD = 0
"""The fold the encoder is not trained on."""


@dataclass(frozen=True)
class DistillConfig:
    """How to distil."""

    output: Path  # the student folder; must not exist, or be empty
    encoder: EncoderConfig
    trees: TreesConfig = field(default_factory=TreesConfig)
    name: str = "student"
    base_name: str = ""  # what the card calls the encoder's base; by default the last part of its path
    licence: str = "not stated"  # of the student, for the card
    folds: int = 5  # parts of the queries; each is scored by trees fitted on the others, the first by the encoder too
    encoder_pairs: int = (
        2_500  # labelled pairs the encoder reads of a task of weight 1, to learn and held out; bounds the time
    )
    variants: tuple[str, ...] = ("fp32", "int8")  # graphs the folder holds
    default_variant: str = "int8"  # what is served unless another is asked for
    seed: int = 0
    work: Path | None = None  # keeps the trained encoder, so that a run that ends later need not train it again


@dataclass(frozen=True)
class _Prepared:
    """A task with its features; `query` and `fold` number a labelled pair's query and the part that belongs to."""

    candidates: Candidates
    labels: Labels
    features: np.ndarray  # of the labelled pairs
    known: np.ndarray  # rows of the labelled pairs
    target: np.ndarray
    query: np.ndarray
    fold: np.ndarray

    def pairs(self, rows: np.ndarray) -> Pairs:
        return self.candidates.pairs.take(self.known[rows])

    def tree_task(self, rows: np.ndarray) -> TreeTask:
        return TreeTask(self.features[rows], self.target[rows], self.labels.weight)


def fit_student(
    pairs: Candidates | Sequence[Candidates],
    labels: Labels | Sequence[Labels],
    config: DistillConfig,
    *,
    progress: bool = False,
) -> Path:
    """Distil a student.

    Parameters
    ----------
    pairs : Candidates or sequence of Candidates
        The candidate pairs of each task; one student learns all of them.
    labels : Labels or sequence of Labels
        What teachers said, in the order of `pairs`.
    config : DistillConfig
    progress : bool
        Whether to show bars and stages on stderr.

    Returns
    -------
    Path
        The student folder, written whole or not at all.

    Raises
    ------
    InputError
        When labels and pairs do not fit, or labels are missing or of one class.
    ExportError
        When an exported graph does not score as the trained model does.
    """
    tasks = [pairs] if isinstance(pairs, Candidates) else list(pairs)
    labelled = [labels] if isinstance(labels, Labels) else list(labels)
    _check(tasks, labelled, config)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()

    _say("features of the labelled pairs", progress)
    prepared = [_prepare(task, label, config) for task, label in zip(tasks, labelled, strict=True)]

    _say("trees", progress)
    lexical_logits = _cross_fitted(prepared, config)
    trees = fit_trees([task.tree_task(np.arange(len(task.known))) for task in prepared], config.trees)

    _say("encoder", progress)
    learned = [_rows_to_learn(t, z, config) for t, z in zip(prepared, lexical_logits, strict=True)]
    encoder = _encoder([_encoder_task(t, rows) for t, rows in zip(prepared, learned, strict=True)], config, progress)

    _say("export", progress)
    with tempfile.TemporaryDirectory(prefix=f".{config.output.name}-", dir=config.output.parent) as partial:
        folder = Path(partial)
        export.export_trees(trees, folder / "trees.onnx", n_features=len(lexical.FEATURES))
        # fp32 is exported in any case: the others are made from it, and it is checked against the trained model.
        graphs = export.export_encoder(encoder, folder, variants=tuple(dict.fromkeys(("fp32", *config.variants))))
        encoder.tokenizer.save(str(folder / "tokenizer.json"))

        _say("calibration and parity", progress)
        rows = [_rows_to_hold_out(task, config) for task in prepared]
        held_out = [_held_out(t, z, r, encoder) for t, z, r in zip(prepared, lexical_logits, rows, strict=True)]
        targets, weights = [task.target for task in prepared], [task.labels.weight for task in prepared]
        settled = calibrate.fit_settled(lexical_logits, targets, weights)
        reference = calibrate.fit_variant("torch", False, settled, held_out)
        variants: dict[str, Variant] = {}
        checks: dict[str, Any] = {}
        for name, graph in graphs.items():
            one_by_one = name in export.ONE_BY_ONE
            own = [
                _scored_by_graph(part, task, r, folder / graph, one_by_one, encoder)
                for part, task, r in zip(held_out, prepared, rows, strict=True)
            ]
            variants[name] = calibrate.fit_variant(graph, one_by_one, settled, own)
            checks[name] = {
                "parity": _check_parity(name, reference, held_out, variants[name], own),
                "held_out": calibrate.summarise(variants[name], own),
            }
        for name in set(graphs) - set(config.variants):
            (folder / graphs[name]).unlink()
            del variants[name]

        manifest = Manifest(
            name=config.name,
            created=dt.date.today().isoformat(),
            er_distill=er_distill.__version__,
            licence=config.licence,
            features=lexical.FEATURES,
            lexical=lexical.VERSION,
            max_length=config.encoder.max_length,
            variants=variants,
            default_variant=config.default_variant,
            teachers=_teachers(labelled),
            tasks=tuple(task.name for task in tasks),
            training=_provenance(config, prepared, checks, time.perf_counter() - started),
            files={},
        )
        (folder / artefact.CARD).write_text(card.render(manifest), encoding="utf-8")
        artefact.write(dataclasses.replace(manifest, files=artefact.entries(folder)), folder)
        if config.output.is_dir():
            config.output.rmdir()
        # A copy under a hidden name and one rename: the student is there whole, or not at all.
        arriving = config.output.with_name(f".{config.output.name}.partial")
        shutil.rmtree(arriving, ignore_errors=True)  # of a run that was stopped here
        try:
            arriving.mkdir()  # not a copy of the temporary folder itself, which nobody else may read
            for path in folder.iterdir():
                shutil.copy(path, arriving)
            arriving.rename(config.output)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
    return config.output


def _say(stage: str, progress: bool) -> None:
    log.info("%s", stage)
    if progress:
        tqdm.write(f"{dt.datetime.now():%H:%M:%S}  {stage}", file=sys.stderr)


def _check(tasks: Sequence[Candidates], labels: Sequence[Labels], config: DistillConfig) -> None:
    if not tasks:
        raise InputError("fit_student needs candidate pairs of at least one task.")
    if len(tasks) != len(labels):
        raise InputError(
            f"fit_student got candidate pairs of {len(tasks)} task(s) and labels of {len(labels)}. Give one each."
        )
    for task, label in zip(tasks, labels, strict=True):
        if len(task.pairs) != len(label.target):
            raise InputError(
                f"{task.name} has {len(task.pairs)} pairs and {len(label.target)} labels. "
                "Give a label, or NaN, for each."
            )
        queries = len(np.unique(task.pairs.left[label.known]))
        if queries < config.folds:
            raise InputError(
                f"{task.name} has labels on {queries} queries; {config.folds} folds need as many. Label more."
            )
        known = label.target[label.known]
        if known.max() <= 0.5 or known.min() >= 0.5:
            kind = "match" if known.max() > 0.5 else "non-match"
            raise InputError(
                f"all labels of {task.name} say {kind}: there is nothing to tell apart. Label other pairs too."
            )
    if config.default_variant not in config.variants:
        raise InputError(f"default_variant {config.default_variant!r} is not among the variants {config.variants}.")
    if config.output.exists() and (not config.output.is_dir() or any(config.output.iterdir())):
        raise InputError(f"{config.output} is there already. Name another output, or remove it first.")


def _prepare(task: Candidates, labels: Labels, config: DistillConfig) -> _Prepared:
    known = np.flatnonzero(labels.known)
    chunks = lexical.features(vectorise(task.left, task.right), task.pairs, chunk_size=CHUNK_SIZE)
    features = np.concatenate([values[labels.known[rows]] for rows, values in chunks])
    queries, query = np.unique(task.pairs.left[known], return_inverse=True)
    fold = np.random.default_rng(config.seed).permutation(len(queries)) % config.folds
    return _Prepared(task, labels, features, known, labels.target[known], query, fold[query])


def _cross_fitted(prepared: Sequence[_Prepared], config: DistillConfig) -> list[np.ndarray]:
    """Each task's lexical logits, every pair scored by trees fitted on the other folds of all tasks."""
    logits = [np.empty(len(task.known)) for task in prepared]
    for fold in range(config.folds):
        trees = fit_trees([task.tree_task(task.fold != fold) for task in prepared], config.trees)
        for task, out in zip(prepared, logits, strict=True):
            out[task.fold == fold] = trees.decision_function(task.features[task.fold == fold])
    return logits


def _rows_to_learn(task: _Prepared, logits: np.ndarray, config: DistillConfig) -> np.ndarray:
    """The labelled pairs the encoder learns: whole lists outside its held-out fold.

    Where there are more than `encoder_pairs` allows, half are the lists the trees are least sure of, which is where the
    encoder will be asked; the other half is drawn at random.
    """
    doubt = np.full(task.query.max() + 1, np.inf)
    np.minimum.at(doubt, task.query, np.abs(logits))
    budget = config.encoder_pairs * task.labels.weight
    unsure_first, at_random = np.argsort(doubt, kind="stable"), _shuffled_queries(task, config)
    half = _whole_lists(task, task.fold != HELD_OUT_FOLD, unsure_first, budget / 2)
    return np.flatnonzero(
        half | _whole_lists(task, (task.fold != HELD_OUT_FOLD) & ~half, at_random, budget - half.sum())
    )


def _rows_to_hold_out(task: _Prepared, config: DistillConfig) -> np.ndarray:
    """The labelled pairs that calibration and parity are measured on: whole lists of the held-out fold, at random."""
    budget = config.encoder_pairs * task.labels.weight
    return np.flatnonzero(_whole_lists(task, task.fold == HELD_OUT_FOLD, _shuffled_queries(task, config), budget))


def _shuffled_queries(task: _Prepared, config: DistillConfig) -> np.ndarray:
    return np.random.default_rng(config.seed).permutation(task.query.max() + 1)


def _whole_lists(task: _Prepared, among: np.ndarray, order: np.ndarray, budget: float) -> np.ndarray:
    """Mark the pairs of the first queries in `order` that, of the marked pairs, together have at most `budget`."""
    size = np.bincount(task.query[among], minlength=len(order))
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[np.cumsum(size[order]) <= budget]] = True
    return among & chosen[task.query]


def _encoder_task(task: _Prepared, rows: np.ndarray) -> EncoderTask:
    target = np.full(len(task.candidates.pairs), np.nan, dtype=np.float32)
    target[task.known[rows]] = task.target[rows]
    return EncoderTask(*_texts(task.candidates), task.candidates.pairs, target, name=task.candidates.name)


def _texts(candidates: Candidates) -> tuple[list[str], list[str] | None]:
    return candidates.left.texts, None if candidates.right is None else candidates.right.texts


def _encoder(tasks: Sequence[EncoderTask], config: DistillConfig, progress: bool) -> EncoderModel:
    """Train the encoder, or take the one that an earlier run with the same inputs left in the work folder."""
    if config.work is None:
        return train_encoder(tasks, config.encoder, progress=progress)
    print_of_inputs = hashlib.sha256(repr(config.encoder).encode())
    for task in tasks:
        rows = np.flatnonzero(~np.isnan(task.target))
        print_of_inputs.update(task.target[rows].tobytes())
        texts = task.left_texts if task.right_texts is None else task.left_texts + task.right_texts
        print_of_inputs.update("\n".join(texts).encode())
        print_of_inputs.update(task.pairs.keys()[rows].tobytes())
    kept = config.work / f"encoder-{print_of_inputs.hexdigest()[:16]}"
    if kept.is_dir():
        log.info("encoder found in %s", kept)
        return load_base(kept, config.encoder.max_length)
    encoder = train_encoder(tasks, config.encoder, progress=progress)
    arriving = kept.with_suffix(".partial")
    encoder.model.save_pretrained(arriving)
    encoder.tokenizer.save(str(arriving / "tokenizer.json"))
    arriving.rename(kept)
    return encoder


def _held_out(task: _Prepared, logits: np.ndarray, rows: np.ndarray, encoder: EncoderModel) -> HeldOut:
    scores = encoder.predict(*_texts(task.candidates), task.pairs(rows)).astype(np.float64)
    return HeldOut(task.candidates.name, logits[rows], scores, task.target[rows], task.labels.weight)


def _scored_by_graph(
    part: HeldOut, task: _Prepared, rows: np.ndarray, graph: Path, one_by_one: bool, encoder: EncoderModel
) -> HeldOut:
    """The held-out pairs, with an exported graph's logits in place of the model's."""
    logits = export.graph_logits(graph, encoder, *_texts(task.candidates), task.pairs(rows), one_by_one=one_by_one)
    return dataclasses.replace(part, encoder=logits.astype(np.float64))


def _check_parity(
    name: str, reference: Variant, held_out: Sequence[HeldOut], variant: Variant, own: Sequence[HeldOut]
) -> dict[str, Any]:
    """Compare a graph with the trained model: its probabilities, what the student decides with it, and it alone.

    A student hardly asks its encoder where the trees are sure, and would hide a bad graph; so the encoder alone,
    calibrated on its own scores, is held to the same limits.
    """
    model_logits, graph_logits = (np.concatenate([part.encoder for part in parts]) for parts in (held_out, own))
    limit = export.FP32_LIMIT if name == "fp32" else None
    difference = export.parity(model_logits, graph_logits, graph=variant.encoder, limit=limit)
    labels = np.concatenate([part.target > 0.5 for part in own])
    student = export.check_variant(
        np.concatenate([calibrate.tiered(reference, part) for part in held_out]),
        np.concatenate([calibrate.tiered(variant, part) for part in own]),
        reference.threshold,
        variant.threshold,
        labels,
        variant=f"the {name} student",
    )
    of_model, of_graph = (calibrate.encoder_alone(parts) for parts in (held_out, own))
    encoder = export.check_variant(of_model, of_graph, 0.5, 0.5, labels, variant=f"the {name} encoder")
    return dataclasses.asdict(difference) | {
        "student": dataclasses.asdict(student),
        "encoder": dataclasses.asdict(encoder),
    }


def _teachers(labels: Sequence[Labels]) -> tuple[Teacher, ...]:
    totals: dict[tuple[str, str], int] = {}
    for teacher in (teacher for label in labels for teacher in label.teachers):
        key = teacher.name, teacher.licence
        totals[key] = totals.get(key, 0) + teacher.labels
    return tuple(Teacher(name, licence, count) for (name, licence), count in totals.items())


def _provenance(
    config: DistillConfig, prepared: Sequence[_Prepared], checks: dict[str, Any], seconds: float
) -> dict[str, Any]:
    settings = dataclasses.asdict(config)
    del settings["output"], settings["work"]  # where it was made says nothing of what was made
    settings["encoder"]["base"] = settings.pop("base_name") or Path(str(config.encoder.base)).name
    return {
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "seed": config.seed,
        "seconds": round(seconds),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("torch", "transformers", "scikit-learn", "onnx", "onnxruntime")},
        "labelled_pairs": {task.candidates.name: len(task.known) for task in prepared},
        "config": settings,
        "checks": checks,
    }
