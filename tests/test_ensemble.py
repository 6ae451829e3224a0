"""Ensembles: what each rule decides, and what no rule may depend on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.agreement import estimate
from er_distill.training.labels import Candidates
from er_distill.training.teachers.base import NONE, Answer, Cost, Question, questions_of
from er_distill.training.teachers.ensemble import Ensemble, Rule

SILENT = Answer(None, reason="timeout")


@dataclass
class Scripted:
    """Says what it is told to, last question first."""

    name: str
    answers: Sequence[Answer]
    licence: str = "MIT"
    asked: list[int] = field(default_factory=list)

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        self.asked.append(len(questions))
        yield from reversed(list(enumerate(self.answers)))


def pool(lists: Sequence[Sequence[int]], n_right: int = 10, *, one_table: bool = False) -> Candidates:
    left = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    n_left = n_right if one_table else len(lists)

    def table(name: str, n: int) -> Records:
        return Records(name, np.arange(n), ("name",), (np.array([f"r{k}" for k in range(n)], dtype=object),))

    pairs = Pairs(left, np.concatenate([np.array(one) for one in lists]), n_left, n_right, one_table)
    return Candidates("toys", table("left", n_left), None if one_table else table("right", n_right), pairs)


def combine(rule: Rule, *columns: Sequence[Answer], k: int = 3, **more: object) -> list[Answer]:
    """Ask teachers, given as their answers to questions with the same k candidates."""
    candidates = pool([range(k)] * len(columns[0]))
    teachers = [Scripted(f"t{place}", answers) for place, answers in enumerate(columns)]
    questions = questions_of(candidates)
    answers = list(Ensemble(teachers, rule, **more).answer(candidates, questions))  # type: ignore[arg-type]
    assert [position for position, _ in answers] == list(range(len(questions)))
    assert all(teacher.asked == [len(questions)] for teacher in teachers)
    return [answer for _, answer in answers]


def said(*choices: int | None) -> list[list[Answer]]:
    return [[SILENT if choice is None else Answer(choice)] for choice in choices]


@pytest.mark.parametrize(
    ("choices", "majority", "union", "intersection"),
    [
        ((0, 0, 1), 0, 0, NONE),
        ((0, NONE, NONE), NONE, 0, NONE),
        ((2, 2, 2), 2, 2, 2),
        ((2, 2, None), 2, 2, 2),
        ((NONE, NONE, NONE), NONE, NONE, NONE),
        ((1, NONE, None), NONE, 1, NONE),  # as many for a match as against: no majority for one
        ((2, 1, NONE), NONE, 1, NONE),
        ((2, 1, None), 1, 1, NONE),  # candidates on a par: the first of them
        ((1, 2, 2, 1, NONE), 1, 1, NONE),
    ],
)
def test_rules(choices: tuple[int | None, ...], majority: int, union: int, intersection: int) -> None:
    for order in itertools.permutations(choices):
        for rule, expected in (("majority", majority), ("union", union), ("intersection", intersection)):
            (answer,) = combine(rule, *said(*order))  # type: ignore[arg-type]
            assert answer.choice == expected, (rule, order)
            if rule == "majority":
                votes = [choice for choice in order if choice is not None]
                shares = [votes.count(place) / len(votes) for place in (0, 1, 2, NONE)]
                assert answer.probabilities == pytest.approx(shares)
            else:
                assert answer.probabilities is None


def test_a_majority_counts_heads_and_weights_count_certainty() -> None:
    sure, unsure = Answer(0, (0.9, 0.0, 0.0, 0.1)), Answer(NONE, (0.4, 0.0, 0.0, 0.6))
    (heads,) = combine("majority", [sure], [unsure], [unsure])
    assert (heads.choice, heads.probabilities) == (NONE, pytest.approx((1 / 3, 0, 0, 2 / 3)))
    (certain,) = combine("weighted", [sure], [unsure], [unsure], weights=[1, 1, 1])
    assert (certain.choice, certain.probabilities) == (0, pytest.approx((1.7 / 3, 0, 0, 1.3 / 3)))
    (weighed,) = combine("weighted", [sure], [unsure], [SILENT], weights=[1, 9, 5])
    assert (weighed.choice, weighed.probabilities) == (NONE, pytest.approx((0.45, 0, 0, 0.55)))


@pytest.mark.parametrize("rule", ["error_model", "majority", "union", "intersection"])
def test_where_all_abstain_so_does_the_ensemble(rule: Rule) -> None:
    unreadable = Answer(None, reason="unreadable answer")
    first, second = combine(rule, [SILENT, Answer(0)], [unreadable, Answer(0)], [SILENT, Answer(0)])
    assert first == Answer(None, reason="every teacher abstained: timeout; unreadable answer")
    assert second.choice == 0
    (only,) = combine(rule, [SILENT], [SILENT], [SILENT])
    assert only.abstained


def script(seed: int, n: int = 150) -> tuple[Candidates, list[list[Answer]]]:
    """Four teachers of different care, questions with lists of one to four of 40 records."""
    rng = np.random.default_rng(seed)
    lists = [sorted(rng.choice(40, size=rng.integers(1, 5), replace=False).tolist()) for _ in range(n)]
    truth = [NONE if rng.random() < 0.3 else int(rng.integers(len(one))) for one in lists]
    answers = [
        [
            SILENT if rng.random() < 0.05 else Answer(true if rng.random() < care else int(rng.integers(-1, len(one))))
            for one, true in zip(lists, truth, strict=True)
        ]
        for care in (0.5, 0.8, 0.9, 0.9)
    ]
    return pool(lists, 40), answers


def test_the_error_model_is_that_of_the_votes() -> None:
    candidates, columns = script(0)
    questions = questions_of(candidates)
    ensemble = Ensemble([Scripted(f"t{k}", answers) for k, answers in enumerate(columns)])
    found = [answer for _, answer in ensemble.answer(candidates, questions)]
    votes = [
        np.stack([answers[row].votes(len(question.candidates)) for answers in columns])
        for row, question in enumerate(questions)
    ]
    expected = estimate(votes)
    for answer, label in zip(found, expected.labels, strict=True):
        assert answer.probabilities == pytest.approx(label.tolist())
        assert label[answer.choice] == pytest.approx(label.max())  # type: ignore[index]
    assert ensemble.agreement is not None
    assert ensemble.agreement.rates == expected.rates
    assert expected.rates[0].false_match > expected.rates[3].false_match + 0.1


@settings(max_examples=8)
@given(st.integers(0, 50), st.permutations(range(4)))
def test_the_order_of_teachers_changes_no_answer(seed: int, order: list[int]) -> None:
    candidates, columns = script(seed, n=40)
    questions = questions_of(candidates)
    for rule in ("error_model", "majority", "union", "intersection"):
        first, second = (
            [
                (answer.choice, answer.probabilities)
                for _, answer in Ensemble([Scripted(f"t{k}", columns[k]) for k in places], rule).answer(  # type: ignore[arg-type]
                    candidates, questions
                )
            ]
            for places in (range(4), order)
        )
        for (choice, soft), (other, soft_too) in zip(first, second, strict=True):
            if soft is None:
                assert other == choice
            else:
                assert soft_too == pytest.approx(soft, abs=1e-5)
                assert other == choice or sorted(soft)[-1] - sorted(soft)[-2] < 1e-5


def test_one_record_is_not_given_twice() -> None:
    lists = [[0], [0], *([k] for k in range(1, 9))]
    candidates = pool(lists)
    questions = questions_of(candidates)
    columns = [[Answer(0)] * len(lists) for _ in range(3)]
    columns[2][1] = Answer(NONE)  # two of three say so for the second query, all for the first
    teachers = [Scripted(f"t{k}", answers) for k, answers in enumerate(columns)]
    free = dict(Ensemble(teachers).answer(candidates, questions))
    bound = dict(Ensemble(teachers, one_to_one=True).answer(candidates, questions))
    assert [free[row].choice for row in (0, 1, 2)] == [0, 0, 0]
    assert [bound[row].choice for row in (0, 1, 2)] == [0, NONE, 0]
    one_table = pool([[1]], one_table=True)
    with pytest.raises(InputError, match="toys is one table"):
        list(Ensemble(teachers, one_to_one=True).answer(one_table, questions_of(one_table)))


def test_costs_and_explanations() -> None:
    asked = Answer(0, None, "the same name", Cost(2, 100, 5, 0.25, 1.5))
    free = Answer(0, (0.8, 0.1, 0.0, 0.1))  # a student: made no request
    (answer,) = combine("majority", [Answer(NONE, explanation="none is")], [free], [asked])
    assert (answer.choice, answer.explanation, answer.cost) == (0, "the same name", Cost(2, 100, 5, 0.25, 1.5))
    (unknown,) = combine("majority", [asked], [Answer(0, cost=Cost(1, 100, 5, None, 0.5))])
    assert unknown.cost == Cost(3, 200, 10, None, 2.0)  # unknown is not 0
    (silent,) = combine("majority", [Answer(None, cost=Cost(3, None, None, 0.5, 9.0), reason="timeout")])
    assert silent.cost == Cost(3, None, None, 0.5, 9.0)  # an abstention is paid for as well


def test_names_and_licences() -> None:
    teachers = [Scripted("a", [], "MIT"), Scripted("b", [], "Apache-2.0"), Scripted("c", [], "MIT")]
    ensemble = Ensemble(teachers, "majority")
    assert (ensemble.name, ensemble.licence) == ("majority(a, b, c)", "Apache-2.0 and MIT")


@pytest.mark.parametrize(
    ("names", "rule", "more", "message"),
    [
        ("abc", "mode", {}, r"rule='mode' is not known\. "),
        ("", "majority", {}, "an ensemble needs teachers"),
        ("aba", "majority", {}, "'a' is in the ensemble twice"),
        ("ab", "error_model", {}, "needs 3 teachers or more, not 2"),
        ("abc", "weighted", {}, "weights must be 3 numbers"),
        ("abc", "weighted", {"weights": [1, 2]}, "weights must be 3 numbers"),
        ("abc", "weighted", {"weights": [1, 2, 0]}, "weights must be above 0"),
        ("abc", "majority", {"weights": [1, 2, 3]}, "rule='majority' knows no weights"),
        ("abc", "union", {"one_to_one": True}, "one_to_one=True needs rule='error_model'"),
    ],
)
def test_what_does_not_go_together_is_refused(names: str, rule: Rule, more: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ensemble([Scripted(name, []) for name in names], rule, **more)
