from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoders import product_task, save_bert

from er_distill.errors import DeviceError, InputError, MissingExtraError, StudentError
from er_distill.logits import encoder_logits
from er_distill.pairs import Pairs
from er_distill.session import Session
from er_distill.tokens import PairEncoder

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime not installed: pip install 'er-distill[cpu]'")
on_cpu_build = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime is built with CUDA"
)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PairEncoder]:
    """A folder with the fp32 and int8 graphs of an encoder whose scores are spread out, and its pair encoder."""
    for package in ("torch", "transformers", "onnx"):
        pytest.importorskip(package, reason=f"{package} not installed: pip install 'er-distill[train]'")
    import torch

    from er_distill.training.export import export_encoder
    from er_distill.training.pretrained import load_base

    folder = tmp_path_factory.mktemp("graphs")
    encoder = load_base(save_bert(folder / "base"), 32)
    with torch.no_grad():
        for weights in encoder.model.parameters():
            if weights.ndim == 2:
                weights.mul_(8)  # of random weights as they are made, every score is about 0
    export_encoder(encoder, folder)
    return folder, PairEncoder(encoder.tokenizer, 32)


def logits_of(
    session: Session, encoder: PairEncoder, pairs: Pairs, *, one_by_one: bool, size: int = 1_024, progress: Any = None
) -> np.ndarray:
    left, right, _, _ = product_task()
    batches = encoder.batches(encoder.table(left), encoder.table(right), pairs, size)
    return encoder_logits(session, batches, len(pairs), one_by_one=one_by_one, progress=progress)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def scored(
    request: pytest.FixtureRequest, graphs: tuple[Path, PairEncoder]
) -> tuple[str, dict[int, Session], np.ndarray]:
    path = graphs[0] / f"encoder.{request.param}.onnx"
    sessions = {threads: Session(path, device="cpu", threads=threads) for threads in (1, 2, 3)}
    expected = logits_of(sessions[1], graphs[1], product_task()[2], one_by_one=True)
    assert expected.std() > 0.1
    return request.param, sessions, expected


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 80),
    size=st.sampled_from([1, 50, 1_024]),
    threads=st.sampled_from([1, 2, 3]),
)
def test_order_batches_threads_and_company_do_not_change_a_score(
    graphs: tuple[Path, PairEncoder],
    scored: tuple[str, dict[int, Session], np.ndarray],
    seed: int,
    n: int,
    size: int,
    threads: int,
) -> None:
    variant, sessions, expected = scored
    rows = np.random.default_rng(seed).permutation(len(expected))[:n]
    pairs = product_task()[2].take(rows)
    logits = logits_of(sessions[threads], graphs[1], pairs, one_by_one=variant == "int8", size=size)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected[rows], rtol=0, atol=1e-5)


def test_int8_in_whole_batches_would_depend_on_the_company(graphs: tuple[Path, PairEncoder]) -> None:
    session, pairs = Session(graphs[0] / "encoder.int8.onnx", device="cpu", threads=2), product_task()[2]
    alone = logits_of(session, graphs[1], pairs, one_by_one=True)
    together = logits_of(session, graphs[1], pairs, one_by_one=False)
    assert np.abs(alone - together).max() > 1e-3


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_counts_every_pair(graphs: tuple[Path, PairEncoder], threads: int) -> None:
    pairs = product_task()[2]
    session = Session(graphs[0] / "encoder.int8.onnx", threads=threads)
    for one_by_one in (True, False):
        done: list[int] = []
        logits_of(session, graphs[1], pairs, one_by_one=one_by_one, progress=done.append)
        assert sum(done) == len(pairs)
        assert len(done) > 1


def test_batches_are_read_as_they_are_needed(graphs: tuple[Path, PairEncoder]) -> None:
    """However many pairs there are, only a few of their inputs exist at a time."""
    encoder, pairs = graphs[1], product_task()[2]
    left, right, _, _ = product_task()
    read = scored = 0
    furthest = 0

    def batches() -> Iterator[Any]:
        nonlocal read, furthest
        for _ in range(20):
            for batch in encoder.batches(encoder.table(left), encoder.table(right), pairs, 1_024):
                read += len(batch.rows)
                furthest = max(furthest, read - scored)
                yield batch

    def progress(done: int) -> None:
        nonlocal scored
        scored += done

    encoder_logits(
        Session(graphs[0] / "encoder.int8.onnx", threads=2), batches(), 80, one_by_one=True, progress=progress
    )
    assert scored == 20 * 80
    assert furthest < 400


