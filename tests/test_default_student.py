"""The scripts that make the bundled student, on made-up tasks with a tiny base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.train

from benchmarks import build_default_student, default_left_out  # noqa: E402
from er_distill import Student  # noqa: E402
from er_distill.training.folds import cross_fit  # noqa: E402
from tests.made_up_tasks import OPEN, benchmark_in  # noqa: E402
from tests.tiny_encoders import save_bert  # noqa: E402

ENTITIES = 12  # of each generated task


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the made-up benchmark, the tiny base, and results."""
    benchmark_in(tmp_path, monkeypatch)
    base = save_bert(tmp_path / "base", n_positions=128)
    monkeypatch.setattr(build_default_student, "offline_base", lambda: str(base))
    monkeypatch.setattr(build_default_student, "QUICK_ENTITIES", ENTITIES)
    monkeypatch.setattr(build_default_student, "RESULTS", tmp_path)
    return tmp_path


def test_all_steps_run_and_the_card_says_what_to_expect(place: Path) -> None:
    arguments = ["--output", str(place / "student"), "--run", str(place / "run"), "--quick"]
    with pytest.raises(SystemExit, match=r"Run python -m benchmarks\.default_left_out first"):
        build_default_student.main(arguments)
    figures = {"how": "trees alone", "tasks": {OPEN: {"f1": 0.8125}}}
    (place / "default_left_out.json").write_text(json.dumps({"figures": figures}))
    build_default_student.main(arguments)
    student = Student.load(place / "student")
    assert student.manifest.left_out == {OPEN: 0.8125}
    assert {teacher.licence for teacher in student.manifest.teachers} == {"Apache-2.0"}
    assert "0.812" in (place / "student" / "README.md").read_text()


def test_no_label_of_a_task_is_learned_before_it_is_matched(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[set[str]] = []

    def seen(tasks: Any, *more: Any) -> Any:
        learned.append({task.candidates.name for task in tasks})
        assert not (place / "gold_log.md").exists()
        return cross_fit(tasks, *more)

    quick, recipe = build_default_student.quick, build_default_student.recipe
    monkeypatch.setattr(default_left_out, "TASKS", (OPEN,))
    monkeypatch.setattr(default_left_out, "labelled", lambda: build_default_student.labelled(ENTITIES))
    monkeypatch.setattr(default_left_out, "recipe", lambda output: quick(recipe(output)))
    monkeypatch.setattr(default_left_out.folds, "cross_fit", seen)
    default_left_out.main(["--output", str(place / "left_out.json")])
    assert len(learned) == 1
    assert OPEN not in learned[0]
    assert len(learned[0]) > 1
    assert "default_left_out" in (place / "gold_log.md").read_text()
    figures = json.loads((place / "left_out.json").read_text())["figures"]
    assert figures["tasks"][OPEN]["f1"] == pytest.approx(figures["mean"]["f1"])
    assert np.isfinite(figures["mean"]["f1"])
    assert figures["mean"]["f1"] > 0.5
