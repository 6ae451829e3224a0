"""The speed benchmark times whole lists of the same pairs, and an encoder that is split scores like its own graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.train

import onnxruntime  # noqa: E402
import torch  # noqa: E402

from benchmarks import gold  # noqa: E402
from benchmarks.speed import speeds  # noqa: E402
from benchmarks.speed_quality import fitted  # noqa: E402
from benchmarks.speed_workloads import Workload  # noqa: E402
from benchmarks.split_model import Records, Split, export, seconds_of  # noqa: E402
from er_distill.training.pretrained import load_base  # noqa: E402
from tests.made_up_tasks import OPEN, benchmark_in  # noqa: E402
from tests.tiny_encoders import save_bert  # noqa: E402

FIRST, SECOND = [0, 1, 2], [1, 2, 0]


def test_a_sample_is_whole_lists_of_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark_in(tmp_path, monkeypatch)
    whole = Workload(OPEN, None)
    assert whole.in_sample.all()
    assert sorted(whole.pairs.keys()) == sorted(gold.Task(OPEN).test_pairs.keys())
    some = Workload(OPEN, len(whole.pairs) // 2)
    assert 0 < some.in_sample.sum() <= len(whole.pairs) // 2
    inside, outside = (set(some.pairs.left[rows].tolist()) for rows in (some.in_sample, ~some.in_sample))
    assert not inside & outside
    texts = some.texts(some.pairs.take(some.in_sample))
    assert all(a <= b for a, b in texts)


def test_speed_is_the_median_of_the_rounds() -> None:
    found = speeds([(4_000, 2.0), (1_000, 1.0), (1_000, 4.0)])
    assert found["pairs_per_second"] == 1_000
    assert (found["lowest"], found["highest"]) == (250, 2_000)


def test_a_threshold_from_labels_undoes_a_shift_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4_000) * 3
    target = (rng.uniform(size=4_000) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    plain, shifted = fitted(logits, target), fitted(logits + 2, target)
    assert plain.threshold == pytest.approx(0.5, abs=0.05)
    assert shifted.threshold == pytest.approx(1 / (1 + np.exp(-2)), abs=0.03)
    assert shifted.f1 == pytest.approx(plain.f1)
    assert shifted.log_loss == pytest.approx(plain.log_loss, abs=1e-4)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_split_encoder_scores_a_pair_alone_as_in_a_batch_and_as_its_graphs(k: int, tmp_path: Path) -> None:
    model = Split(load_base(save_bert(tmp_path / "base"), 48).model, k).eval()
    records = Records([np.array([2, 5, 6, 7, 3]), np.array([2, 9, 3]), np.array([2, 5, 6, 3])])
    with torch.inference_mode():
        together = model(records, FIRST, SECOND)
        alone = torch.cat([model(records, [a], [b]) for a, b in zip(FIRST, SECOND, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    graphs = export(model, tmp_path)
    assert seconds_of(graphs, records, np.array(FIRST), np.array(SECOND)) > 0
    if graphs.records is not None:
        lower, upper = (onnxruntime.InferenceSession(str(path)) for path in (graphs.records, graphs.pairs))
        kept = [lower.run(None, {"ids": ids[None]})[0] for ids in records.ids]
        scores = [upper.run(None, {"a": kept[a], "b": kept[b]})[0][0] for a, b in zip(FIRST, SECOND, strict=True)]
        np.testing.assert_allclose(scores, alone.numpy(), atol=5e-3)  # 8 bits
