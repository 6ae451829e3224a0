"""A folder with generated tables, and runs there that are started, ended and taken up again, for the drills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.provenance import ROOT
from er_distill.artefact import locate
from er_distill.blocking import candidates
from er_distill.deciding import Decision
from er_distill.files import read_table, write_table
from er_distill.linkage import link_file
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.resuming import score_file
from er_distill.streaming import Stream
from er_distill.student import Student
from er_distill.tables import open_frame, read_two
from er_distill.training.synthetic import generate

RECORDS = 500  # entities of the generated tables
SEED = 7
CHUNK = 500
PATIENCE = 300.0  # seconds to wait for a process


@dataclass(frozen=True)
class Outcome:
    """What a drill has shown.

    Attributes
    ----------
    fault : str
        What was done.
    said : str
        What the failing process said; empty where it was killed.
    finished : int
        Pairs in finished chunks whenever the run was taken up again.
    again : int
        Those of them that were scored again.
    lost : int
        Rows that are missing in the output.
    same : bool
        Whether the output is that of an undisturbed run, to the last bit.
    """

    fault: str
    said: str
    finished: int
    again: int
    lost: int
    same: bool


class Site:
    """A folder with two tables and their candidate pairs, where runs are started, ended and taken up again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pairs, self.student = folder / "pairs.parquet", folder / "student"
        self.finished = self.again = 0
        self._known: dict[int, set[int]] = {}

    @property
    def parts(self) -> list[Path]:
        """The finished chunks."""
        return sorted(self.folder.glob("*.parts/part-*")) + sorted(self.folder.glob("*.link/*.parts/part-*"))

    def start(self, link: str = "") -> subprocess.Popen[str]:
        """Start to score, or to link into the file `link`, from what is there."""
        tables = [pq.read_table(part, columns=["left_id"]) for part in self.parts]
        self.finished += sum(map(len, tables))
        process = python("-m", "benchmarks.drills", "--child", str(self.folder), "--link", link)
        self._known[process.pid] = {row for table in tables for row in table["left_id"].to_pylist()}
        return process

    def end(self, process: subprocess.Popen[str]) -> str:
        """Wait for a run, count the finished lists that it has scored again, and return what it said last."""
        said = process.communicate(timeout=PATIENCE)[1].strip().splitlines()
        log = _log(self.folder, process.pid)
        begun = [int(row) for row in log.read_text().split()] if log.is_file() else []
        self.again += len(self._known[process.pid].intersection(begun)) + len(begun) - len(set(begun))
        return said[-1].replace(f"{self.folder}/", "") if said else ""

    def run(self, link: str = "") -> str:
        """Run to the end."""
        return self.end(self.start(link))

    def wait(self, process: subprocess.Popen[str], more: int) -> None:
        """Wait until a run has finished so many more chunks."""
        wanted, until = len(self.parts) + more, time.monotonic() + PATIENCE
        while len(self.parts) < wanted and process.poll() is None:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.folder}: no {wanted} chunks after {PATIENCE:.0f} s")
            time.sleep(0.005)

    def kill(self, link: str, seconds: float) -> None:
        """Start a run and kill it, some seconds after its second chunk."""
        process = self.start(link)
        self.wait(process, 2)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        self.end(process)

    def outcome(self, fault: str, said: str, found: str = "scored.parquet", whole: str = "whole.parquet") -> Outcome:
        """Compare an output with the undisturbed one."""
        one, other = (pq.read_table(self.folder / name).replace_schema_metadata() for name in (found, whole))
        return Outcome(fault, said, self.finished, self.again, len(other) - len(one), one.equals(other))


def prepare(folder: Path) -> None:
    """Write the tables, their candidate pairs, a copy of the student, and the outputs of undisturbed runs."""
    folder.mkdir()
    task = generate("people", RECORDS, seed=SEED)
    records = []
    for name, columns in (("left", task.left), ("right", task.right or {})):
        table = pa.table({"id": range(len(next(iter(columns.values())))), **columns})
        write_table(table, folder / f"{name}.parquet")
        records.append(Records.from_frame(table, name=name))
    pairs = candidates(*records).pairs
    notes = [f"row {k}" for k in range(len(pairs))]
    table = pa.table({"left_id": pairs.left, "right_id": pairs.right, "note": notes})
    pq.write_table(table, folder / "pairs.parquet", row_group_size=CHUNK, write_page_checksum=True)
    shutil.copytree(locate("default"), folder / "student")
    site = Site(folder)
    site.run("linked.parquet")
    site.run()
    (folder / "scored.parquet").rename(folder / "whole.parquet")


def child(folder: Path, link: str) -> None:
    """What the processes run that are killed: score the pairs of a folder, or link its tables."""
    score = Stream.score

    def logged(stream: Stream, pairs: Pairs, *more: Any) -> np.ndarray:
        with _log(folder, os.getpid()).open("a") as log:
            log.write(" ".join(map(str, np.unique(pairs.left))) + "\n")
        return score(stream, pairs, *more)

    Stream.score = logged  # type: ignore[method-assign, assignment]
    left, right = (open_frame(read_table(folder / f"{name}.parquet"), name)[0] for name in ("left", "right"))
    a, b = read_two(left, right, None, None, None, None)
    student = Student.load(folder / "student")
    if link:
        link_file(a, b, folder / link, student, Decision(), resume=True, chunk_size=CHUNK)
    else:
        output = folder / "scored.parquet"
        score_file(folder / "pairs.parquet", a.records, b.records, output, student, resume=True, chunk_size=CHUNK)


def python(*arguments: str) -> subprocess.Popen[str]:
    """Start Python in the repository; what it says on stderr can be read."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _log(folder: Path, pid: int) -> Path:
    """Where a process says which candidate lists it begins to score."""
    return folder / f"lists.{pid}.log"
