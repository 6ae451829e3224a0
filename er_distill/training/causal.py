"""Causal language models as they come: loading a base, and the generative student that training makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.readers import CandidateLists, list_batches
from er_distill.selecting import Frame, option_ids, prompt_ids
from er_distill.training import missing_extra
from er_distill.training.pretrained import load, quiet_transformers

try:
    import torch
    import transformers
except ImportError as error:
    raise missing_extra(error) from error

_TOKENS_AT_ONCE = 4_096
_QUESTION = "the question stands here"


@dataclass(frozen=True)
class CausalModel:
    """A causal language model that answers questions of :mod:`er_distill.selecting`.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        Adapters, if there were any, are merged.
    tokenizer : tokenizers.Tokenizer
        Without truncation and padding.
    frame : Frame
        What stands around a question.
    """

    model: Any
    tokenizer: Tokenizer
    frame: Frame

    @property
    def options(self) -> tuple[int, ...]:
        """Token ids of the answers: none, then each number."""
        return option_ids(self.tokenizer)

    @property
    def stops(self) -> tuple[int, ...]:
        """Token ids that end a text."""
        ends = self.model.generation_config.eos_token_id
        return () if ends is None else tuple(np.atleast_1d(ends).tolist())

    def predict(
        self, left_texts: list[str], right_texts: list[str] | None, pairs: Pairs, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the pairs' logits, computed in float32.

        Parameters
        ----------
        left_texts, right_texts : list of str
            Texts of the records; `right_texts` is None when both sides are one table.
        pairs : Pairs
            All candidate pairs: the lists are made of them.
        rows : ndarray of int64, optional
            Pairs whose logits are wanted; by default all.

        Returns
        -------
        ndarray of float64, shape (len(rows),)
            The log-odds of each candidate against none (see `er_distill.readers.CandidateLists`).
        """
        lists = CandidateLists(left_texts, right_texts, pairs)
        return lists.logits(np.arange(len(pairs)) if rows is None else rows, self.option_logits)

    def option_logits(self, asked: Sequence[tuple[str, Sequence[str]]]) -> np.ndarray:
        """Return the options' logits at the position of the answer.

        Parameters
        ----------
        asked : sequence of (str, sequence of str)
            A query's text and its candidates', each.

        Returns
        -------
        ndarray of float32, shape (len(asked), MAX_OPTIONS + 1)
        """
        ids = [prompt_ids(self.tokenizer, query, candidates, self.frame) for query, candidates in asked]
        options = list(self.options)
        logits = np.empty((len(ids), len(options)), dtype=np.float32)
        self.model.eval()
        with torch.inference_mode():
            for batch in list_batches(ids, _TOKENS_AT_ONCE):
                inputs = (torch.from_numpy(values).to(self.model.device) for values in (batch.input_ids, batch.last))
                input_ids, last = inputs
                # Padding stands on the right, where a causal model's earlier positions do not see it.
                hidden = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
                at_last = hidden[torch.arange(len(last), device=last.device), last]
                logits[batch.rows] = self.model.lm_head(at_last)[:, options].float().cpu().numpy()
        return logits


def load_causal(path: str | Path, max_length: int = Frame.max_length) -> CausalModel:
    """Load a base in float32, and see that its options can be read.

    Parameters
    ----------
    path : str or Path
        A transformers id, or a folder with config.json, weights and tokenizer.
    max_length : int
        Tokens of a prompt.

    Raises
    ------
    InputError
        When the base is not there, is no causal language model, has no fast tokenizer or one that does not split
        digits, has a chat template that cannot be flattened, or reads fewer tokens.
    """
    base = str(path)
    with quiet_transformers():
        about = load(transformers.AutoConfig, base)
        if type(about) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or about.is_encoder_decoder:
            raise InputError(
                f"base {base!r} is a {about.model_type} model, no causal language model. Name one like Qwen or Llama."
            )
        tokenizer = load(transformers.AutoTokenizer, base)
        model = load(transformers.AutoModelForCausalLM, base, dtype=torch.float32)
    if not tokenizer.is_fast or set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise InputError(f"base {base!r} has no tokenizer.json. Save the model's fast tokenizer into it.")
    reads = getattr(about, "max_position_embeddings", None) or max_length
    if reads < max_length:
        raise InputError(f"base {base!r} reads {reads} tokens, not {max_length}. Lower max_length.")
    pieces = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    pieces.no_truncation()
    pieces.no_padding()
    option_ids(pieces)
    return CausalModel(model, pieces, frame_of(tokenizer, max_length))


def frame_of(tokenizer: Any, max_length: int = Frame.max_length) -> Frame:
    """Flatten a tokenizer's chat template into what stands before and after the question.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Without a chat template the question stands alone, after the token that opens a text where one is set.
    max_length : int
        Tokens of a prompt.

    Returns
    -------
    Frame

    Raises
    ------
    InputError
        When the template fails, or does not show a user's message as it is.
    """
    if tokenizer.chat_template is None:
        opening = [token for token in tokenizer("").input_ids if token == tokenizer.bos_token_id]
        return Frame("".join(tokenizer.convert_ids_to_tokens(opening)), max_length=max_length)
    turns = [{"role": "user", "content": _QUESTION}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of its author, which may raise anything
        raise InputError(f"The base's chat template cannot be used ({error}). Give a base with another one.") from error
    prefix, question, suffix = str(text).partition(_QUESTION)
    if not question or _QUESTION in suffix:
        raise InputError("The base's chat template does not show the user's message as it is. Give another base.")
    return Frame(prefix, suffix, max_length)
