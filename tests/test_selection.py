"""Selection: each method against its definition, the joint entropy against enumeration of all matchings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill.errors import BudgetSpent, InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.exclusion import at_most_one
from er_distill.training.information import Belief, entropy
from er_distill.training.labels import Candidates
from er_distill.training.purse import Budget
from er_distill.training.rounds import rounds
from er_distill.training.selection import METHODS, NEED_A_STUDENT, blocking_similarity, select
from er_distill.training.teachers.base import NONE, Answer, Question, questions_of

CLUSTERING = ("clustering_kmeans", "clustering_hierarchical", "uncertainty")


def records(name: str, n: int) -> Records:
    words = ["red", "green", "blue", "black", "white"]
    texts = np.array([f"{words[k % 5]} lamp model {k * 37 % 101}" for k in range(n)], dtype=object)
    return Records(name, np.arange(n), ("title",), (texts,))


def pool(lists: Sequence[Sequence[int]], n_right: int | None = None, *, one_table: bool = False) -> Candidates:
    """Candidates whose query k has the k-th list."""
    left = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    right = np.array([candidate for one in lists for candidate in one])
    n = int(right.max()) + 1 if n_right is None else n_right
    n_left = n if one_table else len(lists)
    pairs = Pairs(left, right, n_left, n, one_table)
    return Candidates("lamps", records("a", n_left), None if one_table else records("b", n), pairs)


def random_pool(seed: int, n: int = 40) -> tuple[Candidates, np.ndarray, np.ndarray]:
    """Candidates, similarities and a student's probabilities."""
    rng = np.random.default_rng(seed)
    lists = [sorted(rng.choice(60, size=rng.integers(1, 6), replace=False).tolist()) for _ in range(n)]
    candidates = pool(lists, 60)
    return candidates, rng.random(len(candidates.pairs)), rng.beta(0.3, 0.6, len(candidates.pairs))


def queries(questions: Sequence[Question]) -> list[int]:
    return [question.query for question in questions]


def need(method: str) -> None:
    if method in CLUSTERING:
        pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")


# --- what all methods promise ---


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_one_answer_whatever_the_order_of_the_pairs(method: str) -> None:
    need(method)
    candidates, similarity, probability = random_pool(1)
    first = select(candidates, 12, method=method, seed=3, similarity=similarity, probability=probability)
    order = np.random.default_rng(0).permutation(len(similarity))
    shuffled = Candidates("lamps", candidates.left, candidates.right, candidates.pairs.take(order))
    again = select(shuffled, 12, method=method, seed=3, similarity=similarity[order], probability=probability[order])
    assert first == again
    assert len(set(first)) == 12
    assert set(first) <= set(questions_of(candidates))


@pytest.mark.parametrize("method", ["random", "clustering_kmeans", "clustering_hierarchical"])
def test_another_seed_gives_another_answer(method: str) -> None:
    need(method)
    candidates, similarity, _ = random_pool(1)
    drawn = [select(candidates, 12, method=method, seed=seed, similarity=similarity) for seed in range(3)]
    assert len({tuple(one) for one in drawn}) == 3


@pytest.mark.parametrize("method", METHODS)
def test_budgets_hold_and_are_used_up(method: str) -> None:
    need(method)
    candidates, similarity, probability = random_pool(2)
    everything = questions_of(candidates)
    costs = np.random.default_rng(5).integers(1, 9, len(everything)) / 10
    price = dict(zip(everything, costs.tolist(), strict=True))
    chosen = select(candidates, method=method, similarity=similarity, probability=probability, money=4.0, costs=costs)
    spent = sum(price[question] for question in chosen)
    assert spent <= 4.0 + 1e-9
    left = [price[question] for question in everything if question not in chosen]
    assert spent + min(left) > 4.0
    both = select(candidates, 3, method=method, similarity=similarity, probability=probability, money=4.0, costs=costs)
    assert len(both) == 3
    assert sum(price[question] for question in both) <= 4.0 + 1e-9
    whole = select(candidates, 10_000, method=method, similarity=similarity, probability=probability)
    assert sorted(queries(whole)) == queries(everything)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_answered_is_not_asked_again(method: str) -> None:
    need(method)
    candidates, similarity, probability = random_pool(3)
    everything = questions_of(candidates)
    answered = {question: Answer(k % 2 - 1 if k % 3 else None) for k, question in enumerate(everything[:35])}
    chosen = select(candidates, 10, method=method, similarity=similarity, probability=probability, answered=answered)
    assert sorted(queries(chosen)) == queries(everything[35:])
    answered = {question: Answer(NONE) for question in everything}
    assert select(candidates, 5, method=method, probability=probability, answered=answered) == []


