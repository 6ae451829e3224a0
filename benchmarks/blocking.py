"""Blocking two tables of a million short records each: minutes, memory, and the matches that are kept.

    python -m benchmarks.blocking [--records 100000 1000000]

The tables are made-up people (`benchmarks.made_up_people`): name, birth date, address, town and postcode, some 60
characters a record; each person stands in both tables, one value in ten mistyped. For each size a child process reads
the tables from Parquet, gives what reading left over back to the system, notes its resident memory, imports er_distill
and finds the candidates of the default rule, the ten most similar records of either record by trigrams. The time is
that from the frames to the pairs: rendering, vectors, blocking. The memory is the highest resident memory of the
process (sampled every 5 ms), whole and above what was noted.

Up to 100,000 records all trigrams are read; above, the rarest words and trigrams (`er_distill.nearest`). Some left
records of the largest tables are looked up both ways, from the left alone, so that what this loses can be told from
what the rule itself does.

Takes some 20 minutes on two cores that do nothing else, of which the sample takes one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.made_up_people import people
from benchmarks.memory import Peak, give_back
from benchmarks.provenance import ROOT, Benchmark, Target

RECORDS = (100_000, 1_000_000)  # a side
SEED = 1
TOP = 10
SAMPLE = 2_000  # records looked up both ways
MINUTES, LIMIT_GB = 60, 8
OF_THE_TARGETS = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=list(RECORDS), help="a side, one or more sizes")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/blocking.json")
    parser.add_argument("--child", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(TASKS[args.child](args.folder, args.records[0])))
        return
    benchmark = Benchmark("blocking", None, ["psutil", "tqdm"])
    sizes = sorted(args.records)
    figures: dict[str, Any] = {"top": TOP, "seed": SEED, "sizes": []}
    with tempfile.TemporaryDirectory() as folder:
        for records in sizes:
            made = in_own_process("make", Path(folder), records)
            figures["sizes"].append(made | in_own_process("measure", Path(folder), records))
        figures["sample"] = in_own_process("sample", Path(folder), sizes[-1])
    targets = []
    for size in figures["sizes"]:
        if size["records"] == OF_THE_TARGETS:
            of = f"blocking {OF_THE_TARGETS:,} x {OF_THE_TARGETS:,} short records, top {TOP}"
            targets.append(Target(f"{of}: minutes", size["minutes"], at_most=MINUTES))
            targets.append(Target(f"{of}: highest memory of the process, GB", size["peak_gb"], at_most=LIMIT_GB))
    benchmark.write(figures, targets, args.output)


def in_own_process(task: str, folder: Path, records: int) -> dict[str, Any]:
    """Run one of `TASKS` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.blocking", "--child", task]
    command += ["--folder", str(folder), "--records", str(records)]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(f"{records:,} records, {task}:", done.stdout.strip(), flush=True)
    return json.loads(done.stdout)


def make(folder: Path, records: int) -> dict[str, Any]:
    """Write both tables, and the right row of each left record."""
    left, right, truth = people(records, SEED)
    for name, table in (("left", left), ("right", right)):
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    np.save(folder / "truth.npy", truth)
    characters = sum(sum(map(len, column)) for column in left.values())
    return {"records": records, "columns": list(left), "characters_per_record": characters / records}


def measure(folder: Path, records: int) -> dict[str, Any]:
    """Find the candidate pairs, and watch the memory meanwhile."""
    frames = [pq.read_table(folder / f"{name}.parquet") for name in ("left", "right")]
    give_back()
    before = psutil.Process().memory_info().rss
    peak = Peak()
    peak.start()

    from er_distill.blocking import TopK, candidates
    from er_distill.records import Records
    from er_distill.vectors import vectorise

    marks, cpu = [time.perf_counter()], time.process_time()
    left, right = (Records.from_frame(frame, name=name) for frame, name in zip(frames, ("left", "right"), strict=True))
    marks.append(time.perf_counter())
    corpus = vectorise(left, right)
    marks.append(time.perf_counter())
    found = candidates(left, right, rules=[TopK(TOP)], corpus=corpus, progress=sys.stderr.isatty())
    marks.append(time.perf_counter())
    cpu = time.process_time() - cpu
    highest = peak.stop()
    rendering, vectors, looking_up = np.diff(marks)
    keys = np.arange(records) * records + np.load(folder / "truth.npy")
    return {
        "minutes": (marks[-1] - marks[0]) / 60,
        "cpu_minutes": cpu / 60,
        "seconds_of": {"rendering": rendering, "vectors": vectors, "blocking": looking_up},
        "peak_gb": highest / 1e9,
        "above_gb": (highest - before) / 1e9,
        "before_gb": before / 1e9,
        "candidates": len(found.pairs),
        "records_without_candidate": found.report.left_without + found.report.right_without,
        "pair_completeness": np.isin(keys, found.pairs.keys(), assume_unique=True).mean(),
    }


def sample(folder: Path, records: int) -> dict[str, Any]:
    """Look some left records up among all right ones: rarest first, and by all trigrams."""
    from er_distill import nearest
    from er_distill.records import Records
    from er_distill.vectors import vectorise

    left, right = (
        Records.from_frame(pq.read_table(folder / f"{name}.parquet"), name=name) for name in ("left", "right")
    )
    corpus = vectorise(left, right)
    rows = np.arange(min(SAMPLE, records))  # the tables are in no order
    keys = rows * records + np.load(folder / "truth.npy")[rows]
    figures: dict[str, Any] = {"records": records, "looked_up": len(rows)}
    pairs = {}
    for way, most_exact in (("rarest_first", 0), ("all_trigrams", records)):
        nearest.MOST_EXACT = most_exact
        started = time.process_time()
        row, other = nearest.nearest(corpus.left.take(rows), corpus.right, corpus.vocabulary, TOP)
        seconds = time.process_time() - started
        pairs[way] = row * records + other
        figures[way] = {"cpu_seconds": seconds, "pair_completeness": np.isin(keys, pairs[way]).mean()}
    both = np.intersect1d(*pairs.values())
    return figures | {"of_the_nearest_by_all_trigrams_found": len(both) / len(pairs["all_trigrams"])}


TASKS: dict[str, Callable[[Path, int], dict[str, Any]]] = {"make": make, "measure": measure, "sample": sample}


if __name__ == "__main__":
    main()
