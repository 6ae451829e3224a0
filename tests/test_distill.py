"""From labels to a student folder, with a tiny base made on the spot."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.train

from er_distill import Student, artefact  # noqa: E402
from er_distill.artefact import Line, Variant  # noqa: E402
from er_distill.errors import ExportError, InputError, StudentError  # noqa: E402
from er_distill.training import calibrate, export, folds, tiers  # noqa: E402
from er_distill.training.calibrate import HeldOut  # noqa: E402
from er_distill.training.encoder import EncoderConfig  # noqa: E402
from er_distill.training.folds import cut  # noqa: E402
from er_distill.training.labels import Candidates, Labels, from_synthetic  # noqa: E402
from er_distill.training.pipeline import fit_student  # noqa: E402
from er_distill.training.pretrained import load_base  # noqa: E402
from er_distill.training.recipe import DistillConfig  # noqa: E402
from er_distill.training.runs import Run  # noqa: E402
from er_distill.training.stages import STAGES  # noqa: E402
from er_distill.training.synthetic import generate  # noqa: E402
from er_distill.training.trees import TreesConfig  # noqa: E402
from tests.tiny_causal_lm import save_qwen2  # noqa: E402
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
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def made(base: Path, tasks: list[Task], run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "student"
    with Run(run_folder) as run:
        return fit_student([c for c, _ in tasks], [known for _, known in tasks], config(base, output), run=run)


def test_the_folder_is_a_student_that_matches(made: Path, tasks: list[Task]) -> None:
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md",
        "card.html",
        "encoder.fp16.onnx",
        "encoder.fp32.onnx",
        "encoder.int8.onnx",
        "student.json",
        "tokenizer.json",
        "trees.onnx",
        "weights",
    ]
    assert [path.name for path in made.parent.iterdir()] == ["student"]
    candidates, known = from_synthetic(generate("people", 60, seed=99), 1.0)
    for variant in ("fp32", "fp16", "int8"):
        student = Student.load(made, variant=variant)
        scores = student.score(candidates.left, candidates.right, candidates.pairs)
        chosen, true = scores >= student.threshold, known.target == 1
        assert 2 * (chosen & true).sum() / (chosen.sum() + true.sum()) > 0.8


def test_the_manifest_says_how_it_was_made(made: Path) -> None:
    manifest = artefact.read(made)
    assert manifest.tasks == tuple(sorted(manifest.tasks, key=manifest.tasks.index))
    assert manifest.teachers[0].name == "synthetic truth"
    assert set(manifest.variants) == {"fp32", "fp16", "int8"}
    assert set(manifest.training["speed"]) == set(manifest.variants)
    checks = manifest.training["checks"]
    assert checks["fp32"]["parity"]["largest_difference"] <= export.LIMITS["fp32"]
    for part in ("encoder", "student"):
        assert checks["int8"]["parity"][part]["flipped"] <= 0.01
    training = manifest.training
    assert set(training["seconds_by_stage"]) == set(STAGES[:-1])
    assert training["peak_memory_bytes"] > 50_000_000
    names = set(manifest.tasks)
    for check in checks.values():
        error, curves = check["calibration_error_cross_fitted"], check["curves"]
        assert set(error["by_task"]) == names
        assert 0 <= error["mean"] <= max(error["by_task"].values()) < 0.2
        n_pairs = sum(part["pairs"] for part in check["held_out"].values())
        assert sum(n for _, _, n in curves["calibration"]) == n_pairs
        assert sum(curves["scores"]["match"]) + sum(curves["scores"]["non_match"]) == n_pairs
        recalls = [recall for _, _, recall, _, _ in curves["thresholds"]]
        assert recalls == sorted(recalls, reverse=True)
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


def test_other_variants_and_names_train_nothing_anew(
    base: Path, tasks: list[Task], made: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((folds, "fit_trees"), (tiers, "train_encoder")):
        monkeypatch.setattr(module, name, None)  # calling it would fail
    other = config(base, tmp_path / "fp16", name="other", variants=("fp16",), default_variant="fp16", weights=False)
    with Run(run_folder) as run:
        fit_student([c for c, _ in tasks], [known for _, known in tasks], other, run=run)
    first, second = artefact.read(made), artefact.read(tmp_path / "fp16")
    assert (second.name, set(second.variants)) == ("other", {"fp16"})
    assert second.variants["fp16"] == first.variants["fp16"]
    seeded = dataclasses.replace(other, output=tmp_path / "third", trees=TreesConfig(rounds=41, least_leaf=10))
    with Run(run_folder) as run, pytest.raises(TypeError, match="NoneType"):
        fit_student([c for c, _ in tasks], [known for _, known in tasks], seeded, run=run)


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
    monkeypatch.setitem(export.LIMITS, "fp32", -1.0)
    with pytest.raises(ExportError, match="not what was trained"):
        fit_student(*tasks[0], config(base, tmp_path / "out" / "student"))
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_are_whole_and_a_base_to_go_on_from(base: Path, tasks: list[Task], made: Path, tmp_path: Path) -> None:
    weights = artefact.weights(made)
    assert {"config.json", "model.safetensors", "tokenizer.json"} < {path.name for path in weights.iterdir()}
    loaded = load_base(weights, 48)
    assert loaded.tokenizer.to_str() == load_base(base, 48).tokenizer.to_str()
    candidates, known = tasks[0]
    still = config(made, tmp_path / "next")
    still = dataclasses.replace(still, encoder=dataclasses.replace(still.encoder, learning_rate=1e-12))
    following = fit_student(candidates, known, still)
    # Where the encoder hardly moves, the new student's is the old one's, and so is its head.
    state, before = load_base(artefact.weights(following), 48).model.state_dict(), loaded.model.state_dict()
    assert all(torch.allclose(state[name], before[name], atol=1e-6) for name in before)
    training = artefact.read(following).training
    assert training["continued"].startswith("student, made on ")
    assert artefact.read(following).teachers[0].labels == 1385 + len(known.target)


def test_altered_weights_are_refused_and_serving_does_not_read_them(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "student"))
    path = folder / "weights" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert Student.load(folder).threshold > 0
    with pytest.raises(StudentError, match=r"model\.safetensors does not have the sha256"):
        artefact.weights(folder)
    path.unlink()
    with pytest.raises(StudentError, match=r"model\.safetensors is missing"):
        artefact.weights(folder)


def test_wrong_input_is_refused_before_anything_is_trained(
    base: Path, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "stage", None)
    candidates, known = tasks[0]

    def refusal(pairs: object, labels: object, output: Path = tmp_path / "student", **changes: object) -> str:
        with pytest.raises(InputError) as caught:
            fit_student(pairs, labels, config(base, output, **changes))  # type: ignore[arg-type]
        return str(caught.value)

    assert "at least one task" in refusal([], [])
    assert "1 task(s) and labels of 0" in refusal([candidates], [])
    assert "two tasks are called" in refusal([candidates] * 2, [known] * 2)
    assert "Give a label, or NaN, for each" in refusal(candidates, dataclasses.replace(known, target=known.target[:-1]))
    nothing = np.full_like(known.target, np.nan)
    assert f"{candidates.name} has no label" in refusal(candidates, dataclasses.replace(known, target=nothing))
    asked = candidates.pairs.left[known.target.argmax()]
    one_query = np.where(candidates.pairs.left == asked, known.target, np.nan)
    assert "labels on 1 queries; 3 folds" in refusal(candidates, dataclasses.replace(known, target=one_query))
    assert "no share of votes" in refusal(candidates, dataclasses.replace(known, target=known.target * 2))
    one_class = np.zeros_like(known.target)
    assert "say non-match" in refusal(candidates, dataclasses.replace(known, target=one_class))
    few = known.target.copy()
    few[cut(candidates, known, 3, 0).fold == 0] = 0
    assert "held out to calibrate on hold no match" in refusal(candidates, dataclasses.replace(known, target=few))
    assert "default_variant 'fp16' is not among" in refusal(
        candidates, known, variants=("int8",), default_variant="fp16"
    )
    assert "no variant 'int7'. Did you mean 'int8'" in refusal(candidates, known, variants=("int7",))
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "mine.txt").touch()
    assert "is there already" in refusal(candidates, known)
    assert "cannot be written" in refusal(candidates, known, tmp_path / "student" / "mine.txt" / "student")


def test_a_base_that_cannot_be_trained_is_refused_at_once(
    base: Path, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "stage", None)

    def refusal(path: Path) -> str:
        with pytest.raises((InputError, StudentError)) as caught:
            fit_student(*tasks[0], config(path, tmp_path / "student"))
        return str(caught.value)

    assert "cannot be loaded" in refusal(tmp_path / "nowhere")
    assert "no tokenizer" in refusal(save_bert(tmp_path / "mute", tokenizer=False))
    assert "no encoder" in refusal(save_qwen2(tmp_path / "causal"))
    assert "made without weights" in refusal(artefact.locate("default"))


def test_a_disk_without_room_is_refused_at_once(
    base: Path, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "stage", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(InputError, match=r"has 0\.00 GB left, and this run needs some"):
        fit_student(*tasks[0], config(base, tmp_path / "student"))


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
    part = HeldOut("toys", lexical, encoder, target, np.arange(20_000), 1.0)
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


def test_calibration_is_judged_on_queries_it_was_not_fitted_on() -> None:
    rng = np.random.default_rng(2)
    n = 4_000
    true = rng.normal(0, 3, n)
    target = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(np.float32)
    part = HeldOut("toys", 2 * true + 1, true, target, np.arange(n) // 10, 1.0)
    variant = calibrate.fit_variant("graph", False, Line(0.5, 0.0, -0.5), [part])
    (crossed,) = calibrate.fit_on_other_folds(variant, [part])
    assert np.abs(crossed - 1 / (1 + np.exp(-true))).mean() < 0.02
    # Labels turned over in one query move the scores of the other queries, and never its own.
    turned = dataclasses.replace(part, target=np.where(part.query == 7, 1 - target, target))
    (again,) = calibrate.fit_on_other_folds(variant, [turned])
    np.testing.assert_array_equal(again[part.query == 7], crossed[part.query == 7])
    assert (again != crossed).any()
    assert calibrate.fit_on_other_folds(variant, [part.take(target == 1)]) is None
