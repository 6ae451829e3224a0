"""Put the results of `distiller` into ``docs/benchmark.md``, between its ``figures`` comments, and draw its plots.

    python -m benchmarks.distiller_report

Reads the JSON in ``results`` and ``results/distiller`` and nothing else. A part that has not been measured is left out.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gold import TASKS
from benchmarks.provenance import RESULTS, ROOT
from benchmarks.svg import COLOURS, Axis, Series, plot

PAGE = ROOT / "docs" / "benchmark.md"
HEADLINES = {"headline": "four teachers", "headline-qwen32b": "qwen2.5-32b alone"}

# By task in the order of TASKS, and pairs/s on an RTX 4090, where an LLM's query has 5.4 pairs: Zeakis et al., arXiv
# 2602.05452, recomputed from the authors' logs.
PUBLISHED = {
    "Qwen2.5-32B, zero-shot (the teacher)": ((0.945, 0.752, 0.994, 0.782), 13),
    "Llama-3.1-8B, fine-tuned on its labels": ((0.928, 0.736, 0.993, 0.894), 13),
    "RoBERTa (125 M), one-to-one": ((0.814, 0.583, 0.988, 0.814), 373),
    "Unicorn, one-to-one": ((0.768, 0.599, 0.962, 0.855), 985),
    "MiniLM (22 M), one-to-one": ((0.781, 0.458, 0.986, 0.744), 1363),
}
_SHORT = ("Qwen-32B", "Llama-8B", "RoBERTa", "Unicorn", "MiniLM")

_BLOCK = re.compile(r"(<!-- figures:(\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def main() -> None:
    PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    for name, (_, drawing) in plots(RESULTS).items():
        (ROOT / "docs" / f"benchmark-{name}.svg").write_text(drawing, encoding="utf-8")
    print(f"written to {PAGE}")


def with_figures(page: str, results: Path) -> str:
    """Return the page with its figures replaced by those of `results`."""
    tables = {"marks": marks, "criterion": criterion, "ablation": ablation, "labels": labels, "whole": whole_tables}
    drawn = {name: f"![{title}](benchmark-{name}.svg)\n" for name, (title, _) in plots(results).items()}

    def fresh(block: re.Match[str]) -> str:
        parts = [drawn.get(block[2], ""), tables[block[2]](results) if block[2] in tables else ""]
        return block[1] + "\n".join(part for part in parts if part) + block[3]

    return _BLOCK.sub(fresh, page)


def read(path: Path) -> dict[str, Any] | None:
    """Return the figures of a result, or None where there is none."""
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else None


def runs(results: Path, name: str, variation: str = "") -> list[dict[str, Any]]:
    """Return the figures of a configuration's seeds."""
    end = f"-{variation}" if variation else ""
    paths = sorted((results / "distiller" / name).glob(f"seed*{end}.json"))
    wanted = re.compile(rf"seed\d+{re.escape(end)}\.json")
    return [figures for path in paths if wanted.fullmatch(path.name) and (figures := read(path)) is not None]


def marks(results: Path) -> str:
    """The open four: published figures and ours."""
    rows = [
        (name, *(f"{value:.3f}" for value in f1), f"{statistics.fmean(f1):.3f}", "", "")
        for name, (f1, _) in PUBLISHED.items()
    ]
    for name, whose in HEADLINES.items():
        for variation, what in (("", f"**er_distill, {whose}**"), ("leave-one-out", f"no label of the task, {whose}")):
            if of := runs(results, name, variation):
                rows.append((what, *_marks_of(of)))
    return table(("pairwise F1", *TASKS, "mean", "mean before one-to-one", "SELECT accuracy"), rows)


