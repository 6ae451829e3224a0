"""The speed on a card is that of the student's own files, on pairs it was made for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from er_distill import artefact
from er_distill.pairs import Pairs
from er_distill.student import Student
from er_distill.training.labels import from_synthetic
from er_distill.training.speed import pairs_per_second
from er_distill.training.synthetic import generate
from tests.fake_student import BUNDLED, needs_bundled_student


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_every_variant_is_timed_on_whole_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = BUNDLED.parent
    manifest = artefact.read(folder)
    variants = {"one": manifest.variant(), "two": manifest.variant()}
    manifest = dataclasses.replace(manifest, variants=variants, default_variant="one")
    sources = {name: folder / name for name in manifest.files if name != artefact.CARD}
    tasks = [from_synthetic(generate("people", size, seed=size), 1.0)[0] for size in (30, 400)]
    seen: list[Pairs] = []
    score = Student.score

    def watched(student: Student, left: object, right: object, pairs: Pairs, **options: object) -> np.ndarray:
        seen.append(pairs)
        return score(student, left, right, pairs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Student, "score", watched)
    speed = pairs_per_second(manifest, sources, tasks, tmp_path)
    assert set(speed) == {"one", "two"}
    assert min(speed.values()) > 0
    timed, all_pairs = seen[1], tasks[1].pairs
    assert 2_000 <= len(timed) < len(all_pairs)
    assert [len(pairs) for pairs in seen] == [1, len(timed)] * 2
    assert len(timed) == np.isin(all_pairs.left, timed.left).sum()
    assert list(tmp_path.iterdir()) == []
