"""What answers would tell about the matching as a whole: its joint entropy, and how much of it answers remove.

After BoostER and MQsSP (Li et al. 2024, arXiv 2403.06434 and 2401.03426): the present student's probabilities make a
distribution over the possible matchings; the questions worth the money are those whose answers lower its entropy most.
There a question is a pair, and is chosen as if its answer were right. Here a question is a list ("which of these, or
none?"), and the teacher's errors count from the start; with an accuracy of 1 the gain is the answers' joint entropy.

The distribution. Pairs are independent events with the student's probabilities, given that a query has at most one
match and, between two tables, a candidate too: a matching's weight is the product of its pairs' odds. Lists that share
a candidate therefore tell about each other.

Its approximation. Enumerating all matchings of a candidate graph is hopeless. So lists are joined into pieces, the
strongest interaction first (the expected number of double bookings of their shared candidates), as long as a piece's
table of choices has at most :data:`CELLS` cells. Inside a piece everything is exact: constraint, answers, errors. The
constraint between pieces is left out, as if their lists did not share candidates; :attr:`Belief.left_out` says how much
that is. Where every component of the graph fits into one piece nothing is approximated.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from er_distill.errors import InputError
from er_distill.training.exclusion import at_most_one
from er_distill.training.purse import Budget
from er_distill.training.teachers.base import Answer, Question

CELLS = 1 << 14
"""Most cells of a piece's table of choices: four lists of ten candidates and "none", or more shorter ones."""

_FREE = 1e-12  # a price of nothing, where gains are divided by prices
_WEAK = 0.01  # a candidate that a list chooses less often joins no lists; inside a piece it is still booked once


def entropy(distribution: np.ndarray) -> float:
    """Shannon entropy, in bits, of probabilities of any shape."""
    p = distribution[distribution > 0]
    return float(-(p * np.log2(p)).sum())


@dataclass
class _Piece:
    """Lists that are judged together.

    Attributes
    ----------
    members : tuple of int
        Positions of their questions.
    joint : ndarray of float64
        Probability of each combination of choices; an axis a member, whose last place is "none".
    """

    members: tuple[int, ...]
    joint: np.ndarray


