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
from er_distill.questions import CandidateLists, list_batches
from er_distill.selecting import Frame, option_ids, prompt_ids
from er_distill.training import missing_extra
from er_distill.training.pretrained import load, load_tokenizer, quiet_transformers

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
            The log-odds of each candidate against none (see `er_distill.questions.CandidateLists`).
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
                inputs = (
                    torch.from_numpy(ids).to(self.model.device) for ids in (batch.input_ids, batch.attention_mask)
                )
                logits[batch.rows] = last_logits(self.model, *inputs)[:, options].float().cpu().numpy()
        return logits


def last_logits(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the logits of the token after each prompt; no other position goes through the vocabulary.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    input_ids, attention_mask : Tensor of int64, shape (b, length)
        Padded on the right, where a causal model's earlier positions do not see it.

    Returns
    -------
    Tensor, shape (b, vocabulary)
    """
    last = attention_mask.sum(dim=1) - 1

    def keep_last(_: Any, hidden: tuple[torch.Tensor, ...]) -> torch.Tensor:
        index = last[:, None, None].expand(-1, 1, hidden[0].shape[-1])
        return hidden[0].gather(1, index)

    # Before the head and not after it: what a model does with its logits, like capping them, it still does.
    hook = model.get_output_embeddings().register_forward_pre_hook(keep_last)
    try:
        logits: torch.Tensor = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    finally:
        hook.remove()
    return logits[:, 0]


def load_causal(path: str | Path, frame: Frame | None = None) -> CausalModel:
    """Load a model that is whole, as merging its adapters leaves it, in float32.

    Parameters
    ----------
    path : str or Path
        A transformers id, or a folder with config.json, weights and tokenizer.
    frame : Frame, optional
        What stood around the questions in training; by default :func:`frame_of` the tokenizer.

    Raises
    ------
    InputError
        When there is no model, or its tokenizer does not read each option as one token.
    """
    with quiet_transformers():
        tokenizer = load_tokenizer(str(path))
        model = load(transformers.AutoModelForCausalLM, str(path), dtype=torch.float32)
    ends = np.atleast_1d(model.generation_config.eos_token_id or []).astype(int).tolist()
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        model.generation_config.eos_token_id = [*ends, tokenizer.eos_token_id]  # what answers end with in training
    reader = reader_of(tokenizer)
    option_ids(reader)
    return CausalModel(model.eval(), reader, frame_of(tokenizer) if frame is None else frame)


def reader_of(tokenizer: Any) -> Tokenizer:
    """Return the fast tokenizer inside one of transformers, as a copy with truncation and padding switched off."""
    reader = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    reader.no_truncation()
    reader.no_padding()
    return reader


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
