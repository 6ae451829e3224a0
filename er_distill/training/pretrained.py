"""Encoders as they come: loading a base, the model that training makes of it, and where it runs."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from er_distill.errors import DeviceError, InputError, did_you_mean
from er_distill.pairs import Pairs
from er_distill.tokens import PairEncoder
from er_distill.training import missing_extra

try:
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
except ImportError as error:
    raise missing_extra(error) from error

_PREDICT_AT_ONCE = 4_096  # tokens
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class EncoderModel:
    """A trained cross-encoder.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        One logit a pair.
    tokenizer : tokenizers.Tokenizer
    max_length : int
        Tokens of a pair, special tokens included.
    """

    model: Any
    tokenizer: Tokenizer
    max_length: int

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs that the model reads."""
        takes = inspect.signature(self.model.forward).parameters
        has_types = "token_type_ids" in takes and getattr(self.model.config, "type_vocab_size", 0) > 1
        return ("input_ids", "attention_mask", *(["token_type_ids"] if has_types else []))

    def predict(self, left_texts: list[str], right_texts: list[str] | None, pairs: Pairs) -> np.ndarray:
        """Return the pairs' logits, computed in float32.

        Parameters
        ----------
        left_texts, right_texts : list of str
            Texts of the records; `right_texts` is None when both sides are one table.
        pairs : Pairs

        Returns
        -------
        ndarray of float32, shape (m,)
        """
        encoder = PairEncoder(self.tokenizer, self.max_length)
        left = encoder.table(left_texts)
        right = left if right_texts is None else encoder.table(right_texts)
        logits = np.empty(len(pairs), dtype=np.float32)
        self.model.eval()
        with torch.inference_mode():
            for batch in encoder.batches(left, right, pairs, _PREDICT_AT_ONCE):
                inputs = {name: torch.from_numpy(getattr(batch, name)) for name in self.input_names}
                outputs = self.model(**{name: values.to(self.model.device) for name, values in inputs.items()})
                logits[batch.rows] = outputs.logits[:, 0].float().cpu().numpy()
        return logits


def load_base(path: str | Path, max_length: int) -> EncoderModel:
    """Load the base with a new one-logit head, and see that it takes pairs of `max_length` tokens.

    Parameters
    ----------
    path : str or Path
        A transformers id, or a folder with config.json, weights and tokenizer.
    max_length : int
        Tokens of a pair, special tokens included.

    Raises
    ------
    InputError
        When the base is not there, is no encoder, has no fast tokenizer, or reads fewer tokens.
    """
    base = str(path)
    tokenizer = check_base(base)
    with quiet_transformers():
        model = load(transformers.AutoModelForSequenceClassification, base, num_labels=1, dtype=torch.float32)
    loaded = EncoderModel(model, tokenizer.backend_tokenizer, max_length)
    many = ["a " * max_length]
    try:
        loaded.predict(many, many, Pairs(np.zeros(1, np.int64), np.zeros(1, np.int64), 1, 1))
    except (IndexError, RuntimeError) as error:
        raise InputError(f"base {base!r} cannot read {max_length} tokens. Lower max_length.") from error
    return loaded


def check_base(path: str | Path) -> Any:
    """See that a base can be trained on, by its configuration and its tokenizer: the weights are not read.

    Parameters
    ----------
    path : str or Path
        A transformers id, or a folder.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Its tokenizer.

    Raises
    ------
    InputError
        When the base is not there, is no encoder, or has no weights or no fast tokenizer.
    """
    base = str(path)
    with quiet_transformers():
        about = load(transformers.AutoConfig, base)
        decodes = about.is_encoder_decoder or getattr(about, "is_decoder", False)
        if decodes or about.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            raise InputError(f"base {base!r} is a {about.model_type} model, no encoder. Name one like BERT or RoBERTa.")
        if Path(base).is_dir() and not any(any(Path(base).glob(pattern)) for pattern in _WEIGHTS):
            raise InputError(f"base {base!r} has no model.safetensors. Save the whole model into it.")
        return load_tokenizer(base)


def load_tokenizer(base: str) -> Any:
    """Load the base's tokenizer.

    Raises
    ------
    InputError
        When there is none, or no fast one.
    """
    tokenizer = load(transformers.AutoTokenizer, base)
    # Without tokenizer files transformers hands out an empty tokenizer that knows the special tokens alone.
    if not tokenizer.is_fast or set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise InputError(f"base {base!r} has no tokenizer.json. Save the model's fast tokenizer into it.")
    return tokenizer


def load(kind: Any, path: str, *, what: str = "base", **options: Any) -> Any:
    """Load with an auto class of transformers.

    Parameters
    ----------
    kind : class
        With a ``from_pretrained``.
    path : str
        A transformers id, or a folder.
    what : str
        What messages call it.
    **options
        Handed on.

    Raises
    ------
    InputError
        When it is not there or cannot be read.
    """
    try:
        return kind.from_pretrained(path, **options)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{what} {path!r} cannot be loaded: {str(error).splitlines()[0]} Name a folder with config.json, weights "
            "and tokenizer.json, or a model id of the hub that can be reached or is in its cache."
        ) from error


def choose_device(name: str) -> torch.device:
    """Return the device to train on; ``"auto"`` takes CUDA where there is one.

    Raises
    ------
    DeviceError
        When there is no such device.
    """
    there = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if there else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {name!r}. {did_you_mean(name, ('auto', 'cpu', 'cuda'))}") from error
    if device.type == "cuda" and (not there or (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(
            f"torch finds no device {name!r}. Install torch with CUDA for this GPU's driver, or train on 'cpu'."
        )
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bfloat16: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back the report that the new head's weights are new, and the loader's progress bar."""
    log = transformers.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.ERROR)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
