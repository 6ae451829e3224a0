"""From labels to the folder of a generative student, by the same stages as any other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from generative_choices import choices, save_base

from er_distill import InputError, Student, artefact
from er_distill.artefact import Teacher
from er_distill.pairs import Pairs
from er_distill.records import Records

pytestmark = [
    pytest.mark.train,
    pytest.mark.needs("accelerate", "datasets", "onnxruntime", "peft", "trl"),
    pytest.mark.slow,
]
pytest.importorskip("trl", reason="pip install 'er-distill[generative]'")

import torch  # noqa: E402

from er_distill.training import export, tiers  # noqa: E402
from er_distill.training.encoder import EncoderConfig  # noqa: E402
from er_distill.training.generative import adapter, fit  # noqa: E402
from er_distill.training.generative.config import GenerativeConfig, Sft  # noqa: E402
from er_distill.training.labels import Candidates, Labels  # noqa: E402
from er_distill.training.pipeline import fit_student  # noqa: E402
from er_distill.training.recipe import DistillConfig  # noqa: E402
from er_distill.training.runs import Run  # noqa: E402
from er_distill.training.trees import TreesConfig  # noqa: E402

N_QUERIES, N_CANDIDATES = 96, 3


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices this small are multiplied faster by one thread than shared among several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def records(texts: list[str], name: str) -> Records:
    return Records(name, np.arange(len(texts)), ("name",), (np.array(texts, dtype=object),))


@pytest.fixture(scope="module")
def task() -> tuple[Candidates, Labels]:
    asked = choices(N_QUERIES, candidates=N_CANDIDATES)
    left = records([choice.query for choice in asked], "left")
    right = records([text for choice in asked for text in choice.candidates], "right")
    n = len(right)
    pairs = Pairs(np.repeat(np.arange(N_QUERIES), N_CANDIDATES), np.arange(n), N_QUERIES, n)
    target = np.zeros(n, dtype=np.float32)
    target[[k * N_CANDIDATES + choice.answer - 1 for k, choice in enumerate(asked) if choice.answer]] = 1
    return Candidates("words", left, right, pairs), Labels(target, (Teacher("the test", "none", n),))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DistillConfig:
    folder = tmp_path_factory.mktemp("base")
    generative = GenerativeConfig(
        save_base(folder),
        Sft(learning_rate=1e-2, epochs=20, explanations="after"),
        max_tokens=260,
        batch=32,
        batch_at_once=32,
        checks=2,
        dtype="float32",
        device="cpu",
    )
    return DistillConfig(
        tmp_path_factory.mktemp("made") / "student",
        generative=generative,
        trees=TreesConfig(rounds=10, least_leaf=10),
        folds=3,
        variants=("fp32",),
        default_variant="fp32",
    )


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def made(task: tuple[Candidates, Labels], config: DistillConfig, run_folder: Path) -> Path:
    """A student whose making was stopped once, after its training: it went on there."""
    with pytest.MonkeyPatch.context() as patch, Run(run_folder) as run:
        patch.setattr(adapter, "merge_adapter", _stop)
        with pytest.raises(KeyboardInterrupt):
            fit_student(*task, config, run=run)
    with pytest.MonkeyPatch.context() as patch, Run(run_folder) as run:
        patch.setattr(fit, "fit_generative", _stop)
        return fit_student(*task, config, run=run)


def _stop(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_the_folder_is_a_student_that_reads_lists(made: Path, task: tuple[Candidates, Labels]) -> None:
    manifest = artefact.read(made)
    assert manifest.reader == "lists"
    assert manifest.max_length < 260
    assert manifest.training["checks"]["fp32"]["parity"]["largest_difference"] <= export.LIMITS["fp32"]
    assert "Sft" in manifest.training["config"]["generative"]["method"]
    assert manifest.training["config"]["encoder"] is None
    assert (artefact.weights(made) / "model.safetensors").is_file()
    candidates, labels = task
    student = Student.load(made)
    scores = student.score(candidates.left, candidates.right, candidates.pairs)
    chosen, true = scores >= student.threshold, labels.target == 1
    assert 2 * (chosen & true).sum() / (chosen.sum() + true.sum()) > 0.8


def test_a_served_student_reads_what_was_calibrated(
    made: Path, task: tuple[Candidates, Labels], config: DistillConfig, run_folder: Path
) -> None:
    """The graph in the folder gives the logits that the stages wrote down."""
    candidates, _ = task
    (scores,) = run_folder.glob("scores-*")
    wrote = np.load(scores / "fp32-000.npy")
    read = Student.load(made).reader.over(candidates.left.texts, candidates.right.texts, candidates.pairs, context=True)
    logits = read(np.arange(len(candidates.pairs)), lambda _: None)
    held_out = [np.flatnonzero(np.abs(logits - value) < 1e-4) for value in wrote]
    assert all(len(rows) for rows in held_out)
    assert np.ptp(wrote) > 1


def test_it_explains_when_asked(made: Path) -> None:
    from er_distill.readers import generated_explanation

    said = generated_explanation(Student.load(made), "lens sony", ["sony lens", "canon drill"])
    assert said is not None
    assert said[:3] in ("[0]", "[1]", "[2]")


def test_the_same_call_makes_nothing_anew(
    made: Path, task: tuple[Candidates, Labels], config: DistillConfig, run_folder: Path, tmp_path: Path
) -> None:
    before = {path.name for path in run_folder.iterdir()}
    again = dataclasses.replace(config, output=tmp_path / "again", name="again")
    with Run(run_folder) as run:
        fit_student(*task, again, run=run)
    added = {path.name.split("-")[0] for path in run_folder.iterdir() if path.name not in before}
    assert added == {"student"}
    files = [artefact.read(folder).files["reader.fp32.onnx"].sha256 for folder in (made, tmp_path / "again")]
    assert files[0] == files[1]


def test_settings_of_both_kinds_or_none_are_refused(tmp_path: Path, config: DistillConfig) -> None:
    for given in ({}, {"encoder": EncoderConfig("x"), "generative": config.generative}):
        with pytest.raises(InputError, match="an encoder or of a generative student"):
            DistillConfig(tmp_path / "student", **given)
    assert isinstance(tiers.tier_of(config), tiers.GenerativeTier)


def test_what_cannot_be_made_is_said_first(
    task: tuple[Candidates, Labels], config: DistillConfig, tmp_path: Path
) -> None:
    from tiny_encoders import save_bert

    assert config.generative is not None
    (tmp_path / "bert").mkdir()
    encoder = dataclasses.replace(config.generative, base=save_bert(tmp_path / "bert"))
    with pytest.raises(InputError, match="no causal language model"):
        fit_student(*task, dataclasses.replace(config, output=tmp_path / "student", generative=encoder))
    with pytest.raises(InputError, match="no variant 'int3'"):
        fit_student(*task, dataclasses.replace(config, output=tmp_path / "student", variants=("int3",)))
    assert not (tmp_path / "student").exists()
