"""The benchmark of distilled students on two made-up tasks: its files, the order of its steps, what it may read."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn not installed: pip install 'er-distill[train]'")
pytestmark = pytest.mark.needs("sklearn")

from benchmarks import (  # noqa: E402
    criterion_correlation,
    distiller,
    distiller_configurations,
    distiller_data,
    distiller_protocol,
    distiller_student,
    distiller_trees,
    gold,
)
from benchmarks.distiller_ablation import PLAIN, ablations  # noqa: E402
from benchmarks.distiller_configurations import QWEN_32B, Configuration  # noqa: E402
from benchmarks.distiller_problem import problems  # noqa: E402
from er_distill.training.self_training import SelfTraining  # noqa: E402
from er_distill.training.trees import TreesConfig  # noqa: E402
from tests.made_up_tasks import HELD_OUT, LABELLED, OPEN, TEACHERS, benchmark_in  # noqa: E402

SMALL = Configuration(TEACHERS, trees=TreesConfig(rounds=10, least_leaf=5), folds=2)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the benchmark on the made-up tasks writes to."""
    return benchmark_in(tmp_path, monkeypatch)


def log_of(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / "log.jsonl").read_text().splitlines()]


@cache
def small_scores() -> list[np.ndarray]:
    """Scores of the small student: the same in each test, as the made-up data are."""
    scored, _ = distiller_student.score(problems(distiller_data.load(), SMALL, seed=0), SMALL, seed=0)
    return [own.scores for own in scored]


