"""Teachers named in one word: what is read, what is refused, what is kept apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from er_distill.errors import InputError
from er_distill.training.teachers.files import LabelFile
from er_distill.training.teachers.grammar import Asking, TeacherName, asked_at, kept_as, open_teacher, read_names
from er_distill.training.teachers.strategies import Elicitation


def test_names_are_read_and_written_alike() -> None:
    texts = ["openai:org/model:free", "transformers:./my model", "labels:/tmp/a:b.csv", "student:default"]
    names = read_names(texts)
    assert [str(name) for name in names] == texts
    assert names[0] == TeacherName("openai", "org/model:free")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "No teacher is named. Write openai:MODEL"),
        (["gpt-4o"], "'gpt-4o' is no teacher. Write openai:MODEL"),
        (["Openai:m"], "the kind 'Openai' is unknown. Did you mean 'openai'"),
        (["label:a.csv"], "Did you mean 'labels'"),
        (["student"], "'student' names no path"),
        (["labels:"], "'labels:' names no path. Write labels:PATH"),
        (["labels:a", "student:x", "labels:a"], "labels:a is named twice"),
    ],
)
def test_what_is_no_name_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_names(texts)


def test_a_way_to_ask_that_answers_depend_on_is_part_of_the_name() -> None:
    model = TeacherName("openai", "m")
    ways = [
        Asking(),
        Asking(api="decisions"),
        Asking(Elicitation("match")),
        Asking(Elicitation("compound")),
        Asking(Elicitation("compound", keep=2)),
        Asking(Elicitation(variants=("json",))),
        Asking(Elicitation(confirm="drop")),
        Asking(Elicitation(confirm="weigh")),
        Asking(Elicitation(seed=1)),
    ]
    assert len({kept_as(model, way) for way in ways}) == len(ways)
    assert {kept_as(TeacherName("labels", "a.csv"), way) for way in ways} == {"labels:a.csv"}
    for same in (Asking(concurrency=1), Asking(timeout=5), Asking(Elicitation(explain="answer"))):
        assert kept_as(model, same) == "openai:m"


def test_a_model_is_known_by_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    model = TeacherName("openai", "m")
    assert asked_at(model, Asking()) is None
    assert asked_at(model, Asking(base_url="http://localhost:8000/v1")) == "http://localhost:8000/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    assert asked_at(model, Asking()) == "http://elsewhere/v1"
    (tmp_path / "weights").write_bytes(b"1")
    local = TeacherName("transformers", str(tmp_path))
    before = asked_at(local, Asking())
    assert before == asked_at(local, Asking())
    assert str(tmp_path) in str(before)
    os.utime(tmp_path / "weights", (2_000_000_000, 2_000_000_000))  # trained anew
    assert asked_at(local, Asking()) != before


def test_a_label_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("left_id,right_id,label\na,b,1\n", encoding="utf-8")
    teacher = open_teacher(TeacherName("labels", str(tmp_path / "mine.csv")), Asking())
    assert isinstance(teacher, LabelFile)


def test_keys_are_named_and_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    monkeypatch.setenv("OTHER_KEY", "sk-two")
    assert Asking().secrets == ("sk-one",)
    assert set(Asking(key_variable="OTHER_KEY").secrets) == {"sk-one", "sk-two"}
    for wrong in ("sk-two-pasted", "sk_two_pasted"):
        with pytest.raises(InputError) as refused:
            Asking(key_variable=wrong)
        assert wrong not in str(refused.value)