def test_failure_in_a_thread_is_raised(graphs: tuple[Path, PairEncoder]) -> None:
    encoder = graphs[1]
    session = Session(graphs[0] / "encoder.int8.onnx", threads=2)
    (batch, *_) = encoder.batches(*(encoder.table(texts) for texts in product_task()[:2]), product_task()[2], 1_024)
    with pytest.raises(IndexError):
        encoder_logits(session, [batch] * 3, 0, one_by_one=True)


def test_it_is_pickled_unopened_and_scores_the_same(graphs: tuple[Path, PairEncoder]) -> None:
    session, pairs = Session(graphs[0] / "encoder.int8.onnx", device="cpu", threads=2), product_task()[2]
    before = logits_of(session, graphs[1], pairs, one_by_one=True)
    dumped = pickle.dumps(session)
    assert len(dumped) < 1_000
    again = pickle.loads(dumped)
    assert (again.path, again.device, again.threads) == (session.path, "cpu", 2)
    np.testing.assert_array_equal(logits_of(again, graphs[1], pairs, one_by_one=True), before)


def _score_in_child(session: Session, encoder: PairEncoder, pairs: Pairs, queue: Any) -> None:
    queue.put([logits_of(session, encoder, pairs, one_by_one=alone) for alone in (True, False)])
    session.__dict__.clear()  # nothing of the parent's is freed, which would wait for ever


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_child_opens_it_anew(graphs: tuple[Path, PairEncoder]) -> None:
    session, pairs = Session(graphs[0] / "encoder.fp32.onnx", device="cpu", threads=2), product_task()[2]
    expected = [logits_of(session, graphs[1], pairs, one_by_one=alone) for alone in (True, False)]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_score_in_child, args=(session, graphs[1], pairs, queue), daemon=True)
    child.start()
    try:
        got = queue.get(timeout=30)
        child.join(timeout=10)
    finally:
        child.kill()
    assert child.exitcode == 0
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_graph_is_opened_once_by_many_threads(
    graphs: tuple[Path, PairEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, opened = onnxruntime.InferenceSession, []

    def count(*args: Any, **options: Any) -> Any:
        opened.append(args[0])
        return real(*args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", count)
    session = Session(graphs[0] / "encoder.fp32.onnx", device="cpu")
    assert not opened
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        session.open()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [str(session.path)]


def test_choice_of_device_is_logged(graphs: tuple[Path, PairEncoder], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="er_distill"):
        Session(graphs[0] / "encoder.fp32.onnx", device="cpu", threads=2).open()
    assert caplog.messages == ["encoder.fp32.onnx runs on cpu, 2 thread(s) a run"]


@on_cpu_build
def test_auto_is_the_cpu_where_there_is_no_cuda(graphs: tuple[Path, PairEncoder]) -> None:
    session = Session(graphs[0] / "encoder.fp32.onnx")
    assert session.device == session.open().device == "cpu"


@on_cpu_build
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_cuda_that_cannot_be_had_is_an_error(graphs: tuple[Path, PairEncoder], device: str) -> None:
    session = Session(graphs[0] / "encoder.fp32.onnx", device=device)
    with pytest.raises(DeviceError, match=rf"'{device}' cannot be had.*without CUDA.*er-distill\[gpu\].*device='cpu'"):
        _ = session.device
    with pytest.raises(DeviceError):
        session.run({})


class _WithoutGpu:
    """An onnxruntime built with CUDA on a machine whose CUDA does not work; `fails` says how that shows."""

    SessionOptions = onnxruntime.SessionOptions

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.tried: list[list[Any]] = []

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print("Failed to load libcudart.so.13")

    def InferenceSession(self, path: str, options: Any, providers: list[Any], **others: Any) -> Any:  # noqa: N802
        self.tried.append(providers)
        if self.fails and providers[0] != "CPUExecutionProvider":
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("fails", "reason"), [(True, "no CUDA-capable device"), (False, "fell back to the CPU.*libcudart")]
)
def test_cuda_that_does_not_work_is_found_out(
    graphs: tuple[Path, PairEncoder],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    fails: bool,
    reason: str,
) -> None:
    fake = _WithoutGpu(fails)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)  # type: ignore[arg-type]
    path = graphs[0] / "encoder.fp32.onnx"
    with pytest.raises(DeviceError, match=f"'cuda:1' cannot be had.*{reason}"):
        _ = Session(path, device="cuda:1").device
    assert fake.tried[0] == [("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0}), "CPUExecutionProvider"]
    with caplog.at_level(logging.WARNING, logger="er_distill"):
        assert Session(path).device == "cpu"
    assert "CUDA is not used" in caplog.text
    assert capsys.readouterr().out == ""  # what onnxruntime prints is not mixed into our caller's output


@pytest.mark.gpu
def test_gpu_scores_as_the_cpu_does(graphs: tuple[Path, PairEncoder]) -> None:
    path, pairs = graphs[0] / "encoder.fp32.onnx", product_task()[2]
    session = Session(path, device="cuda")
    assert session.device == "cuda:0"
    expected = logits_of(Session(path, device="cpu"), graphs[1], pairs, one_by_one=False)
    np.testing.assert_allclose(logits_of(session, graphs[1], pairs, one_by_one=False), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("device", "hint"),
    [("cdua", "Did you mean 'cuda'"), ("CPU", "Did you mean 'cpu'"), ("cuda:x", "'cuda'"), ("", "'cuda'")],
)
def test_device_that_does_not_exist(device: str, hint: str) -> None:
    with pytest.raises(DeviceError, match=rf"There is no device '{device}'.*{hint}"):
        Session("graph.onnx", device=device)


def test_threads_must_be_positive() -> None:
    with pytest.raises(InputError, match="threads must be at least 1, not 0"):
        Session("graph.onnx", threads=0)


@pytest.mark.parametrize("content", [None, b"", b"no graph", b"\x08\x08\x12\x07pytorch"])
def test_file_that_is_no_graph(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudentError, match=r"broken\.onnx cannot be opened as an ONNX graph"):
        Session(path, device="cpu").run({})


def test_cut_graph(graphs: tuple[Path, PairEncoder], tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    whole = (graphs[0] / "encoder.fp32.onnx").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudentError, match=r"cut\.onnx cannot be opened"):
        Session(path, device="cpu").open()


def test_graph_with_an_input_that_no_pair_has(tmp_path: Path, graphs: tuple[Path, PairEncoder]) -> None:
    import onnx

    proto = onnx.load(graphs[0] / "encoder.fp32.onnx")
    proto.graph.input.append(onnx.helper.make_tensor_value_info("position_ids", onnx.TensorProto.INT64, ["b", "t"]))
    onnx.save(proto, tmp_path / "strange.onnx")
    with pytest.raises(StudentError, match=r"strange\.onnx asks for the input 'position_ids'"):
        logits_of(Session(tmp_path / "strange.onnx", device="cpu"), graphs[1], product_task()[2], one_by_one=False)


def test_without_onnxruntime_both_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # type: ignore[arg-type]
    for device in ("auto", "cpu", "cuda"):
        with pytest.raises(MissingExtraError, match=r'pip install "er-distill\[cpu\]", or "er-distill\[gpu\]"'):
            _ = Session("graph.onnx", device=device).device
    with pytest.raises(MissingExtraError):
        Session("graph.onnx").run({})


def test_importing_it_imports_no_runtime() -> None:
    code = "import sys, er_distill.session; print(sorted({'onnxruntime', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_default_threads_follow_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session("graph.onnx")
    monkeypatch.setattr(
        "er_distill.threads.os", types.SimpleNamespace(sched_getaffinity=lambda _: {0, 5, 7}, environ={})
    )
    assert session.threads == 3
    assert Session("graph.onnx", threads=2).threads == 2
