"""int8 on processors that add in 16 bits: what may saturate is seen, said and not used where there is a choice."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import er_distill.cli.about
from er_distill import ErDistillWarning, Student, StudentError, artefact
from er_distill import instructions as module
from er_distill.cli import app
from er_distill.instructions import SAFE_REACH, Instructions, instructions, int8_reach
from tests.fake_student import BUNDLED, needs_bundled_student

NO_VNNI = Instructions("AVX2 without VNNI", exact=False)


@pytest.fixture
def without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (module, er_distill.cli.about, er_distill.variants):
        monkeypatch.setattr(place, "instructions", lambda: NO_VNNI)


def with_weights_of_8_bits(folder: Path, *, safe: str | None) -> Path:
    """The bundled student with one weight beyond 7 bits, and its own graph as a second variant where one is named."""
    import onnx

    shutil.copytree(BUNDLED.parent, folder)
    manifest = artefact.read(folder)
    variant = manifest.variant()
    graph = onnx.load(folder / variant.encoder)
    tensor = next(
        one for one in graph.graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.raw_data)
    )
    weights = np.frombuffer(tensor.raw_data, np.int8).copy()
    weights[-1] = -128
    tensor.raw_data = weights.tobytes()
    variants = {"wide": dataclasses.replace(variant, encoder="wide.onnx")}
    onnx.save(graph, folder / "wide.onnx")
    if safe is not None:
        variants[safe] = variant
    artefact.write(
        dataclasses.replace(manifest, variants=variants, default_variant="wide", files=artefact.entries(folder)), folder
    )
    return folder


@needs_bundled_student
def test_bundled_student_cannot_saturate(without_vnni: None) -> None:
    assert 0 < int8_reach(BUNDLED.parent / "encoder.int8.onnx") <= SAFE_REACH
    Student.load()  # a warning would be an error here
    said = CliRunner().invoke(app, ["info"]).stdout
    assert "on AVX2 without VNNI: weights have 7 bits (at most 64): sums cannot saturate on any processor" in said


@needs_bundled_student
@pytest.mark.needs("onnx")
def test_student_that_may_saturate_runs_its_safe_variant(tmp_path: Path, without_vnni: None) -> None:
    folder = with_weights_of_8_bits(tmp_path / "mine", safe="narrow")
    with pytest.warns(ErDistillWarning, match=r"'wide' may saturate .*AVX2 without VNNI.* 'narrow' is used instead"):
        assert Student.load(folder).variant.encoder == "encoder.int8.onnx"
    with pytest.warns(ErDistillWarning, match=r"use variant 'narrow', or export the student again"):
        assert Student.load(folder, variant="wide").variant.encoder == "wide.onnx"
    said = CliRunner().invoke(app, ["info", str(folder)]).stdout
    assert "wide.onnx on AVX2 without VNNI: weights have 8 bits (up to 128): sums may saturate" in said


@needs_bundled_student
@pytest.mark.needs("onnx")
def test_student_without_a_safe_variant_warns_where_it_matters(
    tmp_path: Path, without_vnni: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_weights_of_8_bits(tmp_path / "mine", safe=None)
    with pytest.warns(ErDistillWarning, match=r"Scores may differ from those elsewhere: export the student again"):
        Student.load(folder)
    monkeypatch.setattr(module, "instructions", lambda: Instructions("AVX-512 VNNI", exact=True))
    Student.load(folder)


@pytest.mark.parametrize(
    ("machine", "flags", "wanted"),
    [
        ("x86_64", "fpu avx2 avx512bw avx512_vnni", Instructions("AVX-512 VNNI", exact=True)),
        ("x86_64", "fpu avx2 avx_vnni", Instructions("AVX VNNI", exact=True)),
        ("x86_64", "fpu avx2 avx512bw", Instructions("AVX-512 without VNNI", exact=False)),
        ("AMD64", "fpu avx2", NO_VNNI),
        ("aarch64", "", Instructions("ARM", exact=True)),
        ("riscv64", "", Instructions("riscv64, instructions unknown", exact=False)),
    ],
)
def test_processor(
    machine: str, flags: str, wanted: Instructions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert instructions.__wrapped__() == wanted


@pytest.mark.parametrize("content", [b"\x3f", b"\x3a\xff", b"no graph at all"])
def test_file_that_is_no_graph(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(StudentError, match=r"broken.onnx cannot be read as an ONNX graph"):
        int8_reach(tmp_path / "broken.onnx")
