"""Runs that are killed, run out of disk or lose their student: finished chunks are kept and never scored twice."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from er_distill import InputError, Student, StudentError
from er_distill.chunks import Shard
from er_distill.pairs import Pairs
from er_distill.resuming import Scored, score_file
from er_distill.streaming import Stream
from tests.fake_student import BUNDLED, needs_bundled_student
from tests.small_lists import addresses, scores, student

pytestmark = [pytest.mark.needs("onnxruntime"), needs_bundled_student]

CHUNK = 60
END = """
import resource, os, signal, sys
from pathlib import Path
from er_distill.parts import Parts
from er_distill.resuming import score_file
from tests.small_lists import addresses, student

folder, ending = Path(sys.argv[1]), sys.argv[2]
add = Parts.add

def killed(parts, chunk, table):
    if chunk.number == 2 and ending == "killed":
        (parts.folder / ".part-00000002.parquet.1.tmp").write_bytes(b"half a chunk")
        os.kill(os.getpid(), signal.SIGKILL)
    if chunk.number == 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    add(parts, chunk, table)

Parts.add = killed
lists = addresses()
score_file(folder / "pairs.parquet", lists.a, lists.b, folder / "scored.parquet", student(), chunk_size=60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    addresses().write(tmp_path)
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The pairs that are scored in this process, in their order."""
    seen: list[tuple[int, int]] = []
    score = Stream.score

    def counted(stream: Stream, pairs: Pairs, *more: Any) -> Any:
        seen.extend(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
        return score(stream, pairs, *more)

    monkeypatch.setattr(Stream, "score", counted)
    yield seen
    assert len(seen) == len(set(seen))  # whatever happened, nothing was scored twice


def run(folder: Path, output: str = "scored.parquet", **options: Any) -> Scored:
    lists = addresses()
    options = {"student": student(), "chunk_size": CHUNK, **options}
    return score_file(folder / "pairs.parquet", lists.a, lists.b, folder / output, **options)


def check(folder: Path) -> None:
    """The output is what one undisturbed run over all pairs gives, to the last bit, and nothing is left beside it."""
    found = pq.read_table(folder / "scored.parquet")
    assert found == addresses().table.append_column("score", [scores()])
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["pairs.parquet", "scored.parquet"]
    assert not (folder / "scored.parquet.parts").exists()


def ended(folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-c", END, str(folder), how], cwd=root, env=environment, capture_output=True, text=True
    )


def test_undisturbed_run(folder: Path, read: list[tuple[int, int]]) -> None:
    n = len(addresses().pairs)
    assert run(folder) == Scored(n, 0)
    check(folder)
    assert run(folder, resume=True) == Scored(n, n)  # it is done: a job that is started again does nothing
    assert len(read) == n
    check(folder)


def test_killed_run_goes_on(folder: Path, read: list[tuple[int, int]]) -> None:
    result = ended(folder, "killed")
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not (folder / "scored.parquet").exists()
    with pytest.raises(InputError, match=r"scored.parquet.parts holds 2 finished chunk.*--resume"):
        run(folder)
    n_finished = sum(pq.read_metadata(part).num_rows for part in (folder / "scored.parquet.parts").glob("part-*"))
    assert 0 < n_finished < len(addresses().pairs)
    done = run(folder, resume=True)
    assert done == Scored(len(addresses().pairs), n_finished)
    assert len(read) == done.pairs - n_finished
    check(folder)


def test_full_disk_keeps_what_is_finished(folder: Path) -> None:
    result = ended(folder, "full")
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert "part-00000002.parquet cannot be written: " in message
    assert "2 finished chunk(s) are kept: run again with --resume" in message
    parts = folder / "scored.parquet.parts"
    assert sorted(path.name for path in parts.iterdir()) == [
        "lock", "part-00000000.parquet", "part-00000001.parquet", "run.json", "statistics.npz",
    ]  # fmt: skip
    assert run(folder, resume=True).kept > 0
    check(folder)


@pytest.mark.parametrize("what", ["student", "graph"])
def test_student_that_is_swapped_during_the_run(
    what: str, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path_factory.mktemp("students") / "mine"
    shutil.copytree(BUNDLED.parent, mine)
    loaded = Student.load(mine)
    score, calls = Stream.score, []

    def swaps(stream: Stream, pairs: Pairs, *more: Any) -> Any:
        calls.append(len(pairs))
        if len(calls) == 2:
            if what == "graph":
                (mine / loaded.variant.encoder).write_bytes(b"another")
            else:
                manifest = json.loads((mine / "student.json").read_text()) | {"name": "another"}
                (mine / "student.json").write_text(json.dumps(manifest))
        return score(stream, pairs, *more)

    monkeypatch.setattr(Stream, "score", swaps)
    with pytest.raises(StudentError, match=r"mine was replaced|instead of .* bytes|altered"):
        run(folder, student=loaded)
    assert [path.name for path in (folder / "scored.parquet.parts").glob("part-*")] == ["part-00000000.parquet"]
    monkeypatch.undo()
    shutil.copytree(BUNDLED.parent, mine, dirs_exist_ok=True)
    assert run(folder, student=loaded, resume=True).kept == calls[0]
    check(folder)


def test_run_that_is_resumed_with_something_else(folder: Path) -> None:
    ended(folder, "killed")
    with pytest.raises(InputError, match="made with another context"):
        run(folder, resume=True, context=False)
    with pytest.raises(InputError, match="made with another shard"):
        run(folder, resume=True, shard=Shard(1, 2))
    pq.write_table(addresses().table.slice(0, 100), folder / "pairs.parquet")
    with pytest.raises(InputError, match="made with another pairs"):
        run(folder, resume=True)
    lists = addresses()
    lists.write(folder)
    other = dataclasses.replace(lists.a, values=(*lists.a.values[:-1], lists.a.values[-1][::-1]))
    with pytest.raises(InputError, match="made with another left table"):
        score_file(
            folder / "pairs.parquet", other, lists.b, folder / "scored.parquet", student(),
            resume=True, chunk_size=CHUNK,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["part-00000001.parquet", "statistics.npz"])
@pytest.mark.parametrize("kept", [0, 40])
def test_finished_chunk_that_is_damaged_is_named_and_made_again(name: str, kept: int, folder: Path) -> None:
    ended(folder, "killed")
    damaged = folder / "scored.parquet.parts" / name
    damaged.write_bytes(damaged.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"{name} is damaged .* Remove this file and resume"):
        run(folder, resume=True)
    damaged.unlink()
    run(folder, resume=True)
    check(folder)


def test_shards_never_overlap_and_are_the_whole(folder: Path, read: list[tuple[int, int]]) -> None:
    done = [run(folder, f"scored-{k}.parquet", shard=Shard(k, 3)) for k in (1, 2, 3)]
    assert sum(one.pairs for one in done) == len(addresses().pairs) == len(read)
    tables = [pq.read_table(folder / f"scored-{k}.parquet") for k in (1, 2, 3)]
    assert pa.concat_tables(tables).sort_by("note") == (
        addresses().table.append_column("score", [scores()]).sort_by("note")
    )
    lists = [set(table["left_id"].to_pylist()) for table in tables]
    assert sum(map(len, lists)) == len(set().union(*lists))
    empty = run(folder, "scored-last.parquet", shard=Shard(90, 90))
    assert empty == Scored(0, 0)
    assert pq.read_schema(folder / "scored-last.parquet").names[-1] == "score"


def test_two_processes_at_one_output(folder: Path) -> None:
    ended(folder, "killed")
    with (folder / "scored.parquet.parts" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is at work"):
            run(folder, resume=True)
    run(folder, resume=True)
    check(folder)
