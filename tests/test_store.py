"""The label store: nothing is lost, nothing is asked again, no limit is passed, no key is kept."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill.errors import BudgetSpent, InputError
from er_distill.training.database import FILE
from er_distill.training.limits import Limits
from er_distill.training.prices import Price
from er_distill.training.store import LabelStore, key_of
from er_distill.training.teachers.base import NONE, Attempt, Request

TEACHER = "openai:tiny"
PRICE = Price(2.0, 10.0, "USD", "2026-01-01", "made up")


def request(number: int = 0, **changes: Any) -> Request:
    base = Request(
        teacher=TEACHER,
        model="tiny",
        prompt_hash=f"{number:064x}",
        messages=({"role": "user", "content": f"question {number} é"},),
        parameters={"temperature": 0, "max_tokens": 16},
        task="a-b",
        query_id=str(number),
        candidate_ids=("7", "9"),
        step=0,
        max_prompt_tokens=100,
        max_completion_tokens=20,
    )
    return replace(base, **changes)


def attempt(asked: Request, text: str | None = "[1]", error: str | None = None, **changes: Any) -> Attempt:
    tokens = (None, None) if text is None else (50, 5)
    made = Attempt(asked, text, error, None if text is None else 0, *tokens, 0.25, "2026-01-02T03:04:05.678+00:00")
    return replace(made, **changes)


def test_an_answer_outlives_its_run(tmp_path: Path) -> None:
    asked = request()
    given = attempt(asked, "**[2]** é", choice=1, logprobs=(-3.0, -0.1, -5.0))
    with LabelStore(tmp_path) as store:
        assert store.known(asked) is None
        store.record(store.reserve(asked), given)
    with LabelStore(tmp_path) as store:
        assert store.known(asked) == given
        assert store.other_runs == 0


def test_what_makes_two_requests_the_same(tmp_path: Path) -> None:
    asked = request()
    with LabelStore(tmp_path) as store:
        store.record(store.reserve(asked), attempt(asked, choice=NONE))
        renamed = replace(asked, task="c-d", query_id="q", candidate_ids=("x", "y"), max_prompt_tokens=1)
        found = store.known(renamed)
        assert found is not None
        assert found.request is renamed
        assert found.choice == NONE
        for other in (
            {"teacher": "openai:tiny at home"},
            {"model": "large"},
            {"prompt_hash": "f" * 64},
            {"parameters": {"temperature": 1, "max_tokens": 16}},
            {"step": 1},
        ):
            assert store.known(request(**other)) is None, other
        assert store.known(request(parameters={"max_tokens": 16, "temperature": 0})) is not None


def test_a_model_of_one_name_elsewhere_is_another(tmp_path: Path) -> None:
    with LabelStore(tmp_path, servers={TEACHER: "http://localhost:1/v1"}) as store:
        store.record(store.reserve(request()), attempt(request()))
        assert store.known(request()) is not None
    for servers in ({}, {TEACHER: "http://localhost:2/v1"}):
        with LabelStore(tmp_path, servers=servers) as store:
            assert store.known(request()) is None


def test_money_of_two_currencies_is_not_added_up(tmp_path: Path) -> None:
    with LabelStore(tmp_path, prices={TEACHER: PRICE}) as store:
        store.record(store.reserve(request()), attempt(request()))
    with LabelStore(tmp_path):
        pass
    with pytest.raises(InputError, match="calls paid in USD, and the prices are in EUR"):
        LabelStore(tmp_path, prices={TEACHER: replace(PRICE, currency="EUR")})


def test_a_failure_is_kept_and_asked_again(tmp_path: Path) -> None:
    asked = request()
    with LabelStore(tmp_path) as store:
        for error in ("timeout", "HTTP 429"):
            store.record(store.reserve(asked), attempt(asked, None, error))
        assert store.known(asked) is None
        store.record(store.reserve(asked), attempt(asked, "[7]", choice=None))
        found = store.known(asked)
        assert found is not None  # an answer that cannot be read was paid for: it is an answer
        assert found.choice is None
        rows = store.database.rows("SELECT error, text, done FROM attempts ORDER BY id")
    assert [tuple(row) for row in rows] == [("timeout", None, 1), ("HTTP 429", None, 1), (None, "[7]", 1)]


def test_what_counts_against_the_limits(tmp_path: Path) -> None:
    worst = PRICE.money(100, 20)
    with LabelStore(tmp_path, prices={TEACHER: PRICE}) as store:
        first = store.reserve(request(1))
        assert (store.held.calls, store.held.tokens) == (1, 120)
        assert store.held.money == pytest.approx(worst)
        assert store.held.spent == 0
        store.record(first, attempt(request(1)))  # as the server counted
        assert store.held.tokens == 55
        assert store.held.money == store.held.spent == pytest.approx(PRICE.money(50, 5))
        for error in ("HTTP 429: slow down", "no connection"):  # not billed
            store.record(store.reserve(request(2)), attempt(request(2), None, error))
        assert store.held.tokens == 55
        assert store.held.calls == 3
        for error in ("timeout", "HTTP 502"):  # perhaps billed
            store.record(store.reserve(request(3)), attempt(request(3), None, error))
        store.record(store.reserve(request(4)), attempt(request(4), prompt_tokens=None))  # who knows
        assert store.held.tokens == 55 + 3 * 120
        assert store.held.money == pytest.approx(PRICE.money(50, 5) + 3 * worst)
        assert store.held.spent == pytest.approx(PRICE.money(50, 5))
        money = [row["money"] for row in store.database.rows("SELECT money FROM attempts ORDER BY id")]
    assert money == [150_000, 0, 0, None, None, None]


def test_an_unknown_price_is_no_price_of_nothing(tmp_path: Path) -> None:
    with LabelStore(tmp_path) as store:
        store.record(store.reserve(request()), attempt(request()))
        (row,) = store.database.rows("SELECT money, held_money, price_prompt FROM attempts")
        assert tuple(row) == (None, None, None)
    with (
        LabelStore(tmp_path, limits=Limits(money=1)) as store,
        pytest.raises(InputError, match="openai:tiny has no price"),
    ):
        store.reserve(request(1))


@pytest.mark.parametrize(
    ("limits", "allowed", "message"),
    [
        (Limits(calls=3), 3, "the limit of 3 calls is reached"),
        (Limits(tokens=5 * 55 + 119), 5, "limit of 394 tokens"),
        (Limits(money=PRICE.money(100, 20) + PRICE.money(50, 5)), 2, "the budget of 0.00055 is reached"),
        (Limits(money=0.0), 0, "the budget of 0 is reached"),
    ],
)
def test_limits_hold_over_runs(tmp_path: Path, limits: Limits, allowed: int, message: str) -> None:
    for number in range(allowed):
        with LabelStore(tmp_path, prices={TEACHER: PRICE}, limits=limits) as store:
            store.record(store.reserve(request(number)), attempt(request(number)))
    with LabelStore(tmp_path, prices={TEACHER: PRICE}, limits=limits) as store:
        before = store.held
        with pytest.raises(BudgetSpent, match=message):
            store.reserve(request(99))
        assert store.held == before
        assert len(store.database.rows("SELECT id FROM attempts")) == allowed


class Interleaving:
    """A store driven as teachers do: requests overlap, and each ends in its own way."""

    ENDS = ("answer", "timeout", "HTTP 429", "no usage", "never")

    def __init__(self, store: LabelStore) -> None:
        self.store = store
        self.open: list[tuple[Any, Request]] = []

    def step(self, number: int, end: str | None) -> None:
        if end is None:
            asked = request(number, max_prompt_tokens=60 + number % 7)
            self.open.append((self.store.reserve(asked), asked))
        elif self.open and end != "never":
            reservation, asked = self.open.pop(number % len(self.open))
            error = end if end in ("timeout", "HTTP 429") else None
            tokens = {"prompt_tokens": None} if end == "no usage" else {}
            self.store.record(reservation, attempt(asked, None if error else "[1]", error, **tokens))


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.none() | st.sampled_from(Interleaving.ENDS)), max_size=40),
    st.integers(0, 3000),
)
def test_no_order_of_calls_and_answers_passes_a_limit(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str | None]], thousandths: int
) -> None:
    limits = Limits(money=thousandths / 1e6, calls=20, tokens=2_000)
    with LabelStore(tmp_path_factory.mktemp("labels"), prices={TEACHER: PRICE}, limits=limits) as store:
        run = Interleaving(store)
        for number, end in steps:
            try:
                run.step(number, end)
            except BudgetSpent:
                assert end is None
            held = store.held
            assert held.calls <= 20
            assert held.tokens <= 2_000
            assert held.spent <= held.money <= thousandths / 1e6
            (sums,) = store.database.rows(
                "SELECT COUNT(*) AS calls, TOTAL(held_tokens) AS tokens, "
                "TOTAL(held_money) AS money, TOTAL(money) AS spent FROM attempts"
            )
            assert (held.calls, held.tokens) == (sums["calls"], sums["tokens"])
            assert (held.money, held.spent) == (sums["money"] / 1e9, sums["spent"] / 1e9)


def spend(folder: Path, calls: int, barrier: Any) -> None:
    barrier.wait(30)
    with LabelStore(folder, prices={TEACHER: PRICE}, limits=Limits(calls=calls)) as store:
        for number in range(calls):
            try:
                store.record(store.reserve(request(number)), attempt(request(number)))
            except BudgetSpent:
                return


def test_two_processes_share_one_limit(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [context.Process(target=spend, args=(tmp_path, 40, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    with LabelStore(tmp_path) as store:
        assert store.held.calls == 40
        assert len(store.database.rows("SELECT id FROM attempts WHERE done")) == 40
        assert store.other_runs == 0


def test_threads_may_record(tmp_path: Path) -> None:
    with LabelStore(tmp_path) as store:
        held = store.reserve(request())
        thread = threading.Thread(target=store.record, args=(held, attempt(request())))
        thread.start()
        thread.join()
        assert store.known(request()) is not None


def test_a_key_that_a_server_sends_back_is_not_kept(tmp_path: Path) -> None:
    key = "sk-very-secret-0123456789"
    asked = request(messages=({"role": "user", "content": f"a record that says {key}"},))
    with LabelStore(tmp_path, secrets=(key, "")) as store:
        store.record(store.reserve(asked), attempt(asked, f"your key is {key}"))
        store.record(store.reserve(asked), attempt(asked, None, f"HTTP 401: {key}"))
        found = store.known(asked)
        assert found is not None
        assert found.text == "your key is ***"
    for file in tmp_path.iterdir():
        assert key.encode() not in file.read_bytes(), file


def test_a_run_that_died_is_not_alive(tmp_path: Path) -> None:
    with LabelStore(tmp_path) as store:
        store.database.run("INSERT INTO runs (pid, started) VALUES (?, '')", 2**22 + 1)  # above any pid
        with LabelStore(tmp_path) as other:
            assert other.other_runs == 1


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file cannot be made a labels folder"):
        LabelStore(tmp_path / "file")
    (tmp_path / FILE).write_text("this is no database, and long enough to be seen as none. " * 20)
    with pytest.raises(InputError, match=r"labels\.sqlite cannot be used as a label store: file is not a database"):
        LabelStore(tmp_path)


def test_another_database_and_a_newer_one_are_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(InputError, match="no label store"):
        LabelStore(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="newer er_distill"):
        LabelStore(tmp_path)


def test_keys_are_stable() -> None:
    assert key_of(request()) == key_of(request()) != key_of(request(1))
    # A release that changed this would ask, and pay, for every answer again.
    assert key_of(request()) == "18583ed19b37ee2cf65237d50c261a7e9c522f0ea85ab5c5b96350082625816e"
