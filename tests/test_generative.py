"""Training generative students: that each method learns what it says, and leaves everything else alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generative_choices import choices, save_base
from tiny_causal_lm import save_qwen2

from er_distill.errors import InputError
from er_distill.selecting import answer

pytestmark = [pytest.mark.train, pytest.mark.needs("accelerate", "datasets", "peft", "trl"), pytest.mark.slow]
pytest.importorskip("trl", reason="pip install 'er-distill[generative]'")

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors import safe_open  # noqa: E402

from er_distill.training.causal import load_causal  # noqa: E402
from er_distill.training.generative.adapter import frame_in, merge_adapter  # noqa: E402
from er_distill.training.generative.base import Learner, load_learner  # noqa: E402
from er_distill.training.generative.config import Dpo, GenerativeConfig, Grpo, Reward, Sft  # noqa: E402
from er_distill.training.generative.data import Choice  # noqa: E402
from er_distill.training.generative.fit import fit_generative  # noqa: E402
from er_distill.training.generative.preference import preferences  # noqa: E402
from er_distill.training.generative.reward import earned  # noqa: E402
from er_distill.training.generative.sft import example, said  # noqa: E402
from er_distill.training.generative.watch import GOOD, Watch  # noqa: E402

TRAINED, WATCHED = choices(32), choices(16, seed=1)
RIGHT = np.array([choice.answer for choice in TRAINED])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices this small are multiplied faster by one thread than shared among several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenerativeConfig:
    base = save_base(tmp_path_factory.mktemp("base"))
    method = Sft(learning_rate=1e-2, epochs=25)
    return GenerativeConfig(
        base, method, max_tokens=200, batch=32, batch_at_once=32, checks=3, dtype="float32", device="cpu"
    )


@pytest.fixture(scope="module")
def beginner(config: GenerativeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that knows a part of its 32 choices: something to improve."""
    return fit_generative(TRAINED, config, tmp_path_factory.mktemp("beginner") / "student", held_out=WATCHED)