@pytest.mark.parametrize("method", NEED_A_STUDENT)
def test_without_a_student_these_methods_say_what_they_need(method: str) -> None:
    with pytest.raises(InputError, match=r"needs the match probabilities of a student.*lamps"):
        select(random_pool(1)[0], 3, method=method)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "blocking_mix"}, "did you mean|blocking_max"),
        ({"n": -1}, "n must not be negative"),
        ({"similarity": np.ones(3)}, "similarity must be one number"),
        ({"similarity": "nan"}, "similarity must be one number"),
        ({"money": 2.0}, "needs the cost of each question"),
        ({"money": 2.0, "costs": np.ones(3)}, "costs must be one number"),
        ({"positives": 1.2}, "positives must lie"),
        ({"method": "information", "probability": "half", "accuracy": 0.0}, "accuracy"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments: dict[str, object], message: str) -> None:
    candidates, similarity, _ = random_pool(1)
    made = {"nan": np.full(len(similarity), np.nan), "half": np.full(len(similarity), 0.5)}
    arguments = {name: made.get(value, value) if isinstance(value, str) else value for name, value in arguments.items()}
    with pytest.raises(InputError, match=message):
        select(candidates, **arguments)  # type: ignore[arg-type]


# --- methods on similarities, by their definition ---


def test_default_similarity_is_the_trigram_cosine_of_blocking() -> None:
    candidates = random_pool(4)[0]
    similarity = blocking_similarity(candidates)
    assert candidates.right is not None
    equal = candidates.left.texts[0] == candidates.right.texts[0]
    assert equal
    same = pool([[0]], 60)
    assert blocking_similarity(Candidates("lamps", candidates.left, candidates.right, same.pairs)) == pytest.approx(1)
    assert similarity.min() >= 0
    assert similarity.max() <= 1
    assert select(candidates, 9) == select(candidates, 9, similarity=similarity)


@pytest.mark.parametrize(("method", "best"), [("blocking_max", 1), ("blocking_top2", 2)])
@pytest.mark.parametrize("positives", [0.75, 0.85, 0.0, 1.0])
def test_blocking_methods_take_both_ends_of_the_ranking(method: str, best: int, positives: float) -> None:
    candidates, similarity, _ = random_pool(5)
    value = [
        np.mean(sorted(similarity[candidates.pairs.left == query])[-best:]) for query in range(len(candidates.left))
    ]
    ranked = sorted(range(len(value)), key=lambda query: -value[query])
    n_top = math.floor(positives * 13)
    expected = {*ranked[:n_top], *ranked[len(ranked) - (13 - n_top) :]}
    chosen = queries(select(candidates, 13, method=method, similarity=similarity, positives=positives))
    assert set(chosen) == expected
    top = [query for query in chosen if query in ranked[:n_top]]
    assert top == ranked[:n_top]  # the likeliest first
    # Whoever stops in the middle has about the same mixture.
    assert abs(sum(query in top for query in chosen[:6]) - positives * 6) <= 1


@pytest.mark.parametrize("method", ["clustering_kmeans", "clustering_hierarchical"])
def test_clustering_takes_the_group_with_the_higher_mean_maximum_for_positive(method: str) -> None:
    need(method)
    high, low = [0.95, 0.05, 0.05], [0.45, 0.45, 0.45]
    lists = [[k, k + 1, k + 2] for k in range(40)]
    similarity = np.array([high if k % 4 == 0 else low for k in range(40)]).ravel()
    chosen = queries(select(pool(lists), 12, method=method, similarity=similarity, seed=1))
    assert sum(query % 4 == 0 for query in chosen) == 9
    # The ten lists of the first group do not fill three quarters of 20: the other group does.
    chosen = queries(select(pool(lists), 20, method=method, similarity=similarity, seed=1))
    assert sum(query % 4 == 0 for query in chosen) == 10
    chosen = queries(select(pool(lists), 12, method=method, similarity=similarity, seed=1, positives=0.5))
    assert sum(query % 4 == 0 for query in chosen) == 6
    # With one bin all lists look alike, and nothing is left to tell two groups apart.
    assert len(select(pool(lists), 12, method=method, similarity=similarity, bins=1)) == 12


