"""`er-distill distill`: a real process that is killed and goes on, what it says, what it refuses."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.train
for package in ("torch", "transformers", "sklearn", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} not installed: pip install 'er-distill[cpu,train]'")

from er_distill import Student, artefact  # noqa: E402
from er_distill.blocking import candidates  # noqa: E402
from er_distill.cli import app  # noqa: E402
from er_distill.cli.console import Console  # noqa: E402
from er_distill.cli.tables import open_tables  # noqa: E402
from er_distill.files import read_table, write_table  # noqa: E402
from er_distill.training.configuration import with_base  # noqa: E402
from er_distill.training.database import FILE, Database  # noqa: E402
from er_distill.training.sweep import member_configs  # noqa: E402
from tests.counting_server import CountingServer  # noqa: E402
from tests.shop_tables import SMALL, N, is_match, labels_of_all, write_lamps  # noqa: E402
from tests.small_task import knowing  # noqa: E402
from tests.tiny_encoders import save_bert  # noqa: E402

CONCURRENCY = 2


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, labels, settings and a tiny base."""
    import json

    folder = tmp_path_factory.mktemp("shop")
    write_lamps(folder)
    write_table(pa.table(labels_of_all()), folder / "labels.csv")
    (folder / "small.json").write_text(json.dumps(SMALL), encoding="utf-8")
    prices = {"currency": "EUR", "models": {"tiny": {"prompt": 10.0, "completion": 100.0}}}
    (folder / "prices.json").write_text(json.dumps(prices), encoding="utf-8")
    save_bert(folder / "base")
    return folder


@pytest.fixture(autouse=True)
def _at_the_shop(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)


def words_of(*more: str) -> list[str]:
    return ["distill", "a.csv", "b.csv", "--base", "base", "--config", "small.json", *more]


def asking(url: str, *more: str) -> list[str]:
    teacher = ["--teacher", "openai:tiny", "--base-url", url, "--concurrency", str(CONCURRENCY), "--share", "1"]
    return words_of(*teacher, "--prices", "prices.json", *more)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from er_distill.cli import main; main()", *words],
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def scores_of(student: str) -> np.ndarray:
    left, right = open_tables(
        Path("a.csv"), Path("b.csv"), Console(quiet=True), columns=None, left_on=None, right_on=None, ids=None
    )
    return Student.load(student).score(left, right, candidates(left, right).pairs)


@pytest.mark.needs("openai")
def test_a_run_that_is_killed_while_it_asks_ends_with_the_same_student() -> None:
    with CountingServer(answer=knowing) as server:
        told = run(*asking(server.url, "--budget", "5", "-o", "undisturbed"))
        assert told.exit_code == 0, told.output
        asked = server.n_asked
        assert asked == len(server.asked) >= N - 5
    with CountingServer(answer=knowing, delay=0.1) as server:
        words = asking(server.url, "--budget", "5", "-o", "killed")
        process = start(*words)
        end = time.monotonic() + 120
        while server.n_asked < asked // 3:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.5)  # what was in flight arrives
        before = server.asked.copy()
        assert CONCURRENCY < server.n_asked < asked - CONCURRENCY  # it was in the middle
        assert not Path("killed").exists()
        answered = attempts("killed.run/labels", "text IS NOT NULL")
        server.delay = 0.0
        again = run(*words)
        assert again.exit_code == 0, again.output
        # No answer is paid for twice: only what was in flight when the process died is asked again.
        assert len(server.asked) == asked
        assert sum(server.asked[what] - times for what, times in before.items()) <= CONCURRENCY
        assert answered >= sum(before.values()) - CONCURRENCY
        assert attempts("killed.run/labels", "text IS NOT NULL") == asked
        sent = server.n_asked
        third = run(*words)
        assert third.exit_code == 0
        assert server.n_asked == sent
    np.testing.assert_allclose(scores_of("killed"), scores_of("undisturbed"), atol=1e-5)
    one, other = (artefact.read(Path(name)) for name in ("killed", "undisturbed"))
    assert one.variants == other.variants
    assert "openai:tiny" in again.stdout
    assert "EUR" in again.stdout


def attempts(folder: str, where: str) -> int:
    database = Database(Path(folder) / FILE)
    try:
        return int(database.rows(f"SELECT COUNT(DISTINCT key) AS n FROM attempts WHERE {where}")[0]["n"])
    finally:
        database.close()


@pytest.mark.needs("openai")
def test_a_spent_budget_ends_the_questions_and_not_the_student() -> None:
    with CountingServer(answer=knowing) as server:
        told = run(*asking(server.url, "--max-calls", "30", "-o", "poor"))
        assert told.exit_code == 0, told.output
        assert server.n_asked == 30
    assert "stopped asking: the limit of 30 calls is reached. The student learns from the answers" in told.stderr
    assert "questions: " in told.stderr
    assert " of 30 queries" in told.stdout