def _marks_of(of: Sequence[Mapping[str, Any]]) -> list[str]:
    by_task = [statistics.fmean(run["tasks"][task]["f1"] for run in of) for task in TASKS]
    means = [run["mean"]["f1"] for run in of]
    spread = f" ± {statistics.stdev(means):.3f}" if len(means) > 1 else ""
    more = [statistics.fmean(run["mean"][part] for run in of) for part in ("raw_f1", "select_accuracy_decided")]
    return [
        *(f"{f1:.3f}" for f1 in by_task),
        f"{statistics.fmean(means):.3f}{spread}",
        *(f"{value:.3f}" for value in more),
    ]


def criterion(results: Path) -> str:
    """How well the criterion ranks."""
    figures = read(results / "distiller" / "criterion_correlation.json")
    if figures is None:
        return ""
    parts = {
        "value": "**criterion**",
        "truth": "its part *truth*",
        "consistency": "*consistency*",
        "stability": "*stability*",
        "agreement": "plain agreement with the teachers",
    }
    rows = [
        (
            f"{name} ({group['configurations']})",
            what,
            f"{group['open'][part]['spearman']:.2f}",
            f"{group['open'][part]['kendall']:.2f}",
        )
        for name, group in figures["groups"].items()
        for part, what in parts.items()
    ]
    return table(("configurations by teachers", "ranked by", "Spearman", "Kendall"), rows, numbers=2)


def ablation(results: Path) -> str:
    """What each part adds."""
    blocks = []
    for name, whose in HEADLINES.items():
        figures = read(results / "distiller" / f"ablation-{name}.json")
        if figures is None:
            continue
        found = {(row["part"], row["how"]): (f"{row['f1']:.3f}", f"{row['f1_change']:+.3f}") for row in figures["rows"]}
        rows = [("everything", f"{figures['whole']['f1']:.3f}", "", f"{figures['nothing']['f1']:.3f} (nothing)", "")]
        for part in dict.fromkeys(part for part, _ in found):
            added = (part, "added") in found
            switched = found.get((part, "added" if added else "without"), ("", ""))
            rows.append((f"{part} (added)" if added else part, *switched, *found.get((part, "alone"), ("", ""))))
        head = (f"{name} ({whose})", "F1 without it, or with it added", "change", "F1 of it alone", "change")
        blocks.append(table(head, rows))
    return "\n".join(blocks)


def by_share(results: Path, name: str) -> list[tuple[float, float]]:
    """Mean F1 by the share of the labels."""
    found = {}
    for path in (results / "distiller" / name).glob("seed*-share-*.json"):
        share = float(path.stem.partition("-share-")[2])
        found.setdefault(share, []).append(read(path)["mean"]["f1"])  # type: ignore[index]
    whole = runs(results, name)
    if whole:
        found[1.0] = [run["mean"]["f1"] for run in whole]
    return sorted((share, statistics.fmean(f1)) for share, f1 in found.items())


def labels(results: Path) -> str:
    """F1 by the share of the labels."""
    lines = {whose: by_share(results, name) for name, whose in HEADLINES.items()}
    shares = sorted({share for points in lines.values() for share, _ in points})
    if len(shares) < 2:
        return ""
    rows = [
        (whose, *(f"{dict(points)[s]:.3f}" if s in dict(points) else "" for s in shares))
        for whose, points in lines.items()
    ]
    return table(("share of the labelled queries", *(f"{share:.0%}" for share in shares)), rows)


def whole_tables(results: Path) -> str:
    """Whole tables end to end, and what blocking keeps."""
    rows = []
    for name, whose in HEADLINES.items():
        for run in runs(results, name)[:1]:
            for task, row in run.get("end_to_end", {"tasks": {}})["tasks"].items():
                cut = row["blocking_cut"]
                rows.append(
                    (
                        whose,
                        task,
                        f"{row['f1']:.3f}",
                        f"{row['blocking']['candidates']:,}",
                        f"{row['blocking']['pair_completeness']:.3f}",
                        f"{cut['ours']['candidates']:,}",
                        f"{cut['ours']['pair_completeness']:.3f}",
                        f"{cut['published']['candidates']:,}",
                        f"{cut['published']['pair_completeness']:.3f}",
                    )
                )
    head = (
        *("labels", "task", "F1", "candidates", "completeness", "cut", "completeness", "published", "completeness"),
    )
    return table(head, rows, numbers=7) if rows else ""


