from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoders import product_task, save_bert, save_roberta

from er_distill.errors import ExportError, InputError
from er_distill.session import Session

torch = pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
for package in ("transformers", "onnx", "onnxruntime", "sklearn"):
    pytest.importorskip(package, reason=f"{package} not installed: pip install 'er-distill[cpu,train]'")
from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: E402

from er_distill.training import export, parity, tree_export  # noqa: E402
from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder  # noqa: E402
from er_distill.training.pretrained import EncoderModel  # noqa: E402

N_FEATURES = 6


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderModel]:
    folder = tmp_path_factory.mktemp(request.param)
    base = (save_bert if request.param == "bert" else save_roberta)(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = EncoderConfig(
        base, max_length=32, epochs=20, learning_rate=3e-3, batch_tokens=512, dtype="float32", device="cpu"
    )
    yield train_encoder([EncoderTask(*product_task())], config)
    torch.set_num_threads(threads)


def trees_and_features(seed: int = 0) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(1_500, N_FEATURES)).astype(np.float32)
    features[:, 1] = np.round(features[:, 1], 1)  # ties
    features[:, 2] = rng.integers(0, 3, len(features))
    features[rng.random(features.shape) < 0.2] = np.nan
    features[:, 5] = rng.random(len(features))  # never missing
    score = (
        np.nan_to_num(features[:, 0]) + np.isnan(features[:, 1]) - 0.5 * np.nan_to_num(features[:, 2]) + features[:, 5]
    )
    label = score + rng.normal(size=len(features)) > 0.3
    return HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15).fit(features, label), features


def test_fp32_graph_scores_as_the_model(encoder: EncoderModel, tmp_path: Path) -> None:
    files = export.export_encoder(encoder, tmp_path)
    assert files == {name: f"encoder.{name}.onnx" for name in ("fp32", "fp16", "int8")}
    left, right, pairs, _ = product_task()
    expected = encoder.predict(left, right, pairs)
    logits = export.graph_logits(tmp_path / files["fp32"], encoder, left, right, pairs, one_by_one=False)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    found = parity.check_scores(expected, logits, graph="fp32", limit=export.LIMITS["fp32"])
    assert found.mean_difference <= found.largest_difference <= export.LIMITS["fp32"]

    half = export.graph_logits(tmp_path / files["fp16"], encoder, left, right, pairs, one_by_one=False)
    assert half.dtype == np.float32
    assert parity.check_scores(expected, half, graph="fp16", limit=export.LIMITS["fp16"]).largest_difference > 0
    assert (tmp_path / files["fp16"]).stat().st_size < 0.75 * (tmp_path / files["fp32"]).stat().st_size

    small = export.graph_logits(
        tmp_path / files["int8"], encoder, left, right, pairs, one_by_one="int8" in export.ONE_BY_ONE
    )
    assert not np.allclose(small, expected, atol=1e-4)
    assert np.corrcoef(small, expected)[0, 1] > 0.98


def test_int8_graph_holds_no_large_float_weights(encoder: EncoderModel, tmp_path: Path) -> None:
    import onnx

    graph = onnx.load(tmp_path / export.export_encoder(encoder, tmp_path, variants=["int8"])["int8"]).graph
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.int8.onnx"]
    matrices = [weights for weights in graph.initializer if len(weights.dims) == 2 and min(weights.dims) > 1]
    assert matrices
    assert {weights.data_type for weights in matrices} <= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert [output.name for output in graph.output] == ["logit"]


