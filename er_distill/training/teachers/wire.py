"""The forms in which an OpenAI-compatible server can be asked, and its replies read: no network in here.

``chat`` is ``/chat/completions``. ``decisions`` (OpenAI, SGLang) and ``systemone`` (``transformers serve``, Ollama) are
endpoints that score given options and write no text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from er_distill.training.prompts import Prompt
from er_distill.training.teachers.base import Request
from er_distill.training.teachers.replies import Token, option_logprobs

APIS = {"chat": "/chat/completions", "decisions": "/decisions", "systemone": "/systemone"}

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "schema": ("response_format", "json_schema", "guided", "structured", "grammar"),
    "logprobs": ("logprobs",),
    "temperature": ("temperature",),
    "seed": ("seed",),
}
"""What a chat server may refuse, and the words by which its message names it."""

_SCORED = "Give the answer that is asked for above."
_LEAST = 1e-6  # as a probability; its logarithm must be finite


class MalformedReply(ValueError):  # noqa: N818 - the reply is malformed, not the call
    """A reply that is none of its API: nothing can be read from it, another try may help."""


@dataclass(frozen=True)
class Reply:
    """What a server said.

    Attributes
    ----------
    text : str
    logprobs : tuple of float or None
        Of the candidates shown and, last, of none.
    prompt_tokens, completion_tokens : int or None
    """

    text: str
    logprobs: tuple[float, ...] | None
    prompt_tokens: int | None
    completion_tokens: int | None


def body(api: str, prompt: Prompt, request: Request, extras: Set[str], limit: str) -> dict[str, Any]:
    """Return the JSON body of a request.

    Parameters
    ----------
    api : {"chat", "decisions", "systemone"}
    prompt : Prompt
    request : Request
    extras : set of str
        Which of :data:`EXTRAS` to send.
    limit : str
        What the server calls the limit of tokens: ``"max_tokens"`` or ``"max_completion_tokens"``.
    """
    if api == "decisions":
        choices = [{"value": label, "description": meaning} for label, meaning in prompt.meanings().items()]
        question = {"type": "choice", "name": "answer", "instructions": _SCORED, "choices": choices}
        return {"model": request.model, "input": list(request.messages), "questions": [question]}
    if api == "systemone":
        scored = {"type": "choice", "instructions": _SCORED, "criteria": prompt.meanings()}
        state = "\n\n".join(message["content"] for message in request.messages)
        return {"model": request.model, "state": state, "questions": {"answer": scored}}
    sent = {"model": request.model, "messages": list(request.messages), limit: request.max_completion_tokens}
    sent |= {name: request.parameters[name] for name in ("temperature", "seed") if name in extras}
    if prompt.options and "schema" in extras:
        form = {"name": "answer", "schema": prompt.schema, "strict": True}
        sent["response_format"] = {"type": "json_schema", "json_schema": form}
    if prompt.options and "logprobs" in extras:
        sent |= {"logprobs": True, "top_logprobs": 20}
    return sent


def read_body(api: str, prompt: Prompt, reply: Any) -> Reply:
    """Return what a reply's JSON says.

    Raises
    ------
    MalformedReply
        When it is not of the form that the API promises.
    """
    try:
        if api == "chat":
            return _chat(prompt, reply)
        return _scores(prompt, reply["answers"][0 if api == "decisions" else "answer"], reply.get("usage") or {})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise MalformedReply(f"malformed reply ({type(error).__name__})") from error


def _chat(prompt: Prompt, reply: Any) -> Reply:
    choice, usage = reply["choices"][0], reply.get("usage") or {}
    text = choice["message"].get("content") or choice["message"].get("refusal") or ""
    if not isinstance(text, str):
        raise TypeError("content")
    listed = (choice.get("logprobs") or {}).get("content") or []
    logprobs = option_logprobs(prompt, [_token(entry) for entry in listed]) if prompt.options and listed else None
    return Reply(text, logprobs, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _token(entry: Mapping[str, Any]) -> Token:
    likely = {other["token"]: float(other["logprob"]) for other in entry.get("top_logprobs") or []}
    return Token(entry["token"], {entry["token"]: float(entry["logprob"])} | likely)


def _scores(prompt: Prompt, answer: Mapping[str, Any], usage: Mapping[str, Any]) -> Reply:
    tokens = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if answer.get("type") == "refusal":
        return Reply("refused", None, *tokens)
    given = answer["probabilities"]
    if not isinstance(given, Mapping):
        given = {entry["value"]: entry["probability"] for entry in given}
    of = [float(given[label]) for label in prompt.options]
    if not all(math.isfinite(probability) and probability >= 0 for probability in of) or sum(of) <= 0:
        raise ValueError("probabilities")
    if len(of) == len(prompt.shown):
        of.append(0.0)
    said = {"answer": answer["choice"], "probabilities": {label: float(given[label]) for label in prompt.options}}
    return Reply(json.dumps(said), tuple(math.log(max(value, _LEAST)) for value in of), *tokens)


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if isinstance(count, int) and count >= 0 else None
