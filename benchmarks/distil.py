"""What distilling costs, and how well the result is calibrated: labels to student folder, with default settings.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.distil

The student learns the labels of qwen2.5-32b on the eight tasks (2,176 answered queries), with the settings of a user
who says nothing. Counted: wall seconds from the candidate pairs to the finished folder, the sum of its stages, and the
most memory in use. A run that was stopped goes on from ``--work``; its figure is the sum of what each stage took when
it was made.

Calibration error (pairs, 15 bins of equal mass) is that of the held-out queries, which neither tier was trained on: the
calibration, fusion and band are fitted on four of five parts of these queries and measured on the fifth. It is taken
against three kinds of labels: the error model's over all four published teachers (`er_distill.training.agreement`, then
one-to-one), which corrects their noise; those of the teacher itself; and gold, where it is open.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.gold import TASKS, Task, data_folder
from benchmarks.provenance import Benchmark, Target
from er_distill import artefact
from er_distill.curves import expected_calibration_error
from er_distill.training import calibrate, folds, read_task
from er_distill.training.calibrate import HeldOut
from er_distill.training.configuration import with_base
from er_distill.training.folds import LabelledTask
from er_distill.training.labels import Candidates
from er_distill.training.pipeline import DistillConfig, fit_student
from er_distill.training.runs import Run
from er_distill.training.teachers.base import questions_of
from er_distill.training.teachers.ensemble import Ensemble
from er_distill.training.teachers.files import LabelFile
from er_distill.training.teachers.targets import labels_of

TEACHER = "qwen2.5-32b"
TEACHERS = ("llama3.1-8b", "qwen2.5-14b", TEACHER, "llama3.1-70b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/distil"), help="run folder and student")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/distil.json")
    args = parser.parse_args()
    benchmark = Benchmark("distil", None, ("torch", "transformers", "scikit-learn"))
    args.work.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    labelled = [read_task(folder, {TEACHER: "Apache-2.0"}) for folder in sorted(data_folder().iterdir())]
    candidates, labels = [one for one, _ in labelled], [one for _, one in labelled]
    reading = time.perf_counter() - started
    config = with_base(None, args.work / "student", None)
    with Run(args.work / "run", progress=True) as run:
        fit_student(candidates, labels, config, run=run, progress=True)
        tasks = [folds.cut(*one, config.folds, config.seed) for one in labelled]
        held_out = [_held_out(k, task, run, config) for k, task in enumerate(tasks)]
    manifest = artefact.read(config.output)
    probabilities = calibrate.fit_on_other_folds(manifest.variant(), [part for part, _ in held_out])
    if probabilities is None:
        raise SystemExit("The held-out labels are too few to calibrate on.")
    errors: dict[str, dict[str, float]] = {"error_model": {}, "teacher": {}, "gold": {}}
    for task, (part, rows), own in zip(tasks, held_out, probabilities, strict=True):
        name = task.candidates.name
        likely = _likely(task.candidates)[task.known[rows]]
        errors["error_model"][name] = _error(likely, own)
        errors["teacher"][name] = _error(part.target, own)
        if name in TASKS:  # everything is decided before gold is read
            pairs = task.pairs(rows)
            truth = np.isin(pairs.keys(), Task(name).gold("distil: calibration on held-out queries").keys())
            errors["gold"][name] = _error(truth.astype(float), own)
    mean = {against: statistics.fmean(of_task.values()) for against, of_task in errors.items()}
    made = manifest.training
    seconds = reading + made["seconds"]
    targets = [
        Target("2,176 labelled queries to a student: minutes on two cores", seconds / 60, at_most=90),
        Target("memory while distilling, GB", made["peak_memory_bytes"] / 1e9, at_most=8),
        Target(
            "calibration error against noise-corrected labels, mean of eight tasks", mean["error_model"], at_most=0.05
        ),
    ]
    figures = {
        "labelled_queries": sum(teacher.labels for label in labels for teacher in label.teachers),
        "labelled_pairs": made["labelled_pairs"],
        "seconds_by_stage": {"reading": reading, **made["seconds_by_stage"]},
        "calibration_error": {"mean": mean, "by_task": errors},
        "parity": {name: check["parity"] for name, check in made["checks"].items()},
        "speed": made["speed"],
        "bytes": {name: entry.bytes for name, entry in manifest.files.items()},
    }
    benchmark.write(figures, targets, args.output)


def _held_out(k: int, task: LabelledTask, run: Run, config: DistillConfig) -> tuple[HeldOut, np.ndarray]:
    """Scores of a task's held-out pairs, as the stages left them, and their rows among the labelled pairs."""
    rows = folds.rows_to_hold_out(task, config.encoder_pairs * task.labels.weight, config.seed)
    part = HeldOut(
        name=task.candidates.name,
        lexical=np.load(run.results["trees"].folder / f"logits-{k:03}.npy")[rows],
        encoder=np.load(run.results["scores"].folder / f"{config.default_variant}-{k:03}.npy").astype(np.float64),
        target=task.target[rows],
        query=task.query[rows],
        weight=task.labels.weight,
    )
    return part, rows


def _likely(candidates: Candidates) -> np.ndarray:
    """The error model's label of each pair, from the answers of all published teachers."""
    folder = data_folder() / candidates.name / "teachers"
    model = Ensemble([LabelFile(folder / f"{name}.jsonl.gz", name=name) for name in TEACHERS], one_to_one=True)
    questions = questions_of(candidates)
    given = dict(model.answer(candidates, questions))
    answers = [given[position] for position in range(len(questions))]
    return labels_of(candidates, questions, answers, name=model.name, licence=model.licence).target


def _error(target: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error; a pair with a soft label is a match with its probability, and none with the rest."""
    share = np.concatenate([target, 1 - target])
    label = np.repeat([True, False], len(target))
    used = share > 0
    return expected_calibration_error(label[used], np.tile(probabilities, 2)[used], weights=share[used])


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