@pytest.fixture(scope="module")
def sft(config: GenerativeConfig, beginner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginner after as much training again: it knows them all."""
    folder = tmp_path_factory.mktemp("sft") / "student"
    return fit_generative(TRAINED, config, folder, start=beginner, held_out=WATCHED)


def accuracy(learner: Learner) -> float:
    """Share of the choices trained on whose right option is said."""
    return float((learner.option_logits(TRAINED).argmax(axis=1) == RIGHT).mean())


def test_sft_overfits_32_choices(config: GenerativeConfig, beginner: Path, sft: Path) -> None:
    assert accuracy(load_learner(config)) < 0.5
    assert accuracy(load_learner(config, beginner)) < 1.0
    learner = load_learner(config, sft)
    assert accuracy(learner) == 1.0
    about = json.loads((sft / "generative.json").read_text(encoding="utf-8"))
    assert about["config"]["method"]["Sft"]["epochs"] == 25
    assert [check["step"] for check in about["checks"]] == [0, 8, 16, 24, 25]
    assert frame_in(sft) == learner.student.frame
    assert not sft.with_name("student.run").exists()


def test_it_says_the_whole_answer_and_stops(config: GenerativeConfig, sft: Path) -> None:
    learner = load_learner(config, sft)
    for choice in TRAINED[:4]:
        prompt = learner.student.tokenizer.encode(text_of(learner, choice), add_special_tokens=False).ids
        said = learner.model.generate(input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=8)
        assert learner.tokenizer.decode(said[0, len(prompt) :]) == answer(choice.answer) + learner.tokenizer.eos_token


def text_of(learner: Learner, choice: Choice) -> str:
    return preferences(learner, [choice])[0]["prompt"]


def test_lora_changes_its_adapters_alone(config: GenerativeConfig, sft: Path) -> None:
    before = transformers.AutoModelForCausalLM.from_pretrained(config.base).state_dict()
    trained = load_learner(config, sft).model
    after = {name: value for name, value in trained.get_base_model().state_dict().items() if "lora_" not in name}
    assert {name.replace(".base_layer", "") for name in after} == set(before)
    for name, value in after.items():
        assert torch.equal(value, before[name.replace(".base_layer", "")]), name
    with safe_open(sft / "adapter_model.safetensors", "pt") as weights:
        assert weights.keys()
        assert all("lora_" in name for name in weights.keys())  # noqa: SIM118 - it is no mapping
        assert all(weights.get_tensor(name).any() for name in weights.keys() if "lora_B" in name)  # noqa: SIM118


def test_merged_equals_adapter(config: GenerativeConfig, sft: Path, tmp_path: Path) -> None:
    frame = frame_in(merge_adapter(sft, tmp_path / "merged"))
    assert frame is not None
    merged = load_causal(tmp_path / "merged", frame)
    asked = [(choice.query, choice.candidates) for choice in WATCHED]
    adapted = load_learner(config, sft).student.option_logits(asked)
    np.testing.assert_allclose(merged.option_logits(asked), adapted, atol=1e-4)
    assert frame == frame_in(sft)
    with pytest.raises(InputError, match=r"merged is there already"):
        merge_adapter(sft, tmp_path / "merged")


def test_a_killed_run_goes_on(config: GenerativeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(config, method=Sft(learning_rate=1e-2, epochs=6), batch=16, batch_at_once=16)

    def killed(self: Watch, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        on_step_end(self, args, state, control, **kwargs)
        if state.global_step == 6:
            raise KeyboardInterrupt

    undisturbed = fit_generative(TRAINED, quick, tmp_path / "a", held_out=WATCHED)
    on_step_end = Watch.on_step_end
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "on_step_end", killed)
        with pytest.raises(KeyboardInterrupt):
            fit_generative(TRAINED, quick, tmp_path / "b", held_out=WATCHED)
    with pytest.raises(InputError, match=r"b\.run is of a run with other choices or another configuration"):
        fit_generative(TRAINED[1:], quick, tmp_path / "b", held_out=WATCHED)
    steps: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "on_step_begin", lambda *args, **_: steps.append(args[2].global_step), raising=False)
        resumed = fit_generative(TRAINED, quick, tmp_path / "b", held_out=WATCHED)
    assert steps[0] == 4  # checkpoints lie after steps 4, 8 and 12
    one, other = (load_learner(quick, folder).option_logits(TRAINED) for folder in (undisturbed, resumed))
    np.testing.assert_allclose(one, other, atol=1e-5)
    checks = [json.loads((folder / "generative.json").read_text())["checks"] for folder in (undisturbed, resumed)]
    assert checks[0] == checks[1]


def margin(learner: Learner, asked: list[Choice]) -> float:
    """Mean, over all wrong options, of how far the right option's logit lies above."""
    logits = learner.option_logits(asked)
    return float(np.mean([row[c.answer] - row[list(c.wrong)] for row, c in zip(logits, asked, strict=True)]))


@pytest.mark.parametrize("on_top", [False, True], ids=["from the base", "on top of SFT"])
def test_dpo_raises_the_margin(config: GenerativeConfig, beginner: Path, tmp_path: Path, on_top: bool) -> None:
    start, asked = beginner if on_top else None, TRAINED[:16]
    dpo = replace(config, method=Dpo(learning_rate=5e-3, epochs=2), batch=12, batch_at_once=12)
    before = margin(load_learner(dpo, start), asked)
    student = fit_generative(asked, dpo, tmp_path / "student", start=start, held_out=asked)
    assert margin(load_learner(dpo, student), asked) > before + 0.5
    assert [path.name for path in student.iterdir() if path.is_dir()] == []  # no reference is left behind


def test_dpo_rejects_every_wrong_option(config: GenerativeConfig) -> None:
    learner = load_learner(config)
    for size in (1, 3, 9):
        asked = choices(2 * (size + 1), candidates=size)
        pairs = Counter((pair["prompt"], pair["rejected"]) for pair in preferences(learner, asked))
        for choice in asked:
            prompt = text_of(learner, choice)
            rejected = {wrong for wrong in range(size + 1) if pairs[prompt, answer(wrong)]}
            assert rejected == set(range(size + 1)) - {choice.answer}
    assert all(pair["chosen"] != pair["rejected"] for pair in preferences(learner, TRAINED))


def sampled_reward(learner: Learner, asked: list[Choice]) -> float:
    """Mean reward of 32 answers sampled to each question."""
    torch.manual_seed(0)
    earnings = []
    for choice in asked:
        prompt = learner.student.tokenizer.encode(text_of(learner, choice), add_special_tokens=False).ids
        many = torch.tensor([prompt] * 32)
        said = learner.model.generate(input_ids=many, do_sample=True, top_k=0, max_new_tokens=4)[:, len(prompt) :]
        texts = learner.tokenizer.batch_decode(said, skip_special_tokens=True)
        earnings += [sum(earned(f"[{text}", choice.answer, Reward()).values()) for text in texts]
    return float(np.mean(earnings))


def test_grpo_raises_the_reward(config: GenerativeConfig, beginner: Path, tmp_path: Path) -> None:
    asked = TRAINED[:4]  # one for each answer
    grpo = replace(config, method=Grpo(learning_rate=1e-3, epochs=24, answer_tokens=4))
    before = sampled_reward(load_learner(grpo, beginner), asked)
    student = fit_generative(asked, grpo, tmp_path / "student", start=beginner, held_out=TRAINED[:16])
    assert sampled_reward(load_learner(grpo, student), asked) > before + 0.15
    with pytest.raises(InputError, match=r"3 choices are fewer than the 4 of a step"):
        fit_generative(asked[:3], grpo, tmp_path / "other", start=beginner, held_out=TRAINED[:16])


def test_grpo_raises_the_reward_of_a_base_that_has_learned_nothing(config: GenerativeConfig, tmp_path: Path) -> None:
    asked = TRAINED[:4]
    grpo = replace(config, method=Grpo(learning_rate=1e-2, epochs=24, answer_tokens=4))
    before = sampled_reward(load_learner(grpo), asked)
    student = fit_generative(asked, grpo, tmp_path / "student", held_out=TRAINED[:16])
    assert sampled_reward(load_learner(grpo, student), asked) > before + 0.04


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("[2]", (0.25, 0.25, 0.5)),
        ("[1]", (0.25, 0.25, 0.0)),
        ("[2] [2]", (0.0, 0.25, 0.0)),
        ("[2] since the names agree", (0.25, 0.0, 0.5)),
        ("[two]", (0.0, 0.25, 0.0)),
    ],
)
def test_reward(said: str, parts: tuple[float, float, float]) -> None:
    assert tuple(earned(said, 2, Reward()).values()) == parts
    assert earned(said, 2, Reward(bracketed=1, short=2, right=4)) == {
        name: share * weight
        for (name, share), weight in zip(
            {"bracketed": parts[0] * 4, "short": parts[1] * 4, "right": parts[2] * 2}.items(), (1, 2, 4), strict=True
        )
    }