def test_predictions_first_then_the_criterion_then_gold(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = distiller_data.load()
    seen: list[list[str]] = []
    read = gold.gold_of_all

    def reading(why: str) -> Any:
        seen.append([entry["kind"] for entry in log_of(results)])
        assert len(list((results / "small" / "seed0").glob("*.csv.gz"))) == 2
        return read(why)

    monkeypatch.setattr(gold, "gold_of_all", reading)
    assert distiller.made(distiller.Run("small", SMALL, 0), tasks, blind=True) is None
    figures = distiller.made(distiller.Run("small", SMALL, 0), tasks)
    assert seen == [["criterion", "criterion"]]
    entries = log_of(results)
    assert [entry["kind"] for entry in entries] == ["criterion", "criterion", "gold"]
    assert entries[1]["run"] == entries[2]["run"]
    assert set(entries[1]["tasks"]) == {OPEN, HELD_OUT}
    assert set(entries[2]["f1"]) == {OPEN}
    assert "gold of the open four: distiller: small/seed0" in (results.parent / "gold_log.md").read_text()
    assert figures is not None
    assert figures["tasks"][OPEN]["f1"] > 0.9
    written = json.loads((results / "small" / "seed0.json").read_text())
    assert {"command", "commit", "machine", "seconds", "versions"} <= set(written)


def test_every_test_pair_has_a_prediction_and_the_bytes_are_the_same(results: Path) -> None:
    tasks = distiller_data.load()
    distiller.made(distiller.Run("small", SMALL, 0), tasks, blind=True)
    files = sorted((results / "small" / "seed0").iterdir())
    first = [file.read_bytes() for file in files]
    for task, file in zip(tasks, files, strict=True):
        with gzip.open(file, "rt", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert list(rows[0]) == ["query_id", "candidate_id", "score", "match"]
        asked = {(row["query_id"], row["candidate_id"]) for row in rows}
        test = task.pairs.take(~task.labelled)
        assert asked == set(zip(map(str, test.left.tolist()), map(str, test.right.tolist()), strict=True))
        assert all(0 <= float(row["score"]) <= 1 for row in rows)
        matches = [(row["query_id"], row["candidate_id"]) for row in rows if row["match"] == "1"]
        assert matches
        for side in zip(*matches, strict=True):
            assert len(set(side)) == len(side)  # one-to-one
    distiller.made(distiller.Run("small", SMALL, 0), distiller_data.load(), blind=True)
    assert [file.read_bytes() for file in files] == first


def test_a_task_left_out_gives_no_label_and_a_share_fewer(results: Path) -> None:
    tasks = distiller_data.load()
    given = problems(tasks, SMALL, seed=0, left_out=OPEN)
    assert [bool(problem.known.any()) for problem in given] == [False, True]
    third = problems(tasks, SMALL, seed=0, share=1 / 3)
    for problem in third:
        assert len(np.unique(problem.data.pairs.left[problem.known])) == LABELLED // 3
    figures = distiller.made(distiller.Run("small", SMALL, 0, leave_one_out=True), tasks)
    assert figures is not None
    assert figures["labelled_queries"] == {OPEN: 0}
    assert not (results / "log.jsonl").exists()
    assert (results / "small" / "seed0-leave-one-out.json").is_file()


def test_labelled_pairs_are_scored_by_fits_that_have_not_seen_them(results: Path) -> None:
    tasks = distiller_data.load()
    given = problems(tasks, SMALL, seed=0)
    scored, _ = distiller_student.score(given, SMALL, seed=0)
    # Turn every vote of one query round: its own scores do not move, but for the calibration all pairs share.
    votes = given[0].votes.copy()
    query = given[0].data.pairs.left == 5
    votes[:, query] = np.where(np.isnan(votes[:, query]), np.nan, 0.0)
    uncalibrated = dataclasses.replace(SMALL, calibrated=False)
    before, _ = distiller_student.score(given, uncalibrated, seed=0)
    after, _ = distiller_student.score([dataclasses.replace(given[0], votes=votes), given[1]], uncalibrated, seed=0)
    np.testing.assert_array_equal(before[0].scores[query], after[0].scores[query])
    assert (before[0].scores != after[0].scores).any()
    assert scored[0].refits.shape == (2, len(given[0].data.pairs))


@pytest.mark.parametrize(
    "change",
    [
        {"labels": "majority"},
        {"labels": "error_model"},
        {"labels": "likely"},
        {"noise": "weight"},
        {"noise": "drop"},
        {"context": False},
        {"without": ("word",)},
        {"one_to_one": False},
        {"claims": True},
        {"made_up": 0.25},
        {"calibrated": False},
        {"teachers": ("qwen2.5-32b",)},
    ],
    ids=str,
)
def test_each_part_can_be_switched(results: Path, change: dict[str, Any]) -> None:
    tasks = distiller_data.load()
    configuration = dataclasses.replace(SMALL, **change)
    given = problems(tasks, configuration, seed=0)
    scored, _ = distiller_student.score(given, configuration, seed=0)
    worth = distiller_protocol.judged(list(zip(given, scored, strict=True)))
    assert all(0.0 <= row["value"] <= 1.0 for row in worth.values())
    moved = any((plain != own.scores).any() for plain, own in zip(small_scores(), scored, strict=True))
    assert moved != bool({"one_to_one", "claims"} & set(change))  # those two decide, and score nothing


def test_labels_of_its_own_are_learned_as_well(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_match_anywhere(fit_predict: Any, target: np.ndarray, pairs: Any, config: Any) -> SelfTraining:
        known = ~np.isnan(target)
        assert config.weight == 0.3
        assert fit_predict(target, known.astype(np.float32)).shape == target.shape == (len(pairs),)
        return SelfTraining(np.where(known, target, 0.0), np.ones(len(target)), known, ~known, (), 1)

    monkeypatch.setattr(distiller_trees, "self_train", no_match_anywhere)
    teachers_alone = dataclasses.replace(SMALL, calibrated=False)
    given = problems(distiller_data.load(), SMALL, seed=0)
    before, _ = distiller_student.score(given, teachers_alone, seed=0)
    after, _ = distiller_student.score(given, dataclasses.replace(teachers_alone, self_training=0.3), seed=0)
    for problem, without, own in zip(given, before, after, strict=True):
        unlabelled = ~problem.data.labelled
        assert own.scores[unlabelled].mean() < 0.8 * without.scores[unlabelled].mean()


def test_an_encoder_is_fused_where_it_has_not_learned(results: Path) -> None:
    tasks = distiller_data.load()
    for task in tasks:
        truth = task.pairs.left == task.pairs.right
        unseen = ~task.labelled | (task.pairs.left < LABELLED // 2)
        path = distiller_data.kept("encoders", "tiny", task.name)
        distiller_data.keep(path, logits=np.where(truth, 3.0, -3.0), unseen=unseen)
    assert distiller_student.has_encoder("tiny", tasks)
    assert not distiller_student.has_encoder("other", tasks)
    fused = dataclasses.replace(SMALL, encoder="tiny")
    given = problems(tasks, fused, seed=0)
    scored, _ = distiller_student.score(given, fused, seed=0)
    for problem, own in zip(given, scored, strict=True):
        assert own.unseen.sum() < problem.known.sum()
        assert own.unseen[problem.data.pairs.left < LABELLED // 2].any()
    alone, _ = distiller_student.score(given, dataclasses.replace(fused, lexical=False), seed=0)
    assert len(np.unique(alone[0].scores)) <= 3  # the encoder's two logits are all there is


def test_whole_tables(results: Path) -> None:
    figures = distiller.made(distiller.Run("small", SMALL, 0, end_to_end=True), distiller_data.load())
    assert figures is not None
    whole = figures["end_to_end"]
    assert whole["mean"]["f1"] > 0.8
    cut = whole["tasks"][OPEN]["blocking_cut"]
    assert cut["ours"]["candidates"] <= cut["published"]["candidates"]


def parts(full: Configuration) -> set[tuple[str, str]]:
    return {(row.part, row.how) for row in ablations(full)}


def test_ablation_compares_students_that_differ_in_one_part() -> None:
    full = dataclasses.replace(SMALL, labels="error_model", noise="weight", rivals=True, claims=True, threshold=None)
    rows = list(ablations(full))
    assert len(parts(full)) == len(rows)
    assert {row.beside for row in rows} == {full, PLAIN}
    assert all(row.configuration not in (full, PLAIN) for row in rows)
    assert {("error rates of the teachers", "without"), ("self-training", "added"), ("rivals", "alone")} <= parts(full)
    assert ("rivals", "without") not in parts(dataclasses.replace(full, rivals=False))
    assert ("self-training", "without") in parts(dataclasses.replace(full, self_training=1.0))


def test_ablation_of_encoders_with_the_labels_that_these_learned() -> None:
    one = dataclasses.replace(SMALL, teachers=QWEN_32B)
    assert {("lexical tier", "without"), ("cross-encoder", "added"), ("listwise objective", "alone")} <= parts(one)
    assert not {part for part, _ in parts(SMALL)} & {"lexical tier", "cross-encoder", "listwise objective"}
    fused = dataclasses.replace(one, encoder="tiny")
    assert ("cross-encoder", "without") in parts(fused)
    for row in ablations(fused):
        if row.part == "listwise objective":
            assert dataclasses.replace(row.configuration, encoder=row.beside.encoder) == row.beside


def test_ablation_is_written_down(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(distiller_configurations.CONFIGURATIONS, "small", SMALL)
    rows = [row for row in ablations(SMALL) if row.part == "list context"]
    monkeypatch.setattr(distiller, "ablations", lambda _: iter(rows))
    distiller.ablation(distiller_data.load(), ["small"], 0)
    figures = json.loads((results / "ablation-small.json").read_text())["figures"]
    without, alone = figures["rows"]
    assert without["f1_change"] == pytest.approx(without["f1"] - figures["whole"]["f1"], abs=1e-5)
    assert alone["f1_change"] == pytest.approx(alone["f1"] - figures["nothing"]["f1"], abs=1e-5)
    assert {entry["run"].partition("/")[0] for entry in log_of(results)} == {
        "nothing",
        *("small-with-everything", "small-without-list-context", "small-alone-list-context"),
    }


def test_the_correlation_is_over_configurations_not_runs(results: Path) -> None:
    tasks = distiller_data.load()
    names = {"a": {}, "b": {"context": False}, "c": {"without": ("word", "gram")}, "d": {"one_to_one": False}}
    for name, change in names.items():
        distiller.made(distiller.Run(name, dataclasses.replace(SMALL, **change), 0), tasks)
    distiller.made(distiller.Run("a", SMALL, 1), tasks)
    distiller.made(distiller.Run("a", SMALL, 0, share=0.5), tasks)
    rows = criterion_correlation.configurations(distiller_protocol.read_log())
    assert [row["configuration"] for row in rows] == list(names)
    assert set(rows[0]["f1"]) == {OPEN}
    found = criterion_correlation.correlations(rows)
    assert found["configurations"] == 4
    assert all(-1.0 <= values["spearman"] <= 1.0 for values in found["open"].values())


def test_a_run_judged_by_both_definitions_is_a_point_under_each() -> None:
    gold_line = {"when": "2026-01-02", "f1": dict.fromkeys(gold.TASKS, 0.9)}
    run = {"run": "a/seed0 now", "commit": "c", "settings": {"teachers": [], "labels": "votes"}, "gold": gold_line}
    worth = {definition: dict.fromkeys(parts_of, 0.5) for definition, parts_of in criterion_correlation.PARTS.items()}
    first, second = (
        run | {"when": when, "definition": definition, "tasks": dict.fromkeys(gold.TASKS, worth[definition])}
        for when, definition in (("2026-01-03", 1), ("2026-01-01", 2))
    )
    rows = criterion_correlation.configurations([second, first])
    assert [(row["definition"], row["after_gold"], row["known_before"]) for row in rows] == [
        (2, False, False),
        (1, True, False),
    ]
    encoded = first | {"settings": first["settings"] | {"encoder": "tiny"}}
    assert criterion_correlation.configurations([encoded]) == []


def test_pairs_are_counted_by_how_far_they_are_apart_and_teachers_apart() -> None:
    points = [("x", 0.80, 0.7), ("x", 0.81, 0.6), ("x", 0.90, 0.9), ("y", 0.80, 0.1)]  # teacher, F1, criterion
    rows = [{"teachers": [who], "f1": {"t": f1}, "value": {"t": value}} for who, f1, value in points]
    assert [(one["pairs"], one["right"]) for one in criterion_correlation.ordered(rows)] == [(1, 0.0), (2, 1.0)]


def test_registry() -> None:
    for name in ("trees", "headline", "headline-qwen32b"):
        assert name in distiller_configurations.CONFIGURATIONS
    assert distiller_configurations.CONFIGURATIONS["headline-qwen32b"].teachers == ("qwen2.5-32b",)
    assert len(distiller_configurations.CONFIGURATIONS["headline"].teachers) == 4
