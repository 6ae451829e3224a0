"""README.md and docs/ say what is so: examples run as printed, links lead somewhere, figures are the results."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmarks import readme_figures
from er_distill import Student, score_pairs
from er_distill.cli import app
from er_distill.files import write_table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIONAL = ("dask", "duckdb", "pandas", "polars", "ray", "recordlinkage")


def python_blocks() -> Iterator[Any]:
    """Each block of Python, as a parameter of a test that needs what the block imports."""
    for page in PAGES:
        if page.name == "spark.md":
            continue  # tests/test_spark.py has a session for it
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, found.start()) + 2
            code = "\n" * (line - 1) + found.group(1)  # errors then name the line of the page
            needs = ["onnxruntime", *(name for name in OPTIONAL if re.search(rf"^(import|from) {name}\b", code, re.M))]
            marks = [pytest.mark.needs(*needs)]
            if page.name == "recipes.md":
                marks.append(pytest.mark.filterwarnings("ignore"))  # what other engines warn of is theirs
            if "er_distill.training" in code:
                marks.append(pytest.mark.train)
            yield pytest.param(page, code, id=f"{page.name}:{line}", marks=marks)


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {}


def checks(part: str) -> Callable[[Callable[[dict[str, Any]], None]], Callable[[dict[str, Any]], None]]:
    """Register what must hold after the block that has `part` in it."""

    def register(check: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        CHECKS[part] = check
        return check

    return register


@checks(".pipe(dedupe)")
def links_and_dedupes(names: dict[str, Any]) -> None:
    assert set(names["matches"][["left_id", "right_id"]].itertuples(index=False, name=None)) == {(0, 1), (1, 0)}
    assert names["people"]["entity_id"].tolist() == [0, 1, 1, 0]


@checks("extend(late, state=")
def late_records_find_their_entities(names: dict[str, Any]) -> None:
    old, new = names["entities"]["entity_id"].tolist(), names["extension"].frame["entity_id"].tolist()
    assert old[0] == old[1] == new[0]
    assert len(names["extension"].merges) == 0
    scores = {(a, b): score for a, b, score in names["everything"].itertuples(index=False)}
    kept = {(b, a): score for a, b, score in names["extension"].matches.itertuples(index=False)}
    assert kept["g2", "g3"] < scores["g2", "g3"]


@checks("Matcher().predict(features)")
def finds_the_people_of_febrl(names: dict[str, Any]) -> None:
    true = [(a, b) for a, b in names["matches"] if a.removesuffix("-org") == b.removesuffix("-dup-0")]
    assert len(true) >= 0.95 * len(names["matches"]) > 50


@checks("top_k=2")
def leaves_the_frames_as_they_were(names: dict[str, Any]) -> None:
    assert names["shop"].columns == ["id", "title", "price"]


@pytest.mark.parametrize(("page", "code"), list(python_blocks()))
def test_python_runs_as_printed(page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    if page.name == "selection.md":
        names = tiny_selection()
    elif page.name == "merging.md":
        tiny_models()
    elif page.name == "recipes.md":
        names = small_companies()
    elif page.name == "algorithms-encoder.md":
        names = tiny_labels()
    elif page.name == "algorithms-generative.md":
        pass  # defines a function; what it calls is trained in test_generative.py
    elif "er_distill.training" in code:
        code, names = tiny_training(code)
    exec(compile(code, str(page), "exec"), names)
    for part, check in CHECKS.items():
        if part in code:
            check(names)


def test_every_check_is_of_a_block_that_is_there() -> None:
    blocks = [parameter.values[1] for parameter in python_blocks()]
    assert all(any(part in code for code in blocks) for part in CHECKS)


@checks("fit_student(pairs, known")
def makes_a_student(names: dict[str, Any]) -> None:
    assert Student.load("my-student").threshold > 0


def tiny_training(code: str) -> tuple[str, dict[str, Any]]:
    """Write the files that the block reads, put a tiny base in the place of the one it would download, train little.

    Returns the code and the names that it then uses besides.
    """
    from er_distill.training import TreesConfig, from_synthetic
    from er_distill.training.synthetic import generate
    from tests.tiny_encoders import save_bert

    candidates, labels = from_synthetic(generate("people", 40, seed=0), 1.0)
    sides = [("a.csv", candidates.left, "a"), ("b.csv", candidates.right, "b")]
    for name, records, prefix in sides:
        ids = [f"{prefix}{row}" for row in range(len(records))]
        fields = dict(zip(records.fields, map(list, records.values), strict=True))
        write_table(pa.table({"id": ids, **fields}), Path(name))
    pairs = candidates.pairs
    ends = {"left_id": [f"a{row}" for row in pairs.left], "right_id": [f"b{row}" for row in pairs.right]}
    write_table(pa.table({**ends, "label": labels.target.astype(int)}), Path("labels.csv"))
    little = "EncoderConfig(base, max_length=48, epochs=1), SMALL, folds=3)"
    code, bases = re.subn(r'^base = ".*?"', f"base = {str(save_bert(Path('base')))!r}", code, flags=re.MULTILINE)
    code, configurations = re.subn(r"EncoderConfig\(base\)\)", little, code)
    assert (bases, configurations) == (1, 1)
    return code, {"SMALL": TreesConfig(rounds=40, least_leaf=10)}


@checks("MergeConfig(")
def makes_a_base(names: dict[str, Any]) -> None:
    assert (names["Path"]("merged-base") / "model.safetensors").is_file()


@checks('"pairs.parquet"')
def scores_are_those_of_one_local_run(names: dict[str, Any]) -> None:
    found = names["database"].sql("FROM scored").to_arrow_table() if "database" in names else names["scored"]
    found = found if isinstance(found, pa.Table) else pa.Table.from_pandas(found)
    columns = ["left_id", "right_id", "score"]
    customers, register, pairs = (pq.read_table(f"{name}.parquet") for name in ("customers", "register", "pairs"))
    whole = score_pairs(pairs, customers, register)
    assert len(whole) > 100
    rows = [set(zip(*(table[name].to_pylist() for name in columns), strict=True)) for table in (found, whole)]
    assert rows[0] == rows[1]
    assert len(found) == len(whole)


def small_companies() -> dict[str, Any]:
    """Write the tables and pairs that the recipes read."""
    from er_distill.blocking import candidates
    from er_distill.records import Records
    from er_distill.training.synthetic import generate

    task = generate("companies", 80, seed=3)
    records = []
    for name, columns in (("customers", task.left), ("register", task.right)):
        table = {"id": [f"{name}{row}" for row in range(len(next(iter(columns.values()))))], **columns}
        write_table(pa.table(table), Path(f"{name}.parquet"))
        records.append(Records.from_frame(pa.table(table), name=name))
    pairs = candidates(*records).pairs
    ends = zip(("left_id", "right_id"), records, (pairs.left, pairs.right), strict=True)
    write_table(pa.table({end: one.ids[rows].tolist() for end, one, rows in ends}), Path("pairs.parquet"))
    return {"__name__": "__main__"}  # what workers are sent is then sent whole


def tiny_models() -> None:
    """Write the models that the page on merging merges."""
    from tests.tiny_encoders import save_bert

    for name in ("products-student", "films-student", "all-MiniLM-L6-v2"):
        save_bert(Path(name))


def tiny_labels() -> dict[str, Any]:
    """What the page on encoders speaks of: tasks for an encoder, a base; labels, folds, a learner of pairs."""
    from er_distill.training.encoder import EncoderTask
    from er_distill.training.noise import cross_fitted
    from tests.generated_pairs import generate, logistic
    from tests.tiny_encoders import product_task, save_bert

    data = generate(200, 0)
    target = np.where(data.pairs.left < 100, data.truth, np.nan).astype(np.float32)
    fit_predict, fold = logistic(data.features), data.pairs.left // 3 % 4
    return {
        "base": save_bert(Path("base"), n_positions=128),
        "task": EncoderTask(*product_task(0)),
        "other": EncoderTask(*product_task(1)),
        "pairs": data.pairs,
        "target": target,
        "fold": fold,
        "fit_predict": fit_predict,
        "probability": cross_fitted(fit_predict, target, np.ones_like(target), fold),
    }


def tiny_selection() -> dict[str, Any]:
    """What the page on selection speaks of: a task, the present student's scores, a teacher, prices."""
    from er_distill.training import from_synthetic
    from er_distill.training.synthetic import generate
    from er_distill.training.teachers.base import Answer, questions_of

    class First:
        """A teacher that names the first candidate."""

        name, licence = "first", "Apache-2.0"

        def answer(self, candidates: Any, questions: Any) -> Iterator[tuple[int, Answer]]:
            yield from ((position, Answer(0)) for position in range(len(questions)))

    pairs, labels = from_synthetic(generate("people", 450, seed=0), 1.0)
    scores = 0.1 + 0.8 * labels.target
    return {
        "pairs": pairs,
        "scores": scores,
        "answers": {},
        "price_of_each_question": [0.01] * len(questions_of(pairs)),
        "teacher": First(),
        "train": lambda answers: scores,
    }


