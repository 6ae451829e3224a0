"""Run folders: results that are kept, stages that are skipped, runs that were killed, disks that are full."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill.errors import InputError
from er_distill.training.runs import UNFINISHED, Run, fingerprint

ROOT = Path(__file__).parent.parent


def write(text: str, made: list[str] | None = None) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        if made is not None:
            made.append(text)
        (folder / "text").write_text(text)

    return make


def test_a_result_is_kept_until_its_inputs_change(tmp_path: Path) -> None:
    made: list[str] = []

    def go(first: str, second: str) -> str:
        with Run(tmp_path) as run:
            one = run.stage("one", {"first": first}, write(first, made))
            two = run.stage("two", {"one": one.fingerprint, "second": second}, write(first + second, made))
            assert list(run.results) == ["one", "two"]
            assert one.seconds >= 0
            assert one.peak_memory > 1_000_000
            return (two.folder / "text").read_text()

    assert go("a", "b") == "ab"
    assert go("a", "b") == "ab"
    assert made == ["a", "ab"]
    assert go("a", "c") == "ac"  # of a late stage: the early one is kept
    assert made == ["a", "ab", "ac"]
    assert go("x", "c") == "xc"
    assert go("a", "b") == "ab"  # what was made once is there still
    assert made == ["a", "ab", "ac", "x", "xc"]


def test_an_attempt_that_failed_leaves_no_result_but_what_helps_to_go_on(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        (folder / "text").write_text("half")
        (folder / "more").mkdir()
        (folder / UNFINISHED).mkdir()
        (folder / UNFINISHED / "checkpoint").write_text("7")
        raise RuntimeError("stop")

    def whole(folder: Path) -> None:
        assert [path.name for path in folder.iterdir()] == [UNFINISHED]
        (folder / "text").write_text((folder / UNFINISHED / "checkpoint").read_text())

    with Run(tmp_path) as run:
        with pytest.raises(RuntimeError, match="stop"):
            run.stage("one", {}, half)
        result = run.stage("one", {}, whole)
    assert (result.folder / "text").read_text() == "7"
    assert sorted(path.name for path in result.folder.iterdir()) == ["stage.json", "text"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [result.folder.name, "run.lock"]


def test_stages_are_announced_when_that_is_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def go(progress: bool) -> str:
        with Run(tmp_path, progress=progress) as run:
            run.plan("one", "two")

            def make(folder: Path) -> None:
                with run.bar(2, "step") as bar:
                    bar.update(2)

            run.stage("one", {}, make)
            run.stage("two", {"shown": progress}, make)
        out, err = capfd.readouterr()
        assert out == ""
        return err

    assert go(False) == ""
    shown = go(True)
    assert "[1/2] one (kept from before)" in shown
    assert "[2/2] two\n" in shown
    assert "two: 100%" in shown


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from er_distill.training.runs import Run
run = Run(Path({str(tmp_path)!r}))
print("held", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"another process is at work in the run folder {tmp_path}"):
            Run(tmp_path)
        child.send_signal(signal.SIGKILL)
    Run(tmp_path).close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"the run folder .* cannot be written: Not a directory"):
        Run(tmp_path / "file" / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_named_with_what_is_kept(tmp_path: Path, wrapped: bool) -> None:
    with Run(tmp_path) as run:
        run.stage("one", {}, write("a"))
        with pytest.raises(InputError, match=r"stage 'two': No space left on device.*are kept \(one\).*goes on there"):
            run.stage("two", {}, _full_wrapped if wrapped else _full)
        assert (run.stage("two", {}, write("b")).folder / "text").read_text() == "b"


def _full(folder: Path) -> None:
    with open("/dev/full", "wb") as handle:
        handle.write(b"0" * 100_000)


def _full_wrapped(folder: Path) -> None:
    try:
        _full(folder)
    except OSError as error:
        raise RuntimeError(f"could not serialise: {error}") from None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_fingerprint_tells_values_apart(first: object, second: object) -> None:
    assert (fingerprint(first) == fingerprint(second)) == _same(first, second)


def _same(first: object, second: object) -> bool:
    """Equal, and of equal types: 1, 1.0 and True are three values; the order of a mapping is none."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return type(first) is type(second) and repr(first) == repr(second)


