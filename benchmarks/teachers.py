"""The published LLM teachers, one by one and together, on the training tuples of the four open DistillER tasks.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.teachers

Label accuracy: share of the questions whose answer, a candidate or none, is right; an abstention is not. Pairwise F1:
the candidates picked against the true pairs among the candidates, micro over a task's pairs, then the mean of the
tasks. The error model learns from the answers to the same questions and from nothing else; "one_to_one" adds that
neither table has duplicates. The rates it finds stand beside the true ones: `miss`, `wrong`, `false_match` as in
`er_distill.training.agreement.ErrorRates`. What all teachers get wrong together leaves no trace in their answers, so
the `false_match` found is too low where they share a mistake, and so is the share of none.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gold import TASKS, Task, data_folder
from benchmarks.provenance import Benchmark, Target
from er_distill.metrics import expected_calibration_error, pair_scores
from er_distill.pairs import Pairs
from er_distill.training.agreement import ErrorRates
from er_distill.training.labels import Candidates, read_task
from er_distill.training.teachers.base import NONE, Answer, Question, Teacher, questions_of
from er_distill.training.teachers.ensemble import Ensemble
from er_distill.training.teachers.files import LabelFile

LICENCES = {
    "llama3.1-8b": "Llama 3.1",
    "llama3.1-70b": "Llama 3.1",
    "qwen2.5-14b": "Apache-2.0",
    "qwen2.5-32b": "Apache-2.0",
}
ERROR_MODEL = "error_model_one_to_one"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/teachers.json")
    args = parser.parse_args()
    benchmark = Benchmark("teachers", student=None)
    tasks = {name: _measured(name) for name in TASKS}
    who = next(iter(tasks.values()))["labels"]
    mean = {
        name: {
            measure: statistics.fmean(task["labels"][name][measure] for task in tasks.values())
            for measure in ("label_accuracy", "f1")
        }
        for name in who
    }
    best = max(LICENCES, key=lambda name: mean[name]["f1"])
    targets = [
        Target(
            f"error model: mean pairwise F1, against the best single teacher ({best})",
            mean[ERROR_MODEL]["f1"],
            at_least=mean[best]["f1"],
        )
    ]
    _show(mean, tasks)
    benchmark.write({"mean": mean, "best_single_teacher": best, "tasks": tasks}, targets, args.output)


def _measured(name: str) -> dict[str, Any]:
    folder = data_folder() / name
    candidates, _ = read_task(folder, {}, unlabelled=False)
    questions = questions_of(candidates)
    single = [
        LabelFile(folder / "teachers" / f"{who}.jsonl.gz", name=who, licence=licence)
        for who, licence in LICENCES.items()
    ]
    model, one_to_one = Ensemble(single), Ensemble(single, one_to_one=True)
    teachers: dict[str, Teacher] = {teacher.name: teacher for teacher in single}
    teachers |= {"majority": Ensemble(single, "majority"), "error_model": model, ERROR_MODEL: one_to_one}
    answers = {who: _answers(teacher, candidates, questions) for who, teacher in teachers.items()}
    # Everything is decided before gold is read.
    truth = _truth(candidates, questions, Task(name).gold("teachers: labels of the training tuples"))
    assert model.agreement is not None
    return {
        "questions": len(questions),
        "labels": {who: _scores(given, truth) for who, given in answers.items()},
        "rates": {
            who: {"found": vars(found), "true": true_rates(answers[who], questions, truth)}
            for who, found in zip(LICENCES, model.agreement.rates, strict=True)
        },
        "none": {"found": model.agreement.none, "true": float(np.mean([not places for places in truth]))},
        "stray": model.agreement.stray,
        "rounds": len(model.agreement.objective),
    }


def _answers(teacher: Teacher, candidates: Candidates, questions: Sequence[Question]) -> list[Answer]:
    given = dict(teacher.answer(candidates, questions))
    return [given[position] for position in range(len(questions))]


def _truth(candidates: Candidates, questions: Sequence[Question], gold: Pairs) -> list[set[int]]:
    """Places of the true matches in each question's list: one at most, but for slips of gold."""
    true = set(zip(gold.left.tolist(), gold.right.tolist(), strict=True))
    return [
        {place for place, candidate in enumerate(question.candidates) if (question.query, candidate) in true}
        for question in questions
    ]


def _scores(answers: Sequence[Answer], truth: Sequence[set[int]]) -> dict[str, Any]:
    right = [
        answer.choice in places if places else answer.choice == NONE
        for answer, places in zip(answers, truth, strict=True)
    ]
    picked = [(row, answer.choice) for row, answer in enumerate(answers) if answer.choice not in (None, NONE)]
    true = [(row, place) for row, places in enumerate(truth) for place in places]
    scored = pair_scores(*_columns(picked), *_columns(true))
    soft = [
        (probability, place in places)
        for answer, places in zip(answers, truth, strict=True)
        if answer.probabilities is not None
        for place, probability in enumerate(answer.probabilities[:-1])
    ]
    return {
        "label_accuracy": statistics.fmean(right),
        **vars(scored),
        "abstentions": sum(answer.abstained for answer in answers),
        "calibration_error": expected_calibration_error(*map(np.array, _columns(soft)[::-1])) if soft else None,
    }


def _columns(rows: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [first for first, _ in rows], [second for _, second in rows]


def true_rates(answers: Sequence[Answer], questions: Sequence[Question], truth: Sequence[set[int]]) -> dict[str, Any]:
    """The rates of :class:`ErrorRates`, counted."""
    matched = [(a, t, q) for a, t, q in zip(answers, truth, questions, strict=True) if t and not a.abstained]
    unmatched = [a for a, t in zip(answers, truth, strict=True) if not t and not a.abstained]
    picks = [a.choice not in t for a, t, q in matched if a.choice != NONE and len(q.candidates) > 1]
    rates = ErrorRates(
        float(np.mean([a.choice == NONE for a, _, _ in matched])),
        float(np.mean(picks)),
        float(np.mean([a.choice != NONE for a in unmatched])) if unmatched else float("nan"),
    )
    return vars(rates)


def _show(mean: Mapping[str, Mapping[str, float]], tasks: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"{'pairwise F1':24}", *(f"{name:>15}" for name in tasks), f"{'mean':>8} {'accuracy':>9}")
    for who, figures in mean.items():
        row = [f"{task['labels'][who]['f1']:15.3f}" for task in tasks.values()]
        print(f"{who:24}", *row, f"{figures['f1']:8.4f} {figures['label_accuracy']:9.4f}")
    for name, task in tasks.items():
        print(f"\n{name}: none {task['none']['found']:.3f} (true {task['none']['true']:.3f})")
        for who, rates in task["rates"].items():
            print(
                f"  {who:14}", *(f"{k} {rates['found'][k]:.3f} (true {rates['true'][k]:.3f})" for k in rates["found"])
            )


if __name__ == "__main__":
    main()
