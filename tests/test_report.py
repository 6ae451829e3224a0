"""The report: whole, self-contained, and harmless whatever the records hold."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from er_distill import report
from er_distill.blocking import BlockingReport
from er_distill.matching import match
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.report.charts import histogram
from er_distill.report.run import Run, threshold_curve

EVIL = "<script>alert('x')</script><img src=x onerror=\"alert(1)\">&amp;"
N = 40
VOID = {"meta", "wbr", "link", "br", "img", "input"}


def table(name: str, prefix: str) -> Records:
    names = [f"{prefix} person {i}" for i in range(N)]
    names[0] = EVIL
    streets = [f"{i} long road" if i % 3 else None for i in range(N)]
    columns = {"id": [f"{prefix}{i}<b>" for i in range(N)], "full_name": names, "street": streets, EVIL: names}
    return Records.from_frame(pa.table(columns), name=name)


def linkage(**changes: object) -> Run:
    """Every record with its partner, and with the next one, which is wrong. 33 of 40 true pairs score 0.5 or more."""
    left, right = table("left<i>.csv", "a"), table("right.csv", "b")
    rows = np.arange(N)
    pairs = Pairs(np.repeat(rows, 2), np.stack([rows, (rows + 1) % N], 1).ravel(), N, N).unique()[0]
    true = pairs.left == pairs.right
    scores = np.where(true, np.linspace(0.4, 1.0, len(pairs)), np.linspace(0.0, 0.45, len(pairs)))
    scores[np.flatnonzero(~true)[-2]] = 0.9  # contested: both its records have better partners
    scores[np.flatnonzero(~true)[2]] = 0.6  # a wrong match
    kept = match(pairs.left, pairs.right, scores, matching="one_to_one", at=0.0)
    run = Run(
        left=left,
        right=right,
        pairs=pairs,
        scores=scores,
        matched=kept & (scores >= 0.5),
        kept=kept,
        threshold=0.5,
        matching="one_to_one",
        device="cpu",
        seconds=2.0,
        scoring_seconds=0.5,
        blocking=BlockingReport((("top 2 by trigrams (union)", 80),), 80, N * N, 3, 4),
        truth=Pairs(rows, rows, N, N),
    )
    return dataclasses.replace(run, **changes)


def deduplication() -> Run:
    left = table("people.csv", "a")
    pairs = Pairs(np.arange(0, N - 1), np.arange(1, N), N, N, one_table=True)
    scores = np.where(np.arange(N - 1) % 2, 0.1, 0.9)
    return linkage(
        left=left,
        right=None,
        pairs=pairs,
        scores=scores,
        matched=scores > 0.5,
        kept=np.ones(N - 1, bool),
        matching="components",
        entities=np.arange(N) // 2,
        truth=Pairs(np.arange(0, N, 4), np.arange(1, N, 4), N, N, one_table=True),
    )


SETTINGS = {"command": f"er-distill link '{EVIL}' b.csv", "student": "default", "er_distill": "0.1.0"}
RUNS = {"link": linkage(), "no truth": linkage(truth=None), "dedupe": deduplication()}


class Strict(HTMLParser):
    """Collects tags, attributes and text, and refuses tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Strict:
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@pytest.mark.parametrize("name", RUNS)
def test_it_is_whole_and_needs_nothing_from_elsewhere(name: str) -> None:
    page = report.render(RUNS[name], SETTINGS)
    found = parsed(page)
    assert {"html", "h1", "svg", "table"} <= found.tags
    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in {"src", "href", "srcset"}]
    assert not re.search(r"https?:|url\(|@import", page)
    assert "default-src 'none'" in page
    assert "$" not in page.split("</style>")[1]


@pytest.mark.parametrize("name", RUNS)
def test_what_records_hold_is_only_ever_text(name: str) -> None:
    run = RUNS[name]
    only_evil = dataclasses.replace(run, matched=run.matched | (run.pairs.left == 0), kept=run.kept)
    page = report.render(only_evil, SETTINGS)
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert EVIL in parsed(page).text