def test_export_changes_neither_model_nor_logging_and_is_quiet(
    encoder: EncoderModel, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    left, right, pairs, _ = product_task()
    before, attention = encoder.predict(left, right, pairs), encoder.model.config._attn_implementation
    filters, handlers = list(logging.getLogger().filters), list(logging.getLogger().handlers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export.export_encoder(encoder, tmp_path)
    assert encoder.model.config._attn_implementation == attention
    np.testing.assert_array_equal(encoder.predict(left, right, pairs), before)
    assert (logging.getLogger().filters, logging.getLogger().handlers) == (filters, handlers)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_variant_that_does_not_exist(encoder: EncoderModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no encoder variant 'int4'\. Did you mean 'int8'"):
        export.export_encoder(encoder, tmp_path, variants=["int4"])
    assert not list(tmp_path.iterdir())


def test_parity_refuses_a_graph_that_is_off() -> None:
    model = np.array([-3.0, 0.0, 2.0])
    found = parity.check_scores(model, model + np.array([0, 0.4, 0]), graph="small")
    assert found.largest_difference == pytest.approx(1 / (1 + np.exp(-0.4)) - 0.5)
    assert found.mean_difference == pytest.approx(found.largest_difference / 3)
    with pytest.raises(ExportError, match=r"encoder\.onnx is not what was trained.*0\.0001 is allowed"):
        parity.check_scores(model, model + 0.001, graph="encoder.onnx", limit=export.LIMITS["fp32"])
    with pytest.raises(ExportError, match="differ from the model's by up to nan"):
        parity.check_scores(model, np.full(3, np.nan), graph="encoder.onnx", limit=export.LIMITS["fp32"])


def test_variant_is_judged_by_its_decisions() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(2_000) < 0.3
    reference = np.clip(labels * 0.6 + rng.random(2_000) * 0.4, 0, 1)
    same = parity.check_decisions(reference, reference / 2, 0.5, 0.25, labels)
    assert (same.flipped, same.f1) == (0.0, same.f1_reference)

    off = reference.copy()
    off[np.flatnonzero(~labels)[:10]] = 0.9
    report = parity.check_decisions(reference, off, 0.5, 0.5, labels)
    assert report.flipped == pytest.approx(10 / 2_000)
    assert report.f1 < report.f1_reference
    off[np.flatnonzero(~labels)[:25]] = 0.9
    with pytest.raises(ExportError, match=r"int8 is too far.*1\.25% of its decisions are flipped"):
        parity.check_decisions(reference, off, 0.5, 0.5, labels, variant="int8")
    with pytest.raises(ExportError, match=r"F1 against the labels is 0\.9\d\d where the model has"):
        parity.check_decisions(reference, off, 0.5, 0.5, labels, most_flipped=1.0)


def test_one_decision_of_few_pairs_refuses_no_variant() -> None:
    reference = np.array([0.9] * 5 + [0.1] * 15)
    off, labels = reference.copy(), reference > 0.5
    off[0] = 0.4
    report = parity.check_decisions(reference, off, 0.5, 0.5, labels)
    assert (report.flipped, report.f1_reference - report.f1) == (0.05, pytest.approx(1 / 9))
    off[1] = 0.4
    with pytest.raises(ExportError, match=r"10\.00% of its decisions"):
        parity.check_decisions(reference, off, 0.5, 0.5, labels)


def test_trees_score_as_scikit_learn_does(tmp_path: Path) -> None:
    trees, features = trees_and_features()
    tree_export.export_trees(trees, tmp_path / "trees.onnx", n_features=N_FEATURES)
    rng = np.random.default_rng(1)
    unseen = rng.normal(size=(4_000, N_FEATURES)).astype(np.float32)
    unseen[rng.random(unseen.shape) < 0.3] = np.nan
    unseen[:3] = np.array([[np.nan], [np.inf], [-np.inf]])
    # Values at, just above and just below the thresholds, where rounding them the wrong way takes the other branch.
    thresholds = np.concatenate([tree.nodes["num_threshold"] for (tree,) in trees._predictors]).astype(np.float32)
    edges = np.concatenate([np.nextafter(thresholds, towards) for towards in (np.float32(np.inf), np.float32(-np.inf))])
    at_edges = rng.choice(np.concatenate([thresholds, edges]), size=(4_000, N_FEATURES))
    session = Session(tmp_path / "trees.onnx", device="cpu", threads=2)
    for values in (features, unseen, at_edges):
        np.testing.assert_allclose(session.run({"features": values}), trees.decision_function(values), atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 3), st.integers(1, 700))
def test_order_slices_and_threads_do_not_change_a_trees_score(seed: int, threads: int, size: int) -> None:
    session, features, expected = _opened_trees(threads)
    order = np.random.default_rng(seed).permutation(len(features))[:size]
    np.testing.assert_allclose(session.run({"features": features[order]}), expected[order], atol=1e-5)


_OPENED: dict[int, tuple[Session, np.ndarray, np.ndarray]] = {}


def _opened_trees(threads: int) -> tuple[Session, np.ndarray, np.ndarray]:
    if threads not in _OPENED:
        import tempfile

        trees, features = trees_and_features()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trees.onnx"
            tree_export.export_trees(trees, path, n_features=N_FEATURES)
            alone, shared = Session(path, device="cpu", threads=1), Session(path, device="cpu", threads=threads)
            one_by_one = np.concatenate([alone.run({"features": row[None]}) for row in features])
            shared.open()
        _OPENED[threads] = shared, features, one_by_one
    return _OPENED[threads]


def test_rounding_a_threshold_down_keeps_every_decision() -> None:
    thresholds = np.array([0.1, -0.1, 1 / 3, 1e-40, -1e-40, 0.5, np.inf, 16_777_217.0, 1e300])
    floored = tree_export._floor_to_float32(thresholds)
    with np.errstate(over="ignore"):
        around = np.stack(
            [floored, np.nextafter(floored, np.float32(np.inf)), np.nextafter(floored, np.float32(-np.inf))]
        )
    np.testing.assert_array_equal(around.astype(np.float64) <= thresholds, around <= floored)


def test_trees_that_cannot_be_exported(tmp_path: Path) -> None:
    trees, features = trees_and_features()
    with pytest.raises(ExportError, match=r"trees\.onnx: the trees were fitted on 6 features, not 7"):
        tree_export.export_trees(trees, tmp_path / "trees.onnx", n_features=7)
    three = HistGradientBoostingClassifier(max_iter=2).fit(features, np.arange(len(features)) % 3)
    categories = np.abs(np.nan_to_num(features[:, 2:3]))
    by_category = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(
        categories, categories[:, 0] == 1
    )
    for classifier, n_features in ((three, N_FEATURES), (by_category, 1)):
        with pytest.raises(ExportError, match="only trees of two classes and numerical features"):
            tree_export.export_trees(classifier, tmp_path / "trees.onnx", n_features=n_features)
    assert not list(tmp_path.iterdir())