def test_labels_make_a_student_and_the_next_command_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(*words_of("--labels", "labels.csv", "--epochs", "2", "--seed", "3", "--name", "lamps", "-o", "mine/"))
    assert told.exit_code == 0, told.output
    facts = dict(line.split("  ", 1) for line in told.stdout.splitlines())
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["labels"] == f"{4 * N} pairs of {N} queries, 36 matches"
    assert facts["cost"] == "nothing: the labels were there"
    assert facts["card"] == "mine/README.md"
    assert {"agreement", "calibration", "size", "match from"} <= set(facts)
    manifest = artefact.read(Path("mine"))
    settings = manifest.training["config"]
    seeds = [settings["seed"], settings["encoder"]["seed"], settings["trees"]["seed"]]
    assert (manifest.name, seeds) == ("lamps", [3, 3, 3])
    assert settings["encoder"]["epochs"] == 2
    linked = run(*shlex.split(facts["next"])[1:])
    assert linked.exit_code == 0, linked.output
    found = read_table(Path("matches.csv")).to_pydict()
    assert np.mean([is_match(*ends) for ends in zip(found["left_id"], found["right_id"], strict=True)]) > 0.9


def test_seeds_are_swept_quietly() -> None:
    told = run(*words_of("--labels", "labels.csv", "--seeds", "0,1", "--no-weights", "-o", "swept", "--quiet"))
    assert told.exit_code == 0, told.output
    assert told.output == ""
    assert read_table(Path("swept.run/sweep.csv"))["member"].to_pylist() == ["seed-0", "seed-1"]
    assert not (Path("swept") / artefact.WEIGHTS).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is nothing to learn from"),
        (["--labels", "labels.csv", "--seeds", "one"], "are no seeds"),
        (["--labels", "labels.csv", "--pairs", "labels.csv", "--block", "topk:3"], "Give one"),
        (["--labels", "labels.csv", "--from", "base"], "Give one"),
        (["--teacher", "openai:tiny", "--budget", "5"], "--budget needs a price for openai:tiny"),
        (["--teacher", "openai:tiny", "--share", "1", "--number", "3"], "--share and --number"),
        (["--teacher", "tiny"], "'tiny' is no teacher"),
        (["--labels", "labels.csv", "--block", "topk:x"], "is no rule"),
    ],
)
def test_bad_usage_is_told(words: list[str], message: str) -> None:
    told = run(*words_of(*words, "-o", "refused"))
    assert told.exit_code == 2
    assert message in " ".join(told.output.replace("│", " ").split())
    assert not Path("refused").exists()
    assert not Path("refused.run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "labels.csv", "-o", "base"], "base is there already"),
        (["--labels", "none.csv", "-o", "refused"], "none.csv does not exist"),
        (["--labels", "base", "-o", "refused"], "is no labels folder"),
        (["--teacher", "openai:gpt-4o-mini", "--budget", "0", "-o", "refused"], "--budget 0 lets openai:gpt-4o-mini"),
        (["--labels", "labels.csv", "--run", "small.json/run", "-o", "refused"], "cannot be written"),
        (["--labels", "labels.csv", "--sweep", "prices.json", "-o", "refused"], "currency is 'EUR'"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(words: list[str], message: str) -> None:
    told = run(*words_of(*words))
    assert told.exit_code == 1
    (line,) = (line for line in told.stderr.splitlines() if line.startswith("error: "))
    assert message in line
    assert not Path("refused").exists()


def test_without_the_train_extra_the_message_names_it() -> None:
    code = "import sys; sys.modules['torch'] = None; from er_distill.cli import main; main()"
    command = [sys.executable, "-c", code, *words_of("--labels", "labels.csv", "-o", "refused")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'pip install "er-distill[train]"' in done.stderr


PAGE = Path(__file__).parent.parent / "docs" / "distil.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_makes_its_tables_and_its_student(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("py")[0], str(PAGE), "exec"), {})
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("er-distill ")]
    made = next(line for line in lines if "--labels labels.csv -o my-student/" in line)
    little = ["--base", str(shop / "base"), "--config", str(shop / "small.json")]
    told = run(*shlex.split(made)[1:], *little)
    assert told.exit_code == 0, told.output
    shown = re.search(r"^labels .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert shown is not None
    assert shown.group(0) in told.stdout
    linked = run(*shlex.split(next(line for line in lines if "--truth" in line))[1:])
    assert linked.exit_code == 0, linked.output


def test_every_command_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("er-distill distill")]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        told = run(*words)
        assert told.exit_code == 1, f"{line}\n{told.output}"  # the files are not there; as usage it is right


@pytest.mark.parametrize("number", [0, 1])
def test_the_settings_of_the_page_are_settings(number: int, shop: Path, tmp_path: Path) -> None:
    settings = tomllib.loads(blocks("toml")[number])
    members = settings if number == 0 else {"all": settings}
    start = with_base(None, tmp_path / "student", shop / "base")
    assert set(member_configs(start, members, tmp_path)) == set(members)
