"""Seconds until er_distill is imported, and until a first link of two tiny tables is done, in fresh processes.

    python -m benchmarks.import_time

Each kind of start is taken in turn with the others. "With bytecode cache" is a second start as users have it; "without"
is the first start after an installation, when Python compiles every module that it imports, those of the libraries
included. `import er_distill` brings names only on their first use, so the import of a function that brings everything
linking needs stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.provenance import ROOT, Benchmark, Target

ROUNDS = 10
LIMIT = 1.0  # seconds

_TIMED = """
import json, sys, time
started = time.perf_counter()
{code}
seconds = time.perf_counter() - started
print(json.dumps([seconds, "torch" in sys.modules]))
"""
_STARTS = {
    "import_er_distill": "import er_distill",
    "import_link": "from er_distill import link",
    "first_link": """
from er_distill import link
import pyarrow as pa
people = pa.table({"name": ["anna smith", "ben jones", "carla diaz"], "city": ["leeds", "york", "hull"]})
others = pa.table({"name": ["smyth anna", "b jones", "dora meyer"], "city": ["leeds", "york", "bath"]})
link(people, others, student=STUDENT, device="cpu")
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="default")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/import_time.json")
    args = parser.parse_args()
    benchmark = Benchmark("import_time", args.student)
    starts: dict[tuple[str, bool], list[dict[str, Any]]] = {
        (name, cached): [] for name in _STARTS for cached in (True, False)
    }
    for name, cached in starts:
        start(name, args.student, cached)  # fills the caches: of bytecode, and the system's of files
    for _ in range(args.rounds):
        for (name, cached), seen in starts.items():
            seen.append(start(name, args.student, cached))
    figures: dict[str, Any] = {}
    for (name, cached), seen in starts.items():
        figures.setdefault(name, {})["with_bytecode_cache" if cached else "without_bytecode_cache"] = {
            "median": statistics.median(one["seconds"] for one in seen),
            "lowest": min(one["seconds"] for one in seen),
            "highest": max(one["seconds"] for one in seen),
            "median_of_whole_process": statistics.median(one["process"] for one in seen),
            "torch_imported": any(one["torch"] for one in seen),
        }
    imported = figures["import_er_distill"]
    targets = [
        Target(f"import er_distill, {kind.replace('_', ' ')}: median seconds", imported[kind]["median"], at_most=LIMIT)
        for kind in ("with_bytecode_cache", "without_bytecode_cache")
    ]
    benchmark.write(figures, targets, args.output)


def start(name: str, student: str, cached: bool) -> dict[str, Any]:
    """Start Python anew, and return the seconds that the code took and those of the whole process."""
    code = _TIMED.format(code=_STARTS[name].replace("STUDENT", repr(student)))
    with tempfile.TemporaryDirectory() as empty:
        environment = dict(os.environ)
        if not cached:
            environment |= {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        process = time.perf_counter() - started
    seconds, torch = json.loads(done.stdout)
    return {"seconds": seconds, "process": process, "torch": torch}


if __name__ == "__main__":
    main()
