"""One OpenAI-compatible endpoint: asks until there is an answer or no hope of one, and shows every attempt."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai

from er_distill.errors import TeacherError
from er_distill.training.prompts import Prompt
from er_distill.training.teachers.base import Attempt, Recorder, Request
from er_distill.training.teachers.replies import read
from er_distill.training.teachers.wire import APIS, EXTRAS, Reply, body, read_body

_FATAL = {
    401: "Check the key in the environment",
    403: "Check what the key may do",
    404: "Check the model's name, the base URL and the API",
}
_AGAIN = {408, 409, 425, 429}  # and all of 5xx
_FORM_REFUSED = {400, 422}
_IGNORED_BEFORE_OFF = 3
LIMITS = ("max_tokens", "max_completion_tokens")
"""What servers call the limit of tokens: most know the first name, OpenAI's newer models the second alone."""
_ERROR_CHARS = 200


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    Attributes
    ----------
    timeout : float
        For one attempt, from its start to its last byte.
    max_retries : int
        Attempts after the first one.
    first_wait, longest_wait : float
        Before the second attempt, doubled for each further one, up to the longest. A server that asks for more
        (Retry-After) is given it, up to `longest_asked`.
    longest_asked : float
        A server that asks to be left alone for longer is not asked again.
    """

    timeout: float = 60.0
    max_retries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_asked: float = 300.0


@dataclass(frozen=True)
class _Outcome:
    """What came of one attempt.

    Attributes
    ----------
    reply : Reply or None
    error : str or None
        Why there is no reply.
    again : bool
        Whether another attempt may fare better.
    wait : float or None
        Seconds that the server asked for.
    refused : frozenset of str or None
        The extras (and ``"limit"``) that the server named when it refused the request's form; empty where it named
        none, None where it did not refuse it.
    hopeless : str or None
        What to do where every other request would fail in the same way.
    """

    reply: Reply | None = None
    error: str | None = None
    again: bool = False
    wait: float | None = None
    refused: frozenset[str] | None = None
    hopeless: str | None = None


class Endpoint:
    """Asks one server.

    Parameters
    ----------
    client : openai.AsyncOpenAI
        With its own retries off: every attempt must be seen.
    secret : str
        The key, to be taken out of whatever the server says.
    where : str
        What messages call the server.
    api : str
    limit : str
        What the server calls its limit of tokens, to begin with.
    patience : Patience
    concurrency : int
        Requests at once.
    recorder : Recorder

    Attributes
    ----------
    stopped : Exception or None
        Set it to send nothing more: it is raised where the next attempt would be made.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        *,
        secret: str,
        where: str,
        api: str,
        limit: str,
        patience: Patience,
        concurrency: int,
        recorder: Recorder,
    ) -> None:
        self._client, self._secret, self._where, self._api, self._limit = client, secret, where, api, limit
        self._patience, self._recorder = patience, recorder
        self._slots = asyncio.Semaphore(concurrency)
        self._extras = frozenset(EXTRAS)
        self._limit_changed = False
        self._ignored_forms = 0
        self._answered = False
        self._quiet_until = 0.0
        self._jitter = random.Random()
        self.stopped: Exception | None = None

    async def ask(self, prompt: Prompt, request: Request) -> list[Attempt]:
        """Return the attempts at a request, the decisive one last; one from the recorder where it knows the request.

        Raises
        ------
        TeacherError
            When the server refuses every request.
        BudgetSpent
            When the recorder refuses this one.
        """
        async with self._slots:
            known = self._recorder.known(request)
            return await self._until_decided(prompt, request) if known is None else [known]

    async def _until_decided(self, prompt: Prompt, request: Request) -> list[Attempt]:
        attempts: list[Attempt] = []
        failures, bare = 0, False
        while True:
            await asyncio.sleep(max(0.0, self._quiet_until - time.monotonic()))
            if self.stopped is not None:
                raise self.stopped
            extras, limit = frozenset() if bare else self._extras, self._limit
            attempt, outcome = await self._once(prompt, request, body(self._api, prompt, request, extras, limit))
            attempts.append(attempt)
            if outcome.reply is not None:
                self._learn(prompt, outcome.reply, extras, bare)
                return attempts
            if outcome.refused is not None and self._adapt(outcome.refused, extras, limit):
                continue
            if outcome.refused is not None and extras and not bare:
                bare = True  # it does not say what it minds: once without any
                continue
            failures += 1
            last = not outcome.again or failures > self._patience.max_retries
            if outcome.hopeless and last and not (outcome.again and self._answered):
                raise TeacherError(f"{self._where} gives no answers: {outcome.error}. {outcome.hopeless}.")
            if last or not await self._waited(outcome.wait, failures):
                return attempts

    async def _once(self, prompt: Prompt, request: Request, sent: dict[str, Any]) -> tuple[Attempt, _Outcome]:
        reservation = self._recorder.reserve(request)
        started, clock = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), time.perf_counter()
        outcome = _Outcome(error="cancelled")
        try:
            outcome = await self._send(prompt, sent)
        finally:  # recorded whatever happened, a cancellation too
            reply = outcome.reply or Reply("", None, None, None)
            attempt = Attempt(
                request=request,
                text=self._clean(reply.text) if outcome.reply else None,
                error=outcome.error,
                choice=read(prompt, reply.text).choice,
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
                seconds=time.perf_counter() - clock,
                started=started,
                logprobs=reply.logprobs,
            )
            self._recorder.record(reservation, attempt)
        return attempt, outcome

    async def _send(self, prompt: Prompt, sent: dict[str, Any]) -> _Outcome:
        try:
            async with asyncio.timeout(self._patience.timeout):
                received = await self._client.post(APIS[self._api], cast_to=object, body=sent)
            return _Outcome(read_body(self._api, prompt, received))
        except (TimeoutError, openai.APITimeoutError):
            return _Outcome(error=f"no answer in {self._patience.timeout:g} s", again=True)
        except openai.APIStatusError as error:
            return self._refusal(error)
        except openai.APIConnectionError as error:
            if type(error.__cause__).__name__ == "ConnectError":
                return _Outcome(error="no connection", again=True, hopeless="Start the server, or correct the base URL")
            return _Outcome(error="connection lost", again=True)
        except (openai.APIError, ValueError) as error:  # a body that is no JSON, or not of the promised form
            return _Outcome(error=self._clean(f"unreadable reply: {error}"[:_ERROR_CHARS]), again=True)

    def _refusal(self, error: openai.APIStatusError) -> _Outcome:
        status, message = error.status_code, str(error.message)
        if isinstance(error.body, dict) and error.body.get("message"):
            message = str(error.body["message"])
        said = self._clean(f"HTTP {status}: {' '.join(message.split())}"[:_ERROR_CHARS])
        if error.code == "insufficient_quota":
            return _Outcome(error=said, hopeless="Add credit to the account")
        if status in _FATAL:
            return _Outcome(error=said, hopeless=_FATAL[status])
        if status in _FORM_REFUSED:
            text = message.lower()
            named = {extra for extra, words in EXTRAS.items() if any(word in text for word in words)}
            named |= {"limit"} if "max_" in text and "support" in text else set()
            return _Outcome(error=said, refused=frozenset(named))
        return _Outcome(error=said, again=status in _AGAIN or status >= 500, wait=_retry_after(error.response.headers))

    def _adapt(self, refused: frozenset[str], extras: frozenset[str], limit: str) -> bool:
        """Stop sending what the server refuses by name; whether there is another form to try."""
        self._extras -= refused
        if "limit" in refused and limit == self._limit and not self._limit_changed:
            self._limit, self._limit_changed = next(name for name in LIMITS if name != limit), True
        return bool(refused & extras) or limit != self._limit

    def _learn(self, prompt: Prompt, reply: Reply, extras: frozenset[str], bare: bool) -> None:
        self._answered = True
        if bare:
            self._extras = frozenset()
        if "schema" in extras and prompt.options:
            obeyed = reply.text.lstrip().startswith("{")
            self._ignored_forms = 0 if obeyed else self._ignored_forms + 1
            if self._ignored_forms >= _IGNORED_BEFORE_OFF:
                self._extras -= {"schema"}

    async def _waited(self, asked: float | None, failures: int) -> bool:
        """Wait before another attempt; False where the server asks for more than there is patience for."""
        if asked is not None:
            if asked > self._patience.longest_asked:
                return False
            # It speaks for the server as a whole, so all requests keep quiet.
            self._quiet_until = max(self._quiet_until, time.monotonic() + asked)
            return True
        wait = min(self._patience.longest_wait, self._patience.first_wait * 2 ** (failures - 1))
        await asyncio.sleep(wait * self._jitter.uniform(0.5, 1.0))
        return True

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After asks for, which may be a number or a date."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(headers["retry-after"])
        except (KeyError, ValueError):
            return None
        return max(0.0, until.timestamp() - time.time())
