"""The encoders that the benchmark fuses, on made-up tasks with a tiny base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.train

from benchmarks import distiller_data, distiller_encoder  # noqa: E402
from benchmarks.distiller_encoder import Recipe  # noqa: E402
from benchmarks.distiller_problem import problems  # noqa: E402
from tests.made_up_tasks import HELD_OUT, LABELLED, OPEN, TEACHERS, benchmark_in  # noqa: E402
from tests.tiny_encoders import save_bert  # noqa: E402


def test_logits_of_every_pair_and_which_of_them_were_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark_in(tmp_path, monkeypatch)
    base = save_bert(tmp_path / "base")
    monkeypatch.setattr(distiller_encoder, "offline_base", lambda: str(base))
    monkeypatch.setitem(distiller_encoder.RECIPES, "tiny", Recipe(TEACHERS, epochs=1, max_length=32, layers=1))
    monkeypatch.setattr("sys.argv", ["distiller_encoder", "--name", "tiny"])
    distiller_encoder.main()
    monkeypatch.setattr(distiller_encoder, "train", None)  # not a second time
    distiller_encoder.main()
    for task in distiller_data.load():
        with np.load(distiller_data.kept("encoders", "tiny", task.name)) as stored:
            logits, unseen = stored["logits"], stored["unseen"]
        assert np.isfinite(logits).all()
        assert len(logits) == len(task.pairs)
        assert unseen[~task.labelled].all()
        held_out = np.unique(task.pairs.left[task.labelled & unseen])
        assert 0 < len(held_out) < LABELLED / 3
        assert not np.isin(task.pairs.left[~unseen], held_out).any()  # whole lists
    assert {task.name for task in distiller_data.load()} == {OPEN, HELD_OUT}


def test_an_encoder_learns_no_more_pairs_than_its_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark_in(tmp_path, monkeypatch)
    for pairs, most in ((20, 20), (2_500, np.inf)):
        recipe = Recipe(TEACHERS, pairs=pairs)
        for problem in problems(distiller_data.load(), recipe.configuration, seed=0):
            target = np.where(problem.known, 0.0, np.nan)
            learned = distiller_encoder._learned(problem, target, recipe, seed=0)
            assert 0 < learned.sum() <= most * problem.weight
            left = problem.data.pairs.left
            assert not (np.isin(left, left[learned]) & problem.known & ~learned).any()  # whole lists
