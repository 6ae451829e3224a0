"""What a labels folder has cost, teacher by teacher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from er_distill.training.database import Database
from er_distill.training.limits import NANO


@dataclass(frozen=True)
class Spending:
    """The calls of one teacher.

    Attributes
    ----------
    teacher : str
    calls : int
        Requests sent, those that failed and those nothing was heard of among them.
    answered : int
    errors : mapping of str to int
        Failed calls by the kind of error.
    unheard : int
        Calls under way, or in flight when a run was killed.
    prompt_tokens, completion_tokens : int
        As far as the server counted them.
    money : float
        As far as it is known.
    unknown : int
        Calls that may have cost something, nobody knows what.
    most : float or None
        What they can have cost at most; None where there is no price.
    currency : str or None
    seconds : float
        Of all calls, one after the other.
    """

    teacher: str
    calls: int
    answered: int
    errors: Mapping[str, int]
    unheard: int
    prompt_tokens: int
    completion_tokens: int
    money: float
    unknown: int
    most: float | None
    currency: str | None
    seconds: float

    @property
    def cost(self) -> str:
        """The cost in words; what is unknown is never shown as 0."""
        return cost_in_words(self.money, self.unknown, self.most, self.currency, self.calls)


def spending(database: Database) -> list[Spending]:
    """Add up the calls of each teacher, in the order of their names."""
    errors: dict[str, Counter[str]] = {}
    for row in database.rows("SELECT teacher, error FROM attempts WHERE error IS NOT NULL"):
        errors.setdefault(row["teacher"], Counter())[row["error"].partition(":")[0]] += 1
    rows = database.rows(
        """SELECT teacher, COUNT(*) AS calls, COUNT(text) AS answered, SUM(NOT done) AS unheard,
        SUM(COALESCE(prompt_tokens, 0)) AS read, SUM(COALESCE(completion_tokens, 0)) AS written,
        SUM(COALESCE(money, 0)) AS money, SUM(money IS NULL) AS unknown,
        SUM(CASE WHEN money IS NULL THEN held_money END) AS most,
        SUM(money IS NULL AND held_money IS NULL) AS unpriced,
        MAX(currency) AS currency, SUM(COALESCE(seconds, 0)) AS seconds
        FROM attempts GROUP BY teacher ORDER BY teacher"""
    )
    return [
        Spending(
            row["teacher"],
            row["calls"],
            row["answered"],
            errors.get(row["teacher"], {}),
            row["unheard"],
            row["read"],
            row["written"],
            row["money"] / NANO,
            row["unknown"],
            None if row["unpriced"] else (row["most"] or 0) / NANO,
            row["currency"],
            row["seconds"],
        )
        for row in rows
    ]


def total_cost(parts: Iterable[Spending]) -> str:
    """Say in words what all teachers have cost."""
    listed = list(parts)
    if not listed:
        return "nothing: no request was sent"
    limits = [one.most for one in listed]
    most = None if None in limits else sum(limit for limit in limits if limit is not None)
    return cost_in_words(
        sum(one.money for one in listed),
        sum(one.unknown for one in listed),
        most,
        next((one.currency for one in listed if one.currency), None),
        sum(one.calls for one in listed),
    )


def cost_in_words(money: float, unknown: int, most: float | None, currency: str | None, calls: int) -> str:
    """Say a sum, and what of it nobody knows.

    Parameters
    ----------
    money : float
        What is known.
    unknown : int
        Calls of unknown cost.
    most : float or None
        What they can have cost at most; None: no price says.
    currency : str or None
    calls : int

    Examples
    --------
    >>> cost_in_words(0.25, 0, 0.0, "USD", 10)
    '0.2500 USD'
    >>> cost_in_words(0.25, 2, 0.01, "USD", 10)
    '0.2500 USD, and 2 calls of unknown cost, 0.0100 USD at most'
    >>> cost_in_words(0.0, 10, None, None, 10)
    'unknown: no price for 10 calls'
    """
    if not unknown:
        return in_money(money, currency)
    if unknown == calls and most is None:
        return f"unknown: no price for {unknown:,} calls"
    limit = "" if most is None else f", {in_money(most, currency)} at most"
    return f"{in_money(money, currency)}, and {unknown:,} calls of unknown cost{limit}"


def in_money(amount: float, currency: str | None) -> str:
    """Write an amount: small ones with the digits that they need."""
    digits = 4 if amount == 0 or amount >= 0.001 else 7
    return f"{amount:.{digits}f}" + (f" {currency}" if currency else "")
