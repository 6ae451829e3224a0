"""One setting for threads, and nothing that starts more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from er_distill import InputError
from er_distill.threads import VARIABLE, limit_tokenizers, thread_count
from tests.fake_student import needs_bundled_student

SCORE = """
import os
import er_distill, pyarrow as pa, tqdm

tqdm.tqdm.monitor_interval = 0  # a thread that sleeps, which bars start even where they are not shown
left = pa.table({"id": range(300), "name": [f"blue lamp {k} with a shade" for k in range(300)]})
right = pa.table({"id": range(300), "name": [f"lamp, blue, no. {k}" for k in range(300)]})
student = er_distill.Student.load(threads=%s)
before = len(os.listdir("/proc/self/task"))
for chunk in er_distill.iter_scored(left, right, student=student, threads=%s, blocking=[er_distill.TopK(2)]):
    last = chunk["score"][-1].as_py()
print(len(os.listdir("/proc/self/task")) - before)
"""


WORKERS = """
import multiprocessing, os, sys


def started(_):
    import er_distill, pyarrow as pa, tqdm

    student = er_distill.Student.load()  # numpy's and scipy's own threads are there from their import on
    tqdm.tqdm.monitor_interval = 0
    left = pa.table({"id": range(300), "name": [f"blue lamp {k} with a shade" for k in range(300)]})
    right = pa.table({"id": range(300), "name": [f"lamp, blue, no. {k}" for k in range(300)]})
    before = len(os.listdir("/proc/self/task"))
    er_distill.link(left, right, student=student, blocking=[er_distill.TopK(2)])
    return len(os.listdir("/proc/self/task")) - before


if __name__ == "__main__":
    import er_distill

    er_distill.Student.load(threads=3)  # what the parent uses is no business of its workers
    if sys.argv[1] == "loky":
        import joblib

        with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
            print(*joblib.Parallel()(joblib.delayed(started)(k) for k in range(2)))
    else:
        os.environ["ER_DISTILL_THREADS"] = "1"
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            print(*pool.map(started, range(2), chunksize=1))
"""


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "ER_DISTILL_TOKENIZER_THREADS"):
        monkeypatch.setenv(name, "1")  # so that it is put back after the test, whatever that does
        monkeypatch.delenv(name)


def test_argument_then_variable_then_share_of_a_worker_then_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    assert thread_count() == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    assert thread_count() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores + 7))  # a pod may use fewer cores than its node was told to
    assert thread_count() == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "dynamic")
    assert thread_count() == cores
    monkeypatch.setenv(VARIABLE, "5")
    assert thread_count() == 5
    assert thread_count(3) == 3


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_variable_that_is_no_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InputError, match=rf"ER_DISTILL_THREADS='{value}' must be a whole number"):
        thread_count()


@pytest.mark.needs("onnxruntime")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@needs_bundled_student
@pytest.mark.parametrize("setting", ["argument", "three", "variable", "share of a worker"])
def test_one_thread_starts_no_other(setting: str) -> None:
    environment = {
        "argument": {},
        "three": {},
        "variable": {VARIABLE: "1", "OMP_NUM_THREADS": "8"},
        "share of a worker": {"OMP_NUM_THREADS": "1"},
    }[setting]
    argument = {"argument": "1", "three": "3"}.get(setting, "None")
    result = subprocess.run(
        [sys.executable, "-c", SCORE % (argument, argument)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    # The tokenizers' pool of one, where a pair is read, is a thread of its own, for which ours waits. Of three threads
    # ours is one.
    started = int(result.stdout)
    assert started >= 2 if setting == "three" else started <= 1


@pytest.mark.needs("recordlinkage")
def test_joblib_tells_its_workers_their_share() -> None:
    import joblib

    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert joblib.Parallel()(joblib.delayed(thread_count)() for _ in range(2)) == [1, 1]


def test_tokenizers_follow_a_worker_and_leave_what_the_caller_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tokenizers(3)
    assert os.environ["RAYON_NUM_THREADS"] == "3"
    monkeypatch.setenv(VARIABLE, "1")  # as in a worker that has inherited the environment
    limit_tokenizers()
    assert os.environ["RAYON_NUM_THREADS"] == "1"
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    limit_tokenizers(2)
    assert os.environ["RAYON_NUM_THREADS"] == "7"


@pytest.mark.needs("onnxruntime", "recordlinkage")  # which brings joblib
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@needs_bundled_student
@pytest.mark.parametrize("kind", ["loky", "spawn", "fork"])
def test_workers_of_one_thread_start_no_other(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS, encoding="utf-8")
    result = subprocess.run([sys.executable, str(script), kind], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    counts = [int(count) for count in result.stdout.split()]
    assert len(counts) == 2
    assert max(counts) <= 1  # the tokenizers' pool of one