class Belief:
    """The distribution over the possible matchings.

    Parameters
    ----------
    questions : sequence of Question
    probability : sequence of ndarray, each of shape (k,)
        Match probabilities of each question's candidates.
    one_to_one : bool
        Whether a candidate matches at most one query (two clean tables). In dedup it may match several.
    accuracy : float
        The teacher's chance to choose rightly, in (0, 1]. An error falls on each of the other choices alike.
    cells : int
        See :data:`CELLS`.

    Attributes
    ----------
    left_out : float
        Expected double bookings between lists of different pieces: what the approximation leaves out.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        probability: Sequence[np.ndarray],
        *,
        one_to_one: bool,
        accuracy: float,
        cells: int = CELLS,
    ) -> None:
        if not 0 < accuracy <= 1:
            raise InputError(
                f"accuracy must lie in (0, 1], not {accuracy:g}. Give the teacher's share of right answers."
            )
        self.accuracy = accuracy
        choices = [at_most_one(p) for p in probability]
        joined, self.left_out = _join(questions, choices, cells) if one_to_one else (list(range(len(questions))), 0.0)
        members: dict[int, list[int]] = {}
        for position, name in enumerate(joined):
            members.setdefault(name, []).append(position)
        self._pieces = [_Piece(tuple(m), _joint([(questions[q], choices[q]) for q in m])) for m in members.values()]
        self._place = {q: (p, axis) for p in range(len(self._pieces)) for axis, q in enumerate(self._pieces[p].members)}

    def update(self, answers: Mapping[int, Answer]) -> None:
        """Take answers in, by Bayes' rule with the teacher's accuracy; an abstention tells nothing.

        Parameters
        ----------
        answers : mapping of int to Answer
            By the position of their question. Where a teacher gave probabilities they count as shares of an answer.

        Raises
        ------
        InputError
            When the answers exclude each other and the accuracy of 1 allows no error.
        """
        for question, answer in answers.items():
            if answer.abstained:
                continue
            place, axis = self._place[question]
            piece = self._pieces[place]
            options = piece.joint.shape[axis]
            wrong = _wrong(self.accuracy, options)
            likelihood = wrong + (self.accuracy - wrong) * answer.votes(options - 1)
            joint = piece.joint * likelihood.reshape([-1 if k == axis else 1 for k in range(piece.joint.ndim)])
            if not joint.sum() > 0:
                raise InputError("the teacher's answers contradict each other: give an accuracy below 1.")
            piece.joint = joint / joint.sum()

    def entropy(self) -> float:
        """Joint entropy over the possible matchings, in bits."""
        return sum(entropy(piece.joint) for piece in self._pieces)

    def choices(self, question: int) -> np.ndarray:
        """Probability of each candidate of a question and, last, of none, shape (k + 1,)."""
        place, axis = self._place[question]
        joint = self._pieces[place].joint
        return joint.sum(axis=tuple(k for k in range(joint.ndim) if k != axis))

    def gain(self, asked: Sequence[int], question: int) -> float:
        """By how many bits the answer to `question` will lower the joint entropy, on average, after those to `asked`.

        The information that it carries about the matching: the entropy of the answers with it, less the entropy of
        those without it, less that of the teacher's errors, which tell nothing.
        """
        place, axis = self._place[question]
        before = [self._place[q][1] for q in asked if self._place[q][0] == place]
        joint = self._pieces[place].joint
        options = joint.shape[axis]
        errors = np.append(np.full(options - 1, _wrong(self.accuracy, options)), self.accuracy)
        return self._answers(joint, [*before, axis]) - self._answers(joint, before) - entropy(errors)

    def _answers(self, joint: np.ndarray, axes: Sequence[int]) -> float:
        """Entropy of the answers to the questions of `axes`."""
        table = joint.sum(axis=tuple(k for k in range(joint.ndim) if k not in axes), keepdims=True)
        for axis in axes:
            wrong = _wrong(self.accuracy, joint.shape[axis])
            table = (self.accuracy - wrong) * table + wrong * table.sum(axis=axis, keepdims=True)
        return entropy(table)

    def greedy(self, open_questions: Sequence[int], budget: Budget) -> list[int]:
        """Choose questions, each time the one that lowers the joint entropy most, given that those before it are asked.

        Answers are independent given the matching, so that gains only shrink as questions are added (submodular; Krause
        & Guestrin 2005, "Near-optimal nonmyopic value of information", UAI): the set is within 1 - 1/e of the best one,
        and a gain is computed anew only when its question comes first (Minoux 1978). Where costs differ, the better of
        two runs is taken, by gain and by gain for the money, as either alone can be arbitrarily bad (Leskovec et al.
        2007, "Cost-effective outbreak detection in networks", KDD).

        Parameters
        ----------
        open_questions : sequence of int
            Positions of the questions that may be asked.
        budget : Budget

        Returns
        -------
        list of int
            In the order in which they were chosen.
        """
        chosen, gained = self._greedy(open_questions, budget, np.ones_like(budget.costs))
        if np.isinf(budget.money) or np.ptp(budget.costs[list(open_questions)]) == 0:
            return chosen
        by_price, gained_by_price = self._greedy(open_questions, budget, np.maximum(budget.costs, _FREE))
        return by_price if gained_by_price > gained else chosen

    def _greedy(self, open_questions: Sequence[int], budget: Budget, unit: np.ndarray) -> tuple[list[int], float]:
        asked: list[list[int]] = [[] for _ in self._pieces]
        # The last entry is how many questions of its piece were asked when a gain was computed.
        queue = [(-self.gain([], q) / unit[q], q, 0) for q in open_questions]
        heapq.heapify(queue)
        purse = budget.purse()
        chosen: list[int] = []
        gained = 0.0
        while queue:
            value, question, known = heapq.heappop(queue)
            before = asked[self._place[question][0]]
            if known < len(before):
                value = -self.gain(before, question) / unit[question]
                heapq.heappush(queue, (value, question, len(before)))
            elif purse.take(question):  # else it is dropped: nothing is given back, so it will not fit later either
                before.append(question)
                chosen.append(question)
                gained -= value * unit[question]
        return chosen, gained


def _wrong(accuracy: float, options: int) -> float:
    """Chance of each single wrong answer."""
    return (1 - accuracy) / (options - 1)


def _joint(lists: Sequence[tuple[Question, np.ndarray]]) -> np.ndarray:
    joint = functools.reduce(np.multiply.outer, [choices for _, choices in lists])
    for b in range(1, len(lists)):
        for a in range(b):
            _, at_a, at_b = np.intersect1d(lists[a][0].candidates, lists[b][0].candidates, return_indices=True)
            for i, j in zip(at_a, at_b, strict=True):
                twice: list[slice | int] = [slice(None)] * len(lists)
                twice[a], twice[b] = int(i), int(j)
                joint[tuple(twice)] = 0.0
    return joint / joint.sum()


def _join(questions: Sequence[Question], choices: Sequence[np.ndarray], cells: int) -> tuple[list[int], float]:
    """Name the piece of each question; also return the interaction that stays between pieces."""
    query = np.repeat(np.arange(len(questions)), [len(q.candidates) for q in questions])
    candidate = np.concatenate([q.candidates for q in questions])
    share = np.concatenate([p[:-1] for p in choices])
    kept = share >= _WEAK
    booked = sparse.csr_array(
        (share[kept], (query[kept], candidate[kept])), shape=(len(questions), int(candidate.max()) + 1)
    )
    shared = sparse.triu(booked @ booked.T, k=1).tocoo()
    piece = list(range(len(questions)))
    size = [len(p) for p in choices]

    def name(question: int) -> int:
        while piece[question] != question:
            piece[question] = question = piece[piece[question]]
        return question

    left_out = 0.0
    for at in np.lexsort((shared.col, shared.row, -shared.data)).tolist():
        a, b = sorted((name(int(shared.row[at])), name(int(shared.col[at]))))
        if a == b:
            continue
        if size[a] * size[b] <= cells:
            piece[b], size[a] = a, size[a] * size[b]
        else:
            left_out += float(shared.data[at])
    return [name(question) for question in range(len(questions))], left_out
