"""Several teachers as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar, get_args

import numpy as np

from er_distill.errors import InputError, did_you_mean
from er_distill.training.agreement import Agreement, estimate
from er_distill.training.exclusion import exclusive
from er_distill.training.labels import Candidates
from er_distill.training.teachers.base import NONE, Answer, Cost, Question, Teacher

Rule = Literal["error_model", "majority", "weighted", "union", "intersection"]
Number = TypeVar("Number", int, float)

LEAST_TEACHERS = 3
"""Teachers the error model needs: of two who disagree, nothing tells which one errs."""


class Ensemble:
    """Asks several teachers and combines what they say.

    Parameters
    ----------
    teachers : sequence of Teacher
    rule : {"error_model", "majority", "weighted", "union", "intersection"}
        "error_model": the likely truth, and how often each teacher errs, estimated from where they agree (see
        `er_distill.training.agreement`); soft labels. "majority": one vote a teacher; probabilities are shares of the
        votes. "weighted": the mean of the teachers' probabilities by `weights`. "union": none only where all say so,
        else the candidate most of them pick. "intersection": a candidate only where all pick it, else none. A teacher
        that abstains has no say, and where all do the ensemble does.
    weights : sequence of float, optional
        What each teacher's answer is worth in "weighted", which needs them, and in "error_model": there by default 1,
        and less for models that are likely to err together.
    one_to_one : bool
        "error_model" only: no record of the right table matches two queries, so that two queries that want one
        candidate count against each other. True for two tables without duplicates, when all questions are asked at
        once.

    Attributes
    ----------
    name : str
    licence : str
        All licences of the teachers, since each has a share in every answer.
    agreement : Agreement or None
        What the error model found at the last questions.

    Raises
    ------
    InputError
        When the rule is unknown, or does not go with the teachers or the other parameters.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        rule: Rule = "error_model",
        *,
        weights: Sequence[float] | None = None,
        one_to_one: bool = False,
    ) -> None:
        if rule not in get_args(Rule):
            raise InputError(f"rule={rule!r} is not known. {did_you_mean(rule, get_args(Rule))}")
        if not teachers:
            raise InputError("an ensemble needs teachers. Name at least one.")
        names = [teacher.name for teacher in teachers]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name!r} is in the ensemble twice, and would be counted twice. Name it once.")
        if rule == "error_model" and len(teachers) < LEAST_TEACHERS:
            raise InputError(
                f"rule='error_model' needs {LEAST_TEACHERS} teachers or more, not {len(teachers)}: of two who disagree "
                "nothing tells which one errs. Add a teacher, or use rule='majority'."
            )
        if (rule == "weighted" and weights is None) or (weights is not None and len(weights) != len(teachers)):
            raise InputError(f"weights must be {len(teachers)} numbers, one a teacher.")
        if weights is not None and not all(0 < weight < float("inf") for weight in weights):
            raise InputError("weights must be above 0. Leave a teacher out whose answers are worth nothing.")
        if weights is not None and rule not in ("weighted", "error_model"):
            raise InputError(f"rule={rule!r} knows no weights. Use rule='weighted', or leave them out.")
        if one_to_one and rule != "error_model":
            raise InputError(f"one_to_one=True needs rule='error_model', not {rule!r}. Leave it out.")
        self.teachers = tuple(teachers)
        self.rule: Rule = rule
        self.weights = None if weights is None else tuple(float(weight) for weight in weights)
        self.one_to_one = one_to_one
        self.name = f"{rule}({', '.join(names)})"
        self.licence = " and ".join(sorted({teacher.licence for teacher in teachers}))
        self.agreement: Agreement | None = None

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer), in their order, once every teacher has answered all of them.

        An answer has the explanation of the first teacher that made the same choice, and costs what all of them took.

        Raises
        ------
        InputError
            When `one_to_one` is asked of one table.
        """
        if self.one_to_one and candidates.right is None:
            raise InputError(
                f"one_to_one=True needs a left and a right table, and {candidates.name} is one table. Leave it out."
            )
        asked: list[list[Answer]] = [[] for _ in questions]
        for teacher in self.teachers:
            said = dict(teacher.answer(candidates, questions))
            for position, answers in enumerate(asked):
                answers.append(said.get(position, Answer(None, reason="no answer")))
        answered = [position for position, answers in enumerate(asked) if not all(one.abstained for one in answers)]
        found = self._verdicts([questions[row] for row in answered], [asked[row] for row in answered])
        verdicts = dict(zip(answered, found, strict=True))
        for position, answers in enumerate(asked):
            cost = _sum_of_costs([answer.cost for answer in answers])
            if position not in verdicts:
                reasons = dict.fromkeys(answer.reason or "no reason" for answer in answers)
                yield position, Answer(None, cost=cost, reason=f"every teacher abstained: {'; '.join(reasons)}")
                continue
            choice, probabilities = verdicts[position]
            agreeing = (answer.explanation for answer in answers if answer.choice == choice and answer.explanation)
            yield position, Answer(choice, probabilities, next(agreeing, None), cost)

    def _verdicts(
        self, questions: Sequence[Question], asked: Sequence[Sequence[Answer]]
    ) -> list[tuple[int, tuple[float, ...] | None]]:
        if self.rule in ("union", "intersection"):
            return [(_set_rule(self.rule, answers), None) for answers in asked]
        labels = self._labels(questions, asked)
        return [(_best(label), tuple(label.tolist())) for label in labels]

    def _labels(self, questions: Sequence[Question], asked: Sequence[Sequence[Answer]]) -> Sequence[np.ndarray]:
        lists = [question.candidates for question in questions]
        votes = [
            # A majority counts heads: a teacher has one vote, however sure it is.
            np.stack([(Answer(one.choice) if self.rule == "majority" else one).votes(len(listed)) for one in answers])
            for listed, answers in zip(lists, asked, strict=True)
        ]
        if self.rule != "error_model":
            return [
                _mean(rows, np.ones(len(rows)) if self.weights is None else np.asarray(self.weights)) for rows in votes
            ]
        if not votes:
            return []
        self.agreement = estimate(votes, weights=self.weights)
        return exclusive(self.agreement.labels, lists) if self.one_to_one else self.agreement.labels


def _mean(votes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the votes of those who did not abstain."""
    spoken = ~np.isnan(votes[:, 0])
    return weights[spoken] @ votes[spoken] / weights[spoken].sum()


