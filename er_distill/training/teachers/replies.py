"""What a model said, as an answer: tolerant of the form, strict about the content.

A reply may be JSON, JSON with prose around it, half a JSON object, ``[k]`` or the bare label; it counts when it names
one of the options and no other. Anything else is an abstention with its reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from er_distill.training.prompts import NONE_LABEL, Prompt
from er_distill.training.teachers.base import NONE, Answer

_FLOOR = math.log(1e-6)
"""Log-probability of an option that a server lists no probability for, where nothing better bounds it."""

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_HALF_JSON = re.compile(r"""\{[^{}]*?["']answer["']\s*:\s*["']?\s*\[?(\w+)(?=["'\s,}\]]|\Z)""")
_BRACKETS = re.compile(r"\[\s*(\w+)\s*\]")
_STATED = re.compile(r"\banswer(?:\s+is|\s*:)\s*[\"'*]*\[?(\w+)\b", re.IGNORECASE)
_BARE = re.compile(r"\W*(\w+)\W*")
_NONE_WORDS = frozenset({"none", "null", "neither", NONE_LABEL})


@dataclass(frozen=True)
class Token:
    """A token of a reply and the likeliest tokens at its place.

    Attributes
    ----------
    text : str
    alternatives : mapping of str to float
        Text of each to its natural log-probability.
    """

    text: str
    alternatives: Mapping[str, float]


def read(prompt: Prompt, text: str, logprobs: Sequence[float] | None = None) -> Answer:
    """Return the answer that a reply gives.

    Parameters
    ----------
    prompt : Prompt
        What was asked.
    text : str
        The reply.
    logprobs : sequence of float, optional
        Natural log-probability of each candidate shown and, last, of none.

    Returns
    -------
    Answer
        Its choice is a position among the candidates *shown*; where free text was asked for, it has an explanation and
        no choice. It abstains, with the reason, where the reply cannot be read.
    """
    text = _THOUGHT.sub("", text).strip()
    if not text:
        return Answer(None, reason="empty answer")
    if not prompt.options:
        return Answer(None, explanation=text)
    said = next((found for found in (set(values) for values in _readings(prompt, text)) if found), None)
    if said is None:
        return Answer(None, reason="unreadable answer")
    meant = {_option(value, prompt.options) for value in said}
    if None in meant:
        return Answer(None, reason="answer is not in the list")
    if len(meant) > 1:
        return Answer(None, reason="more than one answer")
    (option,) = meant
    choice = option if option is not None and option < len(prompt.shown) else NONE
    return Answer(choice, probabilities=None if logprobs is None else _normalised(logprobs))


def option_logprobs(prompt: Prompt, tokens: Sequence[Token]) -> tuple[float, ...] | None:
    """Return the log-probabilities of the candidates shown and of none, read where the reply names its option.

    Parameters
    ----------
    prompt : Prompt
    tokens : sequence of Token
        The tokens of the reply.

    Returns
    -------
    tuple of float or None
        An option that is not among the alternatives gets the least of theirs, which bounds it from above. None where
        the place cannot be found or no option is among its alternatives.
    """
    text = "".join(token.text for token in tokens)
    if not (named := list(_HALF_JSON.finditer(text)) or list(_BRACKETS.finditer(text)) or list(_BARE.finditer(text))):
        return None
    place, begin = named[-1].start(1), 0
    for token in tokens:
        if begin + len(token.text) > place:
            break
        begin += len(token.text)
    mass = dict.fromkeys(prompt.options, 0.0)
    for alternative, logprob in token.alternatives.items():
        label = alternative.strip(" \"'[]")
        if label in mass:
            mass[label] += math.exp(min(logprob, 0.0))
    if not any(mass.values()):
        return None
    bound = max(min(token.alternatives.values()), _FLOOR)
    found = [math.log(value) if value > 0 else bound for value in mass.values()]
    return tuple(max(value, _FLOOR) for value in found) + ((_FLOOR,) if len(found) == len(prompt.shown) else ())


def _readings(prompt: Prompt, text: str) -> Iterator[list[str]]:
    """Yield what the text says in each of the forms, the most explicit first."""
    yield list(_json_answers(text))
    yield [] if _is_cut(prompt, text) else _HALF_JSON.findall(text)
    # A sentence that stands in a record is a repetition, no answer; braces and brackets cannot stand in one.
    asked = prompt.messages[-1]["content"].lower()
    yield [found.group(1) for found in _STATED.finditer(text) if found.group(0).lower() not in asked]
    yield _BRACKETS.findall(text)
    bare = _BARE.fullmatch(text)
    yield [bare.group(1)] if bare and (bare.group(1).isdigit() or bare.group(1) in prompt.options) else []
    first = _BARE.match(text)
    yield [first.group(1)] if first and first.group(1).lower() in {"yes", "no", "none"} else []


def _is_cut(prompt: Prompt, text: str) -> bool:
    """Whether the text ends within a label that could go on: the "1" of "12"."""
    last = next(reversed(list(_HALF_JSON.finditer(text))), None)
    if last is None or last.end() < len(text):
        return False
    return any(label != last.group(1) and label.startswith(last.group(1)) for label in prompt.options)


def _json_answers(text: str) -> Iterator[str]:
    decoder, begin = json.JSONDecoder(), text.find("{")
    while begin >= 0:
        try:
            value, end = decoder.raw_decode(text, begin)
        except (json.JSONDecodeError, RecursionError):
            end = begin + 1
        else:
            if isinstance(value, dict) and "answer" in value:
                yield str(value["answer"]).strip(" []")
        begin = text.find("{", end)


def _option(said: str, options: Sequence[str]) -> int | None:
    """Return the position of the option that was said; None when it is not in the list."""
    for label in (said, said.upper(), said.lower(), NONE_LABEL if said.lower() in _NONE_WORDS else said):
        if label in options:
            return options.index(label)
    return None


def _normalised(logprobs: Sequence[float]) -> tuple[float, ...]:
    values = np.exp(np.asarray(logprobs, dtype=np.float64) - max(logprobs))
    return tuple((values / values.sum()).tolist())
