"""The stages of `fit_student`, each made from what the stages before it left on disk, and from nothing else.

Read it from top to bottom: features, a revision of the labels where one is asked for, trees (cross-fitted), encoder
(trained on all folds but one), its graphs, their scores of the fold that neither has seen, and the student:
calibration, fusion and parity on these, manifest, card.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import er_distill
from er_distill import artefact, lexical
from er_distill.artefact import Manifest, Question, Variant
from er_distill.training import assembly, calibrate, card, checks, folds, revision
from er_distill.training.calibrate import HeldOut
from er_distill.training.exporter import DATA_SUFFIX
from er_distill.training.folds import LabelledTask
from er_distill.training.labels import Candidates
from er_distill.training.recipe import DistillConfig
from er_distill.training.runs import Result, Run
from er_distill.training.speed import pairs_per_second
from er_distill.training.tiers import tier_of
from er_distill.training.tree_export import export_trees

STAGES = ("features", "trees", "encoder", "graphs", "scores", "student")
"""Their names, in order, where labels are learned as they are."""

VERSIONS = {"er_distill": er_distill.__version__, "lexical": lexical.VERSION, "texts": artefact.SERIALISATION}
"""Of what the features and the texts are made by."""

_REVISION = "revision"
_MODEL = "model"  # beside the variants' names: the trained model's own scores
_READING = "reading.json"  # how the graphs are to be asked


def planned(config: DistillConfig) -> tuple[str, ...]:
    """Return the names of a call's stages, in order."""
    return (STAGES[0], _REVISION, *STAGES[1:]) if config.revises else STAGES


def content_of(task: Candidates) -> dict[str, Any]:
    """What is learned from: the texts of the records and not their ids."""
    sides = [None if side is None else (side.fields, side.values) for side in (task.left, task.right)]
    return {"name": task.name, "sides": sides, "pairs": task.pairs}


