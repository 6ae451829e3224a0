"""Which questions to ask under a budget: students that learn from a part of the labels, chosen by different methods.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.budget

The teacher is simulated: the published answers of qwen2.5-32b to the training tuples of the eight DistillER tasks. A
method may have a share of each task's answers, a student learns from them, and F1 is measured on the test tuples of the
four open tasks. `random` and `blocking_max` choose at once. `uncertainty` and `information` begin with 5 % at random
and go on in rounds, each time asking the student that has learned from the answers so far.

For speed the student is the lexical tier alone: one model of trees for all eight tasks, calibrated on cross-fitted
scores, threshold 0.5, one-to-one. A seed draws the random choices and the folds; the trees themselves have no chance in
them. All choices and scores are made before gold is read.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks import budget_plot
from benchmarks.gold import TASKS, Task, data_folder
from benchmarks.open_tasks import measure_tuples
from benchmarks.provenance import ROOT, Benchmark
from er_distill import lexical
from er_distill.pairs import Pairs
from er_distill.student import sigmoid
from er_distill.training.calibrate import fit_settled
from er_distill.training.labels import Candidates, read_task
from er_distill.training.rounds import rounds
from er_distill.training.selection import METHODS, NEED_A_STUDENT, select
from er_distill.training.teachers.base import NONE, Answer, Question, questions_of
from er_distill.training.teachers.files import LabelFile
from er_distill.training.trees import TreesConfig, TreeTask, fit_trees
from er_distill.vectors import vectorise

TEACHER = "qwen2.5-32b"
COMPARED = ("random", "blocking_max", "uncertainty", "information")
SHARES = (0.10, 0.25, 0.50)  # of each task's training tuples
STEPS = (0.05, 0.10, 0.175, 0.25, 0.375, 0.50)  # where a student is made anew, for the methods that ask one
SEEDS = (0, 1, 2)
FOLDS = 5
TREES = TreesConfig(rounds=150)
THRESHOLD = 0.5

Answers = Mapping[Question, Answer]


@dataclass(frozen=True)
class Prepared:
    """A task's training tuples as the pool, and the features of all its pairs."""

    name: str
    pool: Candidates
    teacher: LabelFile
    answers: Answers  # the teacher's, to every question of the pool
    similarity: np.ndarray  # of the pool's pairs
    pool_features: np.ndarray
    test: Pairs
    test_features: np.ndarray


def prepare(folder: Path) -> Prepared:
    """Read a task. Features see the lists of all queries as context, as they do when a student is made."""
    everything, pool = read_task(folder, {})[0], read_task(folder, {}, unlabelled=False)[0]
    pairs = everything.pairs
    chunks = lexical.features(vectorise(everything.left, everything.right), pairs, chunk_size=len(pairs))
    features = next(values for _, values in chunks)
    train = np.isin(pairs.keys(), pool.pairs.keys())
    # The column that `selection.blocking_similarity` gives.
    similarity = np.clip(features[train, lexical.FEATURES.index("gram_cosine")], 0, 1)
    teacher = LabelFile(folder / "teachers" / f"{TEACHER}.jsonl.gz")
    questions = questions_of(pool)
    answers = {questions[position]: answer for position, answer in teacher.answer(pool, questions)}
    return Prepared(
        folder.name, pool, teacher, answers, similarity, features[train], pairs.take(~train), features[~train]
    )


def rows_of(pool: Candidates, question: Question) -> slice:
    """The pool's pairs, which are sorted, of a question."""
    return slice(*np.searchsorted(pool.pairs.left, [question.query, question.query + 1]).tolist())


@dataclass(frozen=True)
class Learned:
    """A student: the match probability of each pair of each task's pool and, in the open tasks, test tuples."""

    pool: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


def learn(tasks: Sequence[Prepared], answers: Sequence[Answers], seed: int) -> Learned:
    """Fit one student to the answers on all tasks."""
    labelled, fold = [], []
    for task, known in zip(tasks, answers, strict=True):
        usable = [question for question in sorted(known, key=lambda q: q.query) if not known[question].abstained]
        folds = np.random.default_rng(seed).permutation(len(usable)) % FOLDS
        rows = [rows_of(task.pool, question) for question in usable]
        votes = [known[question].votes(len(question.candidates))[:-1] for question in usable]
        features = np.concatenate([task.pool_features[part] for part in rows])
        labelled.append(TreeTask(features, np.concatenate(votes).astype(np.float32), 1.0))
        fold.append(np.repeat(folds, [len(vote) for vote in votes]))
    logits = [np.empty(len(task.target)) for task in labelled]
    for held_out in range(FOLDS):
        parts = [
            TreeTask(part.features[of != held_out], part.target[of != held_out], part.weight)
            for part, of in zip(labelled, fold, strict=True)
        ]
        trees = fit_trees(parts, TREES)
        for part, of, logit in zip(labelled, fold, logits, strict=True):
            if (of == held_out).any():
                logit[of == held_out] = trees.decision_function(part.features[of == held_out])
    line = fit_settled(logits, [task.target for task in labelled], [task.weight for task in labelled])
    trees = fit_trees(labelled, TREES)

    def probability(features: np.ndarray) -> np.ndarray:
        return sigmoid(trees.decision_function(features), 0.0, line)

    return Learned(
        {task.name: probability(task.pool_features) for task in tasks},
        {task.name: probability(task.test_features) for task in tasks if task.name in TASKS},
    )


@dataclass(frozen=True)
class Run:
    """What a method had asked at one share of the labels, and the student's scores of the open tasks' test pairs."""

    method: str
    share: float
    seed: int
    answers: dict[str, Answers]
    scores: dict[str, np.ndarray]


