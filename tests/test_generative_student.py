"""A generative student: scored, exported, served and explained as any other student."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_causal_lm import save_qwen2
from tiny_encoders import product_task

import er_distill
from er_distill import Student, artefact
from er_distill.artefact import Line, Variant
from er_distill.errors import ExportError, InputError, StudentError
from er_distill.pairs import Pairs
from er_distill.questions import CandidateLists, list_batches
from er_distill.readers import ListReader, generated_explanation
from er_distill.records import Records
from er_distill.selecting import MAX_OPTIONS, Frame, cut

torch = pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
for package in ("transformers", "onnx", "onnxruntime", "sklearn"):
    pytest.importorskip(package, reason=f"{package} not installed: pip install 'er-distill[cpu,train]'")

from er_distill.training import export_causal, exporter  # noqa: E402
from er_distill.training.causal import CausalModel, frame_of, load_causal  # noqa: E402

pytestmark = pytest.mark.train
MAX_LENGTH = 256
ALWAYS = (0.0, 1.0)


def load_tiny(folder: Path) -> CausalModel:
    """A tiny Qwen2 whose weights are large enough for what it reads to matter."""
    from transformers import AutoTokenizer

    save_qwen2(folder)
    model = load_causal(folder, frame_of(AutoTokenizer.from_pretrained(folder), MAX_LENGTH))
    with torch.no_grad():
        for weight in model.model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalModel:
    return load_tiny(tmp_path_factory.mktemp("base") / "qwen2")


@pytest.fixture(scope="module")
def graphs(model: CausalModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = export_causal.export_causal(model, folder, variants=("fp32",), explains=True)
    assert [path.name for path in folder.iterdir()] == list(files.values())
    return folder


@pytest.fixture(scope="module")
def folder(model: CausalModel, graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student folder: the bundled student's trees, and a tiny language model that reads every pair."""
    made = tmp_path_factory.mktemp("students") / "tiny"
    made.mkdir()
    shutil.copy(artefact.locate("default") / "trees.onnx", made)
    shutil.copy(graphs / "reader.fp32.onnx", made)
    model.tokenizer.save(str(made / "tokenizer.json"))
    bundled = artefact.read(artefact.locate("default"))
    settled = bundled.variant().settled
    manifest = dataclasses.replace(
        bundled,
        name="tiny",
        max_length=MAX_LENGTH,
        variants={"fp32": Variant("reader.fp32.onnx", False, settled, Line(0.5, 1.0, 0.0), ALWAYS, 0.5)},
        default_variant="fp32",
        question=export_causal.question_of(model),
        weights={},
    )
    shutil.copy(artefact.locate("default") / artefact.CARD, made)
    artefact.write(dataclasses.replace(manifest, files=artefact.entries(made)), made)
    return made


@pytest.fixture(scope="module")
def student(folder: Path) -> Student:
    return Student.load(folder)


@pytest.fixture(scope="module")
def products() -> tuple[Records, Records, Pairs]:
    left, right, pairs, _ = product_task()
    extra = [f"{left[0]} {k}" for k in range(12)]  # a query with more candidates than one question has
    more = Pairs(
        np.concatenate([pairs.left, np.zeros(12, dtype=np.int64)]),
        np.concatenate([pairs.right, len(right) + np.arange(12)]),
        len(left),
        len(right) + 12,
    )
    return records(left, "left"), records([*right, *extra], "right"), more


def records(texts: list[str], name: str) -> Records:
    return Records(name, np.arange(len(texts)), ("name",), (np.array(texts, dtype=object),))


def as_read(asked: Any) -> np.ndarray:
    """Options' logits that can be worked out by hand: the number of letters of the candidate, 100 for none."""
    scores = np.zeros((len(asked), MAX_OPTIONS + 1))
    for row, (_, candidates) in enumerate(asked):
        scores[row, 0] = 100
        scores[row, 1 : len(candidates) + 1] = [len(text) for text in candidates]
    return scores


def test_a_pair_is_worth_its_option_against_none() -> None:
    lists = CandidateLists(["q", "r"], ["a", "bb", "ccc", "bb"], Pairs(np.array([1, 0, 0, 0]), np.arange(4), 2, 4))
    np.testing.assert_array_equal(lists.logits(np.arange(4), as_read), [-99, -98, -97, -98])
    np.testing.assert_array_equal(lists.logits(np.array([2]), as_read), [-97])
    assert lists.logits(np.array([], dtype=np.int64), as_read).shape == (0,)


