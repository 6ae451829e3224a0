"""The label store: every request to a teacher as it was sent, every answer as it came, and what it cost.

A row is written before a request is sent and filled in after it, so that a run which is killed leaves behind what it
has paid for, and what it may have paid for. Several processes can write at once. A budget holds for the folder: what
any run ever spent there counts, and the worst case of a request is set aside, in one transaction, before it is sent.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from er_distill.errors import BudgetSpent, InputError
from er_distill.training.database import FILE, Database, now
from er_distill.training.limits import NANO, Held, Limits, in_nano, worst_case
from er_distill.training.prices import Price
from er_distill.training.teachers.base import Attempt, Request

_NOT_BILLED = ("HTTP 4", "no connection")
"""How the errors of attempts begin that the server refused, or never saw."""


@dataclass(frozen=True)
class _Reservation:
    attempt: int
    price: Price | None
    tokens: int
    money: int | None


class LabelStore:
    """A labels folder, open for one run; the :class:`~er_distill.training.teachers.base.Recorder` of its teachers.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    prices : mapping of str to Price, optional
        By the teacher's name; a teacher that is not in it has an unknown price.
    servers : mapping of str to str, optional
        Address that a teacher is asked at, by its name; left out for a provider's own. A model of the same name
        elsewhere is another model.
    limits : Limits, optional
    secrets : collection of str
        Texts that must never be stored (keys): blanked out wherever a server sends them back.

    Attributes
    ----------
    other_runs : int
        Runs of other living processes on the folder when this one began.

    Raises
    ------
    InputError
        When the folder cannot be used, holds the store of a newer er_distill, or calls paid in another currency.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prices: Mapping[str, Price] | None = None,
        servers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        secrets: Collection[str] = (),
    ) -> None:
        self._prices, self._servers = dict(prices or {}), dict(servers or {})
        self._limits = limits or Limits()
        self._secrets = [secret for secret in secrets if secret]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made a labels folder: {error.strerror}. Name another.") from error
        self.database = Database(folder / FILE)
        self._check_currency(folder)
        with self.database.transaction():
            open_runs = [row["pid"] for row in self.database.rows("SELECT pid FROM runs WHERE ended IS NULL")]
            self.other_runs = sum(_is_alive(pid) for pid in open_runs)
            self._run = self.database.put("runs", {"pid": os.getpid(), "started": now()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the run; what it stored stays."""
        self.database.run("UPDATE runs SET ended = ? WHERE id = ?", now(), self._run)
        self.database.close()

    @property
    def held(self) -> Held:
        """What counts against the limits so far, of all runs."""
        (row,) = self.database.rows("SELECT * FROM held")
        return Held(row["calls"], row["tokens"], row["money"] / NANO, row["spent"] / NANO)

    def has_price(self, teacher: str) -> bool:
        """Return whether a teacher's requests have a price."""
        return teacher in self._prices

    def known(self, request: Request) -> Attempt | None:
        """Return the answered attempt of a request that asked the same.

        That is one with an equal teacher, server, prompt, parameters and step: a record that was renamed keeps its
        answers, a record whose text has changed is asked about anew.
        """
        found = self.database.rows(
            "SELECT * FROM attempts WHERE key = ? AND text IS NOT NULL ORDER BY id LIMIT 1", self._key(request)
        )
        if not found:
            return None
        row = found[0]
        return Attempt(
            request,
            row["text"],
            None,
            row["choice"],
            row["prompt_tokens"],
            row["completion_tokens"],
            row["seconds"],
            row["started"],
            None if row["logprobs"] is None else tuple(json.loads(row["logprobs"])),
        )

    def reserve(self, request: Request) -> _Reservation:
        """Write down that a request is about to be sent, and set its worst case aside.

        Raises
        ------
        BudgetSpent
            When a limit does not hold it; nothing is written then.
        InputError
            When money is limited and the teacher has no price.
        """
        price = self._prices.get(request.teacher)
        tokens, money = worst_case(request, price)
        if money is None and self._limits.money is not None:
            raise InputError(f"{request.teacher} has no price, so a budget in money cannot hold it. Give one.")
        messages = json.dumps(request.messages, ensure_ascii=False)
        with self.database.transaction():
            refusal = self._limits.refusal(self.held, tokens, money or 0)
            if refusal is not None:
                raise BudgetSpent(refusal)
            self.database.put(
                "prompts", {"hash": request.prompt_hash, "messages": self._clean(messages)}, or_else="IGNORE"
            )
            attempt = self.database.put(
                "attempts",
                {
                    "key": self._key(request),
                    "run": self._run,
                    "teacher": request.teacher,
                    "model": request.model,
                    "server": self._servers.get(request.teacher),
                    "prompt_hash": request.prompt_hash,
                    "parameters": _canonical(request.parameters),
                    "task": request.task,
                    "query_id": request.query_id,
                    "candidate_ids": json.dumps(request.candidate_ids),
                    "step": request.step,
                    "price_prompt": None if price is None else price.prompt,
                    "price_completion": None if price is None else price.completion,
                    "currency": None if price is None else price.currency,
                    "started": now(),
                    "held_tokens": tokens,
                    "held_money": money,
                },
            )
            self.database.run(
                "UPDATE held SET calls = calls + 1, tokens = tokens + ?, money = money + ?", tokens, money or 0
            )
        return _Reservation(attempt, price, tokens, money)

    def record(self, reservation: _Reservation, attempt: Attempt) -> None:
        """Fill in what came of a request, and settle its reservation.

        What the server counted is what was spent. Where it said nothing, the worst case stays set aside: a request that
        timed out may have been billed. One that the server refused (an HTTP error from 400 to 499), or that found no
        server, was not.
        """
        read, written = attempt.prompt_tokens, attempt.completion_tokens
        tokens, held = reservation.tokens, reservation.money
        money: int | None = None
        if attempt.error is not None and attempt.error.startswith(_NOT_BILLED):
            tokens = money = held = 0
        elif read is not None and written is not None:
            tokens = read + written
            if reservation.price is not None:
                money = held = in_nano(reservation.price.money(read, written))
        with self.database.transaction():
            self.database.run(
                """UPDATE attempts SET done = 1, started = ?, seconds = ?, text = ?, error = ?, choice = ?,
                logprobs = ?, prompt_tokens = ?, completion_tokens = ?, money = ?, held_tokens = ?, held_money = ?
                WHERE id = ?""",
                attempt.started,
                attempt.seconds,
                self._clean(attempt.text),
                self._clean(attempt.error),
                attempt.choice,
                None if attempt.logprobs is None else json.dumps(attempt.logprobs),
                read,
                written,
                money,
                tokens,
                held,
                reservation.attempt,
            )
            self.database.run(
                "UPDATE held SET tokens = tokens + ?, money = money + ?, spent = spent + ?",
                tokens - reservation.tokens,
                (held or 0) - (reservation.money or 0),
                money or 0,
            )

    def _check_currency(self, folder: Path) -> None:
        paid = {row["currency"] for row in self.database.rows("SELECT DISTINCT currency FROM attempts")} - {None}
        for price in self._prices.values():
            if paid - {price.currency}:
                raise InputError(
                    f"{folder} holds calls paid in {', '.join(sorted(paid))}, and the prices are in {price.currency}: "
                    "they cannot be added up. Give the prices in one currency, or name another folder."
                )

    def _key(self, request: Request) -> str:
        return key_of(request, self._servers.get(request.teacher, ""))

    def _clean(self, text: str | None) -> str | None:
        if text is not None:
            for secret in self._secrets:
                text = text.replace(secret, "***")
        return text


def key_of(request: Request, server: str = "") -> str:
    """Hash what the answer to a request depends on."""
    asked = [request.teacher, request.model, request.prompt_hash, _canonical(request.parameters), str(request.step)]
    return hashlib.sha256("\x00".join([server, *asked]).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
