"""One question on its way to an answer: the requests its dialogue needs, the attempts they took, their cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from er_distill.training.labels import Candidates
from er_distill.training.prompts import Prompt
from er_distill.training.teachers.base import Answer, Attempt, Cost, Question, Request
from er_distill.training.teachers.replies import read
from er_distill.training.teachers.sheet import Sheet
from er_distill.training.teachers.strategies import Elicitation, dialogue

_TEMPLATE_TOKENS = 256  # what a chat template writes by itself, at most
_MESSAGE_TOKENS = 16  # what it writes around one message, at most


@dataclass(frozen=True)
class Model:
    """Who is asked, as far as requests say it.

    Attributes
    ----------
    teacher, model : str
    parameters : mapping
        What else an answer depends on.
    max_tokens, max_explanation_tokens : int
        Tokens of an answer and of an explanation.
    """

    teacher: str
    model: str
    parameters: Mapping[str, Any]
    max_tokens: int
    max_explanation_tokens: int


class Interview:
    """Holds the dialogue about one question.

    Parameters
    ----------
    model : Model
    sheet : Sheet
    question : Question
    how : Elicitation

    Attributes
    ----------
    asked : list of (Prompt, Request)
        What is to be asked now; empty once there is an answer.
    answer : Answer or None
    """

    def __init__(self, model: Model, sheet: Sheet, question: Question, how: Elicitation) -> None:
        self.asked: list[tuple[Prompt, Request]] = []
        self.answer: Answer | None = None
        self._model, self._sheet, self._question = model, sheet, question
        self._candidate_ids = sheet.candidate_ids(question)
        self._dialogue = dialogue(sheet, question, how)
        self._attempts: list[Attempt] = []
        self._step = 0
        self._go_on(None)

    def hear(self, attempts: Sequence[Sequence[Attempt]]) -> None:
        """Take in the attempts, the decisive one last, at each of what was asked."""
        self._attempts += [attempt for tries in attempts for attempt in tries]
        self._go_on(
            [_reply(prompt, tries[-1]) for (prompt, _), tries in zip(self.asked, attempts, strict=True)],
        )

    def _go_on(self, replies: list[Answer] | None) -> None:
        try:
            asked = next(self._dialogue) if replies is None else self._dialogue.send(replies)
        except StopIteration as end:
            self.asked, self.answer = [], replace(end.value, cost=cost_of(self._attempts))
            return
        self.asked = [(prompt, self._request(prompt, self._step + k)) for k, prompt in enumerate(asked)]
        self._step += len(asked)

    def _request(self, prompt: Prompt, step: int) -> Request:
        most = self._model.max_tokens if prompt.options else self._model.max_explanation_tokens
        # A token is at least one byte of UTF-8, so the bytes bound the tokens from above. The schema may count too.
        size = sum(len(message["content"].encode()) + _MESSAGE_TOKENS for message in prompt.messages)
        size += len(json.dumps(prompt.schema)) + _TEMPLATE_TOKENS
        return Request(
            teacher=self._model.teacher,
            model=self._model.model,
            prompt_hash=prompt.hash,
            messages=prompt.messages,
            parameters={**self._model.parameters, "max_tokens": most},
            task=self._sheet.candidates.name,
            query_id=self._sheet.query_id(self._question),
            candidate_ids=tuple(self._candidate_ids[position] for position in prompt.shown),
            step=step,
            max_prompt_tokens=size,
            max_completion_tokens=most,
        )


def expected_requests(
    model: Model, candidates: Candidates, questions: Sequence[Question], how: Elicitation
) -> Iterator[list[Request]]:
    """Yield the requests of each question, as if every reply were its first option: the longest run."""
    sheet = Sheet(candidates, how.value_chars)
    for question in questions:
        interview, requests = Interview(model, sheet, question, how), []
        while interview.answer is None:
            requests += [request for _, request in interview.asked]
            interview.hear([[_stand_in(prompt, request)] for prompt, request in interview.asked])
        yield requests


def cost_of(attempts: Sequence[Attempt]) -> Cost:
    """Add attempts up; a number that one of the answered ones does not say is unknown."""
    answered = [attempt for attempt in attempts if attempt.text is not None]

    def total(counts: list[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None

    return Cost(
        requests=len(attempts),
        prompt_tokens=total([attempt.prompt_tokens for attempt in answered]),
        completion_tokens=total([attempt.completion_tokens for attempt in answered]),
        seconds=sum(attempt.seconds for attempt in attempts) if attempts else None,
    )


def _reply(prompt: Prompt, attempt: Attempt) -> Answer:
    if attempt.text is None:
        return Answer(None, reason=attempt.error or "no answer")
    return read(prompt, attempt.text, attempt.logprobs)


def _stand_in(prompt: Prompt, request: Request) -> Attempt:
    text = json.dumps({"answer": prompt.options[0]}) if prompt.options else "-"
    return Attempt(request, text, None, None, None, None, 0.0, "")
