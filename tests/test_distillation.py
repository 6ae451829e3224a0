"""One call from tables to a student: whatever the labels come from, each stage once, refused before it is paid for."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.train

from er_distill import Student, artefact, link  # noqa: E402
from er_distill.errors import InputError, StudentError, TeacherError  # noqa: E402
from er_distill.files import read_table, write_table  # noqa: E402
from er_distill.training.configuration import configured, read_settings, with_base  # noqa: E402
from er_distill.training.distillation import COMPARISON, STUDENTS, Distilled, beside, distill  # noqa: E402
from er_distill.training.labelling import LabelPlan  # noqa: E402
from er_distill.training.limits import Limits  # noqa: E402
from er_distill.training.sweep import best_of, calibration_error, comparison, held_out_agreement, of_seeds  # noqa: E402
from er_distill.training.teachers.base import Answer  # noqa: E402
from er_distill.training.teachers.grammar import TeacherName  # noqa: E402
from tests.shop_tables import SMALL, Lamplighter, N, is_match, labels_of_all, lamps  # noqa: E402
from tests.tiny_causal_lm import save_qwen2  # noqa: E402
from tests.tiny_encoders import save_bert  # noqa: E402


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tables() -> tuple[pa.Table, pa.Table]:
    left, right = lamps()
    return pa.table(left), pa.table(right)


@dataclasses.dataclass(frozen=True)
class Taught:
    """A student that was taught by a teacher who counts."""

    made: Distilled
    teacher: Lamplighter
    plan: LabelPlan


@pytest.fixture(scope="module")
def taught(base: Path, tables: tuple[pa.Table, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Taught:
    teacher = Lamplighter()
    plan = LabelPlan((teacher,), number=40, method="random")
    output = tmp_path_factory.mktemp("taught") / "student"
    return Taught(distill(*tables, output=output, teacher=plan, base=base, config=SMALL), teacher, plan)


def test_a_teacher_makes_a_student_that_matches(taught: Taught, tables: tuple[pa.Table, pa.Table]) -> None:
    made = taught.made
    assert taught.teacher.asked == 40
    assert made.gathered.cost == "nothing: no request was sent"
    assert made.gathered.selection == "40 of 48 queries with candidates (random)"
    assert len(np.unique(made.gathered.candidates.pairs.left[made.gathered.labels.known])) == 40
    assert [(one.name, one.licence, one.labels) for one in made.manifest.teachers] == [("lamplighter", "MIT", 40)]
    assert made.manifest.name == "student"
    found = link(*tables, student=made.folder).to_pydict()
    right = [is_match(*ends) for ends in zip(found["left_id"], found["right_id"], strict=True)]
    assert len(right) >= 30
    assert np.mean(right) > 0.9


def test_the_same_call_again_does_nothing(taught: Taught, base: Path, tables: tuple[pa.Table, pa.Table]) -> None:
    before = (taught.made.folder / artefact.MANIFEST).stat().st_mtime_ns
    again = distill(*tables, output=taught.made.folder, teacher=taught.plan, base=base, config=SMALL)
    assert again.manifest == taught.made.manifest
    assert (again.folder / artefact.MANIFEST).stat().st_mtime_ns == before
    assert taught.teacher.asked == 40


def test_another_setting_asks_nobody_again(
    taught: Taught, base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    words = {"teacher": taught.plan, "base": base, "run": taught.made.run}
    settings = SMALL | {"encoder": SMALL["encoder"] | {"learning_rate": 1e-3}}
    other = distill(*tables, output=tmp_path / "other", config=settings, **words)
    assert taught.teacher.asked == 40
    assert other.manifest.training["inputs"] != taught.made.manifest.training["inputs"]
    with pytest.raises(InputError, match="is there already"):
        distill(*tables, output=other.folder, config=SMALL, **words)
    wider = dataclasses.replace(taught.plan, number=44)  # the answers would be paid for in vain
    with pytest.raises(InputError, match="is there already"):
        distill(*tables, output=taught.made.folder, config=SMALL, **words | {"teacher": wider})
    assert taught.teacher.asked == 40


def test_another_teacher_of_the_same_run_has_no_say(
    taught: Taught, base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    nobody, run = Lamplighter("nobody", always_none=True), tmp_path / "run"
    shutil.copytree(taught.made.run, run)
    words: dict[str, Any] = {"base": base, "config": SMALL, "run": run, "output": tmp_path / "student"}
    with pytest.raises(InputError, match="say non-match"):
        distill(*tables, teacher=LabelPlan((nobody,), number=20, method="random"), **words)
    assert nobody.asked == 20


def test_a_sweep_labels_once_and_keeps_the_best(
    taught: Taught, base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    members = of_seeds([0, 1], {"short": {}})
    assert list(members) == ["short-seed-0", "short-seed-1"]
    asked, judged = taught.teacher.asked, []

    def criterion(manifest: artefact.Manifest) -> float:
        judged.append(manifest.training["config"]["encoder"]["seed"])
        return float(judged[-1])

    words: dict[str, Any] = {"teacher": taught.plan, "base": base, "config": SMALL, "run": taught.made.run}
    made = distill(*tables, output=tmp_path / "best", members=members, criterion=criterion, **words)
    assert taught.teacher.asked == asked
    assert judged == [0, 1]
    assert made.manifest.training["config"]["encoder"]["seed"] == 1
    assert artefact.read(made.folder) == artefact.read(made.run / STUDENTS / "short-seed-1")
    table = read_table(made.run / COMPARISON).to_pydict()
    assert table["member"] == ["short-seed-0", "short-seed-1"]
    assert table["best"] == ["false", "true"]
    assert float(table["f1"][0]) == round(held_out_agreement(made.members[0].manifest), 4)
    again = distill(*tables, output=tmp_path / "best", members=members, criterion=criterion, **words)
    assert again.manifest == made.manifest
    tied = [dataclasses.replace(one, score=0.5) for one in made.members]
    errors = [calibration_error(one.manifest) for one in tied]
    assert best_of(tied) is tied[int(np.argmin([1.0 if error is None else error for error in errors]))]
    assert comparison(tied)["best"].to_pylist().count(True) == 1


def test_an_older_student_goes_on_with_new_labels(
    taught: Taught, tables: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    words = {"labels": pa.table(labels_of_all()), "config": SMALL | {"weights": False}}
    newer = distill(*tables, output=tmp_path / "newer", from_student=taught.made.folder, **words)
    assert "student" in newer.manifest.training["continued"]
    assert {one.name for one in newer.manifest.teachers} == {"lamplighter", "labels"}
    assert not (newer.folder / artefact.WEIGHTS).exists()
    with pytest.raises(StudentError, match="holds no encoder weights"):
        distill(*tables, output=tmp_path / "newest", from_student=newer.folder, **words)


@pytest.mark.needs("polars", "pandas")
def test_one_table_of_another_library(base: Path, tmp_path: Path) -> None:
    import pandas as pd
    import polars as pl

    left, right = lamps()
    people = {name: left[name] + right[name] for name in left}
    labels = pd.DataFrame(labels_of_all())
    made = distill(pl.LazyFrame(people), output=tmp_path / "student", labels=labels, base=base, config=SMALL)
    assert made.gathered.candidates.right is None
    known = made.gathered.labels.known
    assert known.sum() == 4 * N
    assert not known.all()  # what blocking found besides is context
    assert Student.load(made.folder).threshold > 0


def test_pairs_of_the_callers_own(base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    pairs = pa.table({"left_id": [f"a{k}" for k in range(N)] * 2, "right_id": [f"b{k}" for k in range(N)] * 2})
    labels = pa.table(labels_of_all())
    words = {"labels": labels, "base": base, "config": SMALL}
    made = distill(*tables, output=tmp_path / "student", pairs=pairs, **words)
    assert len(made.gathered.candidates.pairs) == 4 * N  # those that were labelled besides are added
    with pytest.raises(InputError, match="Pass one"):
        distill(*tables, output=tmp_path / "other", pairs=pairs, blocking=[], **words)


def test_labels_of_one_class_are_told_with_their_place(
    base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    teacher = Lamplighter(always_none=True)
    words = {"output": tmp_path / "student", "teacher": LabelPlan((teacher,), share=1.0), "base": base, "config": SMALL}
    with pytest.raises(InputError, match=r"all labels .* say non-match.*The labels are kept in .*student\.run/labels"):
        distill(*tables, **words)
    assert teacher.asked == N
    with pytest.raises(InputError, match="say non-match"):
        distill(*tables, **words)
    assert teacher.asked == N


class Silent(Lamplighter):
    """A teacher who never knows."""

    def answer(self, candidates: Any, questions: Any) -> Any:
        yield from ((position, Answer(None, reason="no idea")) for position in range(len(questions)))


def test_no_answer_is_no_student(base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    plan = LabelPlan((Silent(),), share=1.0)
    with pytest.raises(InputError, match=r"no teacher has answered any of the 48 questions: every one abstained"):
        distill(*tables, output=tmp_path / "student", teacher=plan, base=base, config=SMALL)


class Never(Lamplighter):
    """A teacher who must not be asked."""

    def answer(self, *_: Any) -> Any:
        raise TeacherError("asked too early")


class Paid(Never):
    """One that would send requests, too."""

    recorder = None


def test_what_cannot_end_well_is_refused_before_anyone_is_asked(
    base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "file").touch()
    bare = save_bert(tmp_path / "bare", tokenizer=False)
    generative = save_qwen2(tmp_path / "qwen")
    unknown = pa.table({"left_id": ["a1", "nobody"], "right_id": ["b1", "b2"], "label": [1, 0]})
    plan = LabelPlan((Never(),), share=1.0)

    def refusal(**changes: Any) -> str:
        words: dict[str, Any] = {"output": tmp_path / "student", "teacher": plan, "base": base, "config": SMALL}
        with pytest.raises((InputError, StudentError)) as caught:
            distill(*tables, **words | changes)
        return str(caught.value)

    assert "is there already" in refusal(output=tmp_path / "full")
    assert "cannot be written" in refusal(output=tmp_path / "file" / "student")
    assert "cannot be written" in refusal(run=tmp_path / "file" / "run")
    assert "lies in the student folder" in refusal(run=tmp_path / "student" / "run")
    assert "no tokenizer.json" in refusal(base=bare)
    assert "no encoder" in refusal(base=generative)
    assert "cannot be loaded" in refusal(base=tmp_path / "nowhere")
    assert "cannot read 100 tokens" in refusal(config=SMALL | {"encoder": {"max_length": 100}})
    assert "both say what to start from" in refusal(from_student=base)
    assert "no student" in refusal(base=None, from_student=tmp_path / "nowhere")
    assert "nothing to learn from" in refusal(teacher=None)
    assert "needs somebody to pay" in refusal(teacher=None, budget=1.0)
    assert "no record" in refusal(labels=unknown, teacher=None).lower() or "nobody" in refusal(labels=unknown)
    assert "hold no row" in refusal(labels=unknown.slice(0, 0))
    assert "no column 'label'" in refusal(labels=unknown.drop_columns(["label"]))
    assert "needs a price for lamplighter: it is a teacher of your own" in refusal(teacher=Paid(), budget=5.0)
    assert "needs a price for openai:tiny" in refusal(teacher="openai:tiny", budget=5.0)
    assert "budget=0 lets openai:gpt-4o-mini answer nothing" in refusal(teacher="openai:gpt-4o-mini", budget=0.0)
    assert "max_calls=0 lets lamplighter answer nothing" in refusal(
        teacher=LabelPlan((Paid(),), limits=Limits(calls=0))
    )
    assert "is named twice" in refusal(teacher=["openai:tiny", "openai:tiny"])
    assert "2 questions about left-right are too few" in refusal(teacher=dataclasses.replace(plan, number=2))
    assert "no variant 'fp8'" in refusal(config=SMALL | {"variants": ["fp8"]})
    assert "there is no setting 'epoch'. Did you mean 'epochs'?" in refusal(config={"encoder": {"epoch": 1}})
    assert "sweep needs members" in refusal(members={})
    assert "cannot be the name of a member" in refusal(members={"../up": {}})
    assert "two of the teachers call themselves" in refusal(teacher=[Paid("one"), Paid("one")])
    assert not (tmp_path / "student").exists()


def test_what_a_teacher_said_before_it_failed_is_kept(
    base: Path, tables: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    plan = LabelPlan((Never(),), share=1.0)
    with pytest.raises(TeacherError, match=r"asked too early The answers that came are kept in .*start the same run"):
        distill(*tables, output=tmp_path / "student", teacher=plan, base=base, config=SMALL)
    plan = LabelPlan((Lamplighter(),), share=1.0)  # of the same name: the run goes on
    made = distill(*tables, output=tmp_path / "student", teacher=plan, base=base, config=SMALL)
    assert made.run == beside(tmp_path / "student")


def test_settings_come_from_files_and_keep_their_kinds(base: Path, tmp_path: Path) -> None:
    start = with_base(None, tmp_path / "student", base)
    (tmp_path / "settings.toml").write_text('folds = 3\nvariants = ["fp32"]\n[encoder]\nlearning_rate = 1\n', "utf-8")
    (tmp_path / "settings.json").write_text(
        json.dumps({"folds": 3, "variants": ["fp32"], "encoder": {"learning_rate": 1}}), "utf-8"
    )
    for name in ("settings.toml", "settings.json"):
        changed = configured(start, read_settings(tmp_path / name), name)
        assert (changed.folds, changed.variants, changed.encoder.learning_rate) == (3, ("fp32",), 1.0)
        assert isinstance(changed.encoder.learning_rate, float)
        assert changed.trees == start.trees

    def refusal(settings: dict[str, Any]) -> str:
        with pytest.raises(InputError) as caught:
            configured(start, settings, "settings.toml")
        return str(caught.value)

    causal = with_base({"generative": {"rank": 8}}, tmp_path / "student", "some-model")
    assert (causal.kind, causal.reader.base) == ("generative", "some-model")
    assert list(of_seeds([4], kind=causal.kind).values()) == [{"generative": {"seed": 4}}]
    with pytest.raises(InputError, match="needs a base="):
        with_base({"generative": {}}, tmp_path / "student", None)
    assert "of another kind of student" in refusal({"generative": {"rank": 8}})
    assert "folds is 2.5. Give a value like 5" in refusal({"folds": 2.5})
    assert "weights is 1. Give a value like True" in refusal({"weights": 1})
    assert "encoder is 3. Write its settings" in refusal({"encoder": 3})
    assert "there is no setting 'output'" in refusal({"output": "elsewhere"})
    assert "epochs must be above 0" in refusal({"encoder": {"epochs": 0}})
    for name, content, message in (
        ("a.yaml", "", "no known format"),
        ("a.toml", "=", "is no TOML"),
        ("a.json", "[", "is no JSON"),
        ("b.json", "[]", "holds no table"),
    ):
        (tmp_path / name).write_text(content, "utf-8")
        with pytest.raises(InputError, match=message):
            read_settings(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


def test_a_labels_folder_and_files_teach_together(taught: Taught, tmp_path: Path) -> None:
    from er_distill.training.sources import labelled, open_source

    candidates = taught.made.gathered.candidates
    folder = open_source(taught.made.run / "labels")
    alone = labelled(candidates, [folder])
    assert alone.rule == "one teacher"
    np.testing.assert_array_equal(alone.labels.target, taught.made.gathered.labels.target)
    labels = pa.table(labels_of_all())
    write_table(labels, tmp_path / "mine.csv")
    mine = open_source(tmp_path / "mine.csv")
    lines = [json.dumps({"query_id": f"a{k}", "answer_id": None, "answered": True}) + "\n" for k in range(N)]
    (tmp_path / "none.jsonl").write_text("".join(lines), encoding="utf-8")
    both = labelled(candidates, [folder, mine])
    assert both.rule == "majority"
    assert both.labels.known.sum() > alone.labels.known.sum()  # pairs that no answer to a list settles
    shared = alone.labels.known[: len(candidates.pairs)]
    assert shared.any()
    three = labelled(candidates, [folder, mine, open_source(tmp_path / "none.jsonl")])
    assert three.rule == "error_model"
    assert [one.name for one in three.labels.teachers] == ["lamplighter", "labels:mine.csv", "labels:none.jsonl"]
    agreed = three.labels.target > 0.5
    assert all(
        is_match(str(candidates.left.ids[a]), str(candidates.right.ids[b]))  # who always says none is found out
        for a, b in zip(three.candidates.pairs.left[agreed], three.candidates.pairs.right[agreed], strict=True)
    )
    assert agreed.sum() > 20
    tables = labelled(candidates, [mine, open_source(labels)])
    assert tables.rule == "labels of pairs"
    assert tables.labels.known.sum() == 4 * N

    other = dataclasses.replace(
        candidates.left, values=tuple(np.char.add(v.astype(str), "!").astype(object) for v in candidates.left.values)
    )
    with pytest.raises(InputError, match="holds no answer about the records"):
        labelled(dataclasses.replace(candidates, left=other), [folder])
    for path, message in (
        (tmp_path, "is no labels folder"),
        (tmp_path / "labels.txt", "its ending says no known format"),
        (tmp_path / "none.csv", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(path)


def test_teachers_are_named_as_on_the_command_line() -> None:
    plan = LabelPlan((TeacherName("labels", "mine.csv"),))
    plan.check()
    assert plan.price(plan.teachers[0]) is not None
