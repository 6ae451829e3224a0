"""optimum as the exporter: an environment of its own, beside transformers 4 (`nox -s optimum`)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
from tiny_causal_lm import save_qwen2
from tiny_encoders import product_task, save_bert, save_roberta

from er_distill import InputError, MissingExtraError, Student, artefact

for package in ("torch", "transformers", "onnx", "onnxruntime", "sklearn"):
    pytest.importorskip(package, reason=f"{package} not installed: pip install 'er-distill[cpu,train]'")

import torch  # noqa: E402

from er_distill.training import export, export_causal, parity  # noqa: E402
from er_distill.training.causal import frame_of, load_causal  # noqa: E402
from er_distill.training.encoder import EncoderConfig  # noqa: E402
from er_distill.training.labels import from_synthetic  # noqa: E402
from er_distill.training.pipeline import fit_student  # noqa: E402
from er_distill.training.pretrained import load_base  # noqa: E402
from er_distill.training.recipe import DistillConfig  # noqa: E402
from er_distill.training.synthetic import generate  # noqa: E402
from er_distill.training.trees import TreesConfig  # noqa: E402

pytestmark = pytest.mark.train


def _there() -> bool:
    try:
        return bool(version("optimum-onnx"))
    except PackageNotFoundError:
        return False


needs_optimum = pytest.mark.skipif(not _there(), reason="optimum-onnx not installed: nox -s optimum")


def _encoder_parity(base: str | Path, folder: Path, *, widely: bool) -> float:
    """How far the graph's probabilities are from the model's, head and all."""
    model = load_base(base, 32)
    with torch.no_grad():  # an untrained head: so that what is read matters
        for weight in model.model.parameters() if widely else model.model.classifier.parameters():
            weight.mul_(6)
    left, right, pairs, _ = product_task()
    expected = model.predict(left, right, pairs)
    assert np.std(expected) > 0.05
    files = export.export_encoder(model, folder, variants=("fp32", "int8"), exporter="optimum")
    logits = {
        name: export.graph_logits(folder / file, model, left, right, pairs, one_by_one=name in export.ONE_BY_ONE)
        for name, file in files.items()
    }
    assert np.corrcoef(logits["int8"], expected)[0, 1] > 0.9
    np.testing.assert_array_equal(model.predict(left, right, pairs), expected)
    found = parity.check_scores(expected, logits["fp32"], graph="fp32", limit=export.LIMITS["fp32"])
    return found.largest_difference


@needs_optimum
@pytest.mark.parametrize("make", [save_bert, save_roberta])
def test_an_encoder(make: object, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "graphs").mkdir()
    assert _encoder_parity(make(tmp_path / "base"), tmp_path / "graphs", widely=True) < 1e-4  # type: ignore[operator]


@needs_optimum
def test_minilm(base_encoder: str, tmp_path: Path) -> None:
    assert _encoder_parity(base_encoder, tmp_path, widely=False) < 1e-4


@needs_optimum
def test_a_causal_language_model(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = save_qwen2(tmp_path / "base")
    model = load_causal(base, frame_of(AutoTokenizer.from_pretrained(base), 256))
    with torch.no_grad():
        for weight in model.model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)  # so that what it reads matters
    left, right, pairs, _ = product_task()
    expected = model.predict(left, right, pairs)
    graphs = tmp_path / "graphs"
    graphs.mkdir()
    files = export_causal.export_causal(model, graphs, explains=True, exporter="optimum")
    logits = {name: export_causal.list_logits(graphs / file, model, left, right, pairs) for name, file in files.items()}
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(logits["fp32"], expected, atol=1e-4)
    assert 0 < np.abs(logits["int8"] - expected).mean() < 0.1
    parity.check_scores(expected, logits["fp32"], graph="fp32", limit=export.LIMITS["fp32"])


def _people(base: Path, output: Path) -> Path:
    candidates, labels = from_synthetic(generate("people", 40, seed=0), 1.0)
    config = DistillConfig(
        output,
        EncoderConfig(base=base, max_length=48, epochs=1, device="cpu"),
        TreesConfig(rounds=20, least_leaf=10),
        folds=3,
        encoder_pairs=200,
        variants=("fp32",),
        default_variant="fp32",
        exporter="optimum",
    )
    return fit_student(candidates, labels, config)


@needs_optimum
@pytest.mark.slow
def test_a_student(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    made = _people(save_bert(tmp_path / "base"), tmp_path / "student")
    manifest = artefact.read(made)
    assert manifest.training["config"]["exporter"] == "optimum"
    assert manifest.training["checks"]["fp32"]["parity"]["largest_difference"] <= export.LIMITS["fp32"]
    candidates, labels = from_synthetic(generate("people", 40, seed=0), 1.0)
    student = Student.load(made)
    chosen = student.score(candidates.left, candidates.right, candidates.pairs) >= student.threshold
    true = labels.target == 1
    assert 2 * (chosen & true).sum() / (chosen.sum() + true.sum()) > 0.8


@pytest.mark.skipif(_there(), reason="optimum-onnx is installed")
def test_without_optimum_the_extra_is_named(tmp_path: Path) -> None:
    model = load_base(save_bert(tmp_path), 32)
    with pytest.raises(MissingExtraError, match=r"er-distill\[cpu,optimum\]"):
        export.export_encoder(model, tmp_path, exporter="optimum")
    with pytest.raises(MissingExtraError, match=r"er-distill\[cpu,optimum\]"):
        _people(tmp_path, tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_an_exporter_that_does_not_exist(tmp_path: Path) -> None:
    model = load_base(save_bert(tmp_path), 32)
    with pytest.raises(InputError, match=r"no exporter 'optimun'\. Did you mean 'optimum'"):
        export.export_encoder(model, tmp_path, exporter="optimun")  # type: ignore[arg-type]
