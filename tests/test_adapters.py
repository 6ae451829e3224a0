"""What training leaves alone: all but adapters and head, frozen layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_encoders import product_task, save_bert, save_roberta

from er_distill.errors import InputError

torch = pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("transformers", reason="transformers not installed: pip install 'er-distill[train]'")
pytest.importorskip("peft", reason="peft not installed: pip install 'er-distill[train]'")
from er_distill.training.adapters import add_adapters, freeze_layers, keep_layers  # noqa: E402
from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder  # noqa: E402
from er_distill.training.pretrained import load_base  # noqa: E402

QUICK = {"max_length": 32, "learning_rate": 3e-3, "batch_tokens": 512, "dtype": "float32", "device": "cpu"}
MATRICES = ("query", "key", "value", "dense")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roberta(tmp_path_factory.mktemp("roberta"))


def parameters(model: Any) -> dict[str, Any]:
    return {name: values.detach().clone() for name, values in model.named_parameters()}


def trained_from(base: Path, **change: Any) -> tuple[set[str], Any]:
    """Train a little; return which parameters are not those of the base, and the model."""
    config = EncoderConfig(base, **QUICK | {"epochs": 2} | change)
    torch.manual_seed(config.seed)
    before = parameters(load_base(base, 32).model)
    model = train_encoder([EncoderTask(*product_task())], config)
    after = parameters(model.model)
    assert list(after) == list(before)
    return {name for name, values in after.items() if not torch.equal(values, before[name])}, model


@pytest.mark.parametrize("base", ["bert", "roberta"])
def test_adapters_change_the_layers_matrices_and_train_the_head(base: str, request: pytest.FixtureRequest) -> None:
    changed, model = trained_from(request.getfixturevalue(base), lora_rank=4)
    inside = {name for name in changed if ".layer." in name}
    assert len(inside) == 2 * 6  # two layers of four matrices of attention and two of the feed-forward part
    assert all(name.endswith(".weight") and name.split(".")[-2] in MATRICES for name in inside)
    assert all("pooler" in name or name.startswith("classifier") for name in changed - inside)
    assert any(name.startswith("classifier") for name in changed)
    assert type(model.model).__module__.startswith("transformers.")
    assert not any("lora" in name for name, _ in model.model.named_modules())
    assert all(values.requires_grad for values in model.model.parameters())


def test_before_merging_only_adapters_and_head_are_trained_and_merging_keeps_the_scores(bert: Path) -> None:
    loaded = load_base(bert, 32)
    given = product_task()[:3]
    plain = loaded.predict(*given)
    before = parameters(loaded.model)
    merge = add_adapters(loaded.model, rank=4, alpha=16)
    np.testing.assert_array_equal(loaded.predict(*given), plain)  # a new adapter adds nothing
    optimizer = torch.optim.AdamW([p for p in loaded.model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        inputs = {"input_ids": torch.tensor([[2, 5, 6, 3, 7, 3]]), "attention_mask": torch.ones(1, 6, dtype=torch.long)}
        loaded.model(**inputs).logits.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, values in loaded.model.named_parameters():
        if ".layer." in name and "lora_" not in name:
            assert torch.equal(values, before[name.replace(".base_layer", "")])
    adapted = loaded.predict(*given)
    assert np.abs(adapted - plain).max() > 0.01
    assert merge() is loaded.model
    np.testing.assert_allclose(loaded.predict(*given), adapted, atol=1e-5)


@pytest.mark.parametrize("base", ["bert", "roberta"])
def test_frozen_layers_and_embeddings_stay_as_they_are(base: str, request: pytest.FixtureRequest) -> None:
    changed, _ = trained_from(request.getfixturevalue(base), frozen_layers=1)
    assert not any("embeddings" in name or ".layer.0." in name for name in changed)
    assert any(".layer.1." in name for name in changed)
    assert any(name.startswith("classifier") for name in changed)


def test_all_layers_may_be_frozen(bert: Path) -> None:
    changed, _ = trained_from(bert, frozen_layers=2)
    assert changed
    assert all("pooler" in name or name.startswith("classifier") for name in changed)


def test_adapters_leave_frozen_layers_alone(bert: Path) -> None:
    changed, _ = trained_from(bert, frozen_layers=1, lora_rank=2)
    assert not any(".layer.0." in name for name in changed)
    assert sum(".layer.1." in name for name in changed) == 6


def test_adapters_learn(bert: Path) -> None:
    task = EncoderTask(*product_task())
    config = EncoderConfig(bert, **QUICK | {"epochs": 60, "learning_rate": 1e-2, "lora_rank": 8})
    model = train_encoder([task], config)
    logits = model.predict(task.left_texts, task.right_texts, task.pairs)
    assert np.mean((logits > 0) == (task.target > 0.5)) > 0.97


@pytest.mark.parametrize("base", ["bert", "roberta"])
def test_the_lowest_layers_can_be_kept_alone(base: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder, task = request.getfixturevalue(base), EncoderTask(*product_task())
    whole = load_base(folder, 32)
    model = train_encoder([task], EncoderConfig(folder, **QUICK | {"epochs": 30, "layers": 1, "frozen_layers": 1}))
    names = {name for name in parameters(model.model) if ".layer." in name}
    assert names == {name for name in parameters(whole.model) if ".layer.0." in name}
    for name in names:  # the lowest, as it was
        assert torch.equal(model.model.get_parameter(name), whole.model.get_parameter(name))
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save(str(tmp_path / "tokenizer.json"))
    given = task.left_texts, task.right_texts, task.pairs
    np.testing.assert_allclose(load_base(tmp_path, 32).predict(*given), model.predict(*given), atol=1e-5)


def test_kinds_of_layers_go_with_them(bert: Path) -> None:
    model = load_base(bert, 32).model
    model.config.layer_types = ["full_attention", "sliding_attention"]
    keep_layers(model, 1)
    assert model.config.layer_types == ["full_attention"]
    assert model.config.num_hidden_layers == 1


def test_no_more_layers_are_kept_than_there_are(bert: Path) -> None:
    with pytest.raises(InputError, match="layers is 3, but the base has 2"):
        train_encoder([EncoderTask(*product_task())], EncoderConfig(bert, **QUICK | {"layers": 3}))
    with pytest.raises(InputError, match="layers must be 0 or above, not -1"):
        EncoderConfig(bert, layers=-1)


def test_layers_that_cannot_be_frozen_or_adapted(bert: Path) -> None:
    model = load_base(bert, 32).model
    with pytest.raises(InputError, match="frozen_layers is 3, but the base has 2 layers"):
        freeze_layers(model, 3)
    freeze_layers(model, 2)
    with pytest.raises(InputError, match="leaves no layer for adapters"):
        add_adapters(model, 4, 16)
    model.config.num_hidden_layers = 7
    with pytest.raises(InputError, match="kind bert shows no list of its layers"):
        freeze_layers(model, 1)