def test_a_collapse_stops_the_run(config: GenerativeConfig, sft: Path, tmp_path: Path) -> None:
    """Labels rigged to say "none" to nearly everything, and a rate far too high."""
    rigged = [replace(choice, answer=0) for choice in TRAINED[:15]] + [TRAINED[1]]
    dpo = replace(config, method=Dpo(learning_rate=2e-2, epochs=10), batch=12, batch_at_once=12, checks=10)
    with pytest.raises(InputError, match=r'(?s)collapsed: in step \d+ it says "none" to 100% .* are in .*good'):
        fit_generative(rigged, dpo, tmp_path / "student", start=sft, held_out=TRAINED)
    assert not (tmp_path / "student").exists()
    good = tmp_path / "student.run" / GOOD
    assert accuracy(load_learner(config, good)) > 0.25
    checks = [json.loads(line) for line in (good.parent / "checks.jsonl").read_text(encoding="utf-8").splitlines()]
    assert checks[0]["accuracy"] == 1.0
    assert checks[-1]["step"] < 40  # of 40: it did not go on to the end


@pytest.mark.parametrize("explanations", ["after", "before"])
def test_explanations_are_learnt(config: GenerativeConfig, tmp_path: Path, explanations: Any) -> None:
    method = Sft(learning_rate=1e-2, epochs=1, explanations=explanations, explanation_tokens=32)
    explained = choices(8, explained=True)
    learner = load_learner(replace(config, method=method))
    head, rest = said(learner, explained[1], method)
    if explanations == "after":
        assert (head[-9:], rest) == ("Answer: [", "1] The words of candidate (1) agree.")
    else:
        assert not head.endswith("Answer: [")
        assert rest == "The words of candidate (1) agree.\nAnswer: [1]"
    fit_generative(explained, replace(config, method=method), tmp_path / "student", held_out=WATCHED)


def test_loss_is_on_what_is_said_alone(config: GenerativeConfig) -> None:
    learner = load_learner(config)
    row = example(learner, TRAINED[1], Sft())
    spoken = [token for token in row["labels"] if token != -100]
    assert learner.tokenizer.decode(spoken) == "1]" + learner.tokenizer.eos_token
    assert row["input_ids"][-len(spoken) :] == spoken
    assert learner.tokenizer.decode(row["input_ids"][: -len(spoken)]).endswith("Answer: [")


def test_adapter_of_another_base_is_refused(config: GenerativeConfig, sft: Path, tmp_path: Path) -> None:
    other = save_qwen2(tmp_path / "other")
    with pytest.raises(InputError, match=r"does not fit .*other"):
        load_learner(replace(config, base=other), sft)
    with pytest.raises(InputError, match=r"does not fit .*other"):
        merge_adapter(sft, tmp_path / "merged", base=other)
