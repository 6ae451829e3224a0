"""Pairs a second on the CPU, ours and others', on the same pairs in the same run.

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.speed --weights <folder of a trained encoder> --peers <python>

The yardstick ("peer") is sentence-transformers' `CrossEncoder.predict` in float32. docs/speed.md says what every
contender does; `speed_contenders.py` and `speed_others.py` do it. `--weights` are those that the peers and our tier
"neural" run. `--peers` is the Python of an environment with fastembed and Splink (benchmarks/requirements-peers.txt);
without it these two are left out, and the result says so.

Each trial runs in a process of its own, so that none disturbs another's threads, and rounds go through all contenders
one after the other. Loading a model and warming up are not timed, all else is: tokenising, vectors of both whole
tables, features. Contenders that judge pairs alone are timed on a sample of whole candidate lists, slow ones on its
first 1,000 pairs in all rounds but the first; the others on all pairs. F1 is that of the sample, after one-to-one too.
An encoder's match is a probability of at least 0.5, and, beside that, one above the threshold that a logistic fit to
the teachers' labels of held-out queries gives its own logits (no gold): what users of either would do.

Two quiet cores take about fifteen minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import er_distill
from benchmarks.gold import Task
from benchmarks.provenance import ROOT, Benchmark, Target
from benchmarks.speed_contenders import CONTENDERS, OTHERS, PEER_TOKENS, Setting, probability
from benchmarks.speed_quality import OnLabels, on_labels, quality
from benchmarks.speed_workloads import WALMART, WORKLOADS, Workload
from benchmarks.tiers import share_to_encoder, trees_alone
from er_distill.pairs import Pairs
from er_distill.student import Student
from er_distill.threads import thread_count

WARM_UP = 64  # pairs
FEW = 1_000  # pairs of a slow contender, but for the first round


def main() -> None:
    args = arguments()
    if args.trial:
        run_trial(args)
        return
    benchmark = Benchmark("speed", args.student, ["sentence-transformers", "torch", "transformers", "recordlinkage"])
    with tempfile.TemporaryDirectory() as folder:
        args.graphs = export(args.weights, Path(folder))
        labelled = on_labels(args.graphs, args.weights)
        workloads = {
            name: measure(Workload(name, args.pairs or None), args, args.rounds if name == WALMART else 1)
            for name in args.workloads
        }
    figures = main_figures(workloads.pop(WALMART), args, labelled)
    figures["other_workloads"] = {
        name: about | {"contenders": {one: speeds(trials) for one, (trials, _) in found.items()}}
        for name, (about, found) in workloads.items()
    }
    figures["end_to_end"] = end_to_end(args.student, figures["peer"]["pairs_per_second"])
    if not args.peers:
        figures["not_measured"] = dict.fromkeys(OTHERS, "no environment that has it was named with --peers")
    benchmark.write(figures, targets(figures), args.output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="a trained encoder of six layers: its folder")
    parser.add_argument("--student", default="default")
    parser.add_argument("--peers", type=Path, help="Python of the environment that has fastembed and Splink")
    parser.add_argument("--pairs", type=int, default=4_000, help="about how many the sample has; 0: all")
    parser.add_argument("--rounds", type=int, default=3, help="of walmart-amazon; the others have one")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS, metavar="NAME")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/speed.json")
    for name in ("--trial", "--workload"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--few", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--graphs", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def export(weights: Path, folder: Path) -> Path:
    """Export the weights' graphs, with what fastembed wants beside them: logits of shape (pairs, 1)."""
    import onnx

    from er_distill.training.export import export_encoder
    from er_distill.training.pretrained import load_base

    export_encoder(load_base(weights, PEER_TOKENS), folder, variants=("fp32", "int8"))
    graph = onnx.load(folder / "encoder.fp32.onnx")
    shape = [graph.graph.output[0].type.tensor_type.shape.dim[0].dim_param, 1]
    graph.graph.initializer.append(onnx.helper.make_tensor("last_axis", onnx.TensorProto.INT64, [1], [1]))
    graph.graph.node.append(onnx.helper.make_node("Unsqueeze", [graph.graph.output[0].name, "last_axis"], ["column"]))
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info("column", onnx.TensorProto.FLOAT, shape))
    onnx.save(graph, folder / "encoder.column.onnx")
    (folder / "tokenizer.json").write_bytes((weights / "tokenizer.json").read_bytes())
    (folder / "config.json").write_bytes((weights / "config.json").read_bytes())
    settings = {"model_max_length": PEER_TOKENS, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


Trials = list[tuple[int, float]]
"""Pairs and seconds, a round each."""

Measured = tuple[dict[str, Any], dict[str, tuple[Trials, np.ndarray]]]
"""A workload's facts, and of each contender its trials and its scores of the sample (empty where it gives none)."""


def measure(workload: Workload, args: argparse.Namespace, rounds: int) -> Measured:
    """Time all contenders, round by round."""
    names = [name for name, one in CONTENDERS.items() if one.fits(workload.name)]
    names += [name for name in OTHERS if args.peers]
    found: dict[str, tuple[Trials, np.ndarray]] = {name: ([], np.empty(0)) for name in names}
    for k in range(rounds):
        for name in names:
            few = k > 0 or workload.name != WALMART
            n_pairs, seconds, scores = trial_in_own_process(name, workload, args, few)
            trials, first = found[name]
            found[name] = [*trials, (n_pairs, seconds)], first if k else scores
            print(f"{workload.name}, {name}: {n_pairs / seconds:,.0f} pairs/s ({n_pairs:,} pairs)", flush=True)
    left, right = workload.records
    pairs = workload.pairs.take(workload.in_sample)
    about = {"records": [len(left.ids), len(right.ids)], "all_pairs": len(workload.pairs), "pairs": len(pairs)}
    return about | {"queries": len(np.unique(pairs.left))}, found


def trial_in_own_process(
    name: str, workload: Workload, args: argparse.Namespace, few: bool
) -> tuple[int, float, np.ndarray]:
    """Return the number of pairs, the seconds and the scores of one trial."""
    with tempfile.TemporaryDirectory() as folder:
        if name in OTHERS:
            return other_trial(name, workload, args, few, Path(folder))
        output = Path(folder) / "trial.npz"
        command = [sys.executable, "-m", "benchmarks.speed", "--trial", name, "--output", str(output)]
        command += ["--weights", str(args.weights), "--graphs", str(args.graphs), "--student", args.student]
        command += ["--workload", workload.name, "--pairs", str(args.pairs), *(["--few"] if few else [])]
        subprocess.run(command, check=True, cwd=ROOT)
        with np.load(output) as trial:
            return int(trial["pairs"]), float(trial["seconds"]), trial["scores"]


def run_trial(args: argparse.Namespace) -> None:
    """Time one contender in this process."""
    workload = Workload(args.workload, args.pairs or None)
    contender = CONTENDERS[args.trial]
    score = contender.make(Setting(workload, args.student, args.weights, args.graphs))
    pairs = workload.pairs if contender.all_pairs else workload.pairs.take(workload.in_sample)
    pairs = pairs.take(slice(FEW)) if contender.slow and args.few else pairs
    score(pairs.take(slice(WARM_UP)))
    started = time.perf_counter()
    scores = score(pairs)
    seconds = time.perf_counter() - started
    scores = scores[workload.in_sample] if contender.all_pairs else scores
    np.savez(args.output, pairs=len(pairs), seconds=seconds, scores=scores)


def other_trial(
    name: str, workload: Workload, args: argparse.Namespace, few: bool, folder: Path
) -> tuple[int, float, np.ndarray]:
    """Time one contender in the other environment."""
    all_pairs = name == "splink"
    pairs = workload.pairs if all_pairs else workload.pairs.take(workload.in_sample)
    pairs = pairs.take(slice(FEW)) if few and not all_pairs else pairs
    if all_pairs:
        write_pairs(workload, pairs, folder)
    else:
        (folder / "texts.json").write_text(json.dumps(workload.texts(pairs)), encoding="utf-8")
    job = {"threads": thread_count(), "model": str(args.graphs), "fields": workload.shared_fields, "pairs": len(pairs)}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    script = ROOT / "benchmarks" / "speed_others.py"
    subprocess.run([str(args.peers), str(script), name, str(folder)], check=True)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    scores = np.empty(0) if result["scores"] is None else probability(np.array(result["scores"]))
    return len(pairs), result["seconds"], scores


def write_pairs(workload: Workload, pairs: Pairs, folder: Path) -> None:
    """Write a table a side with one row a pair."""
    for side, table, codes in zip("ab", workload.records, (pairs.left, pairs.right), strict=True):
        columns = dict(zip(table.fields, table.values, strict=True))
        # A missing value is null there, and not the empty string.
        shared = {name: pa.array([value or None for value in columns[name][codes]]) for name in workload.shared_fields}
        number = np.arange(len(pairs))
        pq.write_table(pa.table({"unique_id": number, "pair": number, **shared}), folder / f"{side}.parquet")


def main_figures(measured: Measured, args: argparse.Namespace, labelled: dict[str, OnLabels]) -> dict[str, Any]:
    """Speed and quality on the workload whose gold is open."""
    about, found = measured
    workload, student = Workload(WALMART, args.pairs or None), Student.load(args.student, device="cpu")
    pairs, gold = workload.pairs.take(workload.in_sample), Task(WALMART).gold("speed")
    figures: dict[str, Any] = {
        "task": WALMART,
        **about,
        "weights": args.weights.name,
        "share_to_encoder": share_to_encoder(student, trees_alone(student).score(*workload.records, pairs)),
    }
    for name, (trials, scores) in found.items():
        decides = len(scores) and (name in OTHERS or CONTENDERS[name].decides)
        threshold = student.threshold if name in ("student", "lexical") else 0.5
        figures[name] = speeds(trials) | (quality(pairs, gold, scores, threshold) if decides else {})
        if name in labelled:
            figures[name]["held_out_labels"] = vars(labelled[name])
            figures[name]["threshold_from_labels"] = quality(pairs, gold, scores, labelled[name].threshold)
    by_round = {name: [n / s for n, s in trials] for name, (trials, _) in found.items()}
    figures["times_the_peer"] = {
        name: {
            "median": figures[name]["pairs_per_second"] / figures["peer"]["pairs_per_second"],
            "by_round": [own / peer for own, peer in zip(rates, by_round["peer"], strict=True)],
        }
        for name, rates in by_round.items()
        if name != "peer"
    }
    return figures


def speeds(trials: Trials) -> dict[str, Any]:
    """Pairs a second: the median of the rounds, and their spread."""
    each = [n_pairs / seconds for n_pairs, seconds in trials]
    about = {"pairs_by_round": [n for n, _ in trials], "seconds": [seconds for _, seconds in trials]}
    return {"pairs_per_second": statistics.median(each), "lowest": min(each), "highest": max(each)} | about


def end_to_end(student: str, peer_pairs_per_second: float) -> dict[str, Any]:
    """Link both whole tables of walmart-amazon, blocking included."""
    left, right = Task(WALMART).tables
    er_distill.link(left.slice(0, WARM_UP), right.slice(0, WARM_UP), student=student, id="id")
    started = time.perf_counter()
    matches = er_distill.link(left, right, student=student, id="id")
    seconds = time.perf_counter() - started
    n_pairs = len(er_distill.blocking.candidates(*Task(WALMART).records).pairs)
    return {
        "records": [len(left), len(right)],
        "candidates": n_pairs,
        "matches": len(matches),
        "seconds": seconds,
        "seconds_of_the_peer_for_these_candidates_alone": n_pairs / peer_pairs_per_second,
    }


def targets(figures: dict[str, Any]) -> list[Target]:
    times, peer, neural = figures["times_the_peer"], figures["peer"], figures["neural"]
    more = neural["threshold_from_labels"]["f1"] - peer["threshold_from_labels"]["f1"]
    return [
        Target("neural tier, identical weights: times the peer's pairs/s", times["neural"]["median"], at_least=5.0),
        Target("neural tier, identical weights: F1 less the peer's, thresholds from labels", more, at_least=0.0),
        Target("whole student: times the peer's pairs/s", times["student"]["median"], at_least=30.0),
        Target("whole student: F1 less the peer's", figures["student"]["f1"] - peer["f1"], at_least=0.0),
        Target("whole student: pairs/s", figures["student"]["pairs_per_second"], at_least=1_363.0),
        Target("lexical tier alone: pairs/s", figures["lexical"]["pairs_per_second"], at_least=200_000.0),
    ]


if __name__ == "__main__":
    main()