def test_only_the_lists_that_hold_a_wanted_pair_are_read() -> None:
    texts = [f"candidate {k}" for k in range(25)]
    pairs = Pairs(np.zeros(25, dtype=np.int64), np.arange(25), 1, 25)
    seen: list[Any] = []

    def read(asked: Any) -> np.ndarray:
        seen.extend(asked)
        return as_read(asked)

    CandidateLists(["q"], texts, pairs).logits(np.array([3, 4]), read)
    expected = [one for one in cut("q", texts) if {"candidate 3", "candidate 4"} & set(one)]
    assert sorted(candidates for _, candidates in seen) == sorted(expected)
    seen.clear()
    CandidateLists(["q"], texts, pairs, context=False).logits(np.array([3, 4]), read)
    assert seen == [("q", ["candidate 3"]), ("q", ["candidate 4"])]


def test_in_one_table_a_pair_is_read_from_either_end() -> None:
    texts = ["a", "bb", "ccc"]
    pairs = Pairs(np.array([0, 0]), np.array([1, 2]), 3, 3, True)
    lists = CandidateLists(texts, None, pairs)
    np.testing.assert_array_equal(lists.logits(np.arange(2), as_read), [(2 + 1) / 2 - 100, (3 + 1) / 2 - 100])
    turned = CandidateLists(texts, None, Pairs(pairs.right, pairs.left, 3, 3, True))
    np.testing.assert_array_equal(turned.logits(np.arange(2), as_read), lists.logits(np.arange(2), as_read))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=30), min_size=1, max_size=12), st.integers(1, 60))
def test_every_prompt_is_in_one_batch(prompts: list[list[int]], tokens: int) -> None:
    found: dict[int, list[int]] = {}
    for batch in list_batches(prompts, tokens):
        assert len(batch.rows) == 1 or batch.input_ids.size <= tokens
        for row, ids, mask in zip(batch.rows.tolist(), batch.input_ids, batch.attention_mask, strict=True):
            assert row not in found
            found[row] = ids[mask == 1].tolist()
            assert not ids[mask == 0].any()
            assert (np.diff(mask) <= 0).all()
    assert [found[row] for row in range(len(prompts))] == prompts


def test_padding_does_not_change_what_is_read(model: CausalModel) -> None:
    asked = [("sony camera", ["sony a7"]), ("canon lens " * 9, ["canon eos lens", "drill", "kettle"])]
    together = model.option_logits(asked)
    apart = np.concatenate([model.option_logits([one]) for one in asked])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert np.ptp(together, axis=1).min() > 0.1  # it tells options apart, or nothing here would show anything


def test_only_the_last_position_goes_through_the_vocabulary(model: CausalModel) -> None:
    """Checked against the model's own logits at every position."""
    from er_distill.selecting import prompt_ids

    ids = prompt_ids(model.tokenizer, "sony camera", ["sony a7", "canon"], model.frame)
    with torch.inference_mode():
        whole = model.model(input_ids=torch.tensor([ids])).logits[0, -1, list(model.options)]
    np.testing.assert_allclose(model.option_logits([("sony camera", ["sony a7", "canon"])])[0], whole, atol=1e-5)


def test_fp32_graph_scores_as_the_model(
    model: CausalModel, graphs: Path, products: tuple[Records, Records, Pairs]
) -> None:
    left, right, pairs = products
    expected = model.predict(left.texts, right.texts, pairs)
    logits = export_causal.list_logits(graphs / "reader.fp32.onnx", model, left.texts, right.texts, pairs)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.std(expected) > 0.1
    rows = np.array([3, 17, 90])
    np.testing.assert_allclose(model.predict(left.texts, right.texts, pairs, rows), expected[rows], atol=1e-5)


def test_quantised_graphs_are_near_and_read_each_list_as_if_alone(
    model: CausalModel, products: tuple[Records, Records, Pairs], tmp_path: Path
) -> None:
    pytest.importorskip(
        "onnxruntime", minversion="1.24", reason="onnxruntime 1.24 or newer quantises to 8 bits by blocks"
    )
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    left, right, pairs = products
    expected = model.predict(left.texts, right.texts, pairs)
    files = export_causal.export_causal(model, tmp_path, variants=("fp16", "int8", "int4"))
    assert (root.handlers, root.level) == (handlers, level)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files.values())
    off = {}
    for name, file in files.items():
        logits = export_causal.list_logits(tmp_path / file, model, left.texts, right.texts, pairs)
        off[name] = np.abs(logits - expected).mean()
        few = pairs.take(pairs.left == 5)
        alone = export_causal.list_logits(tmp_path / file, model, left.texts, right.texts, few)
        np.testing.assert_allclose(alone, logits[pairs.left == 5], atol=1e-2 if name == "fp16" else 1e-4)
    assert 0 < off["fp16"] < 0.02
    assert 0 < off["int8"] < 0.05 < off["int4"] < np.std(expected)


