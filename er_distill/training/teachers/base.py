"""The protocol of teachers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from er_distill.training.labels import Candidates

NONE = -1
"""The choice "none of the candidates"."""


@dataclass(frozen=True)
class Question:
    """One query record and the candidates to choose from.

    Attributes
    ----------
    query : int
        Row of the query record in the left table.
    candidates : tuple of int
        Rows of the candidate records in the right table (in dedup: in the one table), in ascending order.
    """

    query: int
    candidates: tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What an answer took; None where it is unknown, which is not 0.

    Attributes
    ----------
    requests : int
        Requests made, failed ones included.
    prompt_tokens, completion_tokens : int or None
    money : float or None
        In the currency of the price table.
    seconds : float or None
    """

    requests: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    money: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a teacher said to one question.

    Attributes
    ----------
    choice : int or None
        Position in the question's candidates; :data:`NONE` for "none of them"; None when the teacher abstained.
    probabilities : tuple of float or None
        Of each candidate and, last, of none, summing to 1; None where the teacher gives no probability.
    explanation : str or None
        Where one was asked for.
    cost : Cost
    reason : str or None
        Why the teacher abstained: "timeout", "unreadable answer", ...
    """

    choice: int | None
    probabilities: tuple[float, ...] | None = None
    explanation: str | None = None
    cost: Cost = Cost()
    reason: str | None = None

    @property
    def abstained(self) -> bool:
        """Whether the teacher gave no usable answer."""
        return self.choice is None

    def votes(self, n_candidates: int) -> np.ndarray:
        """The answer as probabilities: those given, else all on the choice; NaN when the teacher abstained.

        Returns
        -------
        ndarray of float64, shape (n_candidates + 1,)
            Of each candidate and, last, of none.
        """
        if self.choice is None:
            return np.full(n_candidates + 1, np.nan)
        if self.probabilities is not None:
            return np.asarray(self.probabilities, dtype=np.float64)
        votes = np.zeros(n_candidates + 1)
        votes[self.choice] = 1.0  # NONE is -1: the last place
        return votes


@dataclass(frozen=True)
class Request:
    """One thing to ask a model, before it is sent.

    Two requests are the same when all fields but the two upper bounds are equal.

    Attributes
    ----------
    teacher : str
        The teacher's name: ``"openai:gpt-4o-mini"``.
    model : str
    prompt_hash : str
        SHA-256, in hex, of the messages and of the answers allowed.
    messages : tuple of dict
        Role and content of each message.
    parameters : mapping
        What else the answer depends on: temperature, seed, limit of tokens. JSON values only, never a key.
    task : str
        Name of the candidates.
    query_id : str
    candidate_ids : tuple of str
        The candidates in the order in which this request shows them; one in a `match`, two in a `compare`.
    step : int
        Place among the requests of its question, from 0.
    max_prompt_tokens, max_completion_tokens : int
        Upper bounds, for the worst-case price.
    """

    teacher: str
    model: str
    prompt_hash: str
    messages: tuple[dict[str, str], ...]
    parameters: Mapping[str, Any]
    task: str
    query_id: str
    candidate_ids: tuple[str, ...]
    step: int
    max_prompt_tokens: int
    max_completion_tokens: int


@dataclass(frozen=True)
class Attempt:
    """A request that was sent once, and what came of it.

    Attributes
    ----------
    request : Request
    text : str or None
        The raw answer, readable or not; None when none came.
    error : str or None
        Why no answer came: "timeout", "HTTP 429". An attempt has either a text or an error.
    choice : int or None
        What was read from the text: position in ``request.candidate_ids`` or :data:`NONE`; None where the text is no
        choice (an explanation) or could not be read.
    prompt_tokens, completion_tokens : int or None
        As the server counted them; None where it did not say, or no answer came.
    seconds : float
    started : str
        ISO 8601, UTC.
    logprobs : tuple of float or None
        Natural logarithms of the probability of each of ``request.candidate_ids`` and, last, of none, where the server
        gave them; all finite.
    """

    request: Request
    text: str | None
    error: str | None
    choice: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    started: str
    logprobs: tuple[float, ...] | None = None


class Recorder(Protocol):
    """Sees every attempt of a teacher: what keeps answers and guards a budget.

    A teacher calls :meth:`known` first and sends nothing where that gives an attempt. Else it calls :meth:`reserve`
    before each attempt (retries too) and :meth:`record` with its reservation after it, whatever came of it. The calls
    come one at a time, from a thread that need not be the caller's, and attempts overlap.
    """

    def known(self, request: Request) -> Attempt | None:
        """Return the answered attempt (one with a text) of the same request, where one is kept."""
        ...

    def reserve(self, request: Request) -> Any:
        """Set the worst-case price of one attempt aside.

        Returns
        -------
        object
            What to hand to :meth:`record`.

        Raises
        ------
        BudgetSpent
            When the budget does not hold it; the teacher then sends nothing more.
        """
        ...

    def record(self, reservation: Any, attempt: Attempt) -> None:
        """Keep an attempt and settle its reservation."""
        ...


class NoRecorder:
    """Keeps nothing and allows everything."""

    def known(self, request: Request) -> Attempt | None:
        """Return None."""
        return None

    def reserve(self, request: Request) -> None:
        """Allow the attempt."""

    def record(self, reservation: None, attempt: Attempt) -> None:
        """Forget the attempt."""


class Teacher(Protocol):
    """Anything that answers questions.

    Attributes
    ----------
    name : str
        What the card and the label store call it: ``"openai:gpt-4o-mini"``.
    licence : str
        What its answers stand under; ``"unknown"`` where nobody says.
    """

    name: str
    licence: str

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer) as answers arrive, each question once, in any order.

        Raises
        ------
        BudgetSpent
            When a recorder refuses a request: after the answers that had arrived were yielded.
        """
        ...


class PaidTeacher(Teacher, Protocol):
    """A teacher that sends requests.

    Attributes
    ----------
    recorder : Recorder
        Sees every attempt; set it before asking.
    """

    recorder: Recorder

    def requests(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[list[Request]]:
        """Yield the requests of each question, as far as they are known before an answer: for a dry run.

        What depends on an answer (the later rounds of `compare`, a validation, an explanation) is listed as in the
        longest run, with a prompt of the same size.
        """
        ...


def questions_of(candidates: Candidates) -> list[Question]:
    """Each query of the candidate pairs with its list, in the order of the left table."""
    pairs = candidates.pairs
    order = np.lexsort((pairs.right, pairs.left))
    queries, starts = np.unique(pairs.left[order], return_index=True)
    lists = np.split(pairs.right[order], starts[1:])
    return [Question(int(query), tuple(rows.tolist())) for query, rows in zip(queries, lists, strict=True)]
