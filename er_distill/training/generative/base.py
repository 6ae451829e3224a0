"""A causal language model as a student begins: base, adapter, tokenizer, and what stands around its questions."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import processors

from er_distill.errors import InputError, MissingExtraError
from er_distill.selecting import option_ids
from er_distill.training import missing_extra
from er_distill.training.causal import CausalModel, frame_of, reader_of
from er_distill.training.generative.config import GenerativeConfig
from er_distill.training.generative.data import Choice
from er_distill.training.pretrained import choose_device, has_bfloat16, load, load_tokenizer, quiet_transformers

try:
    import peft
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )
except ImportError as error:
    raise missing_extra(error) from error


@dataclass(frozen=True)
class Learner:
    """A base with the adapters that are trained.

    Attributes
    ----------
    base : str
        Where the base was loaded from.
    model : peft.PeftModel
    tokenizer : transformers.PreTrainedTokenizerFast
        As the base has it.
    student : CausalModel
        The same model, adapters included, as it will be asked.
    half : bool
        Whether it computes in bfloat16.
    """

    base: str
    model: Any
    tokenizer: Any
    student: CausalModel
    half: bool

    def for_trainers(self) -> Any:
        """Return the tokenizer such that it adds no special tokens: the frame has those that are wanted."""
        plain = copy.deepcopy(self.tokenizer)
        plain.backend_tokenizer.post_processor = processors.Sequence([])
        if plain.pad_token is None:
            plain.pad_token = plain.eos_token
        return plain

    def option_logits(self, choices: Sequence[Choice]) -> np.ndarray:
        """Return the logits of the options, read at one position.

        Returns
        -------
        ndarray of float32, shape (n, MAX_OPTIONS + 1)
            Minus infinity for numbers that a choice has no candidate for.
        """
        was_training = self.student.model.training
        logits = self.student.option_logits([(choice.query, choice.candidates) for choice in choices])
        self.student.model.train(was_training)
        sizes = np.array([len(choice.candidates) for choice in choices])
        return np.where(np.arange(logits.shape[1]) <= sizes[:, None], logits, -np.inf)


def load_learner(config: GenerativeConfig, start: Path | None = None) -> Learner:
    """Load the base with fresh adapters, or with those of an earlier training to go on from.

    Raises
    ------
    InputError
        When the base is not there, is no causal language model, has no fast tokenizer, or its tokenizer does not read
        each option as one token; also when `start` holds no adapter of this base.
    MissingExtraError
        When 4 bits are asked for and bitsandbytes is not there.
    DeviceError
        When the device cannot be had.
    """
    base = _resolved(config.base)
    device = choose_device(config.device)
    half = has_bfloat16(device) if config.dtype == "auto" else config.dtype == "bfloat16"
    options: dict[str, Any] = {"dtype": torch.bfloat16 if half else torch.float32}
    if four_bit(config, device):
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
        options["device_map"] = {"": device}
    with quiet_libraries():
        about = _check_kind(base)
        tokenizer = load_tokenizer(base)
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"base {base!r} has no token that ends a text. Set eos_token in its tokenizer_config.json."
            )
        reader = reader_of(tokenizer)
        option_ids(reader)
        model = load(transformers.AutoModelForCausalLM, base, **options)
        if "quantization_config" in options:
            model = peft.prepare_model_for_kbit_training(model)
        elif device.type != "cpu":
            model = model.to(device)
        adapted = _with_adapters(model, config, start)
    reads = min(config.max_tokens, getattr(about, "max_position_embeddings", None) or config.max_tokens)
    frame = frame_of(tokenizer, reads - config.answer_room)
    return Learner(base, adapted, tokenizer, CausalModel(adapted.get_base_model(), reader, frame), half)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hold back what peft and trl say of the names that they know transformers by, and the loader's bar."""
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def four_bit(config: GenerativeConfig, device: torch.device) -> bool:
    """Whether to load the base in 4 bits: where asked for, or else where bitsandbytes and a GPU are there.

    Raises
    ------
    MissingExtraError
        When it is asked for and bitsandbytes is not there.
    """
    there = find_spec("bitsandbytes") is not None
    if config.four_bit and not there:
        raise MissingExtraError("four_bit needs bitsandbytes, which is not installed. Run: pip install bitsandbytes")
    return device.type == "cuda" and there if config.four_bit is None else config.four_bit


def _check_kind(base: str) -> Any:
    about = load(transformers.AutoConfig, base)
    kind = about.model_type
    # Encoders stand among the causal models too, for those who train them as decoders.
    encodes = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(about, "is_decoder", False)
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or encodes or getattr(about, "is_encoder_decoder", False):
        raise InputError(
            f"base {base!r} is a {kind} model, no causal language model. Name one like Qwen, Llama or SmolLM."
        )
    return about


def _with_adapters(model: Any, config: GenerativeConfig, start: Path | None) -> Any:
    if start is not None:
        if not (start / "adapter_config.json").is_file():
            raise InputError(f"{start} holds no adapter to go on from. Name a folder that training has written.")
        try:
            return peft.PeftModel.from_pretrained(model, start, is_trainable=True)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"The adapter in {start} does not fit the base {config.base!r}. Name its own base."
            ) from error
    lora = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, lora)


def _resolved(base: str | Path) -> str:
    # An adapter remembers its base: a folder by its full path, so that it is found from everywhere.
    path = Path(base)
    return str(path.resolve()) if path.is_dir() else str(base)
