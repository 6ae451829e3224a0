"""What every result says of itself: the figures beside their targets, and how, where and from what they came."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from er_distill.artefact import MANIFEST, locate, read
from er_distill.threads import thread_count

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = (
    "narwhals",
    "numpy",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "rapidfuzz",
    "scipy",
    "sparse-dot-topn",
    "tokenizers",
)
_CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")


@dataclass(frozen=True)
class Target:
    """A figure and what it must reach.

    Attributes
    ----------
    what : str
    measured : float
    at_least, at_most : float or None
        One of the two.
    """

    what: str
    measured: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure is as good as it must be."""
        return (self.at_least is None or self.measured >= self.at_least) and (
            self.at_most is None or self.measured <= self.at_most
        )

    def __str__(self) -> str:
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{'met   ' if self.met else 'MISSED'}  {self.what}: {self.measured:.4g} ({bound})"


class Benchmark:
    """One published number: started when made, written when done.

    Parameters
    ----------
    name : str
        Of the script, and of its result.
    student : str or None
        The student that is measured, by name or folder; None where none is.
    packages : sequence of str
        Packages whose version matters here, beside those of the core.
    """

    def __init__(self, name: str, student: str | None = "default", packages: Sequence[str] = ()) -> None:
        self.name = name
        self.student = student
        self.packages = (*_PACKAGES, *packages)
        self._started = time.perf_counter()
        self._load = os.getloadavg()[0]  # of what else ran: a timing on a busy machine says little

    def write(self, figures: dict[str, Any], targets: Sequence[Target], output: Path | None = None) -> None:
        """Write the result, by default to ``benchmarks/results/<name>.json``, and print the targets."""
        result = {
            "benchmark": self.name,
            "targets": [
                {name: value for name, value in vars(target).items() if value is not None} | {"met": target.met}
                for target in targets
            ],
            "figures": figures,
            "command": shlex.join(["python", "-m", f"benchmarks.{self.name}", *map(_without_folders, sys.argv[1:])]),
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "seconds": time.perf_counter() - self._started,
            "commit": commit(),
            "student": None if self.student is None else describe_student(self.student),
            "machine": machine() | {"load_at_start": self._load},
            "versions": {"python": platform.python_version()} | {name: _version(name) for name in self.packages},
        }
        path = RESULTS / f"{self.name}.json" if output is None else output
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(json.dumps(_rounded(result), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(*targets, f"written to {path}", sep="\n")


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores that may be used, memory, system."""
    processor, flags = platform.processor() or platform.machine(), ""
    about = Path("/proc/cpuinfo")
    if about.is_file():
        facts = dict(line.split(":", 1) for line in about.read_text().splitlines() if ":" in line)
        facts = {name.strip(): value.strip() for name, value in facts.items()}
        processor, flags = facts.get("model name", processor), facts.get("flags", "")
    return {
        "processor": processor,
        "features": [feature for feature in _CPU_FEATURES if feature in flags.split()],
        "cores": thread_count(),
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "system": platform.platform(),
    }


def commit() -> str:
    """Return the commit that was measured, with "+ changes" where the package or the scripts differ from it."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "er_distill", "benchmarks/*.py")
    return f"{head} + changes" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def describe_student(student: str) -> dict[str, str]:
    """Return which student was measured: the sha256 of its manifest pins every file of it."""
    folder = locate(student)
    manifest = read(folder)
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    return {"name": manifest.name, "created": manifest.created, "manifest_sha256": digest}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # onnxruntime for a GPU is a package of another name
        return f"{metadata.version(f'{package}-gpu')} ({package}-gpu)"


def _without_folders(argument: str) -> str:
    """A path as the reader may have it: relative to the project, or its last part."""
    path = Path(argument)
    if not path.is_absolute():
        return argument
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _rounded(value: Any) -> Any:
    """Floats to five digits that count, numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return float(f"{value:.5g}") if isinstance(value, float) else value
