"""Random draws: one stream of uniform numbers from a numpy generator, cheap enough for a call per value."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 4096


class Draw:
    """Draws from one numpy generator.

    Uniform numbers are fetched in blocks, because a scalar call of a numpy generator costs more than all the rest of
    a draw.

    Parameters
    ----------
    rng : numpy.random.Generator
        The source; two equal sources give the same draws in the same order.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._block: list[float] = []

    def random(self) -> float:
        """Return a number in [0, 1)."""
        if not self._block:
            self._block = self._rng.random(_BLOCK).tolist()
        return self._block.pop()

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.random() < probability

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.random()

    def below(self, count: int) -> int:
        """Return an integer in [0, count)."""
        return int(self.random() * count)

    def between(self, low: int, high: int) -> int:
        """Return an integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def pick(self, values: Sequence[T]) -> T:
        """Return one of the values, each as likely as the others."""
        return values[self.below(len(values))]

    def digits(self, count: int) -> str:
        """Return `count` decimal digits of which the first is not zero."""
        return str(self.between(10 ** (count - 1), 10**count - 1))

    def exponential(self) -> float:
        """Return a draw from the exponential distribution of mean 1."""
        return -math.log(1.0 - self.random())

    def poisson(self, mean: float) -> int:
        """Return a Poisson draw (Knuth's method: `mean` is small here)."""
        limit, product, count = math.exp(-mean), self.random(), 0
        while product > limit:
            product *= self.random()
            count += 1
        return count

    def shuffled(self, values: Iterable[T]) -> list[T]:
        """Return the values in random order (Fisher and Yates)."""
        result = list(values)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result


class Weighted(Generic[T]):
    """Values with unequal chances.

    Parameters
    ----------
    values : sequence
        What can be drawn.
    weights : sequence of float
        One positive weight a value; only their ratios count.
    """

    def __init__(self, values: Sequence[T], weights: Sequence[float]) -> None:
        self.values = tuple(values)
        self._cumulative = list(accumulate(weights))

    def pick(self, draw: Draw) -> T:
        """Draw one value."""
        index = bisect_right(self._cumulative, draw.random() * self._cumulative[-1])
        return self.values[min(index, len(self.values) - 1)]


def words(text: str) -> tuple[str, ...]:
    """Split a vocabulary at white space; an underscore stands for a space inside an entry."""
    return tuple(word.replace("_", " ") for word in text.split())


def ranked(values: Sequence[T], exponent: float = 0.8, offset: float = 4.0) -> Weighted[T]:
    """Give values listed from common to rare the chances of a Zipf-Mandelbrot law.

    Parameters
    ----------
    values : sequence
        From the most common to the rarest.
    exponent : float
        How fast the chances fall.
    offset : float
        How many leading values are about equally common.

    Returns
    -------
    Weighted
        The values with weights 1 / (rank + offset) ** exponent.
    """
    return Weighted(values, [1.0 / (rank + offset) ** exponent for rank in range(1, len(values) + 1)])
