"""The card says what the manifest says, no more and no less, and is harmless whatever the tables hold."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from er_distill import lexical
from er_distill.artefact import CARD, FileEntry, Line, Manifest, Question, Teacher, Variant
from er_distill.training import card
from tests.test_report import EVIL, parsed

PARITY = {
    "largest_difference": 0.0123,
    "mean_difference": 0.0004,
    "encoder": {"flipped": 0.0023, "f1": 0.907, "f1_reference": 0.908},
    "student": {"flipped": 0.0, "f1": 0.964, "f1_reference": 0.965},
}
HELD_OUT = {"pairs": 1234, "f1": 0.9367, "f1_lexical": 0.9123, "calibration_error": 0.0203, "encoder_share": 0.0325}
CURVES = {
    "calibration": [[0.01, 0.02, 400], [0.45, 0.5, 400], [0.97, 0.99, 400]],
    "scores": {
        "edges": [k / 20 for k in range(21)],
        "match": [*range(19), 300],
        "non_match": [700, *range(19)],
    },
    "thresholds": [
        [0.25, 0.811, 0.922, 0.863, 0.312],
        [0.5, 0.901, 0.873, 0.887, 0.251],
        [0.75, 0.95, 0.7, 0.806, 0.2],
    ],
}
NEEDED = {"command": "er-distill distill a.csv b.csv", "seed": 7, "python": "3.12.1", "machine": "x86_64", "checks": {}}
EVERYTHING = NEEDED | {
    "checks": {
        name: {
            "parity": PARITY,
            "held_out": {"a and b": HELD_OUT},
            "calibration_error_cross_fitted": {"mean": 0.0171, "by_task": {"a and b": 0.0171}},
            "curves": CURVES,
        }
        for name in ("fp32", "int8")
    },
    "versions": {"torch": "2.13.0"},
    "seconds": 5220,
    "seconds_by_stage": {"labels": 411.0, "encoder": 120.5},
    "peak_memory_bytes": 3_400_000_000,
    "labelled_pairs": {"a and b": 2345},
    "config": {"encoder": {"base": "all-MiniLM-L6-v2"}},
    "tables": [
        {"name": "a.csv", "records": 12_034, "fields": ["title", "price"]},
        {"name": "b.csv", "records": 2_200, "fields": ["title", "price"]},
    ],
    "selection": "218 of 2,180 queries with candidates (uncertainty)",
    "cost": "1.20 USD",
    "blocking": "top 10 by trigrams (union)",
    "speed": {"int8": 5321.3},
    "left_out": {"f1": {"a and b": 0.642, "c and d": 0.854}, "how": "trees alone, on 99 pairs"},
}


def manifest(training: dict[str, Any], **changes: Any) -> Manifest:
    line = Line(1.0, 1.0, 0.0)
    variants = {
        name: Variant(f"encoder.{name}.onnx", False, line, line, (0.25, 0.75), at)
        for name, at in (("fp32", 0.46), ("int8", 0.5))
    }
    made = Manifest(
        name="shops",
        created="2026-01-02",
        er_distill="1.2.3",
        licence="CC0-1.0",
        features=lexical.FEATURES,
        lexical=lexical.VERSION,
        max_length=128,
        variants=variants,
        default_variant="int8",
        teachers=(Teacher("wise-32b", "Apache-2.0", 2_180),),
        tasks=("a and b",),
        training=training,
        files={
            "trees.onnx": FileEntry("", 300_000),
            "tokenizer.json": FileEntry("", 700_000),
            "encoder.int8.onnx": FileEntry("", 23_000_000),
        },
    )
    return dataclasses.replace(made, **changes)


FACTS = {
    "who made it, and when": ("shops", "2026-01-02", "er_distill 1.2.3", "CC0-1.0"),
    "tables": ("a.csv", "title, price", "12,034", "b.csv", "2,200", "Linkage of two tables"),
    "task": ("a and b", "2,345"),
    "new tables": ("What to expect on new tables", "c and d", "0.642", "0.854", "0.748", "trees alone, on 99 pairs"),
    "teacher": ("wise-32b", "Apache-2.0", "2,180"),
    "selection": ("218 of 2,180 queries with candidates (uncertainty)",),
    "cost": ("1.20 USD",),
    "blocking": ("top 10 by trigrams (union)",),
    "variants": ("0.46", "0.50", "0.250 and 0.750", "24.0 MB", "5,321", "by default", "on request"),
    "agreement": ("0.937", "0.912", "1,234", "3%"),
    "calibration": ("0.017", "fitted on other folds"),
    "what estimated means": ("against the teachers' votes on held-out candidate pairs, not against the truth",),
    "thresholds": ("0.811", "0.922", "0.863", "31.2%"),
    "calibration plot": ("0.450", "0.500", "400"),
    "histogram": ("0.95 to 1.00", "300", "700"),
    "parity": ("fp32", "0.012", "0.0004", "0.23%", "0.907 (0.908)", "0.964 (0.965)"),
    "base": ("all-MiniLM-L6-v2", "cross-encoder"),
    "limits": ("not from gold", "decisions about people"),
    "how": ("er-distill distill a.csv b.csv", "Seed 7", "3.12.1", "x86_64", "torch 2.13.0"),
    "how long": ("87 min", "3.4 GB", "411.0", "120.5"),
}


def both(made: Manifest) -> tuple[str, str]:
    """The text of either form, without what Markdown escapes."""
    return re.sub(r"\\(.)", r"\1", card.render(made)), parsed(card.page(made)).text


@pytest.mark.parametrize("subject", FACTS)
def test_both_forms_say_it(subject: str) -> None:
    for text in both(manifest(EVERYTHING)):
        for words in FACTS[subject]:
            assert words in text, words


NOISE = {"action": "drop", "labels": 2000, "suspects": 30, "used": True, "trial": {}}
OWN = {"unlabelled": 9000, "matches": 40, "others": 1200, "best": 1, "agreement": [0.8, 0.9]}


@pytest.mark.parametrize(
    ("noise", "own", "words"),
    [
        ([NOISE], OWN, "30 of 2,000 labels look wrong and were left out, which helped on held-out labels."),
        ([NOISE, NOISE | {"used": False}], OWN, "30 of 2,000 labels in 1 of 2 tasks look wrong"),
        ([NOISE | {"used": False}], OWN, "Labels that look wrong count like the others"),
        ([NOISE | {"trial": None, "action": "weight"}], OWN, "look wrong and counted less, which was not tried first."),
        ([NOISE], OWN, "Of 9,000 pairs without labels its own trees labelled 1,240, 40 of them as matches"),
        ([NOISE], OWN | {"matches": 0, "others": 0}, "none helped on held-out labels"),
    ],
)
def test_what_became_of_the_labels_is_said(noise: list[dict[str, Any]], own: dict[str, Any], words: str) -> None:
    by_task = {str(k): one for k, one in enumerate(noise)}
    for text in both(manifest(EVERYTHING | {"noise": by_task, "self_training": {"0": own}})):
        assert words in text
    for text in both(manifest(EVERYTHING)):
        assert "look wrong" not in text
        assert "own trees" not in text


def test_what_the_manifest_does_not_tell_is_left_out() -> None:
    for text in both(manifest(NEEDED, files={})):
        for words in (
            "held-out",
            "expect",
            "Exported",
            "Candidate pairs:",
            "chosen",
            "cost",
            "It took",
            "MB",
            "None",
            "nan",
        ):
            assert words not in text, words
        for words in ("wise-32b", "Limits", "Seed 7", "0.46"):
            assert words in text
    flattered = {"checks": {"int8": {"parity": PARITY, "held_out": {"a and b": HELD_OUT}}}}
    for text in both(manifest(EVERYTHING | flattered)):
        assert "0.020" in text
        assert "which flatters it" in text
    few = HELD_OUT | {"calibration_error": None}
    nobody_knows = {"held_out": {"a and b": few}, "calibration_error_cross_fitted": None, "curves": None}
    for text in both(manifest(NEEDED | {"checks": {"int8": nobody_knows}})):
        assert "0.937" in text
        assert "None" not in text


def test_a_generative_student_is_called_one() -> None:
    config = {"encoder": None, "generative": {"base": "tiny-llama", "method": {"Dpo": {"beta": 0.1}}}}
    files = {"encoder.int8.onnx": FileEntry("", 1_000_000), "encoder.int8.onnx.data": FileEntry("", 800_000_000)}
    made = manifest(EVERYTHING | {"config": config}, question=Question("", "", (1, 2), (3,)), files=files)
    for text in both(made):
        assert "a language model reads the whole candidate list (base: tiny-llama; trained with DPO)" in text
        assert "801.0 MB" in text
        assert "is generated" in text
        assert "cross-encoder" not in text


def test_generated_truth_and_earlier_students_are_named() -> None:
    teachers = (Teacher("synthetic truth", "Apache-2.0", 9),)
    for text in both(manifest(EVERYTHING | {"continued": "shops of May, made on 2025-05-01"}, teachers=teachers)):
        assert "teachers and generated truth" in text
        assert "shops of May" in text
    for text in both(manifest(EVERYTHING | {"tables": EVERYTHING["tables"][:1]})):
        assert "Deduplication of one table" in text


def test_the_page_is_whole_and_needs_nothing_from_elsewhere() -> None:
    page = card.page(manifest(EVERYTHING))
    found = parsed(page)
    assert {"html", "h1", "svg", "table", "details"} <= found.tags
    assert not found.tags & {"script", "link", "img", "iframe"}
    assert not re.search(r"https?:|url\(|@import", page)
    assert page.count("<svg") == 3
    assert "$" not in page.split("</style>")[1]


def test_what_tables_hold_is_only_ever_text() -> None:
    hostile = f"{EVIL} | `x` *b* [c](http://d)"
    made = manifest(
        EVERYTHING | {"tables": [{"name": hostile, "records": 3, "fields": [hostile, "_a_"]}], "command": hostile},
        name=hostile,
        tasks=(hostile,),
        teachers=(Teacher(hostile, hostile, 1),),
    )
    page = card.page(made)
    assert "<script" not in page
    assert "<img" not in page
    assert parsed(page).text.count(EVIL) >= 5
    for line in card.render(made).splitlines():
        if not line.startswith("    "):  # the command, which Markdown shows as it stands
            assert not re.search(r"(?<!\\)(<script|<img|\*b|\[c\])", line), line
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in {3, 4, 6, 7, 8}  # its own columns' and no more


def test_both_are_written(tmp_path: Path) -> None:
    made = manifest(EVERYTHING)
    card.write(made, tmp_path)
    assert (tmp_path / CARD).read_text(encoding="utf-8") == card.render(made)
    assert (tmp_path / card.PAGE).read_text(encoding="utf-8") == card.page(made)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "card.html"}
