"""Labels are cleaned and added to before they are learned, and what is measured is measured on labels as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytest.importorskip("cleanlab", reason="cleanlab not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.train

from er_distill import artefact  # noqa: E402
from er_distill.errors import InputError  # noqa: E402
from er_distill.training import calibrate, folds, revision, self_training, stages, tiers  # noqa: E402
from er_distill.training.configuration import with_base  # noqa: E402
from er_distill.training.encoder import EncoderConfig  # noqa: E402
from er_distill.training.folds import HELD_OUT_FOLD, NO_FOLD, LabelledTask, cut  # noqa: E402
from er_distill.training.generative.config import GenerativeConfig  # noqa: E402
from er_distill.training.labels import Candidates, Labels, from_synthetic  # noqa: E402
from er_distill.training.noise import NoiseConfig  # noqa: E402
from er_distill.training.pipeline import fit_student  # noqa: E402
from er_distill.training.recipe import DistillConfig  # noqa: E402
from er_distill.training.revision import Revision, revise  # noqa: E402
from er_distill.training.runs import Run  # noqa: E402
from er_distill.training.self_training import SelfTrainingConfig  # noqa: E402
from er_distill.training.synthetic import generate  # noqa: E402
from er_distill.training.trees import TreesConfig, fit_trees  # noqa: E402
from tests.tiny_encoders import save_bert  # noqa: E402

WEIGHT = NoiseConfig("weight", on_trial=False)
OWN = SelfTrainingConfig(confidence=0.6, rounds=2, held_out=0.4)
TREES = TreesConfig(rounds=10, least_leaf=5)


def plan(**changes: Any) -> DistillConfig:
    return DistillConfig(Path("nowhere"), EncoderConfig("none"), TREES, folds=3, **changes)


@pytest.fixture(scope="module", autouse=True)
def _own_labels_always_help() -> Iterator[None]:
    # Whether they do is asked in the tests of self-training: here it is what becomes of them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(self_training, "_LEAST_GAIN", -1.0)
        yield


@pytest.fixture(scope="module")
def given() -> tuple[Candidates, Labels]:
    """Two of three queries have labels, and some of these claim a match that is none."""
    candidates, labels = from_synthetic(generate("people", 90, seed=3), 1.0)
    rng = np.random.default_rng(0)
    left = candidates.pairs.left
    wrong = (labels.target == 0) & ~np.isin(left, left[labels.target == 1]) & (rng.random(len(left)) < 0.1)
    target = np.where(left % 3 == 2, np.nan, labels.target + wrong).astype(np.float32)
    return candidates, dataclasses.replace(labels, target=target)


@pytest.fixture(scope="module")
def task(given: tuple[Candidates, Labels]) -> LabelledTask:
    return cut(*given, 3, 0)


@pytest.fixture(scope="module")
def features(task: LabelledTask) -> np.ndarray:
    return task.features(np.arange(len(task.candidates.pairs)))


@pytest.fixture(scope="module")
def revised(task: LabelledTask, features: np.ndarray) -> Revision:
    return revise(task, features.__getitem__, plan(noise=WEIGHT, self_training=OWN))


def test_suspects_count_less_and_queries_without_labels_get_some(task: LabelledTask, revised: Revision) -> None:
    assert revised.noise is not None
    assert revised.self_training is not None
    lower = task.known[revised.weight[task.known] < 1]
    assert len(lower) == revised.noise["suspects"] > 0
    assert (task.labels.target[lower] == 1).all()
    left = task.candidates.pairs.left
    assert revised.own.sum() == revised.self_training["matches"] + revised.self_training["others"] > 0
    assert not np.isin(left[revised.own], left[task.known]).any()
    assert 0 < revised.weight[revised.own].max() <= np.float32(OWN.weight)
    assert np.isnan(revised.target[np.isnan(task.labels.target) & ~revised.own]).all()


def test_held_out_labels_have_no_part_in_it(task: LabelledTask, features: np.ndarray, revised: Revision) -> None:
    held_out = task.known[task.fold == HELD_OUT_FOLD]
    np.testing.assert_array_equal(revised.target[held_out], task.labels.target[held_out])
    assert (revised.weight[held_out] == 1).all()
    target = task.labels.target.copy()
    target[held_out] = 1 - target[held_out]
    turned = dataclasses.replace(
        task, labels=dataclasses.replace(task.labels, target=target), target=target[task.known]
    )
    again = revise(turned, features.__getitem__, plan(noise=WEIGHT, self_training=OWN))
    others = np.setdiff1d(np.arange(len(target)), held_out)
    np.testing.assert_array_equal(again.target[others], revised.target[others])
    np.testing.assert_array_equal(again.weight, revised.weight)
    np.testing.assert_array_equal(again.own, revised.own)


def test_a_dropped_label_is_not_learned_and_not_made_anew(task: LabelledTask, features: np.ndarray) -> None:
    config = plan(noise=NoiseConfig("drop", on_trial=False), self_training=OWN)
    found = revise(task, features.__getitem__, config)
    assert found.noise is not None
    assert np.isnan(found.target[task.known]).sum() == found.noise["suspects"] > 0
    assert not found.own[task.known].any()


def test_cleaning_that_does_not_help_is_not_done(
    task: LabelledTask, features: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plan(noise=NoiseConfig("weight"))
    for cleaned, helps in (((0.8, 0.9), False), ((0.92, 0.94), True)):
        trial = revision.try_cleaning(
            lambda target, weight: target, task.target[:0], task.pairs(np.arange(0)), task.fold[:0], config.noise
        )
        outcome = dataclasses.replace(trial, plain=(0.9, 0.91), cleaned=cleaned)
        monkeypatch.setattr(revision, "try_cleaning", lambda *_, outcome=outcome: outcome)
        found = revise(task, features.__getitem__, config)
        monkeypatch.undo()
        assert found.noise is not None
        assert found.noise["used"] is helps
        assert (found.weight[task.known] < 1).any() == helps
        revision.write([found], [task], tmp_path)
        (learned,), report = revision.read(tmp_path, [task])
        assert (learned is task) is not helps
        assert report["noise"][task.candidates.name]["trial"] == {"plain": [0.9, 0.91], "cleaned": list(cleaned)}


def test_what_is_read_back_is_what_both_tiers_learn(
    task: LabelledTask, features: np.ndarray, revised: Revision, tmp_path: Path
) -> None:
    revision.write([revised], [task], tmp_path)
    (learned,), _ = revision.read(tmp_path, [task])
    n = len(task.known)
    np.testing.assert_array_equal(learned.known[:n], task.known)
    np.testing.assert_array_equal(learned.fold[:n], task.fold)
    assert (learned.fold[n:] == NO_FOLD).all()
    assert learned.query[n:].min() > task.query.max()
    rows = np.arange(len(learned.known))
    encoder = learned.encoder_task(rows)
    assert encoder.weight is not None
    np.testing.assert_array_equal(encoder.weight[learned.known], revised.weight[learned.known])
    np.testing.assert_array_equal(encoder.target[learned.known], revised.target[learned.known])
    # Calibration sees the pairs that no revision has seen, and nothing of its own.
    assert set(task.fold[folds.rows_to_settle_on(learned)]) == {HELD_OUT_FOLD}
    assert len(folds.rows_to_settle_on(task)) == n
    assert len(folds.own_rows_to_learn(learned, 0, 0)) == 0
    room = folds.own_rows_to_learn(learned, 30, 0)
    assert 0 < len(room) <= 30
    assert (learned.fold[room] == NO_FOLD).all()


def test_trees_learn_by_weight(task: LabelledTask, features: np.ndarray) -> None:
    every, values = np.full(len(task.known), True), features[task.known]
    turned = task.query % 4 == 0
    target = np.where(turned, 1 - task.target, task.target).astype(np.float32)
    ignored = dataclasses.replace(task, target=target, pair_weight=(~turned).astype(np.float32))
    left_out = dataclasses.replace(task, target=np.where(turned, np.nan, target).astype(np.float32))
    counted = dataclasses.replace(task, target=target)
    first, second, third = (
        fit_trees([one.tree_task(values, every)], TREES).decision_function(values)
        for one in (ignored, left_out, counted)
    )
    np.testing.assert_allclose(first, second)
    assert np.abs(first - third).max() > 0.5


def test_a_killed_run_does_not_revise_again(
    given: tuple[Candidates, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_bert(tmp_path / "base")
    encoder = EncoderConfig(base=base, max_length=48, epochs=1, device="cpu")
    config = DistillConfig(
        tmp_path / "student",
        encoder,
        TREES,
        folds=3,
        variants=("fp32",),
        default_variant="fp32",
        weights=False,
        noise=WEIGHT,
        self_training=OWN,
    )
    seen: list[Any] = []
    settle = calibrate.fit_settled

    def killed(*args: Any, **words: Any) -> None:
        seen.append(args[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, Run(tmp_path / "run") as run:
        patch.setattr(tiers, "train_encoder", killed)
        with pytest.raises(KeyboardInterrupt):
            fit_student(*given, config, run=run)
    ((learned,),) = seen
    candidates, labels = given
    assert learned.weight is not None
    assert (learned.weight[labels.known] < 1).any()
    assert (~np.isnan(learned.target) & np.isnan(labels.target)).any()
    monkeypatch.setattr(revision, "revise", None)  # calling it would fail
    monkeypatch.setattr(folds, "fit_trees", None)
    monkeypatch.setattr(calibrate, "fit_settled", lambda *parts: seen.append(parts) or settle(*parts))
    with Run(tmp_path / "run") as run:
        made = fit_student(candidates, labels, config, run=run)
        assert list(run.results) == list(stages.planned(config))
    _, target, _ = seen[1]
    assert set(np.unique(target[0])) == {0, 1}  # of teachers alone
    training = artefact.read(made).training
    noise, own = (training[part][candidates.name] for part in ("noise", "self_training"))
    assert noise["used"]
    assert noise["suspects"] > 0
    assert training["labelled_pairs"] == {candidates.name: labels.known.sum()}
    card = (made / "README.md").read_text(encoding="utf-8")
    assert (
        f"{noise['suspects']:,} of {noise['labels']:,} labels look wrong and counted less, which was not tried" in card
    )
    assert f"Of {own['unlabelled']:,} pairs without labels its own trees labelled" in card


def test_tables_of_settings_switch_it_on(tmp_path: Path) -> None:
    start = with_base(None, tmp_path, "base")
    assert not start.revises
    assert stages.planned(start) == stages.STAGES
    settings = {"noise": {"action": "drop"}, "self_training": {"confidence": 0.9}}
    config = with_base(settings, tmp_path, "base")
    assert config.noise == NoiseConfig("drop")
    assert config.self_training == SelfTrainingConfig(confidence=0.9)
    assert stages.planned(config)[:3] == ("features", "revision", "trees")
    assert with_base({"self_training": {}}, tmp_path, "base").self_training == SelfTrainingConfig()
    with pytest.raises(InputError, match=r"there is no action 'dorp'\. Did you mean 'drop'"):
        with_base({"noise": {"action": "dorp"}}, tmp_path, "base")
    with pytest.raises(InputError, match=r"self_training is True\. Write its settings in a table"):
        with_base({"self_training": True}, tmp_path, "base")
    generative = DistillConfig(tmp_path, generative=GenerativeConfig("base"), noise=NoiseConfig("drop"))
    for change in ({"noise": WEIGHT}, {"self_training": OWN}):
        with pytest.raises(InputError, match="learns whole choices"):
            dataclasses.replace(generative, **change)
