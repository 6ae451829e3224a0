"""How time and memory grow with the candidate pairs: 10^5, 10^6, 10^7 of them; and how long a first call takes.

    python -m benchmarks.scale                     # some ten minutes on two idle cores, 6 GB
    python -m benchmarks.scale --largest 1e8       # 10^8 pairs too, of which the trees alone: an hour and a half, 40 GB

The tables are made-up people (name, birth, place and post code, whatever the columns are called), one left record for
every ten pairs and as many right ones, each the other's match. Their candidates are the ten right records that stand
nearest to a left one when all are sorted by their text, as a linkage with a sorted neighbourhood has them (Hernandez
and Stolfo 1995). So records grow with the pairs, and a record's list stays as long as it was.

Each size runs in processes of its own: the lexical tier alone (`Student.score` with `wanted` all false: the second tier
reads nothing), then the whole student. A process reads records and pairs, gives what reading left over back to the
system, notes its resident memory, loads the student, scores a few pairs to open the graphs, and scores all. Time is
that of `Student.score` from records to probabilities, the vectors of all records included. Memory is the highest that
was resident from then on (looked at every 5 ms) less what was noted: the student, the graphs, the vectors, everything
temporary and the result. Of 10^5 and 10^6 pairs the median of three processes counts.

The first call is timed from before `import er_distill` until the score of one pair is there, in fresh processes, median
of five: `score_pairs` of two small Arrow tables, which the caller has imported and made.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import Peak, give_back
from benchmarks.provenance import ROOT, Benchmark, Target

SIZES = (10**5, 10**6, 10**7, 10**8)
REPEATED = 10**6  # sizes up to this are measured three times
ROUNDS = 3
FIRST_CALLS = 5
CANDIDATES = 10  # of a query
SEED = 2
TIERS = ("lexical", "student")
SHORT = re.compile("name|born|birth|dob|city|town|suburb|locality|post|zip")  # columns of a short record
_FIRST_CALL = """
import sys, time
import pyarrow as pa
people = pa.table({"id": ["a", "b"], "name": ["anna smith", "ben jones"], "city": ["leeds", "york"]})
others = pa.table({"id": ["x", "y"], "name": ["smyth anna", "b jones"], "city": ["leeds", "york"]})
pairs = pa.table({"left_id": ["a"], "right_id": ["x"]})
started = time.perf_counter()
import er_distill
er_distill.score_pairs(pairs, people, others, student=sys.argv[1], device="cpu")
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="default")
    parser.add_argument("--largest", type=float, default=1e7, help="pairs; default: 1e7")
    parser.add_argument("--tiers", nargs="+", choices=TIERS, default=TIERS)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/scale.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child, args.student, args.tiers[0])))
        return
    benchmark = Benchmark("scale", args.student, ["psutil"])
    sizes = [size for size in SIZES if size <= args.largest]
    figures: dict[str, Any] = {"first_call_seconds": first_calls(args.student)}
    tables = make_up(sizes[-1])
    figures |= {"columns": list(tables[0])} | {tier: {} for tier in args.tiers}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(Path(folder), tables, size)
            for tier in args.tiers:
                if tier == "student" and size > 10**7:
                    continue  # what it adds to the trees is told by the sizes below
                rounds = ROUNDS if size <= REPEATED else 1
                runs = [in_own_process(Path(folder), args.student, tier) for _ in range(rounds)]
                figures[tier][f"{size:.0e}"] = summary(runs)
    benchmark.write(figures, targets(figures, sizes, args.tiers), args.output)


def targets(figures: dict[str, Any], sizes: list[int], tiers: list[str]) -> list[Target]:
    """What was asked for, of the sizes and tiers that were measured."""
    found = [Target("first call: seconds to import, load and score one pair", figures["first_call_seconds"]["median"],
                    at_most=1.5)]  # fmt: skip
    names = {"lexical": "lexical tier alone", "student": "whole student"}
    for tier in tiers:
        by_size = figures[tier]
        smallest, large = f"{sizes[0]:.0e}", f"{min(sizes[-1], 10**7):.0e}"
        if tier == "lexical":
            what = f"{names[tier]}: pairs/s, records to probabilities, of {large} pairs"
            found.append(Target(what, by_size[large]["pairs_per_second"], at_least=200_000))
        if large != smallest:
            ratio = by_size[large]["microseconds_a_pair"] / by_size[smallest]["microseconds_a_pair"]
            what = f"{names[tier]}: time a pair of {large} pairs over that of {smallest}"
            found.append(Target(what, ratio, at_most=1.2))
        what = f"{names[tier]}: highest memory above the inputs at {large} pairs, GB"
        found.append(Target(what, by_size[large]["above_gb"], at_most=1.0))
    return found