def test_a_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Settings:
        size: int
        names: tuple[str, ...]

    assert fingerprint(Settings(1, ("a",))) == fingerprint(Settings(1, ("a",)))
    assert fingerprint(Settings(1, ("a", "b"))) != fingerprint(Settings(1, ("ab",)))
    assert fingerprint(np.arange(3)) == fingerprint(np.arange(6)[::2] // 2)
    assert fingerprint(np.arange(3)) != fingerprint(np.arange(3, dtype=np.int32))
    assert fingerprint(np.zeros((2, 3))) != fingerprint(np.zeros((3, 2)))
    assert fingerprint({"b", "a"}) == fingerprint({"a", "b"})
    for place in ("here", "there"):
        (tmp_path / place / "in").mkdir(parents=True)
        (tmp_path / place / "in" / "file").write_text("content")
    assert fingerprint(tmp_path / "here") == fingerprint(tmp_path / "there")
    (tmp_path / "there" / "in" / "file").write_text("other")
    assert fingerprint(tmp_path / "here") != fingerprint(tmp_path / "there")
    with pytest.raises(TypeError, match="object has no fingerprint"):
        fingerprint(object())


KILLED = """
import functools, json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from er_distill.training import export, tiers
from tests.test_runs import distil

where, run, output, base = sys.argv[2], *map(Path, sys.argv[3:])
seen = []

def log(step, n_steps, loss):
    seen.append(step)
    (run / f"{where}.json").write_text(json.dumps(seen))
    if where == "training" and step == 4:
        os.kill(os.getpid(), signal.SIGKILL)

def quantise(source, path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

tiers.train_encoder = functools.partial(tiers.train_encoder, checkpoint_seconds=0, log=log)
export._quantise = quantise
distil(base, run, output)
"""


def distil(base: Path, run: Path, output: Path) -> Path:
    from er_distill.training import DistillConfig, EncoderConfig, TreesConfig, fit_student, from_synthetic
    from er_distill.training.synthetic import generate

    candidates, labels = from_synthetic(generate("people", 40, seed=0), 1.0)
    encoder = EncoderConfig(base, max_length=48, epochs=2, batch_tokens=1_024, device="cpu")
    trees = TreesConfig(rounds=40, least_leaf=10)
    config = DistillConfig(output, encoder, trees, folds=3, encoder_pairs=300, variants=("fp32", "int8"))
    with Run(run) as held:
        return fit_student(candidates, labels, config, run=held)


@pytest.mark.train
def test_a_run_that_was_killed_ends_with_the_student_of_an_undisturbed_one(tmp_path: Path) -> None:
    from er_distill import Student
    from er_distill.training import from_synthetic
    from er_distill.training.synthetic import generate
    from tests.tiny_encoders import save_bert

    base, run, output = save_bert(tmp_path / "base"), tmp_path / "run", tmp_path / "out" / "student"
    for where in ("training", "export"):
        arguments = [str(part) for part in (ROOT, where, run, output, base)]
        child = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, cwd=ROOT)
        assert child.returncode == -signal.SIGKILL, child.stderr
        assert not output.exists()
    assert json.loads((run / "training.json").read_text()) == [1, 2, 3, 4]
    steps = json.loads((run / "export.json").read_text())  # those of the second process
    assert steps[0] > 2
    assert steps == list(range(steps[0], steps[-1] + 1))
    assert any(path.name.endswith(".partial") for path in run.iterdir())

    resumed = Student.load(distil(base, run, output))
    undisturbed = Student.load(distil(base, tmp_path / "other run", tmp_path / "undisturbed"))
    assert [path.name for path in output.parent.iterdir()] == ["student"]
    assert not any(path.name.endswith(".partial") for path in run.iterdir())
    task, _ = from_synthetic(generate("people", 60, seed=9), 1.0)
    first, second = (student.score(task.left, task.right, task.pairs) for student in (resumed, undisturbed))
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert resumed.threshold == undisturbed.threshold
    np.testing.assert_array_equal(first >= resumed.threshold, second >= undisturbed.threshold)
