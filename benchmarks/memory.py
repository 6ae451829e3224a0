"""Memory of scoring 5 million candidate pairs of 100,000 + 100,000 records.

    python -m benchmarks.memory

The tables are generated people; the pairs are those with an equal address, birth date, telephone number, or name and
place, as a linkage with blocking keys brings them, in random order. A child process reads tables and pairs from Parquet
into frames, gives what reading left over back to the system, notes its resident memory, imports er_distill, loads the
student and calls `score_pairs`. Its highest resident memory from then on (sampled every 5 ms), less the memory noted
before, is what counts: er_distill with all libraries it imports, the student's graphs, the vectors, everything
temporary, and the result with its 5 million scores. What does not count is what the caller holds before the call:
Python, the dataframe library, the two tables, the frame of pairs.

One run with the trees alone (a student whose uncertain band is empty) says how fast the lexical tier is and which share
of the pairs it leaves to the encoder. The whole student must stay below the limit, with pandas frames as with pyarrow
tables, whose values become Python strings here only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.provenance import ROOT, Benchmark, Target

RECORDS = 100_000  # a side
PAIRS = 5_000_000
SEED = 2  # of the generated tables: twelve columns, each record has a match
EVERY = 0.005  # seconds between two looks at the memory
LIMIT_GB = 1.0
LIBRARIES = ("pandas", "pyarrow")
# Columns that must be equal, of those that this seed's tables have: together some 54 pairs a record.
BLOCKS = (
    ("address_1",), ("dob",), ("mobile",), ("lname", "postal_code"), ("fname", "locality"), ("fname", "postal_code"),
    ("lname", "region"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="default")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/memory.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--library", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--trees-alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child, args.library, args.student, args.trees_alone)))
        return
    benchmark = Benchmark("memory", args.student, ["psutil"])
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder), args.records, args.pairs)
        figures = {"inputs": inputs, "trees_alone": in_own_process(Path(folder), args.student, "pandas", True)}
        for library in LIBRARIES:
            figures[library] = in_own_process(Path(folder), args.student, library, False)
    targets = [
        Target(
            f"5 million pairs in {library} frames: highest memory above them, GB",
            figures[library]["above_gb"],
            at_most=LIMIT_GB,
        )
        for library in LIBRARIES
    ]
    benchmark.write(figures, targets, args.output)


def write_inputs(folder: Path, n_records: int, n_pairs: int) -> dict[str, Any]:
    """Generate the tables and their candidate pairs, as Parquet files."""
    # Imported here, not above: the child that is measured imports er_distill after its memory was noted.
    from er_distill.blocking import Exact, candidates
    from er_distill.records import Records
    from er_distill.training.synthetic import generate

    task = generate("people", n_records, seed=SEED, overlap=1.0)
    records = []
    for name, table in (("left", task.left), ("right", task.right)):
        frame = pa.table({"id": [f"{name}-{row}" for row in range(len(next(iter(table.values()))))], **table})
        pq.write_table(frame, folder / f"{name}.parquet")
        records.append(Records.from_frame(frame, name=name))
    left, right = records
    pairs = candidates(left, right, rules=[Exact(*columns) for columns in BLOCKS]).pairs
    if len(pairs) < n_pairs:
        raise SystemExit(f"Blocking found {len(pairs):,} pairs only; {n_pairs:,} were asked for.")
    pairs = pairs.take(np.random.default_rng(SEED).permutation(len(pairs))[:n_pairs])
    pq.write_table(
        pa.table({"left_id": pa.array(left.ids[pairs.left]), "right_id": pa.array(right.ids[pairs.right])}),
        folder / "pairs.parquet",
    )
    return {"records": [len(left), len(right)], "pairs": n_pairs, "columns": list(left.fields)}


def in_own_process(folder: Path, student: str, library: str, trees_alone: bool) -> dict[str, Any]:
    """Run `measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(folder), "--student", student]
    command += ["--library", library, *(["--trees-alone"] if trees_alone else [])]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(library, "trees alone:" if trees_alone else "student:", done.stdout.strip(), flush=True)
    return json.loads(done.stdout)


class Peak(threading.Thread):
    """Watches this process's resident memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._over = threading.Event()

    def run(self) -> None:
        process = psutil.Process()
        while not self._over.is_set():
            self.bytes = max(self.bytes, process.memory_info().rss)
            self._over.wait(EVERY)

    def stop(self) -> int:
        """Return the highest number of bytes seen."""
        self._over.set()
        self.join()
        return self.bytes


def measure(folder: Path, library: str, student: str, only_trees: bool) -> dict[str, Any]:
    """Score the pairs, and watch the memory meanwhile."""
    left, right, pairs = (read(folder / f"{name}.parquet", library) for name in ("left", "right", "pairs"))
    give_back()
    before = psutil.Process().memory_info().rss
    peak = Peak()
    peak.start()

    import er_distill
    from benchmarks.tiers import share_to_encoder, trees_alone

    scorer = er_distill.Student.load(student, device="cpu")
    used = trees_alone(scorer) if only_trees else scorer
    loaded = peak.bytes
    started = time.perf_counter()
    scored = er_distill.score_pairs(pairs, left, right, student=used)
    seconds = time.perf_counter() - started
    highest = peak.stop()
    result = {
        "above_gb": (highest - before) / 1e9,
        "of_which_loading_gb": (loaded - before) / 1e9,
        "before_gb": before / 1e9,
        "seconds": seconds,
        "pairs_per_second": len(scored) / seconds,
    }
    if only_trees:
        result["share_left_to_encoder"] = share_to_encoder(scorer, np.asarray(scored["score"]))
    return result


def read(path: Path, library: str) -> Any:
    """Read a frame."""
    if library == "pyarrow":
        return pq.read_table(path)
    import pandas as pd

    return pd.read_parquet(path)


def give_back() -> None:
    """Return freed memory to the system: else what follows could use it unseen."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


if __name__ == "__main__":
    main()
