"""The promises of the architecture that no single module can keep: what is imported when, by whom, and how old."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "er_distill"
OPTIONAL = {
    "accelerate",
    "cleanlab",
    "datasets",
    "onnxruntime",
    "openai",
    "pandas",
    "peft",
    "polars",
    "pyarrow",
    "pyspark",
    "recordlinkage",
    "safetensors",
    "sklearn",
    "torch",
    "transformers",
    "trl",
}
TRAINING_ONLY = OPTIONAL - {"onnxruntime", "pandas", "polars", "pyarrow", "recordlinkage"}
FRONT_DOORS = {"", "training"}  # an `__init__` that names what is public in the rooms behind it
# No lane that runs by default has `gpu` or `optimum`.
EXTRAS_OF_LANES = {
    "oldest.txt": ["cpu", "pandas", "polars", "recordlinkage", "spark", "teachers", "train"],
    "generative.txt": ["generative"],
}


def modules_after(code: str) -> set[str]:
    """Return the top-level modules a fresh interpreter has imported once it has run `code`."""
    code += "\nimport sys, json\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_brings_no_optional_package() -> None:
    loaded = modules_after("import er_distill")
    assert "er_distill" in loaded
    assert not loaded & OPTIONAL


@pytest.mark.needs("onnxruntime")
def test_scoring_brings_nothing_of_the_training_stack() -> None:
    loaded = modules_after(
        """
import er_distill
import pyarrow as pa
left = pa.table({"id": ["a", "b"], "name": ["Ada Lovelace", "Alan Turing"], "city": ["London", "Wilmslow"]})
right = pa.table({"id": ["x", "y"], "name": ["Alan M. Turing", "Ada Lovelace"], "city": ["Wilmslow", "London"]})
matches = er_distill.link(left, right)
assert set(zip(*matches.select(["left_id", "right_id"]).to_pydict().values())) == {("a", "y"), ("b", "x")}, matches
"""
    )
    assert "onnxruntime" in loaded
    assert not loaded & TRAINING_ONLY


def documented_order() -> dict[str, tuple[int, int]]:
    """Read the module table of docs/architecture.md: dotted module name -> (row, place in a sub-package's list)."""
    order: dict[str, tuple[int, int]] = {}
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.split("## Modules", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    for row, (names, responsibility) in enumerate(rows):
        for name in re.findall(r"`([\w/]+)`", names):
            order[name.rstrip("/").replace("/", ".")] = (row, 0)
            if name.endswith("/"):
                for place, inner in enumerate(re.findall(r"`(\w+)`", responsibility.partition(":")[0])):
                    order[f"{name[:-1]}.{inner}"] = (row, place + 1)
    return order


def module_of(dotted: str, order: dict[str, tuple[int, int]]) -> str | None:
    """Return the longest documented module that `dotted` (without `er_distill.`) is or lies in."""
    parts = dotted.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in order), None)


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (dotted name inside er_distill, line) for each import of our own that runs, at any depth."""
    package = ["er_distill", *path.relative_to(PACKAGE).parent.parts]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name.removeprefix("er_distill."), node.lineno) for name in names if name.startswith("er_distill."))


def test_modules_import_only_from_those_above_them() -> None:
    order = documented_order()
    assert {"errors", "records", "cli", "training", "training.pipeline"} <= set(order)
    problems = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        dotted = ".".join(relative.with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if dotted in FRONT_DOORS:
            continue
        own = module_of(dotted, order)
        if own is None or own in FRONT_DOORS:
            problems.append(f"{relative} is not in the table of docs/architecture.md")
            continue
        for name, line in imports_of(path):
            other = module_of(name, order)
            if other is not None and other != own and order[other] > order[own]:
                problems.append(f"{relative}:{line} imports {name}, which stands below {own}")
    assert not problems, "\n".join(problems)


def test_every_documented_module_exists() -> None:
    missing = [
        name
        for name in documented_order()
        if not (stem := PACKAGE.joinpath(*name.split("."))).is_dir() and not stem.with_suffix(".py").is_file()
    ]
    assert not missing


@pytest.mark.parametrize("pinned", EXTRAS_OF_LANES)
def test_lower_bounds_are_the_versions_that_a_lane_installs(pinned: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [text for extra in EXTRAS_OF_LANES[pinned] for text in extras[extra]]
    bounds = {}
    for text in [*project["dependencies"], *wanted] if pinned == "oldest.txt" else wanted:
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == ">=", text
        name = canonicalize_name(requirement.name)
        assert bounds.setdefault(name, Version(specifier.version)) == Version(specifier.version), text
    lines = (ROOT / "tests" / "lanes" / pinned).read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert bounds == {canonicalize_name(name): Version(version) for name, version in pins.items()}
