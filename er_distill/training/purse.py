"""What a choice of questions may cost, in questions and in money."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Budget:
    """What may be asked at most.

    Attributes
    ----------
    questions : int
    money : float
        In the unit of `costs`; infinite where money sets no limit.
    costs : ndarray of float64, shape (n_questions,)
        Of each question.
    """

    questions: int
    money: float
    costs: np.ndarray

    def purse(self, share: float = 1.0) -> Purse:
        """Return a share of it to spend."""
        # The added hair keeps 0.29 * 100 from being 28, and a sum of prices like 0.1 from failing at the last bit.
        money = self.money if share == 1 or np.isinf(self.money) else share * self.money
        return Purse(int(share * self.questions + 1e-9), money * (1 + 1e-12), self.costs)


@dataclass
class Purse:
    """What is left of a budget."""

    questions: int
    money: float
    costs: np.ndarray

    def take(self, question: int) -> bool:
        """Pay for a question; False, and nothing is paid, where it does not fit."""
        if self.questions < 1 or self.costs[question] > self.money:
            return False
        self.questions -= 1
        self.money -= float(self.costs[question])
        return True
