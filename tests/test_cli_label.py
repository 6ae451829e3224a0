"""`er-distill label` and `labels`: real processes against a real server, killed, doubled, starved and run again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from counting_server import COMPLETION_TOKENS, PROMPT_TOKENS, CountingServer
from typer.testing import CliRunner, Result

from er_distill.artefact import Teacher
from er_distill.cli import app
from er_distill.files import read_table
from er_distill.records import Records
from er_distill.training.database import FILE, Database
from er_distill.training.labels import Candidates, from_table
from er_distill.training.teachers.base import questions_of
from er_distill.training.teachers.files import LabelFile

pytestmark = pytest.mark.needs("openai")

N = 40
KEY = "sk-secret-0123456789abcdef"
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "iris", "jade"]


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str]:
    """Two tables of N records; each left record's first candidates are much like it."""
    names = [f"{WORDS[k % 10]} {WORDS[k // 10]} lamp {k:03}" for k in range(N)]
    for name in ("a", "b"):
        rows = "".join(f"{name}{k},{text}\n" for k, text in enumerate(names))
        (tmp_path / f"{name}.csv").write_text(f"id,name\n{rows}", encoding="utf-8")
    return str(tmp_path / "a.csv"), str(tmp_path / "b.csv")


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with CountingServer() as running:
        yield running


