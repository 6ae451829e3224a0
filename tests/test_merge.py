from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from er_distill.errors import InputError
from tests import tiny_encoders

pytestmark = [pytest.mark.train, pytest.mark.needs("torch", "transformers", "peft")]


def save_tensors(folder: Path, **tensors: object) -> Path:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({name: torch.tensor(values) for name, values in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def read_tensors(folder: Path, name: str = "model.safetensors") -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / name)


def merge_them(
    tmp_path: Path, values: list[list[float]], origin: list[float] | None = None, **config: object
) -> np.ndarray:
    from er_distill.training.merge import MergeConfig, merge

    models = [save_tensors(tmp_path / f"model{k}", w=value) for k, value in enumerate(values)]
    base = None if origin is None else save_tensors(tmp_path / "base", w=origin)
    return read_tensors(merge(models, tmp_path / "merged", MergeConfig(**config), base=base))["w"]


def test_soup_is_the_weighted_mean(tmp_path: Path) -> None:
    merged = merge_them(tmp_path, [[1.0, 2.0], [5.0, 10.0]], weights=(3.0, 1.0))
    np.testing.assert_allclose(merged, [2.0, 4.0])


def test_slerp_keeps_to_the_sphere(tmp_path: Path) -> None:
    merged = merge_them(tmp_path, [[1.0, 0.0], [0.0, 1.0]], method="slerp")
    np.testing.assert_allclose(merged, [0.5**0.5, 0.5**0.5], rtol=1e-6)


@pytest.mark.parametrize("other", [[2.0, 4.0], [-1.0, -2.0], [0.0, 0.0]])
def test_slerp_without_one_arc_is_the_mean(tmp_path: Path, other: list[float]) -> None:
    merged = merge_them(tmp_path, [[1.0, 2.0], other], method="slerp")
    np.testing.assert_allclose(merged, (np.array([1.0, 2.0]) + other) / 2, atol=1e-6)


def test_slerp_of_three_weighs_each_alike(tmp_path: Path) -> None:
    nearly = [[1.0, 0.001, 0.0], [1.0, 0.0, 0.001], [1.0, -0.001, -0.001]]
    np.testing.assert_allclose(merge_them(tmp_path, nearly, method="slerp"), [1.0, 0.0, 0.0], atol=1e-5)


def test_ties_trims_and_takes_the_majority_sign(tmp_path: Path) -> None:
    # Changes: (+4, +1), (+2, +1), (-1, -8). In the first place both + outweigh; in the second only the -8 survives.
    merged = merge_them(tmp_path, [[14.0, 1.0], [12.0, 1.0], [9.0, -8.0]], [10.0, 0.0], method="ties", density=0.5)
    np.testing.assert_allclose(merged, [13.0, -8.0])


def test_dare_keeps_the_expected_change(tmp_path: Path) -> None:
    values = [[2.0] * 4_000, [4.0] * 4_000]
    merged = merge_them(tmp_path, values, [1.0] * 4_000, method="dare", density=0.25)
    assert len(np.unique(merged.round(3))) == 4  # neither kept, either, both
    assert merged.mean() == pytest.approx(3.0, abs=0.15)


def test_dare_is_the_same_for_a_seed_and_leaves_the_callers_generator(tmp_path: Path) -> None:
    import torch

    values = [[2.0] * 50, [4.0] * 50]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    merged = []
    for k, seed in enumerate((0, 0, 1)):
        (tmp_path / str(k)).mkdir()
        merged.append(merge_them(tmp_path / str(k), values, [1.0] * 50, method="dare", seed=seed))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(merged[0], merged[1])
    assert (merged[0] != merged[2]).any()


def test_a_merged_encoder_of_one_model_twice_scores_as_that_model(tmp_path: Path) -> None:
    from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder
    from er_distill.training.merge import MergeConfig, merge
    from er_distill.training.pretrained import load_base

    base = tiny_encoders.save_bert(tmp_path / "base")
    left, right, pairs, target = tiny_encoders.product_task()
    config = EncoderConfig(base, max_length=32, epochs=1, device="cpu", dtype="float32")
    trained = train_encoder([EncoderTask(left, right, pairs, target)], config)
    for name in ("one", "two"):
        trained.model.save_pretrained(tmp_path / name)
        trained.tokenizer.save(str(tmp_path / name / "tokenizer.json"))
    scores = trained.predict(left, right, pairs)
    for method, tolerance in (("soup", 1e-6), ("slerp", 1e-5), ("ties", 1e-5)):
        # With everything kept, two models that are one change the base as that one does.
        merged = merge(
            [tmp_path / "one", tmp_path / "two"], tmp_path / method, MergeConfig(method, density=1.0), base=base
        )
        np.testing.assert_allclose(load_base(merged, 32).predict(left, right, pairs), scores, atol=tolerance)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's call
def test_adapters_are_merged_as_adapters(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModel

    from er_distill.training.merge import MergeConfig, merge

    base = tiny_encoders.save_bert(tmp_path / "base")
    for k in range(2):
        torch.manual_seed(k)
        lora = LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
        get_peft_model(AutoModel.from_pretrained(base), lora).save_pretrained(tmp_path / f"adapter{k}")
    merged = merge([tmp_path / "adapter0", tmp_path / "adapter1"], tmp_path / "merged", MergeConfig(weights=(1, 3)))
    parts = [read_tensors(tmp_path / name, "adapter_model.safetensors") for name in ("adapter0", "adapter1", "merged")]
    for name, value in parts[2].items():
        np.testing.assert_allclose(value, 0.25 * parts[0][name] + 0.75 * parts[1][name], atol=1e-6)
    PeftModel.from_pretrained(AutoModel.from_pretrained(base), merged)


def test_weights_by_fit_favour_the_better_model() -> None:
    from er_distill.training.merge import weights_by_fit

    weights = weights_by_fit([np.log([0.8, 0.8]), np.log([0.4, 0.4])])
    assert weights == pytest.approx((2 / 3, 1 / 3))


def test_what_cannot_be_merged_says_so(tmp_path: Path) -> None:
    from er_distill.training.merge import MergeConfig, merge, weights_by_fit

    one, two = (save_tensors(tmp_path / name, w=[1.0, 2.0]) for name in ("one", "two"))
    other = save_tensors(tmp_path / "other", v=[1.0, 2.0])
    wider = save_tensors(tmp_path / "wider", w=[1.0, 2.0, 3.0])
    empty = tmp_path / "empty"
    empty.mkdir()
    output = tmp_path / "merged"
    for models, config, match in (
        ([one], {}, "at least two"),
        ([one, other], {}, "not of one base"),
        ([one, wider], {}, "not of one base"),
        ([one, empty], {}, "holds no"),
        ([one, two], {"method": "ties"}, "name the base"),
        ([one, two], {"weights": (1.0,)}, "Give one each"),
    ):
        with pytest.raises(InputError, match=match):
            merge(models, output, MergeConfig(**config))
    with pytest.raises(InputError, match="is there already"):
        merge([one, two], empty, MergeConfig())
    for config, match in (
        ({"method": "mean"}, "no method"),
        ({"density": 0.0}, "density"),
        ({"weights": (0.0, 0.0)}, "weights"),
    ):
        with pytest.raises(InputError, match=match):
            MergeConfig(**config)
    (two / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="cannot be read"):
        merge([one, two], output, MergeConfig())
    with pytest.raises(InputError, match="finite"):
        weights_by_fit([np.array([-np.inf]), np.array([0.0])])
    assert not output.exists()