def _best(label: np.ndarray) -> int:
    """The likeliest answer: none where a candidate is no likelier, and the first of candidates that are alike."""
    # Sums of the same votes in another order differ in their last bits, which must not decide.
    rounded = np.round(label, 12)
    place = int(rounded[:-1].argmax())
    return place if rounded[place] > rounded[-1] else NONE


def _set_rule(rule: Rule, answers: Sequence[Answer]) -> int:
    choices = [answer.choice for answer in answers if answer.choice is not None]
    if rule == "intersection":
        return choices[0] if len(set(choices)) == 1 else NONE
    picked = [choice for choice in choices if choice != NONE]
    return min(set(picked), key=lambda choice: (-picked.count(choice), choice), default=NONE)


def _sum_of_costs(costs: Sequence[Cost]) -> Cost:
    """What all of them took; a number is unknown as soon as a teacher that made requests does not know it."""
    return Cost(
        sum(cost.requests for cost in costs),
        _total([cost.prompt_tokens for cost in costs if cost.requests or cost.prompt_tokens is not None]),
        _total([cost.completion_tokens for cost in costs if cost.requests or cost.completion_tokens is not None]),
        _total([cost.money for cost in costs if cost.requests or cost.money is not None]),
        _total([cost.seconds for cost in costs if cost.requests or cost.seconds is not None]),
    )


def _total(values: Sequence[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
