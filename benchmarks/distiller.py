"""The DistillER benchmark: a student of the published labels of all eight tasks, on all eight tasks' test tuples.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.distiller --configuration headline --seed 0

Writes ``results/distiller/<configuration>/seed<k>/<task>.csv.gz`` (query_id, candidate_id, score, match; every pair of
the test tuples) and ``seed<k>.json``. F1: the pairs called matches against the true pairs among the candidates; `raw`
before one-to-one. SELECT accuracy: share of queries whose chosen candidate, or none, is right. Only the four open
tasks have gold here. The order is fixed: predictions, then the gold-free criterion into ``log.jsonl``, then gold
(`--blind` stops before it).

`--share` trains on a share of each task's labelled queries, `--leave-one-out` scores each open task by a student that
saw no label of it; of neither are predictions written. `--end-to-end` also links the open tasks' whole tables, with our
own blocking. `--ablation` runs each headline without each of its parts, or with one that it has not, and the plainest
student with each.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import distiller_end_to_end, distiller_protocol, gold
from benchmarks.distiller_ablation import PLAIN, ablations
from benchmarks.distiller_configurations import CONFIGURATIONS, Configuration
from benchmarks.distiller_data import TaskData, load
from benchmarks.distiller_problem import Problem, problems
from benchmarks.distiller_protocol import judged, measure, note_criterion, note_gold, write_predictions
from benchmarks.distiller_student import Scored, has_encoder, score
from benchmarks.provenance import Benchmark, Target

FLOORS = {"headline": 0.885, "headline-qwen32b": 0.88}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configuration", nargs="+", default=["headline"], choices=CONFIGURATIONS, metavar="NAME")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--share", type=float, nargs="+", default=[1.0], help="of each task's labelled queries")
    parser.add_argument("--leave-one-out", action="store_true", help="labels of the other seven tasks alone")
    parser.add_argument("--end-to-end", action="store_true", help="whole tables too")
    parser.add_argument("--ablation", action="store_true", help="of the configurations: what each part is worth")
    parser.add_argument("--blind", action="store_true", help="criterion only: gold is not read")
    args = parser.parse_args()
    tasks = load()
    if args.ablation:
        ablation(tasks, args.configuration, args.seed[0])
        return
    for name in args.configuration:
        for seed in args.seed:
            for share in args.share:
                one = Run(name, CONFIGURATIONS[name], seed, share, args.leave_one_out, args.end_to_end)
                made(one, tasks, blind=args.blind)


@dataclass(frozen=True)
class Run:
    """One configuration, once."""

    name: str
    configuration: Configuration
    seed: int
    share: float = 1.0
    leave_one_out: bool = False
    end_to_end: bool = False
    started: str = field(default_factory=lambda: f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}")

    @property
    def variation(self) -> str:
        """What sets the run apart from the plain one; empty for that."""
        return "leave-one-out" if self.leave_one_out else "" if self.share == 1.0 else f"share-{self.share:g}"

    @property
    def label(self) -> str:
        return "/".join(part for part in (self.name, f"seed{self.seed}", self.variation) if part)

    @property
    def file(self) -> Path:
        return (
            distiller_protocol.FOLDER
            / self.name
            / ("-".join(part for part in (f"seed{self.seed}", self.variation) if part) + ".json")
        )


def made(run: Run, tasks: Sequence[TaskData], *, blind: bool = False) -> dict[str, Any] | None:
    """Make the student, log what it is judged to be worth, read gold, write all down; None where gold is not read."""
    benchmark = Benchmark("distiller", None, ["scikit-learn"])
    worth: dict[str, dict[str, float | None]] = {}
    whole: list[tuple[Problem, Scored]] = []
    if run.leave_one_out:
        scored, seconds = _left_out(tasks, run), {}
    else:
        given = problems(tasks, run.configuration, seed=run.seed, share=run.share)
        extra = []
        if run.end_to_end:
            n_teachers = len(run.configuration.teachers)
            extra = [distiller_end_to_end.blocked(task, n_teachers) for task in tasks if task.name in gold.TASKS]
        found, seconds = score([*given, *extra], run.configuration, seed=run.seed)
        scored = list(zip(given, found[: len(given)], strict=True))
        whole = list(zip(extra, found[len(given) :], strict=True))
        worth = judged(scored)
        note_criterion(f"{run.label} {run.started}", run.configuration, worth)
        print(f"{run.label}: criterion {statistics.fmean(task['value'] or 0.0 for task in worth.values()):.4f}")
        if not run.variation:
            for problem, own in scored:
                path = distiller_protocol.FOLDER / run.name / f"seed{run.seed}" / f"{problem.data.name}.csv.gz"
                write_predictions(problem, own, path)
    if blind:
        return None
    truth = gold.gold_of_all(f"distiller: {run.label}")
    measured = {p.data.name: measure(p, own, truth[p.data.name]) for p, own in scored if p.data.name in truth}
    if not run.leave_one_out:
        note_gold(f"{run.label} {run.started}", measured)
    mean = _means(measured)
    print(f"{run.label}: F1 {mean['f1']:.4f}", *(f"{task} {row['f1']:.3f}" for task, row in measured.items()))
    figures = {
        "mean": mean,
        "tasks": measured,
        "criterion": worth,
        "seconds_of": seconds | {"features": sum(task.seconds for task in tasks)},
        "pairs": sum(len(task.pairs) for task in tasks),
        "labelled_queries": {p.data.name: len(set(p.data.pairs.left[p.known].tolist())) for p, _ in scored},
    }
    if whole:
        figures["end_to_end"] = _whole_tables(tasks, whole, truth)
    benchmark.write(figures, _targets(run, figures), run.file)
    return figures


def _left_out(tasks: Sequence[TaskData], run: Run) -> list[tuple[Problem, Scored]]:
    scored = []
    for name in tqdm(gold.TASKS, desc="left out", unit="task"):
        given = problems(tasks, run.configuration, seed=run.seed, left_out=name)
        found, _ = score(given, run.configuration, seed=run.seed)
        scored.append(next(pair for pair in zip(given, found, strict=True) if pair[0].data.name == name))
    return scored


def _whole_tables(
    tasks: Sequence[TaskData], whole: Sequence[tuple[Problem, Scored]], truth: Mapping[str, Any]
) -> dict[str, Any]:
    measured = {}
    for task, (problem, own) in zip([task for task in tasks if task.name in gold.TASKS], whole, strict=True):
        kept = distiller_end_to_end.cut(task, problem)
        measured[task.name] = distiller_end_to_end.measure(problem, own.matched, truth[task.name]) | {
            "blocking_cut": distiller_end_to_end.measure_blocking(task, kept, truth[task.name])
        }
    mean = {
        "f1": statistics.fmean(row["f1"] for row in measured.values()),
        "pair_completeness_cut": statistics.fmean(
            row["blocking_cut"]["ours"]["pair_completeness"] for row in measured.values()
        ),
    }
    return {"mean": mean, "tasks": measured}


def _means(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    rows = list(measured.values())
    mean = {
        part: statistics.fmean(row[part] for row in rows)
        for part in ("f1", "precision", "recall", "select_accuracy", "select_accuracy_decided", "calibration_error")
    }
    return mean | {f"{rule}_f1": statistics.fmean(row[rule]["f1"] for row in rows) for rule in ("raw", "one_to_one")}


def _targets(run: Run, figures: Mapping[str, Any]) -> list[Target]:
    mean, targets = figures["mean"], []
    if run.leave_one_out:
        return [Target("mean pairwise F1 of the open tasks, without their own labels", mean["f1"], at_least=0.83)]
    if not run.variation and run.name in FLOORS:
        targets += [
            Target("mean pairwise F1 of the open tasks, after one-to-one", mean["f1"], at_least=FLOORS[run.name]),
            Target("SELECT accuracy of the open tasks", mean["select_accuracy_decided"], at_least=0.88),
        ]
    if "end_to_end" in figures:
        whole = figures["end_to_end"]["mean"]
        targets += [
            Target("end to end: mean F1 of the open tasks", whole["f1"], at_least=0.84),
            Target("own blocking: mean pair completeness", whole["pair_completeness_cut"], at_least=0.95),
        ]
    return targets


def ablation(tasks: Sequence[TaskData], names: Sequence[str], seed: int) -> None:
    """Each part of the configurations, in them and alone; a student that several rows need is made once."""
    known: dict[Configuration, dict[str, Any]] = {}

    def worth(label: str, configuration: Configuration) -> dict[str, float]:
        if configuration not in known:
            figures = made(Run(label.replace(" ", "-"), configuration, seed), tasks)
            assert figures is not None  # gold is read
            criterion = statistics.fmean(task["value"] for task in figures["criterion"].values())
            known[configuration] = {"f1": figures["mean"]["f1"], "criterion": criterion}
        return known[configuration]

    for name in names:
        benchmark = Benchmark("distiller", None, ["scikit-learn"])
        full = CONFIGURATIONS[name]
        whole, nothing = worth(f"{name}-with-everything", full), worth("nothing", PLAIN)
        rows = []
        for row in ablations(full):
            encoders = [one for one in (row.configuration.encoder, row.beside.encoder) if one]
            if missing := [one for one in encoders if not has_encoder(one, tasks)]:
                print(f"{row.part}: left out, logits of {missing[0]!r} are missing; see benchmarks.distiller_encoder")
                continue
            beside = worth(f"{name}-{row.how}-beside-{row.part}", row.beside)
            own = worth(f"{name}-{row.how}-{row.part}", row.configuration)
            change = {f"{of}_change": own[of] - beside[of] for of in own}
            rows.append({"part": row.part, "how": row.how, **own, **change})
        figures = {"configuration": name, "seed": seed, "whole": whole, "nothing": nothing, "rows": rows}
        benchmark.write(figures, [], distiller_protocol.FOLDER / f"ablation-{name}.json")


if __name__ == "__main__":
    main()