def test_an_export_changes_nothing_and_says_nothing(
    model: CausalModel, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before, attention = model.option_logits([("a", ["b"])]), model.model.config._attn_implementation
    export_causal.export_causal(model, tmp_path, variants=("fp32",))
    np.testing.assert_array_equal(model.option_logits([("a", ["b"])]), before)
    assert model.model.config._attn_implementation == attention
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_big_weights_stand_in_a_file_of_their_own(
    model: CausalModel, graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_MOST_BYTES", 1_000)
    export_causal.export_causal(model, tmp_path, variants=("fp32",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reader.fp32.onnx", "reader.fp32.onnx.data"]
    assert (tmp_path / "reader.fp32.onnx.data").stat().st_size > 100_000
    left, right, pairs, _ = product_task()
    logits = [
        export_causal.list_logits(at / "reader.fp32.onnx", model, left, right, pairs) for at in (graphs, tmp_path)
    ]
    np.testing.assert_allclose(*logits, atol=1e-5)


def test_a_variant_that_does_not_exist(model: CausalModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no variant 'int16' of a generative student\. Did you mean 'int8'"):
        export_causal.export_causal(model, tmp_path, variants=("int16",))


def test_a_model_that_torch_cannot_export(model: CausalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(export_causal, "export_module", fail)
    with pytest.raises(ExportError, match="cannot export this qwen2 model"):
        export_causal.export_causal(model, tmp_path)
    assert not list(tmp_path.iterdir())


@settings(max_examples=5)
@given(data=st.data())
def test_order_chunks_and_threads_never_change_a_score(
    folder: Path, student: Student, products: tuple[Records, Records, Pairs], data: st.DataObject
) -> None:
    left, right, pairs = products
    expected = student.score(left, right, pairs)
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(pairs))
    other = Student.load(folder, threads=data.draw(st.sampled_from([1, 2])))
    chunk_size = data.draw(st.sampled_from([7, 64, 100_000]))
    again = other.score(left, right, pairs.take(order), chunk_size=chunk_size)
    np.testing.assert_allclose(again, expected[order], atol=1e-5)


def test_rows_and_ids_never_change_a_score(student: Student, products: tuple[Records, Records, Pairs]) -> None:
    left, right, pairs = products
    turned = records(right.texts[::-1], "right")
    moved = Pairs(pairs.left, len(right) - 1 - pairs.right, pairs.n_left, pairs.n_right)
    np.testing.assert_allclose(student.score(left, turned, moved), student.score(left, right, pairs), atol=1e-5)


def test_in_one_table_a_pair_has_no_direction(student: Student, products: tuple[Records, Records, Pairs]) -> None:
    _, table, _ = products
    left, right = np.triu_indices(12, k=1)
    one_way, other_way = (
        Pairs(left, right, len(table), len(table), True),
        Pairs(right, left, len(table), len(table), True),
    )
    np.testing.assert_allclose(student.score(table, None, one_way), student.score(table, None, other_way), atol=1e-5)


def test_lists_count_unless_each_pair_is_judged_alone(
    student: Student, products: tuple[Records, Records, Pairs]
) -> None:
    left, right, pairs = products
    some = np.flatnonzero(pairs.left < 4)[::2]
    whole = student.score(left, right, pairs, context=False)[some]
    np.testing.assert_allclose(student.score(left, right, pairs.take(some), context=False), whole, atol=1e-5)
    texts = left.texts, right.texts
    read, cut_short = (student.reader.over(*texts, p, context=True) for p in (pairs, pairs.take(some)))
    difference = read(some, lambda _: None) - cut_short(np.arange(len(some)), lambda _: None)
    assert np.abs(difference).max() > 0.01


def test_progress_comes_to_all_pairs(student: Student, products: tuple[Records, Records, Pairs]) -> None:
    left, right, pairs = products
    done: list[int] = []
    student.reader.over(left.texts, right.texts, pairs, context=True)(np.arange(len(pairs)), done.append)
    assert sum(done) == len(pairs)


def test_a_student_survives_pickling(student: Student, products: tuple[Records, Records, Pairs]) -> None:
    again = pickle.loads(pickle.dumps(student))
    np.testing.assert_allclose(again.score(*products), student.score(*products), atol=1e-5)


def test_the_manifest_says_how_it_is_asked(folder: Path, model: CausalModel, tmp_path: Path) -> None:
    manifest = artefact.read(folder)
    assert manifest.reader == "lists"
    assert manifest.question == export_causal.question_of(model)
    assert artefact.read(artefact.locate("default")).reader == "pairs"
    altered = json.loads((folder / artefact.MANIFEST).read_text(encoding="utf-8"))
    altered["question"]["stops"] = ["</s>"]
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / artefact.MANIFEST).write_text(json.dumps(altered), encoding="utf-8")
    with pytest.raises(StudentError, match="stops are no token ids"):
        artefact.read(copy)


def test_an_explanation_is_the_answer_and_one_line(student: Student, model: CausalModel) -> None:
    query, candidates = "sony camera", ["sony camera one", "canon lens"]
    said = generated_explanation(student, query, candidates)
    assert said is not None
    best = int(model.option_logits([(query, candidates)])[0, :3].argmax())
    assert said.startswith(f"[{best}]")
    assert "\n" not in said
    assert len(model.tokenizer.encode(said, add_special_tokens=False).ids) <= 3 * 64 + 3
    assert said == generated_explanation(student, query, candidates)
    assert generated_explanation(Student.load(), query, candidates) is None


def test_an_explanation_stops(tmp_path: Path) -> None:
    """The obliging model says one thing and then that it has ended."""
    from transformers import AutoTokenizer

    save_qwen2(tmp_path, obliging=True)
    obliging = load_causal(tmp_path, frame_of(AutoTokenizer.from_pretrained(tmp_path)))
    export_causal.export_causal(obliging, tmp_path, variants=("fp32",), explains=True)
    from er_distill.session import Session

    session = Session(tmp_path / "reader.fp32.onnx", device="cpu")
    reader = ListReader(session, obliging.tokenizer, obliging.frame, obliging.stops, one_by_one=False)
    endless = ListReader(session, obliging.tokenizer, obliging.frame, (), one_by_one=False)
    said, unstopped = (one.explanation("a", ["b", "c"]) for one in (reader, endless))
    assert said is not None
    assert unstopped is not None
    assert len(said) <= len(unstopped)
    assert "<|im_end|>" not in said


def test_frame_of_templates(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(save_qwen2(tmp_path))
    assert frame_of(tokenizer) == Frame("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    tokenizer.chat_template = None
    assert frame_of(tokenizer, 99) == Frame(max_length=99)
    for template, problem in (("{{ nothing.at.all }}", "cannot be used"), ("hello", "does not show")):
        tokenizer.chat_template = template
        with pytest.raises(InputError, match=problem):
            frame_of(tokenizer)


def test_doors_do_not_care_which_student_they_hold(folder: Path, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    left = pd.DataFrame({"id": ["a", "b"], "name": ["sony camera pro", "bosch drill max"]})
    right = pd.DataFrame({"id": ["x", "y"], "name": ["sony camera pro one", "bosch drill max two"]})
    linked = er_distill.link(left, right, student=str(folder), threshold=0.0)
    assert set(linked["left_id"]) <= {"a", "b"}
    assert len(linked)
    merged = er_distill.dedupe(pd.concat([left, right]), student=str(folder))
    assert len(merged) == 4


@pytest.mark.needs("recordlinkage")
def test_compare_takes_a_generative_student(folder: Path) -> None:
    import pandas as pd

    left = pd.DataFrame({"name": ["sony camera pro", "bosch drill max"]}, index=["a", "b"])
    right = pd.DataFrame({"name": ["sony camera pro one", "bosch drill max two"]}, index=["x", "y"])
    pairs = pd.MultiIndex.from_product([left.index, right.index])
    features = er_distill.Compare().student(["name"], student=str(folder)).compute(pairs, left, right)
    assert features.shape == (4, 1)
    assert features.to_numpy().min() >= 0
    assert features.to_numpy().max() <= 1


def test_the_command_line_takes_a_generative_student(folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from er_distill.cli import app

    tables = {"a.csv": ["id,name", "a,sony camera pro", "b,bosch drill max"]}
    tables |= {
        "b.csv": ["id,name", "x,sony camera pro one", "y,bosch drill max two"],
        "pairs.csv": ["left_id,right_id", "a,x"],
    }
    for name, lines in tables.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    left, right, pairs, out = (str(tmp_path / name) for name in (*tables, "out.csv"))
    common = ["--student", str(folder), "--id", "id"]
    for command in (
        ["link", left, right, *common, "-o", out],
        ["score", pairs, left, right, *common, "-o", out],
        ["info", str(folder)],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert "reader.fp32.onnx" in result.output
    assert len(Path(out).read_text(encoding="utf-8").splitlines()) == 2
