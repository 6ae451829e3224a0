"""What requests to teachers may take: limits, and the worst case of a request."""

from __future__ import annotations

from dataclasses import dataclass

from er_distill.training.prices import Price
from er_distill.training.teachers.base import Request

NANO = 1_000_000_000
"""Money is added up in billionths: integers add up exactly."""


@dataclass(frozen=True)
class Held:
    """What counts against limits: what was spent, and the worst case where that is not known.

    Attributes
    ----------
    calls, tokens : int
    money : float
        Of the calls that have a price.
    spent : float
        The part of `money` that is known to be spent.
    """

    calls: int
    tokens: int
    money: float
    spent: float


@dataclass(frozen=True)
class Limits:
    """What all runs on one labels folder may take together; None: no limit.

    Attributes
    ----------
    money : float or None
        In the currency of the prices.
    calls : int or None
        Requests sent, failed ones included.
    tokens : int or None
        Read and written.
    """

    money: float | None = None
    calls: int | None = None
    tokens: int | None = None

    def refusal(self, held: Held, tokens: int, money: int) -> str | None:
        """Say why one more call could pass a limit; None where it cannot.

        Parameters
        ----------
        held : Held
        tokens, money : int
            The call's worst case, money in billionths.
        """
        if self.calls is not None and held.calls + 1 > self.calls:
            return f"the limit of {self.calls:,} calls is reached"
        if self.tokens is not None and held.tokens + tokens > self.tokens:
            return (
                f"the limit of {self.tokens:,} tokens is reached: {held.tokens:,} are spent or set aside, and the next "
                f"call can take {tokens:,}"
            )
        if self.money is not None and in_nano(held.money) + money > in_nano(self.money):
            return (
                f"the budget of {self.money:g} is reached: {held.money:.4f} are spent or set aside, and the next call "
                f"can cost {money / NANO:.4f}"
            )
        return None


def worst_case(request: Request, price: Price | None) -> tuple[int, int | None]:
    """Return the most tokens a request can take, and the most money, in billionths; None where it has no price."""
    tokens = request.max_prompt_tokens + request.max_completion_tokens
    if price is None:
        return tokens, None
    return tokens, in_nano(price.money(request.max_prompt_tokens, request.max_completion_tokens))


def in_nano(money: float) -> int:
    """Return money in billionths."""
    return round(money * NANO)