class Stages:
    """The stages of one call, in order; each reads what it needs from the folders of those before."""

    def __init__(
        self, tasks: Sequence[LabelledTask], config: DistillConfig, base: Any, run: Run, about: Mapping[str, Any]
    ) -> None:
        self.tasks, self.config, self.base, self.run, self.about = tasks, config, base, run, about
        self.tier = tier_of(config)
        self.held_out = [folds.rows_to_hold_out(task, self._budget(task), config.seed) for task in tasks]
        folds.check_held_out(tasks, self.held_out)
        # Of pairs that may get a label features are needed as well.
        adds = config.self_training is not None
        self.described = [np.union1d(task.known, task.unlabelled) if adds else task.known for task in tasks]
        self.learned, self.revision = tasks, dict[str, Any]()
        run.plan(*planned(config))

    def _budget(self, task: LabelledTask) -> float:
        return self.config.encoder_pairs * task.labels.weight

    def make(self, inputs: str) -> None:
        """Make the student and put it at the output; `inputs` is the fingerprint of all that it is made from."""
        features = self._features()
        if self.config.revises:
            self.learned, self.revision = self._revised(features)
        trees = self._trees(features)
        logits = [np.load(trees.folder / f"logits-{k:03}.npy") for k in range(len(self.tasks))]
        encoder = self._encoder(logits)
        graphs = self._graphs(encoder)
        scores = self._scores(encoder, graphs)
        sources = {"trees.onnx": trees.folder / "trees.onnx", "tokenizer.json": encoder.folder / "tokenizer.json"}
        wanted = {self.tier.graph(name) for name in self.config.variants}
        sources |= {path.name: path for path in _files(graphs) if path.name.removesuffix(DATA_SUFFIX) in wanted}
        weights = {path.name: path for path in _files(encoder)} if self.config.weights else {}
        reading = json.loads((graphs.folder / _READING).read_text(encoding="utf-8"))
        student = self._student(trees, logits, scores, sources, weights, reading, inputs)
        with self.run.guarded():
            assembly.deliver(sources | {path.name: path for path in _files(student)}, weights, self.config.output)

    def _features(self) -> Result:
        def make(folder: Path) -> None:
            with self.run.bar(len(self.tasks), "task") as bar:
                for k, (task, rows) in enumerate(zip(self.tasks, self.described, strict=True)):
                    np.save(folder / f"features-{k:03}.npy", task.features(rows))
                    bar.update()

        content = [(content_of(task.candidates), rows) for task, rows in zip(self.tasks, self.described, strict=True)]
        return self.run.stage("features", {"versions": VERSIONS, "tasks": content}, make)

    def _revised(self, features: Result) -> tuple[Sequence[LabelledTask], dict[str, Any]]:
        """The tasks with the labels that are learned, and what was done to these."""
        config, tasks = self.config, self.tasks

        def make(folder: Path) -> None:
            with self.run.bar(len(tasks), "task") as bar:
                found = []
                for k, task in enumerate(tasks):
                    found.append(revision.revise(task, partial(self._values, features, k), config))
                    bar.update()
            revision.write(found, tasks, folder)

        labels = [(task.target, task.fold) for task in tasks]
        config_of = config.noise, config.self_training, config.trees, config.seed
        inputs = {"features": features.fingerprint, "labels": labels, "config": config_of}
        return revision.read(self.run.stage(_REVISION, inputs, make).folder, tasks)

    def _values(self, features: Result, k: int, rows: np.ndarray) -> np.ndarray:
        """Features of candidate pairs of a task."""
        values: np.ndarray = np.load(features.folder / f"features-{k:03}.npy")
        return values[np.searchsorted(self.described[k], rows)]

    def _trees(self, features: Result) -> Result:
        """Trees fitted on all labels, and each pair's logit by trees fitted on the other folds of all tasks."""
        config, tasks = self.config, self.learned

        def make(folder: Path) -> None:
            values = [self._values(features, k, task.known) for k, task in enumerate(tasks)]
            with self.run.bar(config.folds + 1, "fold") as bar:
                trees, logits = folds.cross_fit(self.tasks, tasks, values, config.folds, config.trees, bar.update)
            export_trees(trees, folder / "trees.onnx", n_features=len(lexical.FEATURES))
            for k, out in enumerate(logits):
                np.save(folder / f"logits-{k:03}.npy", out)

        labels = [(task.target, task.fold, task.labels.weight, *task.revised) for task in tasks]
        return self.run.stage(
            "trees", {"features": features.fingerprint, "labels": labels, "config": config.trees}, make
        )

    def _encoder(self, logits: Sequence[np.ndarray]) -> Result:
        stopping = folds.STOPPING_FOLD if self.tier.stops_early else None
        learned, stop_on = [], []
        for task, revised, own in zip(self.tasks, self.learned, logits, strict=True):
            rows = folds.rows_to_learn(task, own, self._budget(task), self.config.seed)
            stop_on.append(rows[task.fold[rows] == stopping])
            # Labels of its own have the room that those of teachers leave.
            more = folds.own_rows_to_learn(revised, self._budget(task) - len(rows), self.config.seed)
            learned.append(np.concatenate([rows[task.fold[rows] != stopping], more]))

        def make(folder: Path) -> None:
            to_learn = list(zip(self.learned, learned, strict=True))
            to_stop = list(zip(self.tasks, stop_on, strict=True))
            self.tier.train(to_learn, to_stop, folder, progress=self.run.progress)

        inputs = {
            # Not the features: another version of these changes nothing that the encoder reads.
            "texts": [VERSIONS["texts"], *(content_of(task.candidates) for task in self.tasks)],
            "learned": [task.labels_at(rows) for task, rows in zip(self.learned, learned, strict=True)],
            "stopping": [task.labels_at(rows) for task, rows in zip(self.tasks, stop_on, strict=True)],
            "config": dataclasses.replace(self.config.reader, base=""),
            "base": self.base,
        }
        return self.run.stage("encoder", inputs, make)

    def _graphs(self, encoder: Result) -> Result:
        variants = _with_fp32(self.config.variants)

        def make(folder: Path) -> None:
            trained = self.tier.load(encoder.folder)
            trained.export(folder, variants, self.config.exporter)
            question = None if trained.question is None else dataclasses.asdict(trained.question)
            reading = {"max_length": trained.max_length, "question": question}
            (folder / _READING).write_text(json.dumps(reading, indent=2) + "\n", encoding="utf-8")

        inputs = {"encoder": encoder.fingerprint, "variants": variants, "exporter": self.config.exporter}
        return self.run.stage("graphs", inputs, make)

    def _scores(self, encoder: Result, graphs: Result) -> Result:
        """Logits of the held-out pairs: the trained model's, and each graph's as a student computes them."""
        names = _with_fp32(self.config.variants)

        def make(folder: Path) -> None:
            trained = self.tier.load(encoder.folder)
            held_out = list(zip(self.tasks, self.held_out, strict=True))
            with self.run.bar((1 + len(names)) * sum(len(rows) for _, rows in held_out), "pair") as bar:
                for k, (task, rows) in enumerate(held_out):
                    np.save(folder / f"{_MODEL}-{k:03}.npy", trained.predict(task, rows))
                    bar.update(len(rows))
                    for name in names:
                        graph = graphs.folder / self.tier.graph(name)
                        logits = trained.graph_logits(graph, name, task, rows, bar.update)
                        np.save(folder / f"{name}-{k:03}.npy", logits)

        inputs = {"graphs": graphs.fingerprint, "rows": self.held_out}
        return self.run.stage("scores", inputs, make)

    def _student(
        self,
        trees: Result,
        logits: Sequence[np.ndarray],
        scores: Result,
        sources: dict[str, Path],
        weights: dict[str, Path],
        reading: dict[str, Any],
        inputs: str,
    ) -> Result:
        """The manifest and the card."""
        config, tasks = self.config, self.tasks

        def make(folder: Path) -> None:
            variants, checked = self._fit(logits, scores)
            before = assembly.student_before(config)
            given = [teacher for task in tasks for teacher in task.labels.teachers]
            manifest = Manifest(
                name=config.name,
                created=dt.date.today().isoformat(),
                er_distill=er_distill.__version__,
                licence=config.licence,
                features=lexical.FEATURES,
                lexical=lexical.VERSION,
                max_length=reading["max_length"],
                variants=variants,
                default_variant=config.default_variant,
                # A student that goes on from another one has learned from the teachers of both.
                teachers=assembly.teachers_of([*(before.teachers if before else ()), *given]),
                tasks=tuple(task.candidates.name for task in tasks),
                training={
                    **self.about,
                    **self.revision,
                    **assembly.provenance(config, tasks, self.run, checked, inputs),
                },
                files=assembly.describe(sources),  # the card states their sizes
                weights=assembly.describe(weights),
                question=None if reading["question"] is None else Question(**reading["question"]),
            )
            speed = pairs_per_second(manifest, sources, [task.candidates for task in tasks], self.run.folder)
            manifest = dataclasses.replace(manifest, training={**manifest.training, "speed": speed})
            card.write(manifest, folder)
            listed = sources | {path.name: path for path in folder.iterdir()}
            artefact.write(dataclasses.replace(manifest, files=assembly.describe(listed)), folder)

        made_from = {"trees": trees.fingerprint, "scores": scores.fingerprint, "inputs": inputs, "about": self.about}
        return self.run.stage("student", made_from, make)

    def _fit(
        self, logits: Sequence[np.ndarray], scores: Result
    ) -> tuple[dict[str, Variant], dict[str, dict[str, Any]]]:
        """Calibration, fusion, band and threshold of each variant, and how it does."""
        unseen = [folds.rows_to_settle_on(task) for task in self.learned]
        settled = calibrate.fit_settled(
            [own[rows] for own, rows in zip(logits, unseen, strict=True)],
            [task.target[rows] for task, rows in zip(self.tasks, unseen, strict=True)],
            [task.labels.weight for task in self.tasks],
        )
        held_out = {name: self._held_out(name, logits, scores) for name in (_MODEL, *_with_fp32(self.config.variants))}
        reference = calibrate.fit_variant("torch", False, settled, held_out[_MODEL])
        variants, checked = {}, {}
        for name in _with_fp32(self.config.variants):
            one_by_one = name in self.tier.one_by_one
            variants[name] = calibrate.fit_variant(self.tier.graph(name), one_by_one, settled, held_out[name])
            checked[name] = checks.check(name, variants[name], held_out[name], reference, held_out[_MODEL])
        return {name: variants[name] for name in self.config.variants}, checked

    def _held_out(self, name: str, logits: Sequence[np.ndarray], scores: Result) -> list[HeldOut]:
        return [
            HeldOut(
                name=task.candidates.name,
                lexical=own[rows],
                encoder=np.load(scores.folder / f"{name}-{k:03}.npy").astype(np.float64),
                target=task.target[rows],
                query=task.query[rows],
                weight=task.labels.weight,
            )
            for k, (task, own, rows) in enumerate(zip(self.tasks, logits, self.held_out, strict=True))
            if len(rows)  # a task whose shortest held-out list is over its budget has none
        ]


def _with_fp32(variants: Sequence[str]) -> tuple[str, ...]:
    # fp32 is made in any case: the others are made from it, and it is what is checked against the trained model.
    return tuple(dict.fromkeys(("fp32", *variants)))


def _files(result: Result) -> list[Path]:
    return sorted(path for path in result.folder.iterdir() if path.name != "stage.json")