def test_hierarchical_clustering_refuses_what_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    need("clustering_hierarchical")
    monkeypatch.setattr("er_distill.training.selection._MOST_HIERARCHICAL", 10)
    candidates, similarity, _ = random_pool(1)
    with pytest.raises(InputError, match="clustering_kmeans"):
        select(candidates, 3, method="clustering_hierarchical", similarity=similarity)


# --- uncertainty ---


def test_uncertainty_takes_the_most_uncertain_of_each_kind_in_turns() -> None:
    need("uncertainty")
    # Two kinds of lists, told apart by their similarities; the first kind is the more uncertain.
    lists = [[2 * k, 2 * k + 1] for k in range(20)]
    probability = np.array([[0.4 - 0.01 * k if k < 10 else 0.2 - 0.01 * (k - 10), 0.01] for k in range(20)]).ravel()
    similarity = np.array([[0.9, 0.9] if k < 10 else [0.2, 0.1] for k in range(20)]).ravel()
    chosen = queries(select(pool(lists), 6, method="uncertainty", similarity=similarity, probability=probability))
    assert chosen == [0, 10, 1, 11, 2, 12]
    alike = np.full(40, 0.5)
    chosen = queries(select(pool(lists), 6, method="uncertainty", similarity=alike, probability=probability))
    assert chosen == [0, 1, 2, 3, 4, 5]


def test_uncertainty_never_leaves_the_most_uncertain_part_of_the_pool() -> None:
    need("uncertainty")
    candidates, similarity, probability = random_pool(6, n=60)
    unsure = [entropy(at_most_one(probability[candidates.pairs.left == query])) for query in range(60)]
    least = sorted(unsure, reverse=True)[3 * 8 - 1]
    chosen = select(candidates, 8, method="uncertainty", similarity=similarity, probability=probability)
    assert min(unsure[query] for query in queries(chosen)) >= least


# --- information ---


def by_list(candidates: Candidates, values: np.ndarray) -> list[np.ndarray]:
    return [values[candidates.pairs.left == question.query] for question in questions_of(candidates)]


def matchings(
    questions: Sequence[Question], probability: Sequence[np.ndarray], one_to_one: bool
) -> dict[tuple[int, ...], float]:
    """Every possible matching (a choice for each question, -1 for none) and its probability, by enumeration."""
    found = {}
    for choices in itertools.product(*(range(-1, len(q.candidates)) for q in questions)):
        used = [q.candidates[c] for q, c in zip(questions, choices, strict=True) if c >= 0]
        if one_to_one and len(set(used)) < len(used):
            continue
        found[choices] = math.prod(p[c] / (1 - p[c]) for p, c in zip(probability, choices, strict=True) if c >= 0)
    total = sum(found.values())
    return {choices: weight / total for choices, weight in found.items()}


def chance(answer: int, truth: int, options: int, accuracy: float) -> float:
    return accuracy if answer == truth else (1 - accuracy) / (options - 1)


def entropy_after(
    matching: Mapping[tuple[int, ...], float], sizes: Sequence[int], asked: Sequence[int], accuracy: float
) -> float:
    """Mean joint entropy once the questions are answered: over every possible set of answers."""
    total = 0.0
    for answers in itertools.product(*(range(-1, sizes[q]) for q in asked)):
        joint = np.array(
            [
                p * math.prod(chance(a, m[q], sizes[q] + 1, accuracy) for a, q in zip(answers, asked, strict=True))
                for m, p in matching.items()
            ]
        )
        if joint.sum() > 0:
            total += joint.sum() * entropy(joint / joint.sum())
    return total


TINY = [[0, 1], [1, 2], [0, 2, 3], [4], [4, 5]]  # two components: three lists, two lists


def tiny(seed: int, *, one_table: bool = False) -> tuple[Candidates, np.ndarray]:
    lists = [[c + 5 for c in one] for one in TINY] if one_table else TINY
    candidates = pool(lists, one_table=one_table)
    return candidates, np.random.default_rng(seed).uniform(0.05, 0.95, len(candidates.pairs))