def size(task: Prepared, share: float) -> int:
    return round(share * len(task.answers))


def at_once(tasks: Sequence[Prepared], method: str, seed: int) -> Iterator[Run]:
    """A method that sees no student: each share is a choice of its own."""
    for share in SHARES:
        chosen = [
            select(task.pool, size(task, share), method=method, seed=seed, similarity=task.similarity) for task in tasks
        ]
        answers = [{q: task.answers[q] for q in part} for task, part in zip(tasks, chosen, strict=True)]
        yield run(tasks, method, share, seed, answers, learn(tasks, answers, seed))


def in_rounds(tasks: Sequence[Prepared], method: str, seed: int) -> Iterator[Run]:
    """A method that asks the present student: all tasks go through their rounds side by side, with one student."""
    present: dict[str, np.ndarray] = {}
    going = []
    for task in tasks:
        sizes = np.diff([0, *(size(task, share) for share in STEPS)]).tolist()
        going.append(
            rounds(
                task.pool,
                task.teacher,
                lambda _, name=task.name: present[name],  # type: ignore[misc]
                sizes,
                method=method,
                seed=seed,
                similarity=task.similarity,
            )
        )
    for share in STEPS:
        answers = [next(one).answers for one in going]
        student = learn(tasks, answers, seed)
        present.update(student.pool)
        if share in SHARES:
            yield run(tasks, method, share, seed, answers, student)


def run(
    tasks: Sequence[Prepared], method: str, share: float, seed: int, answers: Sequence[Answers], student: Learned
) -> Run:
    return Run(
        method, share, seed, {task.name: known for task, known in zip(tasks, answers, strict=True)}, student.test
    )


def measure(tasks: Sequence[Prepared], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Read gold, and say how good each run is on the open tasks."""
    results: list[dict[str, Any]] = [
        {"method": one.method, "share": one.share, "seed": one.seed, "f1": {}, "label_accuracy": {}} for one in runs
    ]
    for task in tasks:
        if task.name not in TASKS:
            continue
        gold = Task(task.name).gold("budget")
        is_match = np.isin(task.pool.pairs.keys(), gold.keys())
        right = {question: is_right(task, question, is_match) for question in task.answers}
        for one, result in zip(runs, results, strict=True):
            measured = measure_tuples(task.test, gold, one.scores[task.name], THRESHOLD, seconds=0.0)
            result["f1"][task.name] = measured["one_to_one"]["f1"]
            result["label_accuracy"][task.name] = statistics.fmean(right[q] for q in one.answers[task.name])
    for one, result in zip(runs, results, strict=True):
        asked = [answer for known in one.answers.values() for answer in known.values()]
        result["questions"] = len(asked)
        result["none"] = statistics.fmean(answer.choice == NONE for answer in asked)
        result["mean_f1"] = statistics.fmean(result["f1"].values())
        result["mean_label_accuracy"] = statistics.fmean(result["label_accuracy"].values())
    return results


def is_right(task: Prepared, question: Question, is_match: np.ndarray) -> bool:
    truth, choice = is_match[rows_of(task.pool, question)], task.answers[question].choice
    return choice is not None and (bool(truth[choice]) if choice >= 0 else not truth.any())


def summarise(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds, and the mean difference to `random` of the same seed and share."""
    by_seed = {(r["method"], r["share"], r["seed"]): r for r in results}
    summary = []
    for method, share in dict.fromkeys((r["method"], r["share"]) for r in results):
        of = [r for r in results if (r["method"], r["share"]) == (method, share)]
        f1 = [r["mean_f1"] for r in of]
        row = {"method": method, "share": share, "f1": statistics.fmean(f1), "lowest": min(f1), "highest": max(f1)}
        rivals = [by_seed.get(("random", share, r["seed"])) for r in of]
        if method != "random" and all(rivals):
            differences = [r["mean_f1"] - rival["mean_f1"] for r, rival in zip(of, rivals, strict=True)]  # type: ignore[index]
            row |= {"over_random": statistics.fmean(differences), "over_random_by_seed": differences}
        row["tasks"] = {name: statistics.fmean(r["f1"][name] for r in of) for name in of[0]["f1"]}
        for name in ("mean_label_accuracy", "none", "questions"):
            row[name] = statistics.fmean(r[name] for r in of)
        summary.append(row)
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=COMPARED, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/budget.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "selection.svg")
    args = parser.parse_args()
    benchmark = Benchmark("budget", None, ["scikit-learn"])
    folders = sorted(data_folder().iterdir())
    tasks = [prepare(folder) for folder in tqdm(folders, desc="features", unit="task")]
    everything = [task.answers for task in tasks]
    runs: list[Run] = []
    # Fits this small gain nothing from a second thread, and crawl with one where another process is busy.
    with threadpool_limits(1):
        for seed in tqdm(args.seeds, desc="seeds", unit="seed"):
            for method in args.methods:
                runs += (in_rounds if method in NEED_A_STUDENT else at_once)(tasks, method, seed)
            runs.append(run(tasks, "all", 1.0, seed, everything, learn(tasks, everything, seed)))
    results = measure(tasks, runs)
    summary = summarise(results)
    for row in summary:
        print(
            f"{row['method']:>14} {row['share']:4.0%}  F1 {row['f1']:.4f}  [{row['lowest']:.4f}, {row['highest']:.4f}]"
        )
    benchmark.write({"summary": summary, "runs": results}, [], args.output)
    args.plot.write_text(budget_plot.draw(summary), encoding="utf-8")


if __name__ == "__main__":
    main()
