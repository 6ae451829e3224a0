"""What tokens cost: a dated table that comes with the package, and that a caller can replace.

A price that nobody stated is unknown, which is never 0. A table may belong to one endpoint: what one provider asks for
a model says nothing of a server that gives its own model the same name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from er_distill.errors import InputError, did_you_mean

TOKENS_A_PRICE = 1_000_000
"""Tokens that a price is for."""


@dataclass(frozen=True)
class Price:
    """What a model's tokens cost.

    Attributes
    ----------
    prompt, completion : float
        Money for a million tokens read, and written.
    currency : str
        ``"USD"``.
    date : str
        When the price was read, as year-month-day; empty where the table does not say.
    source : str
        Where it was read; empty where the table does not say.
    """

    prompt: float
    completion: float
    currency: str
    date: str = ""
    source: str = ""

    def money(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / TOKENS_A_PRICE


@dataclass(frozen=True)
class Prices:
    """A table of prices.

    Attributes
    ----------
    name : str
        What messages call the table: a path, or ``"the price table of er_distill"``.
    currency : str
        One for the whole table, so that sums mean something.
    models : mapping of str to Price
    endpoint : str or None
        The address the prices hold for; None: wherever the table's owner uses it.
    """

    name: str
    currency: str
    models: Mapping[str, Price]
    endpoint: str | None = None

    def of(self, model: str, endpoint: str | None) -> Price | None:
        """Return the price of a model, or None where it is unknown.

        A name is looked up as it stands: dated versions of one model have had differing prices.

        Parameters
        ----------
        model : str
        endpoint : str or None
            Base address of the server that is asked; None for the provider's own.
        """
        if self.endpoint is not None and endpoint is not None and _host(endpoint) != _host(self.endpoint):
            return None
        return self.models.get(model)

    def why_unknown(self, model: str, endpoint: str | None) -> str:
        """Say why :meth:`of` knows no price, and what to do."""
        if model in self.models:
            return f"{self.name} holds for {self.endpoint}, not for {endpoint}. Give its prices with --prices."
        return f"{self.name} has no price for {model!r}. {did_you_mean(model, self.models)} Give one with --prices."


def read_prices(path: Path | None = None) -> Prices:
    """Read a table of prices: JSON with ``currency`` and ``models``, each with ``prompt`` and ``completion``.

    Parameters
    ----------
    path : Path, optional
        Default: the table that comes with the package.

    Raises
    ------
    InputError
        When the file is missing, is no such table, or holds a price that is no number from 0.
    """
    if path is None:
        name = "the price table of er_distill"
        text = (files("er_distill.training") / "prices.json").read_text(encoding="utf-8")
    else:
        name = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as a table of prices: {error}. Give a JSON file.") from error
    try:
        return _table(json.loads(text), name)
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is no JSON ({error}). Correct it.") from error


def _table(content: Any, name: str) -> Prices:
    form = 'Write {"currency": "USD", "models": {"NAME": {"prompt": 0.15, "completion": 0.6, "date": "2026-05-27"}}}.'
    if not isinstance(content, dict) or not isinstance(content.get("models"), dict):
        raise InputError(f"{name} has no models. {form}")
    currency = content.get("currency")
    if not isinstance(currency, str) or not currency:
        raise InputError(f"{name} names no currency. {form}")
    models = {}
    for model, entry in content["models"].items():
        if not isinstance(entry, dict):
            raise InputError(f"{name}: the price of {model!r} is {entry!r}. {form}")
        prompt, completion = (_amount(entry.get(key), f"{name}: {key!r} of {model!r}") for key in _KINDS)
        models[model] = Price(prompt, completion, currency, str(entry.get("date", "")), str(entry.get("source", "")))
    endpoint = content.get("endpoint")
    return Prices(name, currency, models, None if endpoint is None else str(endpoint))


_KINDS = ("prompt", "completion")


def _amount(value: Any, where: str) -> float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    if not usable:
        raise InputError(f"{where} is {value!r}. Give the money for a million tokens, a number from 0.")
    return float(value)


def _host(endpoint: str) -> str:
    return (urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").hostname or "").lower()