@pytest.mark.parametrize("one_table", [False, True])
@pytest.mark.parametrize("accuracy", [1.0, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_equals_enumeration_of_all_matchings(seed: int, accuracy: float, one_table: bool) -> None:
    candidates, probability = tiny(seed, one_table=one_table)
    questions, lists = questions_of(candidates), by_list(candidates, probability)
    matching = matchings(questions, lists, one_to_one=not one_table)
    sizes = [len(q.candidates) for q in questions]
    belief = Belief(questions, lists, one_to_one=not one_table, accuracy=accuracy)
    assert belief.left_out == 0
    assert belief.entropy() == pytest.approx(entropy(np.array(list(matching.values()))))
    asked: list[int] = []
    for _ in range(4):
        before = entropy_after(matching, sizes, asked, accuracy)
        falls = {q: before - entropy_after(matching, sizes, [*asked, q], accuracy) for q in range(5) if q not in asked}
        for q, fall in falls.items():
            assert belief.gain(asked, q) == pytest.approx(fall, abs=1e-9)
        asked.append(max(falls, key=lambda q: (round(falls[q], 9), -q)))
    chosen = select(candidates, 4, method="information", probability=probability, accuracy=accuracy)
    assert queries(chosen) == asked


def test_lists_that_share_a_candidate_tell_about_each_other() -> None:
    lists = [np.array([0.5, 0.05]), np.array([0.5, 0.05])]
    together = [Question(0, (0, 1)), Question(1, (0, 2))]
    apart = [Question(0, (0, 1)), Question(1, (3, 2))]
    for questions, alone in ((together, False), (apart, True)):
        belief = Belief(questions, lists, one_to_one=True, accuracy=1.0)
        assert (belief.gain([0], 1) == pytest.approx(belief.gain([], 1))) == alone
        assert belief.gain([0], 1) <= belief.gain([], 1) + 1e-12


@pytest.mark.parametrize("accuracy", [1.0, 0.7])
def test_answers_update_the_belief_by_bayes(accuracy: float) -> None:
    candidates, probability = tiny(7)
    questions, lists = questions_of(candidates), by_list(candidates, probability)
    matching = matchings(questions, lists, one_to_one=True)
    answers = {0: Answer(1), 2: Answer(NONE), 4: Answer(None, reason="timeout")}
    given_answers = {0: 1, 2: -1}
    posterior = {
        m: p * math.prod(chance(a, m[q], len(questions[q].candidates) + 1, accuracy) for q, a in given_answers.items())
        for m, p in matching.items()
    }
    total = sum(posterior.values())
    belief = Belief(questions, lists, one_to_one=True, accuracy=accuracy)
    belief.update(answers)
    assert belief.entropy() == pytest.approx(entropy(np.array(list(posterior.values())) / total))
    for k, question in enumerate(questions):
        for place in range(-1, len(question.candidates)):
            expected = sum(p for m, p in posterior.items() if m[k] == place) / total
            assert belief.choices(k)[place] == pytest.approx(expected)


def test_an_answer_changes_what_is_asked_next() -> None:
    candidates = pool([[0, 1], [1, 2], [3, 4]])
    probability = np.array([0.05, 0.6, 0.6, 0.05, 0.3, 0.05])
    first = select(candidates, 1, method="information", probability=probability, accuracy=0.95)
    assert queries(first) == [0]
    # Query 0 has record 1: query 1 then cannot have it, and the third list is the one to ask about.
    questions = questions_of(candidates)
    answered = {questions[0]: Answer(1)}
    chosen = select(candidates, 2, method="information", probability=probability, accuracy=0.95, answered=answered)
    assert queries(chosen) == [2, 1]
    answered = {questions[0]: Answer(0)}
    chosen = select(candidates, 2, method="information", probability=probability, accuracy=0.95, answered=answered)
    assert queries(chosen) == [1, 2]


def test_soft_answers_count_by_their_share() -> None:
    questions, lists = [Question(0, (0, 1))], [np.array([0.5, 0.3])]
    soft, hard, none = (Belief(questions, lists, one_to_one=True, accuracy=0.8) for _ in range(3))
    soft.update({0: Answer(0, probabilities=(0.7, 0.1, 0.2))})
    hard.update({0: Answer(0)})
    assert none.choices(0)[0] < soft.choices(0)[0] < hard.choices(0)[0]


def test_answers_that_exclude_each_other_need_an_accuracy_below_1() -> None:
    questions, lists = [Question(0, (0,)), Question(1, (0,))], [np.array([0.5]), np.array([0.5])]
    answers = {0: Answer(0), 1: Answer(0)}
    with pytest.raises(InputError, match="contradict each other"):
        Belief(questions, lists, one_to_one=True, accuracy=1.0).update(answers)
    belief = Belief(questions, lists, one_to_one=True, accuracy=0.9)
    belief.update(answers)
    assert belief.choices(0)[0] == pytest.approx(belief.choices(1)[0])
    Belief(questions, lists, one_to_one=False, accuracy=1.0).update(answers)


def test_pieces_too_large_are_cut_at_the_weakest_interaction() -> None:
    questions = [Question(0, (0, 1)), Question(1, (1, 2)), Question(2, (2, 3))]
    lists = [np.array([0.1, 0.8]), np.array([0.7, 0.3]), np.array([0.1, 0.4])]
    whole = Belief(questions, lists, one_to_one=True, accuracy=1.0)
    cut = Belief(questions, lists, one_to_one=True, accuracy=1.0, cells=9)
    # 0 and 1 stay together; between 1 and 2 the expected double booking of record 2 is left out.
    booked = at_most_one(lists[1])[1] * at_most_one(lists[2])[0]
    assert whole.left_out == 0
    assert cut.left_out == pytest.approx(booked)
    assert cut.entropy() == pytest.approx(
        Belief(questions[:2], lists[:2], one_to_one=True, accuracy=1.0).entropy() + entropy(at_most_one(lists[2]))
    )
    alone = Belief(questions, lists, one_to_one=True, accuracy=1.0, cells=1)
    assert alone.entropy() == pytest.approx(sum(entropy(at_most_one(p)) for p in lists))
    assert sorted(alone.greedy([0, 1, 2], Budget(3, np.inf, np.zeros(3)))) == [0, 1, 2]


def test_money_buys_the_most_information() -> None:
    candidates = pool([[0], [1], [2], [3]])
    probability = np.array([0.5, 0.2, 0.2, 0.2])
    dear = np.array([3.0, 1.0, 1.0, 1.0])
    # One bit for 3, or three times 0.72 bits for 3.
    chosen = select(candidates, method="information", probability=probability, accuracy=1.0, money=3.0, costs=dear)
    assert sorted(queries(chosen)) == [1, 2, 3]
    # By gain for the money the free question comes first; by gain alone the one bit does, and is worth more.
    probability = np.array([0.5, 0.01, 0.01, 0.01])
    cheap = np.array([3.0, 0.0, 1.0, 1.0])
    chosen = select(candidates, method="information", probability=probability, accuracy=1.0, money=3.0, costs=cheap)
    assert queries(chosen) == [0, 1]


@given(st.integers(0, 10_000))
def test_gains_only_shrink_as_questions_are_added(seed: int) -> None:
    candidates, probability = tiny(seed)
    questions, lists = questions_of(candidates), by_list(candidates, probability)
    belief = Belief(questions, lists, one_to_one=True, accuracy=0.75)
    order = np.random.default_rng(seed).permutation(5).tolist()
    gains = [belief.gain(order[:k], order[4]) for k in range(5)]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(gains))
    assert min(gains) >= -1e-9


# --- rounds ---


class Truth:
    """Answers the first candidate; its budget ends after `most` answers."""

    name, licence = "truth", "Apache-2.0"

    def __init__(self, most: int = 1_000) -> None:
        self.left = most

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        for position in reversed(range(len(questions))):
            if not self.left:
                raise BudgetSpent("spent")
            self.left -= 1
            yield position, Answer(0)


def test_rounds_train_on_all_answers_so_far_and_ask_on() -> None:
    need("uncertainty")
    candidates, similarity, probability = random_pool(8)
    seen: list[int] = []

    def train(answers: Mapping[Question, Answer]) -> np.ndarray:
        seen.append(len(answers))
        return probability

    found = list(rounds(candidates, Truth(), train, [5, 4, 6], similarity=similarity, seed=2))
    assert seen == [5, 9]
    assert [len(one.asked) for one in found] == [5, 4, 6]
    assert [len(one.answers) for one in found] == [5, 9, 15]
    assert list(found[0].asked) == select(candidates, 5, method="random", seed=2)
    assert set(found[-1].answers) == {question for one in found for question in one.asked}
    second = select(
        candidates,
        4,
        method="uncertainty",
        seed=3,
        similarity=similarity,
        probability=probability,
        answered=found[0].answers,
    )
    assert list(found[1].asked) == second


def test_a_budget_that_ends_within_a_round_loses_no_answer() -> None:
    candidates, similarity, probability = random_pool(8)
    going = rounds(candidates, Truth(7), lambda _: probability, [5, 5, 5], method="information", similarity=similarity)
    assert len(next(going).answers) == 5
    assert len(next(going).answers) == 7
    with pytest.raises(BudgetSpent):
        next(going)
