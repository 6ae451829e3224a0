"""One setting for threads, and nothing that starts more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from er_distill import InputError
from er_distill.threads import VARIABLE, thread_count
from tests.fake_student import needs_bundled_student

SCORE = """
import os, sys
import numpy as np
import er_distill, pyarrow as pa

left = pa.table({"id": range(300), "name": [f"blue lamp {k} with a shade" for k in range(300)]})
right = pa.table({"id": range(300), "name": [f"lamp, blue, no. {k}" for k in range(300)]})
student = er_distill.Student.load(threads=%s)
before = len(os.listdir("/proc/self/task"))
for chunk in er_distill.iter_scored(left, right, student=student, threads=%s, blocking=[er_distill.TopK(2)]):
    last = chunk["score"][-1].as_py()
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


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
    # The tokenizers' pool of one is a thread of its own, for which ours waits.
    started = int(result.stdout)
    assert started > 2 if setting == "three" else started <= 1


@pytest.mark.needs("recordlinkage")
def test_joblib_tells_its_workers_their_share() -> None:
    import joblib

    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert joblib.Parallel()(joblib.delayed(thread_count)() for _ in range(2)) == [1, 1]
