"""The way to a GPU, as far as a machine without one can walk it: binding, batches made ahead, memory that is short."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoders import product_task, save_bert, save_roberta

from er_distill import artefact
from er_distill.batching import out_of_memory
from er_distill.binding import Binding
from er_distill.devices import CPU_TOKENS, GPU_TOKENS, Device, length_multiple, tensorrt_cache, tokens_of_a_batch
from er_distill.errors import DeviceError, ErDistillWarning
from er_distill.logits import encoder_logits
from er_distill.pairs import Pairs
from er_distill.readers import PairReader
from er_distill.session import OpenGraph, Session
from er_distill.student import Student
from er_distill.threads import ahead
from er_distill.tokens import PairEncoder
from er_distill.variants import open_variant

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime not installed: pip install 'er-distill[cpu]'")

ARENA = (
    "Error in execution: Non-zero status code returned while running Attention node. Name:'Attention_0' Status "
    "Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) "
    "Failed to allocate memory for requested buffer of size 4294967296"
)
LIMIT = (
    "Non-zero status code returned while running MatMul node. Available memory of 1024 is smaller than requested bytes "
    "of 4096"
)
CUDA = "CUDA failure 2: out of memory ; GPU=0 ; file=/onnxruntime_src/cuda_allocator.cc ; line=44 ; expr=cudaMalloc()"
CUBLAS = "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate(&cublas_handle_);"


@pytest.fixture(scope="module", params=["bert", "roberta"])
def graphs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PairEncoder]:
    """A folder with the graphs of an encoder whose scores are spread out, and its pair encoder."""
    for package in ("torch", "transformers", "onnx"):
        pytest.importorskip(package, reason=f"{package} not installed: pip install 'er-distill[train]'")
    import torch

    from er_distill.training.export import export_encoder
    from er_distill.training.pretrained import load_base

    folder = tmp_path_factory.mktemp(request.param)
    save = save_bert if request.param == "bert" else save_roberta
    encoder = load_base(save(folder / "base"), 42)  # no multiple of 8
    with torch.no_grad():
        for weights in encoder.model.parameters():
            if weights.ndim == 2:
                weights.mul_(8)  # of random weights as they are made, every score is about 0
    export_encoder(encoder, folder)
    return folder, PairEncoder(encoder.tokenizer, 42)


def logits_of(
    session: Session,
    encoder: PairEncoder,
    *,
    tokens: int = 1_024,
    multiple: int = 1,
    one_by_one: bool = False,
    progress: Any = None,
) -> np.ndarray:
    left, right, pairs, _ = product_task()
    batches = encoder.batches(encoder.table(left), encoder.table(right), pairs, tokens, multiple=multiple)
    return encoder_logits(session, batches, len(pairs), one_by_one=one_by_one, progress=progress)


class Small:
    """A graph on a device that has memory for so many tokens, and says it as onnxruntime does where there are more."""

    def __init__(self, graph: OpenGraph, tokens: int, message: str) -> None:
        self.graph, self.tokens, self.message = graph, tokens, message
        self.inputs, self.outputs, self.device = graph.inputs, graph.outputs, "cuda:0"
        self.runs: list[int] = []

    def borrow(self) -> Any:
        return SmallBinding(self)

    def give_back(self, bindings: list[Any]) -> None:
        pass

    def run(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        self.check(feeds["input_ids"].size)
        return self.graph.run(feeds)

    def check(self, size: int) -> None:
        if size > self.tokens:
            raise RuntimeError(self.message)
        self.runs.append(size)


class SmallBinding:
    def __init__(self, small: Small) -> None:
        self.small, self.binding, self.size = small, small.graph.borrow(), 0

    def load(self, feeds: dict[str, np.ndarray]) -> None:
        self.size = feeds["input_ids"].size
        self.binding.load(feeds)

    def run(self) -> np.ndarray:
        self.small.check(self.size)
        return self.binding.run()


def short_of_memory(session: Session, tokens: int, message: str, monkeypatch: pytest.MonkeyPatch) -> Small:
    small = Small(session.open(), tokens, message)
    monkeypatch.setattr(session, "open", lambda threads=None: small)
    return small


# Binding


@settings(max_examples=20)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(2, 40)), min_size=1, max_size=6), seed=st.integers(0, 99)
)
def test_bound_runs_are_plain_runs(graphs: tuple[Path, PairEncoder], shapes: list[tuple[int, int]], seed: int) -> None:
    """Whatever the batches before it: the buffers are used again, larger and smaller."""
    graph = Session(graphs[0] / "encoder.fp32.onnx", device="cpu", threads=1).open()
    binding = Binding(graph._inference, graph.inputs, "logit", Device("cpu"))
    rng = np.random.default_rng(seed)
    for shape in shapes:
        feeds = {
            "input_ids": rng.integers(4, 60, shape),
            "attention_mask": np.ones(shape, dtype=np.int64),
            "token_type_ids": np.zeros(shape, dtype=np.int64),
        }
        binding.load(feeds)
        np.testing.assert_array_equal(binding.run(), graph.run(feeds))


def test_buffers_are_used_again(graphs: tuple[Path, PairEncoder], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = Binding._allocated
    monkeypatch.setattr(Binding, "_allocated", lambda self, values: (made.append(values.size), real(self, values))[1])
    session = Session(graphs[0] / "encoder.fp32.onnx", device="cpu")
    first = logits_of(session, graphs[1], tokens=64)
    after_first = len(made)
    assert after_first > 0
    np.testing.assert_array_equal(logits_of(session, graphs[1], tokens=64), first)
    assert len(made) == after_first


# Lengths


@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_lengths_rounded_up_change_no_score(graphs: tuple[Path, PairEncoder], variant: str) -> None:
    session = Session(graphs[0] / f"encoder.{variant}.onnx", device="cpu", threads=1)
    exact = logits_of(session, graphs[1])
    assert exact.std() > 0.03
    rounded = logits_of(session, graphs[1], multiple=8)
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=1e-5 if variant == "fp32" else 0.05 * exact.std())


def test_half_precision_holds_fused_attention(graphs: tuple[Path, PairEncoder]) -> None:
    import onnx
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 31):
        pytest.skip("the optimizer of onnxruntime 1.22 does not find the attention of these graphs, that of 1.31 does")
    graph = onnx.load(graphs[0] / "encoder.fp16.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("Attention") == 2  # one a layer
    assert operators.count("SkipLayerNormalization") == 4
    assert "Softmax" not in operators
    assert [(one.name, one.type.tensor_type.elem_type) for one in graph.output] == [("logit", onnx.TensorProto.FLOAT)]


# Ahead


@given(n=st.integers(0, 30), depth=st.integers(1, 4))
def test_items_made_ahead_are_the_items(n: int, depth: int) -> None:
    assert list(ahead(iter(range(n)), depth)) == list(range(n))


def test_only_a_few_items_are_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            made.append(item)
            yield item

    for item in ahead(items(), 2):
        time.sleep(0.002)
        assert item < len(made) <= item + 3


def test_next_item_is_made_while_one_is_used() -> None:
    second = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    for item in ahead(items(), 1):
        assert item == 2 or second.wait(10)


def test_failure_ahead_is_raised_where_its_item_would_be() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("of the second")

    found = ahead(items(), 2)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError, match="of the second"):
        next(found)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    items = ahead(iter(range(1_000)), 2)
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before


# Memory that is short


@pytest.mark.parametrize("message", [ARENA, LIMIT, CUDA, CUBLAS])
def test_what_the_runtime_says_of_memory_is_understood(message: str) -> None:
    assert out_of_memory(RuntimeError(message))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("Gather node: index 40 is out of range"))


@settings(max_examples=20)
@given(fits=st.integers(42, 400), tokens=st.integers(42, 2_000), multiple=st.sampled_from([1, 8]))
def test_batches_are_halved_until_they_fit(
    graphs: tuple[Path, PairEncoder], fits: int, tokens: int, multiple: int
) -> None:
    session = Session(graphs[0] / "encoder.fp32.onnx", device="cpu", threads=1)
    expected = logits_of(session, graphs[1])
    done: list[int] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        small = short_of_memory(session, fits, ARENA, monkeypatch)
        logits = logits_of(session, graphs[1], tokens=tokens, multiple=multiple, progress=done.append)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    assert sum(done) == len(expected)
    assert max(small.runs) <= fits
    # Each pair once: the tokens that were run are the tokens there are.
    left, right, pairs, _ = product_task()
    encoder = graphs[1]
    batches = encoder.batches(encoder.table(left), encoder.table(right), pairs, 1, multiple=multiple)
    assert sum(small.runs) == sum(batch.input_ids.size for batch in batches)


def test_it_is_said_once_and_remembered(
    graphs: tuple[Path, PairEncoder], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(graphs[0] / "encoder.fp32.onnx", device="cpu")
    small = short_of_memory(session, 100, CUDA, monkeypatch)
    with caplog.at_level(logging.WARNING, logger="er_distill"):
        logits_of(session, graphs[1])
        assert session.most_tokens is not None
        assert session.batch_tokens <= 100
        small.runs.clear()
        logits_of(session, graphs[1], tokens=session.batch_tokens)
    (said,) = caplog.messages
    assert said.startswith("cuda:0 has no memory for encoder.fp32.onnx on ")
    assert "goes on in batches of at most" in said
    assert max(small.runs) <= session.most_tokens


@pytest.mark.parametrize("one_by_one", [False, True])
def test_pair_that_does_not_fit_is_an_error(
    graphs: tuple[Path, PairEncoder], monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    session = Session(graphs[0] / "encoder.fp32.onnx", device="cpu")
    short_of_memory(session, 12, ARENA, monkeypatch)
    with pytest.raises(
        DeviceError, match=r"cuda:0 has no memory left .*of size 4294967296.*nvidia-smi.*cuda:1.*device='cpu'"
    ):
        logits_of(session, graphs[1], one_by_one=one_by_one)


def test_buffers_that_do_not_fit_are_an_error(
    graphs: tuple[Path, PairEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_left(self: Binding, values: np.ndarray) -> Any:
        raise RuntimeError(CUDA)

    monkeypatch.setattr(Binding, "_allocated", nothing_left)
    with pytest.raises(DeviceError, match="no memory left"):
        logits_of(Session(graphs[0] / "encoder.fp32.onnx", device="cpu"), graphs[1])


@pytest.mark.parametrize("one_by_one", [False, True])
def test_other_failures_are_not_taken_for_it(
    graphs: tuple[Path, PairEncoder], monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    session = Session(graphs[0] / "encoder.fp32.onnx", device="cpu")
    short_of_memory(session, 12, "Gather node: index out of range", monkeypatch)
    with pytest.raises(RuntimeError, match="index out of range"):
        logits_of(session, graphs[1], one_by_one=one_by_one)


REAL = """
import sys
import numpy as np
import onnxruntime
from er_distill.batching import out_of_memory
from er_distill.logits import encoder_logits
from er_distill.session import Session
from er_distill.tokens import Batch

