"""What a generative student can begin as, and what is refused before anything expensive."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from generative_choices import choices
from tiny_causal_lm import save_qwen2
from tiny_encoders import save_bert

from er_distill.errors import InputError, MissingExtraError

pytestmark = [pytest.mark.train, pytest.mark.needs("accelerate", "datasets", "peft", "trl")]
pytest.importorskip("trl", reason="pip install 'er-distill[generative]'")

import torch  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from er_distill.selecting import ANSWER, prompt_ids  # noqa: E402
from er_distill.training.generative.base import four_bit, load_learner  # noqa: E402
from er_distill.training.generative.config import GenerativeConfig, Grpo, Sft  # noqa: E402
from er_distill.training.generative.fit import _split, fit_generative  # noqa: E402


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen2(tmp_path_factory.mktemp("base"))


def edit(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    about = json.loads(path.read_text(encoding="utf-8"))
    change(about)
    path.write_text(json.dumps(about), encoding="utf-8")


def test_bases_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"base '/nowhere' cannot be loaded"):
        load_learner(GenerativeConfig("/nowhere"))
    with pytest.raises(InputError, match=r"is a bert model, no causal language model"):
        load_learner(GenerativeConfig(save_bert(tmp_path / "bert")))
    bare = save_qwen2(tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (bare / name).unlink()
    with pytest.raises(InputError, match=r"bare'.*tokenizer"):
        load_learner(GenerativeConfig(bare))
    endless = save_qwen2(tmp_path / "endless")
    edit(endless / "tokenizer_config.json", lambda about: about.update(eos_token=None))
    with pytest.raises(InputError, match=r"endless' has no token that ends a text"):
        load_learner(GenerativeConfig(endless))


def test_arguments_that_are_refused(base: Path, tmp_path: Path) -> None:
    config, asked = GenerativeConfig(base, Sft(epochs=1)), choices(40)
    (tmp_path / "few.json").touch()
    with pytest.raises(InputError, match=r"few\.json is there already"):
        fit_generative(asked, config, tmp_path / "few.json")
    with pytest.raises(InputError, match=r"has a right candidate"):
        fit_generative([replace(choice, answer=0) for choice in asked], config, tmp_path / "student")
    with pytest.raises(InputError, match=r"held-out choices are too few"):
        fit_generative(asked[:12], config, tmp_path / "student")
    with pytest.raises(InputError, match=r"holds no adapter to go on from"):
        fit_generative(asked, config, tmp_path / "student", start=base)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"student\.run cannot be written"):
        fit_generative(asked, config, tmp_path / "file" / "student")
    assert not (tmp_path / "student").exists()


def test_four_bits_where_they_can_be_had(base: Path) -> None:
    there = find_spec("bitsandbytes") is not None
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert not four_bit(GenerativeConfig(base), cpu)
    assert four_bit(GenerativeConfig(base), cuda) == there
    assert not four_bit(GenerativeConfig(base, four_bit=False), cuda)
    if not there:
        with pytest.raises(MissingExtraError, match=r"four_bit needs bitsandbytes"):
            load_learner(GenerativeConfig(base, four_bit=True))


def test_the_template_stands_around_the_question(base: Path) -> None:
    learner = load_learner(GenerativeConfig(base, Grpo(answer_tokens=48), max_tokens=500))
    frame = learner.student.frame
    assert (frame.prefix, frame.suffix) == ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    assert frame.max_length == 452
    (choice,) = choices(1)
    ids = prompt_ids(learner.student.tokenizer, choice.query, choice.candidates, frame)
    assert learner.tokenizer.decode(ids).endswith(f"assistant\n{ANSWER}")


def test_trainers_get_a_tokenizer_that_adds_nothing(base: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors

    own = save_qwen2(tmp_path / "opens", chat_template=None)
    pieces = Tokenizer.from_file(str(own / "tokenizer.json"))
    pieces.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", pieces.token_to_id("<|endoftext|>"))]
    )
    pieces.save(str(own / "tokenizer.json"))
    edit(own / "tokenizer_config.json", lambda about: about.update(bos_token="<|endoftext|>"))
    learner = load_learner(GenerativeConfig(own))
    assert learner.student.frame.prefix == "<|endoftext|>"
    text = learner.student.frame.prefix + "sony"
    once = learner.student.tokenizer.encode(text, add_special_tokens=False).ids
    assert learner.for_trainers()(text)["input_ids"] == once
    assert AutoTokenizer.from_pretrained(own)(text)["input_ids"] == [once[0], *once]


def test_held_out_are_whole_queries(base: Path) -> None:
    asked = choices(200) + choices(200)  # each query twice, as where a long list was cut
    trained, watched = _split(asked, GenerativeConfig(base, watched=30))
    assert len(trained) + len(watched) == len(asked)
    assert 30 <= len(watched) <= 40
    assert not {choice.query for choice in trained} & {choice.query for choice in watched}
    assert _split(asked, GenerativeConfig(base, watched=30)) == (trained, watched)
    assert _split(asked, GenerativeConfig(base, watched=30, seed=1)) != (trained, watched)