def make_up(n_pairs: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Make up two tables of people: row for row the same person."""
    # Imported here, not above: the child that is measured imports er_distill after its memory was noted.
    from er_distill.training.synthetic import generate

    task = generate("people", n_pairs // CANDIDATES, seed=SEED, overlap=1.0)
    sides = zip((task.left, task.right or {}), task.truth.T, strict=True)
    left, right = (
        {column: np.array(values, object)[rows] for column, values in side.items() if SHORT.search(column)}
        for side, rows in sides
    )
    return left, right


def write_inputs(folder: Path, tables: Sequence[dict[str, np.ndarray]], n_pairs: int) -> None:
    """Write the first of the people and their candidate pairs."""
    size = n_pairs // CANDIDATES
    orders, texts = [], []
    for name, table in zip(("left", "right"), tables, strict=True):
        rows = np.random.default_rng(SEED).permutation(size) if name == "right" else np.arange(size)
        first = {column: values[:size][rows] for column, values in table.items()}
        pq.write_table(pa.table({"id": np.arange(size), **first}), folder / f"{name}.parquet")
        text = np.array([" ".join(filter(None, row)) for row in zip(*first.values(), strict=True)])
        orders.append(np.argsort(text))
        texts.append(text[orders[-1]])
    nearest = np.searchsorted(texts[1], texts[0]) - CANDIDATES // 2
    begin = np.empty(size, dtype=np.int64)
    begin[orders[0]] = np.clip(nearest, 0, size - CANDIDATES)
    np.save(folder / "left.npy", np.repeat(np.arange(size), CANDIDATES))
    np.save(folder / "right.npy", np.sort(orders[1][begin[:, None] + np.arange(CANDIDATES)], axis=1).ravel())


def in_own_process(folder: Path, student: str, tier: str) -> dict[str, Any]:
    """Run `measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--child", str(folder), "--student", student, "--tiers", tier]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(tier, done.stdout.strip(), flush=True)
    return json.loads(done.stdout)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of the runs, and what each took."""
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return middle | {"seconds_of_each": [run["seconds"] for run in runs]}


def first_calls(student: str) -> dict[str, float]:
    """Time first calls in fresh processes; one more before them fills the caches of bytecode and of files."""
    command = [sys.executable, "-W", "ignore", "-c", _FIRST_CALL, student]
    seconds = [
        float(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout)
        for _ in range(1 + FIRST_CALLS)
    ][1:]
    print(f"first call: {seconds}", flush=True)
    return {"median": statistics.median(seconds), "lowest": min(seconds), "highest": max(seconds)}


def measure(folder: Path, student: str, tier: str) -> dict[str, Any]:
    """Score the pairs, and watch the memory meanwhile."""
    from er_distill.pairs import Pairs
    from er_distill.records import Records
    from er_distill.student import Student

    left, right = (
        Records.from_frame(pq.read_table(folder / f"{name}.parquet"), name=name) for name in ("left", "right")
    )
    pairs = Pairs(np.load(folder / "left.npy"), np.load(folder / "right.npy"), len(left), len(right))
    give_back()
    before = psutil.Process().memory_info().rss
    peak = Peak()
    peak.start()
    scorer = Student.load(student, device="cpu")
    few = pairs.take(slice(CANDIDATES))
    a, b = (
        Records(table.name, table.ids[:1000], table.fields, tuple(c[:1000] for c in table.values))
        for table in (left, right)
    )
    scorer.score(a, b, Pairs(few.left, few.left, len(a), len(b)))
    wanted = np.zeros(len(pairs), dtype=bool) if tier == "lexical" else None
    started, used = time.perf_counter(), time.process_time()
    probabilities = scorer.score(left, right, pairs, wanted=wanted)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    highest = peak.stop()
    return {
        "pairs": len(pairs),
        "records": len(left) + len(right),
        "seconds": seconds,
        "processor_seconds": processor,
        "pairs_per_second": len(pairs) / seconds,
        "microseconds_a_pair": seconds / len(pairs) * 1e6,
        "above_gb": (highest - before) / 1e9,
        "inputs_gb": before / 1e9,
        "share_of_matches": float((probabilities >= scorer.threshold).mean()),
    }


if __name__ == "__main__":
    main()
