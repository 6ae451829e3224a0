"""docs/benchmark.md and its plots, from made-up results."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import distiller_report
from benchmarks.gold import TASKS

PAGE = "".join(f"<!-- figures:{name} -->\nold\n<!-- /figures -->\n" for name in distiller_report.BLOCKS)


def write(path: Path, figures: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"figures": figures}))


def run(f1: float) -> dict[str, Any]:
    bins = [{"pairs": 80, "score": 0.05, "matches": 0.02}, {"pairs": 20, "score": 0.95, "matches": 0.9}]
    cut = {which: {"candidates": 1234, "pair_completeness": 0.987} for which in ("ours", "published")}
    whole = {"f1": 0.9, "blocking": {"candidates": 5678, "pair_completeness": 0.999}, "blocking_cut": cut}
    return {
        "mean": {"f1": f1, "raw_f1": f1 - 0.01, "select_accuracy_decided": f1 + 0.01},
        "tasks": {task: {"f1": f1, "calibration": bins} for task in TASKS},
        "end_to_end": {"tasks": {"abt-buy": whole}},
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "distiller"
    for seed, f1 in enumerate((0.91, 0.92, 0.93)):
        write(folder / "headline" / f"seed{seed}.json", run(f1))
    write(folder / "headline" / "seed0-share-0.33.json", run(0.905))
    write(folder / "headline" / "seed0-leave-one-out.json", run(0.85))
    parts = ("value", "truth", "consistency", "stability", "agreement")
    found = {part: {"spearman": 0.71, "kendall": 0.5} for part in parts}
    write(folder / "criterion_correlation.json", {"groups": {"all": {"configurations": 9, "open": found}}})
    rows = [("one-to-one", "without", 0.9, -0.02), ("one-to-one", "alone", 0.83, 0.03)]
    rows += [("self-training", "added", 0.93, 0.01)]
    write(
        folder / "ablation-headline.json",
        {
            "whole": {"f1": 0.92},
            "nothing": {"f1": 0.8},
            "rows": [{"part": part, "how": how, "f1": f1, "f1_change": by} for part, how, f1, by in rows],
        },
    )
    tier = {"pairs": 1000, "seconds": 0.5, "one_to_one": {"f1": 0.89}}
    write(
        tmp_path / "open_tasks.json",
        {
            "mean": {"student_one_to_one": 0.89, "trees_alone_one_to_one": 0.88},
            "tasks": {task: {"test_tuples": {"student": tier, "trees_alone": tier}} for task in TASKS},
        },
    )
    write(tmp_path / "default_left_out.json", {"tasks": {task: {"f1": 0.77} for task in TASKS}})
    settings = {"trees": {"rounds": 300, "leaves": 15}, "encoder": None}
    (folder / "log.jsonl").write_text(json.dumps({"run": "headline/seed0 now", "settings": settings}) + "\n")
    return tmp_path


def test_the_page_has_the_figures(results: Path) -> None:
    page = distiller_report.with_figures(PAGE, results)
    assert "old" not in page
    assert "| **er_distill, four teachers** | 0.920 | 0.920 | 0.920 | 0.920 | 0.920 ± 0.010 | 0.910 | 0.930 |" in page
    assert "| no label of the task, four teachers | 0.850 | 0.850 | 0.850 | 0.850 | 0.850 | 0.840 | 0.860 |" in page
    assert "| Qwen2.5-32B, zero-shot (the teacher) | 0.945 | 0.752 | 0.994 | 0.782 | 0.868 |" in page
    assert "| Llama-3.1-8B, fine-tuned on its labels | 8 B parameters | 0.928 | 0.736 | 0.993 | 0.894 | 0.888 |" in page
    ours = "| **er_distill, labels of four teachers** | 300 trees of 15 leaves |"
    assert f"{ours} 0.920 | 0.920 | 0.920 | 0.920 | 0.920 ± 0.010 |" in page
    assert " MB | 0.890 | 0.890 | 0.890 | 0.890 | 0.890 |\n| its trees, made without" in page
    assert "| its trees, made without a label of the task |  | 0.770 | 0.770 | 0.770 | 0.770 | 0.770 |" in page
    assert "| all (9) | **criterion** | 0.71 | 0.50 |" in page
    assert "| everything | 0.920 |  | 0.800 (nothing) |  |" in page
    assert "| one-to-one | 0.900 | -0.020 | 0.830 | +0.030 |" in page
    assert "| self-training (added) | 0.930 | +0.010 |  |  |" in page
    assert "| four teachers | 0.905 | 0.920 |" in page
    assert "| four teachers | abt-buy | 0.900 | 5,678 | 0.999 | 1,234 | 0.987 | 1,234 | 0.987 |" in page
    assert "![F1 on the open tasks by speed](benchmark-speed.svg)" in page
    assert distiller_report.with_figures(page, results) == page


def test_the_plots_are_drawings(results: Path) -> None:
    drawn = distiller_report.plots(results)
    assert set(drawn) == {"labels", "speed", "calibration"}
    for title, content in drawn.values():
        root = ET.fromstring(content)
        assert root[0].text == title
        dots = [element for element in root.iter() if element.tag.endswith("circle")]
        assert len(dots) >= 2
        for dot in dots:
            assert 0 <= float(dot.attrib["cx"]) <= 640
            assert 0 <= float(dot.attrib["cy"]) <= 400


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    page = distiller_report.with_figures(PAGE, tmp_path)
    assert "er_distill" not in page
    assert "Qwen2.5-32B" in page
    assert distiller_report.plots(tmp_path) == {}


def test_the_committed_pages_say_what_the_results_say() -> None:
    for path in distiller_report.PAGES:
        page = path.read_text(encoding="utf-8")
        assert "<!-- /figures -->" in page
        again = distiller_report.with_figures(page, distiller_report.RESULTS)
        assert page == again, f"{path}: run python -m benchmarks.distiller_report"
