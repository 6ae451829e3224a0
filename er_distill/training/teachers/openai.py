"""LLMs behind an OpenAI-compatible endpoint: OpenAI, vLLM, Ollama, llama.cpp, ``transformers serve``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from er_distill.errors import InputError, MissingExtraError, did_you_mean
from er_distill.training.labels import Candidates
from er_distill.training.teachers.background import iterate
from er_distill.training.teachers.base import Answer, NoRecorder, Question, Recorder, Request
from er_distill.training.teachers.demonstrations import Demonstrations
from er_distill.training.teachers.interview import Interview, Model, expected_requests
from er_distill.training.teachers.sheet import Sheet
from er_distill.training.teachers.strategies import Elicitation
from er_distill.training.teachers.wire import APIS

try:
    import openai

    from er_distill.training.teachers.endpoint import LIMITS, Endpoint, Patience
except ImportError as error:
    raise MissingExtraError(
        f"This teacher needs {error.name or 'a package'}, which is not installed. "
        'Run: pip install "er-distill[teachers]"'
    ) from error

_OWN_KEY = "OPENAI_API_KEY"


class OpenAITeacher:
    """Asks a model behind an OpenAI-compatible endpoint.

    Every answer is checked against the list; what cannot be read is an abstention. Structured output, token
    log-probabilities, temperature and seed are asked for, and left out once the server refuses or ignores them.

    Parameters
    ----------
    model : str
        As the server calls it.
    base_url : str, optional
        Of another server than OpenAI's: ``"http://localhost:11434/v1"``.
    api_key_env : str, optional
        The environment variable that holds the key. By default ``OPENAI_API_KEY`` for OpenAI, and no key for another
        server: it need not see the one for OpenAI.
    api : str
        ``"chat"``, or where the server scores given options without writing text, ``"decisions"`` or ``"systemone"``.
    strategy, variants, keep, confirm, explain, seed, demonstrations, value_chars
        How to ask: see :class:`er_distill.training.teachers.strategies.Elicitation`.
    temperature : float
    max_tokens : int
        Of an answer. A model that reasons before it answers needs thousands.
    max_explanation_tokens : int
    concurrency : int
        Requests at once.
    timeout : float
        Seconds for one attempt.
    max_retries : int
        Attempts after the first one, with growing waits or those that the server asks for.
    first_wait, longest_wait, longest_asked : float
        Seconds; see :class:`er_distill.training.teachers.endpoint.Patience`.
    recorder : Recorder, optional
        Sees every attempt.
    licence : str
        What the model's answers stand under.

    Raises
    ------
    InputError
        When an argument is none of those allowed.
    MissingExtraError
        Without the ``teachers`` extra.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str | None = None,
        api: str = "chat",
        strategy: str = "select",
        variants: Sequence[str] = ("plain",),
        keep: int = 4,
        confirm: str | None = None,
        explain: str | None = None,
        seed: int = 0,
        demonstrations: Demonstrations | None = None,
        value_chars: int = 400,
        temperature: float = 0.0,
        max_tokens: int = 64,
        max_explanation_tokens: int = 400,
        concurrency: int = 8,
        timeout: float = 60.0,
        max_retries: int = 5,
        first_wait: float = 0.5,
        longest_wait: float = 30.0,
        longest_asked: float = 300.0,
        recorder: Recorder | None = None,
        licence: str = "unknown",
    ) -> None:
        if api not in APIS:
            raise InputError(f"api is {api!r}. {did_you_mean(api, APIS)}")
        if explain and api != "chat":
            raise InputError(f"The {api} API writes no text: ask for no explanation, or use the chat API.")
        if base_url is not None and not base_url.startswith(("http://", "https://")):
            raise InputError(f'base_url has no scheme. Write it like "http://localhost:11434/v1" ({model}).')
        if concurrency < 1 or max_retries < 0 or timeout <= 0:
            raise InputError(
                f"concurrency is {concurrency}, max_retries {max_retries} and timeout {timeout}. "
                "Give at least 1, at least 0 and more than 0."
            )
        self.name, self.licence, self.model = f"openai:{model}", licence, model
        self.how = Elicitation(strategy, tuple(variants), keep, confirm, explain, seed, demonstrations, value_chars)
        self.recorder: Recorder = recorder or NoRecorder()
        self._base_url, self._api = base_url, api
        self._key_env = api_key_env or (None if base_url else _OWN_KEY)
        self._concurrency = concurrency
        self._patience = Patience(timeout, max_retries, first_wait, longest_wait, longest_asked)
        parameters: dict[str, Any] = {"api": api, "temperature": temperature, "seed": seed}
        self._model = Model(self.name, model, parameters, max_tokens, max_explanation_tokens)

    def __repr__(self) -> str:
        return f"OpenAITeacher({self.model!r}, strategy={self.how.strategy!r}, api={self._api!r})"

    def check_key(self) -> None:
        """See that the key is there, before any work: what a run would cost can be said without one.

        Raises
        ------
        InputError
            When the key is not in the environment.
        """
        self._key()

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer) as answers arrive.

        Closing the iterator cancels the requests under way; each is recorded.

        Raises
        ------
        InputError
            When the key is not in the environment.
        TeacherError
            When the endpoint refuses every request, or nothing answers there.
        BudgetSpent
            When the recorder refuses a request. In both cases the requests under way are finished, and what they
            complete is yielded, before.
        """
        self.check_key()
        sheet = Sheet(candidates, self.how.value_chars)

        async def main(put: Callable[[tuple[int, Answer]], None]) -> None:
            await self._answer_all(sheet, questions, put)

        yield from iterate(main)

    def requests(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[list[Request]]:
        """Yield the requests of each question, as in the longest run: for a dry run."""
        yield from expected_requests(self._model, candidates, questions, self.how)

    async def _answer_all(
        self, sheet: Sheet, questions: Sequence[Question], put: Callable[[tuple[int, Answer]], None]
    ) -> None:
        secret = self._key()
        waiting = iter(enumerate(questions))
        async with openai.AsyncOpenAI(
            api_key=secret or "none", base_url=self._base_url, max_retries=0, timeout=self._patience.timeout
        ) as client:
            endpoint = Endpoint(
                client,
                secret=secret,
                where=f"{self.name} at {urlsplit(str(client.base_url)).hostname}",
                api=self._api,
                limit=LIMITS[0] if self._base_url else LIMITS[1],
                patience=self._patience,
                concurrency=self._concurrency,
                recorder=self.recorder,
            )

            async def work() -> None:
                try:
                    for position, question in waiting:
                        interview = Interview(self._model, sheet, question, self.how)
                        while interview.answer is None:
                            interview.hear(await _all(endpoint.ask(*asked) for asked in interview.asked))
                        put((position, interview.answer))
                except Exception as error:
                    endpoint.stopped = endpoint.stopped or error
                    raise

            await _all(work() for _ in range(min(self._concurrency, len(questions))))

    def _key(self) -> str:
        if self._key_env is None:
            return ""
        key = os.environ.get(self._key_env, "")
        if not key:
            raise InputError(
                f"{self.name} needs a key in the environment variable {self._key_env}, which is not set. Set it, or "
                "name another one with api_key_env=; a server of your own is named with base_url=."
            )
        return key


async def _all(awaited: Any) -> list[Any]:
    """Wait until all are done, and only then raise the first error: nothing goes on unseen."""
    results = await asyncio.gather(*awaited, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