rng = np.random.default_rng(0)
rows = rng.permutation(512)
batch = Batch(rows, rng.integers(4, 60, (512, 40)), np.zeros((512, 40), np.int64), np.full(512, 40))
expected = encoder_logits(Session(sys.argv[1], device="cpu", threads=1), [batch], 512, one_by_one=False)

memory = onnxruntime.OrtMemoryInfo(
    "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
)
onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": int(sys.argv[2])}))

class Options(onnxruntime.SessionOptions):
    def __init__(self):
        super().__init__()
        self.add_session_config_entry("session.use_env_allocators", "1")

onnxruntime.SessionOptions = Options
session = Session(sys.argv[1], device="cpu", threads=1)
found = encoder_logits(session, [batch, batch], 512, one_by_one=False)
np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
print(session.most_tokens)
"""


def test_the_runtimes_own_failure_is_met(graphs: tuple[Path, PairEncoder]) -> None:
    """onnxruntime with an arena of 4 MB, which the batch is too large for: its real error, in a process of its own."""
    arguments = [sys.executable, "-c", REAL, str(graphs[0] / "encoder.fp32.onnx"), str(4 << 20)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 40 <= int(done.stdout) < 512 * 40
    assert "goes on in batches" in done.stderr  # a warning is shown where no logging is set up


# Devices and variants


@pytest.mark.parametrize(
    ("name", "device", "written"),
    [
        ("cpu", Device("cpu"), "cpu"),
        ("cuda", Device("cuda", 0), "cuda:0"),
        ("cuda:3", Device("cuda", 3), "cuda:3"),
        ("tensorrt:1", Device("tensorrt", 1), "tensorrt:1"),
    ],
)
def test_names_of_devices(name: str, device: Device, written: str) -> None:
    assert (Device.named(name), str(device)) == (device, written)
    assert device.memory == ("cpu" if name == "cpu" else "cuda", device.number)


def test_batches_on_a_gpu_are_large_and_their_lengths_multiples_of_8() -> None:
    assert [tokens_of_a_batch(name) for name in ("cpu", "cuda:0", "tensorrt:0")] == [CPU_TOKENS, GPU_TOKENS, GPU_TOKENS]
    assert [length_multiple(name) for name in ("cpu", "cuda:0", "tensorrt:0")] == [1, 8, 8]


def test_engines_of_tensorrt_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tensorrt_cache() == tmp_path / "er_distill" / "tensorrt"
    monkeypatch.setenv("ER_DISTILL_TENSORRT_CACHE", str(tmp_path / "engines"))
    (name, options), (after, _), last = Device("tensorrt", 2).providers
    assert [name, after, last] == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert options["trt_engine_cache_enable"]
    assert (options["device_id"], options["trt_engine_cache_path"]) == (2, str(tmp_path / "engines"))
    assert (tmp_path / "engines").is_dir()


@pytest.mark.skipif(
    "TensorrtExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has TensorRT"
)
def test_tensorrt_that_is_not_there_is_an_error(graphs: tuple[Path, PairEncoder]) -> None:
    with pytest.raises(DeviceError, match=r"'tensorrt' cannot be had .*without TensorRT.*install.*device='cpu'"):
        _ = Session(graphs[0] / "encoder.fp32.onnx", device="tensorrt").device


class PretendsToHaveOne:
    """An onnxruntime that says it runs on a GPU, and runs on the CPU."""

    SessionOptions, OrtValue = onnxruntime.SessionOptions, onnxruntime.OrtValue

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = [*kinds, "CPUExecutionProvider"]
        self.opened: list[str] = []

    def get_available_providers(self) -> list[str]:
        return self.kinds

    def InferenceSession(self, path: str, options: Any, providers: list[Any], **others: Any) -> Any:  # noqa: N802
        self.opened.append(Path(path).name)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [one if isinstance(one, str) else one[0] for one in providers]
        session.get_providers = lambda: [name for name in names if name in self.kinds]
        return session


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PretendsToHaveOne:
    """A machine whose CUDA "works": the same code path, with buffers on the CPU."""
    pretended = PretendsToHaveOne(("TensorrtExecutionProvider", "CUDAExecutionProvider"))
    monkeypatch.setitem(sys.modules, "onnxruntime", pretended)  # type: ignore[arg-type]
    monkeypatch.setattr(Device, "memory", property(lambda self: ("cpu", 0)))
    monkeypatch.setenv("ER_DISTILL_TENSORRT_CACHE", str(tmp_path / "engines"))
    return pretended


def student_with(folder: Path, graphs: Path, *variants: str) -> Path:
    """The bundled student's folder with other graphs, each with a threshold of its own."""
    shutil.copytree(artefact.locate("default"), folder)
    manifest = artefact.read(folder)
    (folder / manifest.variant().encoder).unlink()
    made = {}
    for k, name in enumerate(variants):
        shutil.copy(graphs / f"encoder.{name}.onnx", folder)
        made[name] = dataclasses.replace(
            manifest.variant(), encoder=f"encoder.{name}.onnx", one_by_one=name == "int8", threshold=0.1 * (k + 1)
        )
    shutil.copy(graphs / "base" / "tokenizer.json", folder)
    manifest = dataclasses.replace(
        manifest, variants=made, default_variant=variants[0], files=artefact.entries(folder), max_length=42
    )
    artefact.write(manifest, folder)
    return folder


