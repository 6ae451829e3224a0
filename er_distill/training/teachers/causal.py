"""A causal language model of transformers: next-token probabilities of given options, and short texts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from er_distill.errors import InputError
from er_distill.training import missing_extra
from er_distill.training.prompts import Prompt
from er_distill.training.teachers.base import Request

try:
    import torch
    import transformers
    from jinja2 import TemplateError

    from er_distill.training.pretrained import load, quiet_transformers
except ImportError as error:
    raise missing_extra(error) from error

_OPENING = '{"answer": "'  # what an answer begins with: the token after it is the option
_STOPS = ["\n\n", "<record"]  # where an explanation ends, should the model not end it
_LEAST = -30.0  # of the logarithm of a probability


@dataclass(frozen=True)
class LocalReply:
    """What the model gave for one prompt: a text, or the error why there is none.

    Attributes
    ----------
    text, error : str or None
    logprobs : tuple of float or None
        Of the candidates shown and, last, of none.
    prompt_tokens, completion_tokens : int
    """

    text: str | None
    error: str | None
    logprobs: tuple[float, ...] | None
    prompt_tokens: int
    completion_tokens: int


class CausalModel:
    """A model with its tokenizer on one device.

    Parameters
    ----------
    path : str
        A folder or a model id.
    device : torch.device
    dtype : str
        ``"auto"`` takes that of the weights, and float32 on a CPU.
    """

    def __init__(self, path: str, device: torch.device, dtype: str) -> None:
        self._path = path
        with quiet_transformers():
            self._tokenizer = load(transformers.AutoTokenizer, path, what="teacher")
            wanted = "float32" if dtype == "auto" and device.type == "cpu" else dtype
            self._lm = load(transformers.AutoModelForCausalLM, path, what="teacher", dtype=wanted).to(device).eval()
        self._takes = inspect.signature(self._lm.forward).parameters
        self._reads = getattr(self._lm.config, "max_position_embeddings", None) or 2**31
        padding = self._tokenizer.pad_token_id
        self._padding = padding if padding is not None else self._tokenizer.eos_token_id or 0
        self._options: dict[tuple[str, ...], list[int]] = {}

    def replies(self, prompts: Sequence[Prompt], requests: Sequence[Request]) -> list[LocalReply]:
        """Answer prompts, those with options in one batch.

        Raises
        ------
        InputError
            When the tokenizer cannot tell the options apart by their first token.
        """
        ids = [self._ids(prompt) for prompt in prompts]
        spare = [len(own) + request.max_completion_tokens for own, request in zip(ids, requests, strict=True)]
        replies: dict[int, LocalReply] = {
            at: LocalReply(
                None, f"prompt of {len(ids[at])} tokens, the model reads {self._reads}", None, len(ids[at]), 0
            )
            for at in range(len(prompts))
            if spare[at] > self._reads
        }
        scored = [at for at, prompt in enumerate(prompts) if prompt.options and at not in replies]
        for at, logits in zip(scored, self._next_logits([ids[at] for at in scored]), strict=True):
            replies[at] = self._choice(prompts[at], logits, len(ids[at]))
        for at, request in enumerate(requests):
            if at not in replies:
                replies[at] = self._text(ids[at], request.max_completion_tokens)
        return [replies[at] for at in range(len(prompts))]

    def _choice(self, prompt: Prompt, logits: torch.Tensor, n_tokens: int) -> LocalReply:
        logprobs = logits[self._option_ids(prompt.options)].log_softmax(0).tolist()
        said = prompt.options[max(range(len(logprobs)), key=logprobs.__getitem__)]
        # A comparison has no option for none.
        whole = logprobs + [_LEAST] * (len(prompt.shown) + 1 - len(logprobs))
        text = json.dumps({"answer": said})
        return LocalReply(text, None, tuple(max(value, _LEAST) for value in whole), n_tokens, 0)

    def _next_logits(self, batch: Sequence[list[int]]) -> torch.Tensor:
        """Return the logits of the token after each list, shape (batch, vocabulary), float32 on the CPU."""
        if not batch:
            return torch.empty(0, 0)
        width = max(map(len, batch))
        ids = torch.tensor([[self._padding] * (width - len(own)) + own for own in batch])
        mask = torch.tensor([[0] * (width - len(own)) + [1] * len(own) for own in batch])
        inputs = {"input_ids": ids, "attention_mask": mask}
        if "position_ids" in self._takes:  # padding on the left must not move the text
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        on_device: dict[str, Any] = {name: values.to(self._lm.device) for name, values in inputs.items()}
        if "logits_to_keep" in self._takes:
            on_device["logits_to_keep"] = 1
        with torch.inference_mode():
            return self._lm(**on_device, use_cache=False).logits[:, -1].float().cpu()

    def _text(self, ids: list[int], max_tokens: int) -> LocalReply:
        inputs = torch.tensor([ids], device=self._lm.device)
        with torch.inference_mode():
            output = self._lm.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=self._padding,
                stop_strings=_STOPS,
                tokenizer=self._tokenizer,
            )[0, len(ids) :]
        text = self._tokenizer.decode(output, skip_special_tokens=True)
        for stop in _STOPS:
            text = text.partition(stop)[0] if text.strip() else text
        return LocalReply(text.strip(), None, None, len(ids), len(output))

    def _ids(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt, up to where the option or the free text begins."""
        messages = [dict(message) for message in prompt.messages]
        if self._tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        else:
            text = self._rendered(messages)
        text += _OPENING if prompt.options else ""
        return list(self._tokenizer(text, add_special_tokens=self._tokenizer.chat_template is None)["input_ids"])

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        settings: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        try:
            return str(self._tokenizer.apply_chat_template(messages, **settings))
        except TemplateError:  # some templates know no system message
            system, first, *rest = messages
            merged = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
            return str(self._tokenizer.apply_chat_template([merged, *rest], **settings))

    def _option_ids(self, options: tuple[str, ...]) -> list[int]:
        if options not in self._options:
            opening = self._tokenizer(_OPENING, add_special_tokens=False)["input_ids"]
            whole = [self._tokenizer(_OPENING + option, add_special_tokens=False)["input_ids"] for option in options]
            first = [ids[len(opening)] for ids in whole if len(ids) > len(opening) and ids[: len(opening)] == opening]
            if len(set(first)) < len(options):
                raise InputError(
                    f"The tokenizer of {self._path!r} cannot tell the options {', '.join(options)} apart by one token. "
                    'Ask about fewer candidates: strategy "compound" with a small keep, or "match".'
                )
            self._options[options] = first
        return self._options[options]
