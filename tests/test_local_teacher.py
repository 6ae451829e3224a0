"""The local teacher, on a tiny model made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_task import TRUTH, hold, small_task
from tiny_causal_lm import save_qwen2

from er_distill.errors import BudgetSpent, DeviceError, InputError
from er_distill.training.teachers.base import NONE, Answer, Attempt, Question, Request, questions_of
from er_distill.training.teachers.strategies import Elicitation

pytestmark = pytest.mark.train

TASK = small_task()
QUESTIONS = questions_of(TASK)


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen2(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def obliging_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen2(tmp_path_factory.mktemp("models") / "obliging", obliging=True)


def teacher(path: Path, **more: Any) -> Any:
    from er_distill.training.teachers.local import TransformersTeacher

    return TransformersTeacher(path, device="cpu", **more)


def ask(asked: Any, questions: list[Question] = QUESTIONS) -> list[Answer]:
    answers = dict(asked.answer(TASK, questions))
    assert sorted(answers) == list(range(len(questions)))
    return [answers[position] for position in range(len(questions))]


@pytest.mark.parametrize("strategy", ["select", "match", "compare", "compound"])
def test_strategies_over_option_logits(strategy: str, obliging_model: Path) -> None:
    how = Elicitation(strategy=strategy, keep=2)
    # The model takes the first of what it is shown, and calls every pair a match.
    expected = [hold(question, how, lambda prompt: Answer(0))[0].choice for question in QUESTIONS]
    answers = ask(teacher(obliging_model, strategy=strategy, keep=2))
    assert [answer.choice for answer in answers] == expected
    for answer in answers:
        assert answer.probabilities is not None
        assert sum(answer.probabilities) == pytest.approx(1)
        assert answer.choice is not None
        assert answer.probabilities[answer.choice] == max(answer.probabilities)
    assert answers[0].cost.requests == {"select": 1, "match": 3, "compare": 3, "compound": 1}[strategy]
    assert answers[0].cost.completion_tokens == 0


def test_probabilities_are_those_of_the_model(random_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from er_distill.training import prompts

    (answer,) = ask(teacher(random_model), QUESTIONS[:1])
    _, rounds = hold(QUESTIONS[0], Elicitation(), lambda prompt: Answer(0))
    prompt: prompts.Prompt = rounds[0][0]
    tokenizer, model = AutoTokenizer.from_pretrained(random_model), AutoModelForCausalLM.from_pretrained(random_model)
    text = tokenizer.apply_chat_template([*prompt.messages], tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text + '{"answer": "')["input_ids"]])
    options = [tokenizer(label)["input_ids"][0] for label in prompt.options]
    with torch.inference_mode():
        expected = model(ids).logits[0, -1, options].softmax(0).tolist()
    assert answer.probabilities is not None
    np.testing.assert_allclose([answer.probabilities[at] for at in (*prompt.shown, 3)], expected, atol=1e-6)


def test_an_answer_does_not_depend_on_its_batch(random_model: Path) -> None:
    alone = ask(teacher(random_model, batch_size=1, strategy="match"))
    together = ask(teacher(random_model, batch_size=8, strategy="match"))
    for one, other in zip(alone, together, strict=True):
        assert one.choice == other.choice
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_averaged_variants_and_a_second_look(random_model: Path) -> None:
    answers = ask(teacher(random_model, variants=("plain", "careful", "json"), confirm="weigh"))
    assert all(sum(answer.probabilities or ()) == pytest.approx(1) for answer in answers)


def test_explanations_are_generated_up_to_their_limit(random_model: Path) -> None:
    answers = ask(teacher(random_model, explain="answer", max_explanation_tokens=8), QUESTIONS[:2])
    for answer in answers:
        assert answer.cost.completion_tokens is not None
        assert 0 < answer.cost.completion_tokens <= 8
        assert answer.choice is not None
    assert any(answer.explanation for answer in answers)


def test_an_explanation_stops_where_the_model_stops(obliging_model: Path) -> None:
    (answer,) = ask(teacher(obliging_model, explain="answer", max_explanation_tokens=100), QUESTIONS[:1])
    assert answer.explanation == '{"answer": "1"}'
    assert answer.cost.completion_tokens == 7  # the end token is one of them


def test_a_model_without_a_chat_template_or_system_message(tmp_path: Path) -> None:
    plain = save_qwen2(tmp_path / "plain", chat_template=None)
    strict = save_qwen2(
        tmp_path / "strict",
        chat_template="{% for m in messages %}"
        "{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m['content'] }}\n{% endfor %}",
    )
    for folder in (plain, strict):
        assert all(answer.probabilities for answer in ask(teacher(folder), QUESTIONS[:2]))


def test_a_prompt_that_the_model_cannot_read_is_an_abstention(tmp_path: Path) -> None:
    short = save_qwen2(tmp_path / "short", n_positions=64)
    (answer,) = ask(teacher(short), QUESTIONS[:1])
    assert answer.choice is None
    assert answer.reason is not None
    assert answer.reason.endswith("tokens, the model reads 64")


def test_options_that_begin_alike_are_refused(random_model: Path) -> None:
    many = Question(0, tuple(k % 3 for k in range(30)))
    with pytest.raises(InputError, match="compound"):
        ask(teacher(random_model), [many])
    (answer,) = ask(teacher(random_model, strategy="compound", keep=4), [many])
    assert answer.choice is not None


class Book:
    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.attempts: list[Attempt] = []

    def known(self, request: Request) -> Attempt | None:
        return next((a for a in self.attempts if a.request == request), None)

    def reserve(self, request: Request) -> int:
        if self.budget == 0:
            raise BudgetSpent("spent")
        self.budget -= 1
        return self.budget

    def record(self, reservation: int, attempt: Attempt) -> None:
        self.attempts.append(attempt)


def test_the_recorder_sees_every_attempt_and_stops_it(random_model: Path) -> None:
    book, answers = Book(7), {}
    stream = teacher(random_model, strategy="match", batch_size=4, recorder=book).answer(TASK, QUESTIONS)
    with pytest.raises(BudgetSpent):
        answers.update(stream)
    assert len(book.attempts) == 7
    assert {attempt.choice for attempt in book.attempts} <= {0, NONE}
    book.budget = 8
    rest = ask(teacher(random_model, strategy="match", batch_size=4, recorder=book))
    assert (len(book.attempts), book.budget) == (15, 0)  # nothing known was asked again
    fresh = ask(teacher(random_model, strategy="match"))
    assert [answer.choice for answer in rest] == [answer.choice for answer in fresh]
    assert all(rest[position].choice == answer.choice for position, answer in answers.items())


def test_a_dry_run_asks_nothing(obliging_model: Path) -> None:
    asked = teacher(obliging_model, strategy="compare", recorder=Book(0))
    planned = list(asked.requests(TASK, QUESTIONS))
    assert [len(requests) for requests in planned] == [3] * len(TRUTH)


def test_wrong_arguments_are_refused(tmp_path: Path, random_model: Path) -> None:
    from er_distill.training.teachers.local import TransformersTeacher

    with pytest.raises(InputError, match=r"teacher .*nowhere.* cannot be loaded"):
        TransformersTeacher(tmp_path / "nowhere")
    with pytest.raises(InputError, match="batch_size"):
        TransformersTeacher(random_model, batch_size=0)
    with pytest.raises(DeviceError):
        TransformersTeacher(random_model, device="quantum")


def test_the_name_shows_no_path(random_model: Path) -> None:
    asked = teacher(random_model)
    assert asked.name == "transformers:random"
    assert str(random_model) not in repr(asked)