@pytest.mark.parametrize(
    ("variants", "asked", "device", "chosen", "got"),
    [
        (("int8", "fp16", "fp32"), None, "cuda", "fp16", "cuda:0"),
        (("int8", "fp16", "fp32"), None, "auto", "fp16", "cuda:0"),
        (("int8", "fp16", "fp32"), None, "cpu", "int8", "cpu"),
        (("int8", "fp16", "fp32"), None, "tensorrt:1", "fp32", "tensorrt:1"),
        (("int8", "fp32"), None, "cuda", "fp32", "cuda:0"),
        (("int8", "fp16"), None, "tensorrt", "fp16", "tensorrt:0"),
        (("int8", "fp16"), "int8", "auto", "int8", "cpu"),
        (("int8",), None, "auto", "int8", "cpu"),
        (("int8", "fp16", "fp32"), "fp32", "cuda:1", "fp32", "cuda:1"),
    ],
)
def test_variant_follows_the_device(
    graphs: tuple[Path, PairEncoder],
    tmp_path: Path,
    gpu: PretendsToHaveOne,
    caplog: pytest.LogCaptureFixture,
    variants: tuple[str, ...],
    asked: str | None,
    device: str,
    chosen: str,
    got: str,
) -> None:
    folder = student_with(tmp_path / "student", graphs[0], *variants)
    with caplog.at_level(logging.INFO, logger="er_distill"):
        student = Student.load(folder, variant=asked, device=device)
    assert (student.variant.encoder, student.device) == (f"encoder.{chosen}.onnx", got)
    assert student.threshold == pytest.approx(0.1 * (variants.index(chosen) + 1))
    assert f"variant {chosen!r} on {got}" in caplog.text
    assert gpu.opened.count(f"encoder.{chosen}.onnx") == (got != "cpu")