def arguments(tables: tuple[str, str], url: str, output: Path, *more: str) -> list[str]:
    asked = ["--teacher", "openai:tiny", "--base-url", url, "--block", "topk:3", "--share", "1"]
    return ["label", *tables, *asked, "-o", str(output), *more]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def prices(folder: Path, **models: tuple[float, float]) -> str:
    path = folder / "prices.json"
    table = {name: {"prompt": prompt, "completion": completion} for name, (prompt, completion) in models.items()}
    path.write_text(json.dumps({"currency": "EUR", "models": table}), encoding="utf-8")
    return str(path)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Database]:
    database = Database(folder / FILE)
    try:
        yield database
    finally:
        database.close()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with opened(folder) as database:
        return [tuple(row) for row in database.rows(query)]


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    return subprocess.Popen(
        [sys.executable, "-c", "from er_distill.cli import main; main()", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background job, as a test run may be, has interrupts ignored and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def until(condition: Any, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_killed_run_pays_only_for_what_is_missing(tables: tuple[str, str], tmp_path: Path) -> None:
    folder, concurrency = tmp_path / "labels", 4
    with CountingServer(delay=0.05) as server:
        words = arguments(tables, server.url, folder, "--concurrency", str(concurrency))
        process = start(*words)
        until(lambda: server.n_asked >= N // 3, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.2)  # what was in flight arrives
        before, sent = server.asked.copy(), server.n_asked
        assert concurrency < sent < N - concurrency  # it was in the middle
        kept = rows(folder, "SELECT COUNT(text), COUNT(*), SUM(NOT done) FROM attempts")[0]
        assert kept[0] >= sent - concurrency
        assert sent <= kept[1] <= sent + concurrency  # each attempt was written down before it was sent
        again = run(*words)
        assert again.exit_code == 0, again.output
        assert len(server.asked) == N
        repeated = sum(server.asked[what] - times for what, times in before.items())
        assert repeated <= concurrency
        assert max(server.asked.values()) <= 2
        assert rows(folder, "SELECT COUNT(*) FROM attempts")[0][0] >= server.n_asked
        assert rows(folder, "SELECT COUNT(*), COUNT(DISTINCT key) FROM attempts WHERE text IS NOT NULL") == [(N, N)]
        sent = server.n_asked
        third = run(*words)
        assert third.exit_code == 0
        assert server.n_asked == sent  # nothing is missing: nothing is asked
    assert f"{N} answers" in third.stdout
    assert f"0 calls ({N} more are answered already)" in third.stderr
    labels = read_table(folder / "labels.csv").to_pydict()
    assert sorted(set(labels["label"])) == ["0.0", "1.0"]


def test_an_interrupted_run_leaves_labels_of_what_it_has(tables: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    with CountingServer(delay=0.25) as server:  # slow enough that the signal comes in time on a busy machine
        process = start(*arguments(tables, server.url, folder, "--concurrency", "2"))
        until(lambda: server.n_asked >= N // 3, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "run the same command again to go on" in said
        assert server.n_asked < N
    kept = rows(folder, "SELECT COUNT(*) FROM answers")[0][0]
    assert len(set(read_table(folder / "labels.csv")["left_id"].to_pylist())) == kept > 0
    assert rows(folder, "SELECT COUNT(*) FROM attempts WHERE NOT done") == [(0,)]  # a cancelled request is recorded


def test_two_processes_share_the_work_and_the_limit(tables: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    with CountingServer(delay=0.4) as server:  # slow beside the second one's start, however busy the machine is
        words = arguments(tables, server.url, folder, "--concurrency", "2", "--max-calls", "30")
        first = start(*words)
        until(lambda: server.n_asked > 0, first)
        second = start(*words)
        for process in (first, second):
            _, said = process.communicate(timeout=60)
            assert process.returncode == 0, said
            assert "stopped: the limit of 30 calls is reached" in said
        assert server.n_asked == 30
        assert rows(folder, "SELECT COUNT(*), COUNT(text) FROM attempts") == [(30, 30)]
        assert len(server.asked) >= 30 - 4  # the two begin far from each other


@pytest.mark.parametrize("usage", [True, False], ids=["counted", "not counted"])
def test_the_budget_is_never_passed(tables: tuple[str, str], tmp_path: Path, usage: bool) -> None:
    folder, table = tmp_path / "labels", prices(tmp_path, tiny=(10.0, 100.0))
    with CountingServer(usage=usage) as server:
        words = arguments(tables, server.url, folder, "--prices", table, "--budget")
        first = run(*words, "0.05")
        assert first.exit_code == 0, first.output
        assert "stopped: the budget of 0.05 is reached" in first.stderr
        assert "run the same command again" in first.stderr
        asked = server.n_asked
        assert 0 < asked < N
        cost = (10 * PROMPT_TOKENS + 100 * COMPLETION_TOKENS) / 1e6
        held = rows(folder, "SELECT money, spent FROM held")[0]
        assert held[0] <= 0.05e9
        if usage:
            assert held[1] == round(asked * cost * 1e9)
            assert f"cost         {asked * cost:.4f} EUR" in first.stdout
        else:
            assert held[1] == 0
            assert f"{asked} calls of unknown cost" in first.stdout
        again = run(*words, "0.05")
        assert "the budget of 0.05 is reached" in again.stderr
        assert rows(folder, "SELECT money FROM held")[0][0] <= 0.05e9
        more = run(*words, "5")
        assert "stopped" not in more.stderr
        assert len(server.asked) == N == server.n_asked


def test_a_dry_run_asks_nothing_and_leaves_nothing(
    tables: tuple[str, str], server: CountingServer, tmp_path: Path
) -> None:
    folder, table = tmp_path / "labels", prices(tmp_path, tiny=(10.0, 100.0))
    words = arguments(tables, server.url, folder, "--prices", table, "--budget", "1")
    told = run(*words, "--dry-run")
    assert told.exit_code == 0, told.output
    assert f"{N} calls" in told.stdout
    assert "EUR" in told.stdout
    assert server.n_asked == 0
    assert not folder.exists()
    assert run(*words).exit_code == 0
    told = run(*words, "--dry-run")
    assert f"0 calls ({N} more are answered already)" in told.stdout
    assert "of which" in told.stdout
    most = rows(folder, "SELECT SUM(held_tokens) FROM attempts")[0][0]
    assert most == N * (PROMPT_TOKENS + COMPLETION_TOKENS)
    assert server.n_asked == N


def test_unknown_cost_is_unknown(tables: tuple[str, str], server: CountingServer, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    told = run(*arguments(tables, server.url, folder))
    assert f"cost         unknown: no price for {N} calls" in told.stdout
    assert "cost unknown: no price" in told.stderr
    assert "unknown: no price" in run("labels", str(folder)).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "5"], "--budget needs a price for openai:tiny"),
        (["--budget", "nan"], "Invalid value"),
        (["--budget", "inf"], "no amount"),
        (["--budget", "-1"], "Invalid value"),
        (["--teacher", "opnai:tiny"], "Did you mean 'openai'?"),
        (["--teacher", "gpt-4o"], "'gpt-4o' is no teacher"),
        (["--teacher", "openai:"], "names no model"),
        (["--teacher", "openai:tiny"], "openai:tiny is named twice"),
        (["--variant", "plane"], "variants"),
        (["--share", "1", "--number", "3"], "--share and --number"),
        (["--base-url", "localhost:8000"], "is no address of a server"),
        (["--base-url", f"http://me:{KEY}@localhost/v1"], "must hold no user, password or key"),
        (["--base-url", f"http://localhost/v1?key={KEY}"], "must hold no user, password or key"),
        (["--key-variable", KEY], "never write the key"),
        (["--key-variable", KEY.replace("-", "_")], "not set"),
    ],
)
def test_bad_usage_is_told_before_anything_is_done(
    tables: tuple[str, str], tmp_path: Path, words: list[str], message: str
) -> None:
    told = run(*arguments(tables, "http://127.0.0.1:9/v1", tmp_path / "labels", *words))
    assert told.exit_code == 2
    assert message in " ".join(told.output.replace("│", " ").split())
    assert KEY not in told.output
    assert not (tmp_path / "labels").exists()


def test_the_key_is_sent_and_kept_nowhere(tables: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    with CountingServer(fail_first=1) as server:  # the server's first answer repeats the key
        words = arguments(tables, server.url, folder, "--key-variable", "OPENAI_API_KEY", "--concurrency", "1")
        refused = start(*words)
        said = "".join(refused.communicate(timeout=60))
        assert refused.returncode == 1
        assert "HTTP 401" in said
        done = start(*words)
        said += "".join(done.communicate(timeout=60))
        assert done.returncode == 0, said
        assert server.keys == {f"Bearer {KEY}"}
    assert KEY not in said
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.name == FILE for file in files)
    for file in files:
        assert KEY.encode() not in file.read_bytes(), file


def test_labels_can_be_read_back(tables: tuple[str, str], server: CountingServer, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    assert run(*arguments(tables, server.url, folder)).exit_code == 0
    left, right = (Records.from_frame(read_table(Path(path)), name=path, id="id") for path in tables)
    table = read_table(folder / "labels.csv").to_pydict()
    pairs = from_table(table, "task", left, right, _pairs(table, left, right), Teacher("tiny", "MIT", N))
    candidates, labels = pairs
    assert labels.known.all()
    assert labels.target.sum() == N
    task = Candidates("task", left, right, candidates.pairs)
    answers = dict(LabelFile(folder / "teachers" / "openai-tiny.jsonl").answer(task, questions_of(task)))
    assert len(answers) == N
    chosen = {questions_of(task)[position].candidates[answer.choice] for position, answer in answers.items()}
    assert not any(answer.abstained for answer in answers.values())
    assert chosen <= set(range(N))


def _pairs(table: dict[str, list[str]], left: Records, right: Records) -> Any:
    from er_distill.pairs import Pairs

    return Pairs.from_ids(table["left_id"], table["right_id"], left, right)


def test_several_teachers_are_kept_apart_and_combined(
    tables: tuple[str, str], server: CountingServer, tmp_path: Path
) -> None:
    folder, mine = tmp_path / "labels", tmp_path / "mine.csv"
    mine.write_text("left_id,right_id,label\n" + "".join(f"a{k},b{k},1\n" for k in range(N // 2)), encoding="utf-8")
    told = run(*arguments(tables, server.url, folder, "--teacher", f"labels:{mine}"))
    assert told.exit_code == 0, told.output
    assert "openai:tiny" in told.stdout
    assert f"{N // 2} answers (0% none), {N // 2} abstentions: not in mine.csv {N // 2}" in told.stdout
    assert {file.name.partition("-")[0] for file in (folder / "teachers").iterdir()} == {"openai", "labels"}
    report = run("labels", str(folder), "--sample", "2")
    assert report.exit_code == 0, report.output
    assert f"of {N // 2} questions" in report.stdout
    assert report.stdout.count("query a") == 2
    assert "together:" in report.stdout
    hard = run("labels", str(folder), "--rule", "intersection", "--write", "--sample", "0")
    assert "intersection" in hard.stdout
    assert set(read_table(folder / "labels.csv")["label"].to_pylist()) == {"0.0", "1.0"}
    refused = run("labels", str(folder), "--rule", "error_model")
    assert refused.exit_code == 1
    assert "3 teachers" in refused.stderr


def test_another_strategy_is_another_teacher(tables: tuple[str, str], server: CountingServer, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    assert run(*arguments(tables, server.url, folder)).exit_code == 0
    asked = server.n_asked
    told = run(*arguments(tables, server.url, folder, "--variant", "careful"))
    assert server.n_asked == asked + N
    assert "openai:tiny careful" in told.stdout
    assert rows(folder, "SELECT COUNT(*), COUNT(DISTINCT teacher) FROM answers") == [(2 * N, 2)]


def test_a_changed_table_is_told_and_only_the_change_is_asked(
    tables: tuple[str, str], server: CountingServer, tmp_path: Path
) -> None:
    folder = tmp_path / "labels"
    assert run(*arguments(tables, server.url, folder)).exit_code == 0
    asked = server.n_asked
    left = Path(tables[0])
    left.write_text(left.read_text(encoding="utf-8").replace("lamp 003", "Lamp 003"), encoding="utf-8")
    told = run(*arguments(tables, server.url, folder))
    assert "note: 1 questions answered" in told.stderr
    assert server.n_asked == asked + 1
    assert rows(folder, "SELECT COUNT(*) FROM answers") == [(N + 1,)]
    labels = read_table(folder / "labels.csv").to_pydict()
    assert len(set(labels["left_id"])) == N


def test_a_second_round_asks_something_else(tables: tuple[str, str], server: CountingServer, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    words = arguments(tables, server.url, folder)
    words[words.index("--share") : words.index("--share") + 2] = ["--number", "10"]
    for round, total in ((1, 10), (1, 10), (2, 20), (2, 20), (1, 20)):
        told = run(*words, "--select", "random", "--round", str(round))
        assert told.exit_code == 0, told.output
        assert len(server.asked) == server.n_asked == total
    assert rows(folder, "SELECT round, COUNT(*) FROM questions GROUP BY round") == [(1, 10), (2, 10)]


def test_one_table_can_be_labelled(tables: tuple[str, str], server: CountingServer, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    asked = ["--teacher", "openai:tiny", "--base-url", server.url, "--number", "5"]
    told = run("label", tables[0], *asked, "-o", str(folder))
    assert told.exit_code == 0, told.output
    assert server.n_asked == 5
    assert {one[0] for one in read_table(folder / "labels.csv")["right_id"].to_pylist()} == {"a"}


def test_labels_of_no_folder_are_refused(tmp_path: Path) -> None:
    told = run("labels", str(tmp_path))
    assert told.exit_code == 1
    assert "is no labels folder" in told.stderr
    assert not (tmp_path / FILE).exists()


def test_a_dry_run_needs_no_key_and_a_real_one_says_so_first(
    tables: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    words = ["label", *tables, "--teacher", "openai:gpt-4o-mini", "-o", str(tmp_path / "l")]
    forecast = CliRunner().invoke(app, [*words, "--dry-run"])
    assert forecast.exit_code == 0, forecast.stderr
    assert "calls" in forecast.stdout
    asked = CliRunner().invoke(app, [*words, "--budget", "1"])
    assert asked.exit_code == 1
    assert "OPENAI_API_KEY, which is not set" in asked.stderr
    assert "name another one with --key-variable" in asked.stderr
