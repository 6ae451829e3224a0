"""Prices: what is looked up, for whom it holds, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from er_distill.errors import InputError
from er_distill.training.prices import read_prices


def table(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_each_price_of_the_package_is_dated_and_has_a_source() -> None:
    prices = read_prices()
    assert prices.models
    assert prices.endpoint
    for price in prices.models.values():
        assert dt.date.fromisoformat(price.date) < dt.date(2100, 1, 1)
        assert price.source
        assert price.currency == prices.currency == "USD"
        assert 0 < price.prompt < price.completion


def test_money_is_for_a_million_tokens(tmp_path: Path) -> None:
    path = table(tmp_path, {"currency": "EUR", "models": {"small": {"prompt": 2, "completion": 10}}})
    price = read_prices(path).of("small", "http://anywhere:8000/v1")
    assert price is not None
    assert price.money(1_000_000, 0) == 2
    assert price.money(500_000, 100_000) == 2
    assert price.money(0, 0) == 0
    assert price.currency == "EUR"


def test_a_price_holds_where_its_table_says() -> None:
    prices = read_prices()
    assert prices.of("gpt-4o-mini", None) is prices.of("gpt-4o-mini", "https://api.openai.com/v1/") is not None
    for elsewhere in ("http://localhost:11434/v1", "https://api.openai.com.example.org/v1", "localhost:8000"):
        assert prices.of("gpt-4o-mini", elsewhere) is None
    why = prices.why_unknown("gpt-4o-mini", "http://localhost:11434/v1")
    assert "not for http://localhost:11434/v1" in why
    assert "--prices" in why


def test_a_dated_version_has_no_price_of_its_alias() -> None:
    prices = read_prices()
    assert prices.of("gpt-4o-2024-05-13", None) is None
    assert "Did you mean 'gpt-4o'" in prices.why_unknown("gpt-4o-2024", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "has no models"),
        ({"models": {}}, "names no currency"),
        ({"currency": "USD", "models": {"m": 3}}, "the price of 'm' is 3"),
        ({"currency": "USD", "models": {"m": {"prompt": 1}}}, "'completion' of 'm' is None"),
        ({"currency": "USD", "models": {"m": {"prompt": -1, "completion": 1}}}, "'prompt' of 'm' is -1"),
        ({"currency": "USD", "models": {"m": {"prompt": True, "completion": 1}}}, "'prompt' of 'm' is True"),
        ({"currency": "USD", "models": {"m": {"prompt": "1", "completion": 1}}}, "'prompt' of 'm' is '1'"),
        ({"currency": "USD", "models": {"m": {"prompt": float("nan"), "completion": 1}}}, "'prompt' of 'm' is nan"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_prices(table(tmp_path, content))


def test_a_file_that_is_missing_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json cannot be read"):
        read_prices(tmp_path / "nowhere.json")
    path = tmp_path / "half.json"
    path.write_text('{"models":', encoding="utf-8")
    with pytest.raises(InputError, match=r"half\.json is no JSON"):
        read_prices(path)
