"""A wrong, cut or altered student folder is refused, and the message says which file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from er_distill import Student, artefact
from er_distill.errors import StudentError

pytestmark = pytest.mark.needs("onnxruntime")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(artefact.locate("default"), tmp_path / "student"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "student.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(StudentError) as caught:
        Student.load(folder)
    return str(caught.value)


def test_the_bundled_student_is_whole_small_and_licence_clean(folder: Path) -> None:
    manifest = artefact.read(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 30_000_000
    assert {teacher.licence for teacher in manifest.teachers} == {"Apache-2.0"}
    assert not any("llama" in teacher.name.lower() for teacher in manifest.teachers)
    assert {path.suffix for path in folder.iterdir()} <= {".html", ".json", ".md", ".onnx"}
    assert set(manifest.files) == {path.name for path in folder.iterdir()} - {"student.json"}


def test_a_written_manifest_is_read_as_it_was(folder: Path) -> None:
    manifest = artefact.read(folder)
    artefact.write(manifest, folder)
    assert artefact.read(folder) == manifest


@pytest.mark.parametrize("suffix", [".onnx", "tokenizer.json", ".md"])
def test_a_missing_cut_or_altered_file(folder: Path, suffix: str) -> None:
    path = next(path for path in sorted(folder.iterdir()) if path.name.endswith(suffix))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert path.name in refusal(folder)
    assert "cut" in refusal(folder)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    assert path.name in refusal(folder)
    assert "sha256" in refusal(folder)
    path.unlink()
    assert f"{path.name} is missing" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(format=99), "format version 99"),
        (lambda m: m.pop("format"), "no format version"),
        (lambda m: m.pop("variants"), "has no 'variants'"),
        (lambda m: m.update(run="rm -rf /"), "unknown entry 'run'"),
        (lambda m: m.update(serialisation=7), "record texts of version 7"),
        (lambda m: m.update(lexical=7), "lexical features of version 7"),
        (lambda m: m["features"].pop(), "lexical features"),
        (lambda m: m["files"].update({"../outside": {"sha256": "0", "bytes": 1}}), "not a file of the folder"),
        (lambda m: m["files"].pop(m["trees"]), "lists no sha256 for 'trees.onnx'"),
        (lambda m: m.update(trees="/etc/passwd"), "lists no sha256 for '/etc/passwd'"),
        (lambda m: m.update(default_variant="fp8"), "no variant 'fp8'"),
        (lambda m: m.update(teachers="me"), "wrong shape"),
        (lambda m: next(iter(m["variants"].values())).update(threshold=1.5), "threshold 1.5"),
        (lambda m: next(iter(m["variants"].values()))["fused"].update(bias="nan"), "wrong shape"),
        (lambda m: next(iter(m["variants"].values())).update(band=[0.1]), "wrong shape"),
    ],
)
def test_a_wrong_manifest(folder: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    edit(folder, change)
    message = refusal(folder)
    assert says in message
    assert str(folder) in message or "student" in message


def test_a_manifest_that_is_no_json(folder: Path) -> None:
    (folder / "student.json").write_text("{", encoding="utf-8")
    assert "student.json is not valid JSON" in refusal(folder)
    (folder / "student.json").write_bytes(b"\xff\xfe")
    assert "student.json is not valid JSON" in refusal(folder)
    (folder / "student.json").unlink()
    assert "not a student folder" in refusal(folder)


def test_names_that_are_no_student(tmp_path: Path) -> None:
    assert "the bundled ones are: default" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is a file" in refusal(tmp_path / "file")


def test_an_unknown_variant_names_the_near_ones() -> None:
    with pytest.raises(StudentError, match=r"no variant 'int9'\. Did you mean 'int8'"):
        Student.load(variant="int9")