def test_int8_on_a_gpu_warns(graphs: tuple[Path, PairEncoder], tmp_path: Path, gpu: PretendsToHaveOne) -> None:
    folder = student_with(tmp_path / "student", graphs[0], "int8")
    with pytest.warns(ErDistillWarning, match=r"'int8' is quantised for CPUs and slow on cuda:0.*'fp16'.*device='cpu'"):
        name, session = open_variant(folder, artefact.read(folder), None, "cuda", None)
    assert (name, session.device) == ("int8", "cuda:0")


def test_tensorrt_that_falls_back_to_cuda_is_an_error(
    graphs: tuple[Path, PairEncoder], gpu: PretendsToHaveOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "InferenceSession", _without_tensorrt(gpu.InferenceSession))
    with pytest.raises(DeviceError, match=r"'tensorrt:1' cannot be had .*fell back to CUDA.*LD_LIBRARY_PATH"):
        _ = Session(graphs[0] / "encoder.fp32.onnx", device="tensorrt:1").device


def _without_tensorrt(real: Any) -> Any:
    def opened(path: str, options: Any, providers: list[Any], **others: Any) -> Any:
        return real(path, options, providers[1:] if len(providers) > 1 else providers)

    return opened


@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_reader_on_a_gpu_gives_the_cpus_logits(
    graphs: tuple[Path, PairEncoder], gpu: PretendsToHaveOne, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole path of a GPU: lengths rounded, large batches in blocks, bound, made ahead, halved."""
    monkeypatch.setattr("er_distill.readers.PAIRS_AT_ONCE", 30)
    left, right, pairs, _ = product_task()
    path, encoder = graphs[0] / f"encoder.{variant}.onnx", graphs[1]
    rows = np.random.default_rng(0).permutation(len(pairs))
    read = {
        device: PairReader(Session(path, device=device), encoder.tokenizer, 42, False).over(
            left, right, pairs, context=True
        )
        for device in ("cpu", "cuda")
    }
    done: list[int] = []
    on_gpu = read["cuda"](rows, done.append)
    assert gpu.opened == [path.name]
    np.testing.assert_allclose(
        on_gpu, read["cpu"](rows, lambda _: None), rtol=0, atol=1e-5 if variant == "fp32" else 1e-2
    )
    assert sum(done) == len(pairs)
    # A logit depends on its pair alone.
    few = rows[:7]
    alone = read["cuda"](few, lambda _: None)
    np.testing.assert_allclose(alone, on_gpu[:7], rtol=0, atol=1e-5 if variant == "fp32" else 1e-2)


def test_the_benchmarks_peer_computes_what_we_do(tmp_path: Path, graphs: tuple[Path, PairEncoder]) -> None:
    from benchmarks.gpu_peer import loop

    torch = pytest.importorskip("torch")
    from er_distill.training.pretrained import load_base

    torch.manual_seed(0)
    model = load_base(graphs[0] / "base", 42)
    model.model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(graphs[0] / "base" / name, tmp_path)
    left, right, pairs, _ = product_task()
    both = [sorted((left[i], right[j])) for i, j in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)]
    found = loop(tmp_path, "cpu", torch.float32, 42)(both, 7)
    np.testing.assert_allclose(found, model.predict(left, right, pairs), rtol=0, atol=1e-5)


def test_the_benchmark_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu

    pytest.importorskip("torch")
    monkeypatch.setattr(gpu.shutil, "which", lambda _: None)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    said = "\n".join(gpu.what_is_missing(Device("cuda")))
    assert "no nvidia-smi" in said
    assert "onnxruntime is built without CUDA: pip uninstall onnxruntime" in said
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit, match="This machine cannot run it"):
        gpu.main()
    assert gpu.what_is_missing(Device("cpu")) == []


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_gpu_gives_the_cpus_logits(graphs: tuple[Path, PairEncoder], variant: str) -> None:
    path = graphs[0] / f"encoder.{variant}.onnx"
    session = Session(path, device="cuda")
    assert session.device == "cuda:0"
    expected = logits_of(Session(graphs[0] / "encoder.fp32.onnx", device="cpu"), graphs[1])
    for multiple in (1, 8):
        found = logits_of(session, graphs[1], tokens=GPU_TOKENS, multiple=multiple)
        chances = [1 / (1 + np.exp(-logits)) for logits in (found, expected)]
        np.testing.assert_allclose(*chances, rtol=0, atol=1e-3 if variant == "fp32" else 0.02)


@pytest.mark.gpu
def test_gpu_with_little_memory_goes_on(
    graphs: tuple[Path, PairEncoder], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    providers = [("CUDAExecutionProvider", {"device_id": 0, "gpu_mem_limit": 8 << 20}), "CPUExecutionProvider"]
    monkeypatch.setattr(Device, "providers", property(lambda self: providers))
    left, right, pairs, _ = product_task()
    many = Pairs(np.tile(pairs.left, 100), np.tile(pairs.right, 100), pairs.n_left, pairs.n_right)
    encoder, path = graphs[1], graphs[0] / "encoder.fp32.onnx"
    with caplog.at_level(logging.WARNING, logger="er_distill"):
        logits = [
            encoder_logits(
                Session(path, device=device),
                encoder.batches(encoder.table(left), encoder.table(right), many, GPU_TOKENS),
                len(many),
                one_by_one=False,
            )
            for device in ("cuda", "cpu")
        ]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-2)
    assert "goes on in batches" in caplog.text