def plots(results: Path) -> dict[str, tuple[str, str]]:
    """The plots that there are results for, by name: title and SVG."""
    drawn = {}

    def draw(name: str, title: str, *content: Any) -> None:
        drawn[name] = title, plot(title, *content)

    lines = [
        Series(whose, points, colour)
        for (name, whose), colour in zip(HEADLINES.items(), COLOURS, strict=False)
        if len(points := by_share(results, name)) > 1
    ]
    if lines:
        up = _f1_axis([f1 for one in lines for _, f1 in one.points])
        across = Axis(
            {0.0: "0", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 1.0: "100 %"}, "share of the labelled queries"
        )
        draw("labels", "F1 on the open tasks by the share of the labels", across, up, lines)
    speed = _speeds(results)
    if speed:
        published = [(float(rate), statistics.fmean(f1)) for f1, rate in PUBLISHED.values()]
        series = [
            Series("published", published, COLOURS[1], joined=False, names=_SHORT),
            Series("ours", list(speed.values()), COLOURS[0], joined=False, names=list(speed)),
        ]
        across = Axis({10.0**k: f"{10**k:,}" for k in range(1, 6)}, "pairs a second", logarithmic=True)
        up = _f1_axis([f1 for one in series for _, f1 in one.points])
        draw("speed", "F1 on the open tasks by speed", across, up, series)
    curves = [
        Series(whose, _reliability(of[0]), colour)
        for (name, whose), colour in zip(HEADLINES.items(), COLOURS, strict=False)
        if (of := runs(results, name))
    ]
    if curves:
        marks = {k / 5: f"{k / 5:.1f}" for k in range(6)}
        diagonal = Series("calibrated", [(0.0, 0.0), (1.0, 1.0)], COLOURS[-1])
        across, up = Axis(marks, "probability"), Axis(marks, "matches")
        draw("calibration", "Share of true matches by probability", across, up, [diagonal, *curves])
    return drawn


def _f1_axis(values: Sequence[float]) -> Axis:
    low, high = int(min(values) * 50), int(max(values) * 50) + 1
    step = max(1, (high - low) // 6)
    return Axis({k / 50: f"{k / 50:.2f}" for k in range(low, high + step, step)}, "F1")


def _speeds(results: Path) -> dict[str, tuple[float, float]]:
    """The bundled student on two cores: pairs a second and mean F1, whole and its trees alone."""
    figures = read(results / "open_tasks.json")
    if figures is None:
        return {}
    tasks = [task["test_tuples"] for task in figures["tasks"].values()]
    return {
        name: (
            sum(task[tier]["pairs"] for task in tasks) / sum(task[tier]["seconds"] for task in tasks),
            figures["mean"][f"{tier}_one_to_one"],
        )
        for tier, name in (("student", "student, 2 cores"), ("trees_alone", "trees, 2 cores"))
    }


def _reliability(run: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Ten ranges of the score over the open tasks' pairs: mean score and share of matches."""
    by_range: dict[int, list[Mapping[str, float]]] = {}
    for task in run["tasks"].values():
        for row in task["calibration"]:
            by_range.setdefault(min(int(row["score"] * 10), 9), []).append(row)
    points = []
    for _, rows in sorted(by_range.items()):
        pairs = sum(row["pairs"] for row in rows)
        points.append(
            (
                sum(row["score"] * row["pairs"] for row in rows) / pairs,
                sum(row["matches"] * row["pairs"] for row in rows) / pairs,
            )
        )
    return points


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int | None = None) -> str:
    """A Markdown table; its last `numbers` columns are numbers, by default all but the first."""
    right = len(head) - 1 if numbers is None else numbers
    rule = ["---"] * (len(head) - right) + ["---:"] * right
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


if __name__ == "__main__":
    main()