def test_headline_figures_are_those_of_the_run() -> None:
    run = linkage()
    text = parsed(report.render(run, SETTINGS)).text
    assert run.quality == pytest.approx({"precision": 33 / 34, "recall": 33 / 40, "F1": 66 / 74})
    for figure in ("34", "0.971", "0.825", "0.892", "80", "160", "2.0", "1,600", "95.0000%"):
        assert figure in text
    assert "Wrong matches: 1" in text
    assert "Missed matches: 7" in text


def test_dedup_measures_entities_against_those_the_truth_spans() -> None:
    run = deduplication()
    assert run.quality["precision"] == pytest.approx(0.5)
    assert run.quality["recall"] == pytest.approx(1.0)
    text = parsed(report.render(run, SETTINGS)).text
    assert "entities" in text
    assert "Conflicts" not in text


def test_without_truth_it_claims_no_quality() -> None:
    text = parsed(report.render(linkage(truth=None), SETTINGS).split("</head>")[1].removesuffix("</html>\n")).text
    assert not re.search("precision|recall|F1|truth|Wrong|Missed", text)


def test_a_conflict_names_the_match_it_lost_to() -> None:
    run = linkage()
    (row,) = np.flatnonzero(run.contested & (run.scores < 0.95))[:1]
    winner = run.winner(int(row))
    assert run.matched[winner]
    assert run.pairs.left[winner] == run.pairs.left[row] or run.pairs.right[winner] == run.pairs.right[row]
    assert "Conflicts: " in report.render(run, SETTINGS)
    assert not linkage(matching="all").contested.any()


def test_words_the_other_record_does_not_have_are_marked() -> None:
    left = Records.from_frame(pa.table({"n": ["Canon EOS-5D, black - new"], "m": ["same"]}), name="L")
    right = Records.from_frame(pa.table({"n": ["canon eos-5d white new"], "m": ["Same"]}), name="R")
    one = Pairs(np.array([0]), np.array([0]), 1, 1)
    yes = np.ones(1, bool)
    page = report.render(
        linkage(left=left, right=right, pairs=one, scores=np.array([0.9]), matched=yes, kept=yes, truth=None), {}
    )
    assert "Canon EOS-5D, <mark>black</mark> - new" in page
    assert "canon eos-5d <mark>white</mark> new" in page
    assert '<td dir="auto" class="same">Same</td>' in page


def test_a_long_value_is_cut() -> None:
    long = Records.from_frame(pa.table({"n": ["word " * 500]}), name="L")
    one, yes = Pairs(np.array([0]), np.array([0]), 1, 1), np.ones(1, bool)
    page = report.render(
        linkage(left=long, right=long, pairs=one, scores=np.array([0.9]), matched=yes, kept=yes, truth=None), {}
    )
    assert page.count("word") == 2 * 60
    assert "\u2026" in page


def test_one_pair_and_no_match_still_make_a_report() -> None:
    one, no = Pairs(np.array([0]), np.array([1]), N, N), np.zeros(1, bool)
    run = linkage(pairs=one, scores=np.array([0.2]), matched=no, kept=no, threshold=None, blocking=None)
    text = parsed(report.render(run, {})).text
    assert "No match was found." in text
    assert run.curve is None


def test_the_same_run_gives_the_same_examples() -> None:
    first, second = (report.render(linkage(), SETTINGS).split("</header>")[1] for _ in range(2))
    assert first == second


def test_the_curve_counts_matches_that_were_never_candidates() -> None:
    labels, scores = np.array([True, True, False]), np.array([0.9, 0.6, 0.7])
    curve = threshold_curve(labels, scores, n_true=4)
    assert curve.recall[[0, 65, 80, 95]].tolist() == [0.5, 0.25, 0.25, 0.0]
    assert curve.precision[[0, 65, 80]] == pytest.approx([2 / 3, 0.5, 1.0])
    assert np.isnan(curve.precision[95])
    assert curve.thresholds[curve.best] == pytest.approx(0.6)


def test_bars_grow_with_the_logarithm_of_their_counts() -> None:
    chart = histogram("t", "d", {"match": np.array([0, 1, 10, 1000])}, threshold=None, label="x")
    heights = [float(value) for value in re.findall(r'height="([\d.]+)" rx', chart)]
    assert len(heights) == 3
    assert heights == sorted(heights)
    assert heights[2] / heights[0] == pytest.approx(np.log10(1001) / np.log10(2), rel=0.02)