def command_lines(page: Path) -> list[str]:
    """The lines of a page's shell blocks that call er-distill on files of the reader's."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("er-distill ")]


@pytest.mark.needs("onnxruntime")
@pytest.mark.parametrize("page", [page for page in PAGES if command_lines(page)], ids=lambda page: page.name)
def test_commands_run_as_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    people = {"id": ["a1", "a2", "a3"], "name": ["Ada Lovelace", "Alan Turing", "Grace Hopper"], "city": list("xyz")}
    others = {"id": ["b1", "b2", "b3"], "name": ["Turing, Alan", "Lovelace, Ada", "Mary Shelley"], "city": list("yxw")}
    write_table(pa.table(people), Path("a.csv"))
    write_table(pa.table(others), Path("b.csv"))
    write_table(pa.table(people), Path("people.parquet"))
    for name in ("pairs.csv", "truth.csv"):
        write_table(pa.table({"left_id": ["a1", "a2"], "right_id": ["b2", "b1"]}), Path(name))
    for line in command_lines(page):
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        if "openai:" in line and find_spec("openai") is None:
            assert result.exit_code == 1
            assert "er-distill[teachers]" in result.output
        else:
            assert result.exit_code == 0, f"{line}\n{result.output}"
    assert {"matches.csv", "report.html", "matches.review.csv", "scored.csv"} <= {p.name for p in Path().iterdir()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_the_figures_are_those_of_the_results() -> None:
    for path, block in readme_figures.pages().items():
        page = path.read_text(encoding="utf-8")
        assert page == readme_figures.with_figures(page, block), f"{path}: run python -m benchmarks.readme_figures"


def test_figures_are_rendered_from_what_is_there() -> None:
    target = {"what": "demo: F1", "measured": 0.98, "at_least": 0.99, "met": False}
    slow = {"what": "GB", "measured": 0.5, "at_most": 1.0, "met": True}
    machine = {"cores": 2, "processor": "some CPU"}
    results = {"febrl": {"targets": [target, slow], "machine": machine}}
    block = readme_figures.render(results)
    assert "| [demo: F1](benchmarks/results/febrl.json) | 0.980 (missed) | at least 0.99 |" in block
    assert "| 0.500 | at most 1 |" in block
    assert "2 cores of some CPU" in block
    page = f"a\n{readme_figures.START}\nold\n{readme_figures.END}\nb"
    assert readme_figures.with_figures(page, block) == page.replace("old\n", block)
    assert readme_figures.with_figures(page, readme_figures.render({})) == page.replace("old\n", "")
    with pytest.raises(SystemExit, match="figures:start"):
        readme_figures.with_figures("no markers", block)
