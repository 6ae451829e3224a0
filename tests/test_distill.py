"""From labels to a student folder, with a tiny base made on the spot."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.train

from er_distill import Student, artefact  # noqa: E402
from er_distill.artefact import Line, Variant  # noqa: E402
from er_distill.errors import ExportError, InputError  # noqa: E402
from er_distill.training import calibrate, export  # noqa: E402
from er_distill.training.calibrate import HeldOut  # noqa: E402
from er_distill.training.encoder import EncoderConfig  # noqa: E402
from er_distill.training.labels import Candidates, Labels, from_synthetic  # noqa: E402
from er_distill.training.pipeline import DistillConfig, fit_student  # noqa: E402
from er_distill.training.synthetic import generate  # noqa: E402
from er_distill.training.trees import TreesConfig  # noqa: E402
from tests.tiny_encoders import save_bert  # noqa: E402

Task = tuple[Candidates, Labels]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    kinds = [("people", False), ("companies", False), ("people", True)]
    return [from_synthetic(generate(kind, 40, seed=k, dedup=dedup), 1.0) for k, (kind, dedup) in enumerate(kinds)]


def config(base: Path, output: Path, **changes: object) -> DistillConfig:
    encoder = EncoderConfig(base=base, max_length=48, epochs=1, device="cpu")
    trees = TreesConfig(rounds=40, least_leaf=10)
    return dataclasses.replace(DistillConfig(output, encoder, trees, folds=3, encoder_pairs=300), **changes)


@pytest.fixture(scope="module")
def made(base: Path, tasks: list[Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "student"
    return fit_student([c for c, _ in tasks], [known for _, known in tasks], config(base, output))


def test_the_folder_is_a_student_that_matches(made: Path, tasks: list[Task]) -> None:
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md",
        "encoder.fp32.onnx",
        "encoder.int8.onnx",
        "student.json",
        "tokenizer.json",
        "trees.onnx",
    ]
    assert [path.name for path in made.parent.iterdir()] == ["student"]
    candidates, known = from_synthetic(generate("people", 60, seed=99), 1.0)
    for variant in ("fp32", "int8"):
        student = Student.load(made, variant=variant)
        scores = student.score(candidates.left, candidates.right, candidates.pairs)
        chosen, true = scores >= student.threshold, known.target == 1
        assert 2 * (chosen & true).sum() / (chosen.sum() + true.sum()) > 0.8


def test_the_manifest_says_how_it_was_made(made: Path) -> None:
    manifest = artefact.read(made)
    assert manifest.tasks == tuple(sorted(manifest.tasks, key=manifest.tasks.index))
    assert manifest.teachers[0].name == "synthetic truth"
    assert set(manifest.variants) == {"fp32", "int8"}
    checks = manifest.training["checks"]
    assert checks["fp32"]["parity"]["largest_difference"] <= export.FP32_LIMIT
    for part in ("encoder", "student"):
        assert checks["int8"]["parity"][part]["flipped"] <= 0.01
    card = (made / "README.md").read_text(encoding="utf-8")
    for words in ("synthetic truth", "int8", "Limits", "people-link-0"):
        assert words in card


def test_the_same_seed_gives_the_same_student(base: Path, tasks: list[Task], made: Path, tmp_path: Path) -> None:
    again = fit_student([c for c, _ in tasks], [known for _, known in tasks], config(base, tmp_path / "again"))
    candidates, _ = tasks[0]
    first, second = (
        Student.load(folder, variant="fp32").score(candidates.left, candidates.right, candidates.pairs)
        for folder in (made, again)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_trained_encoder_is_taken_from_the_work_folder(
    base: Path, tasks: list[Task], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from er_distill.training import pipeline as module

    one = [tasks[0][0]], [tasks[0][1]]
    work = tmp_path / "work"
    work.mkdir()
    fit_student(*one, config(base, tmp_path / "first", work=work))
    monkeypatch.setattr(module, "train_encoder", None)  # calling it would fail
    fit_student(*one, config(base, tmp_path / "second", work=work))
    scores = [
        Student.load(tmp_path / name).score(tasks[0][0].left, tasks[0][0].right, tasks[0][0].pairs)
        for name in ("first", "second")
    ]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_what_a_stopped_run_left_is_no_obstacle(base: Path, tasks: list[Task], tmp_path: Path) -> None:
    (tmp_path / ".student.partial").mkdir()
    candidates, known = tasks[0]
    made = fit_student(
        candidates, known, config(base, tmp_path / "student", variants=("fp32",), default_variant="fp32")
    )
    assert artefact.read(made).default_variant == "fp32"
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_student_that_fails_its_parity_check_is_not_there(
    base: Path, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "FP32_LIMIT", -1.0)
    with pytest.raises(ExportError, match="not what was trained"):
        fit_student(*tasks[0], config(base, tmp_path / "out" / "student"))
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_input_is_refused_before_anything_is_trained(
    base: Path, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from er_distill.training import pipeline as module

    monkeypatch.setattr(module, "fit_trees", None)
    candidates, known = tasks[0]

    def refusal(pairs: object, labels: object, **changes: object) -> str:
        with pytest.raises(InputError) as caught:
            fit_student(pairs, labels, config(base, tmp_path / "student", **changes))  # type: ignore[arg-type]
        return str(caught.value)

    assert "at least one task" in refusal([], [])
    assert "1 task(s) and labels of 0" in refusal([candidates], [])
    assert "Give a label, or NaN, for each" in refusal(candidates, dataclasses.replace(known, target=known.target[:-1]))
    nothing = np.full_like(known.target, np.nan)
    assert f"{candidates.name} has labels on 0 queries" in refusal(
        candidates, dataclasses.replace(known, target=nothing)
    )
    one_class = np.zeros_like(known.target)
    assert "say non-match" in refusal(candidates, dataclasses.replace(known, target=one_class))
    assert "default_variant 'fp16'" in refusal(candidates, known, default_variant="fp16")
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "mine.txt").touch()
    assert "is there already" in refusal(candidates, known)


def test_a_line_finds_the_logistic_function_its_labels_came_from() -> None:
    rng = np.random.default_rng(0)
    lexical, encoder = rng.normal(0, 2, 50_000), rng.normal(0, 2, 50_000)
    target = 1 / (1 + np.exp(-(0.8 * lexical + 0.5 * encoder - 1)))
    line = calibrate.fit_line(lexical, encoder, target, np.ones(len(target)))
    assert (line.lexical, line.encoder, line.bias) == pytest.approx((0.8, 0.5, -1), abs=0.01)
    alone = calibrate.fit_line(lexical, None, 1 / (1 + np.exp(-(2 * lexical + 1))), np.ones(len(target)))
    assert (alone.lexical, alone.encoder, alone.bias) == pytest.approx((2, 0, 1), abs=0.02)


def test_the_band_is_no_wider_than_agreement_needs() -> None:
    rng = np.random.default_rng(1)
    lexical = rng.normal(0, 4, 20_000)
    encoder = rng.normal(0, 1, 20_000)
    target = (lexical + encoder > 0).astype(np.float32)
    part = HeldOut("toys", lexical, encoder, target, 1.0)
    variant = calibrate.fit_variant("graph", False, Line(1.0, 0.0, 0.0), [part])
    everything = dataclasses.replace(variant, band=(0.0, 1.0))
    agree = (calibrate.tiered(variant, part) >= variant.threshold) == (
        calibrate.tiered(everything, part) >= variant.threshold
    )
    assert calibrate.AGREEMENT <= agree.mean() < 1
    low, high = variant.band
    assert 0 < low < 0.5 < high < 1
    narrower = Variant(**{**vars(variant), "band": (0.49, 0.51)})
    differs = (calibrate.tiered(narrower, part) >= 0.5) != (calibrate.tiered(everything, part) >= 0.5)
    assert differs.mean() > 1 - calibrate.AGREEMENT
