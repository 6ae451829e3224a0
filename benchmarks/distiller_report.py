"""Put the results of `distiller` into ``docs/benchmark.md`` and the README, and draw the plots.

    python -m benchmarks.distiller_report

Figures stand between ``figures`` comments. Reads the results and the bundled student's manifest and nothing else; a
part that has not been measured is left out.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.distiller_plots import plots
from benchmarks.distiller_results import HEADLINES, PUBLISHED, by_share, read, runs
from benchmarks.gold import TASKS
from benchmarks.provenance import RESULTS, ROOT

PAGES = ROOT / "docs" / "benchmark.md", ROOT / "README.md"
BUNDLED = ROOT / "er_distill" / "students" / "default" / "student.json"
_SIZES = dict(
    zip(PUBLISHED, ("32 B parameters", "8 B parameters", "125 M parameters", "", "22 M parameters"), strict=True)
)

BLOCKS = ("marks", "readme", "criterion", "ablation", "labels", "whole", "speed", "calibration")
_BLOCK = re.compile(r"(<!-- figures:({}) -->\n).*?(<!-- /figures -->)".format("|".join(BLOCKS)), re.DOTALL)


def main() -> None:
    for page in PAGES:
        page.write_text(with_figures(page.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
        print(f"written to {page}")
    for name, (_, drawing) in plots(RESULTS).items():
        (ROOT / "docs" / f"benchmark-{name}.svg").write_text(drawing, encoding="utf-8")


def with_figures(page: str, results: Path) -> str:
    """Return the page with its figures replaced by those of `results`."""
    drawn = {name: f"![{title}](benchmark-{name}.svg)\n" for name, (title, _) in plots(results).items()}

    def fresh(block: re.Match[str]) -> str:
        parts = [drawn.get(block[2], ""), tables[block[2]](results) if block[2] in tables else ""]
        return block[1] + "\n".join(part for part in parts if part) + block[3]

    tables = {
        "marks": marks,
        "readme": short_marks,
        "criterion": criterion,
        "ablation": ablation,
        "labels": labels,
        "whole": whole_tables,
    }
    return _BLOCK.sub(fresh, page)


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


def short_marks(results: Path) -> str:
    """The README's table: sizes, F1 by task, and the mean."""
    rows = [
        (name, _SIZES[name], *(f"{value:.3f}" for value in f1), f"{statistics.fmean(f1):.3f}")
        for name, (f1, _) in PUBLISHED.items()
        if _SIZES[name]
    ]
    for name, whose in HEADLINES.items():
        if of := runs(results, name):
            rows.append(
                (f"**er_distill, labels of {whose}**", _size_of(results, name), *_marks_of(of)[: len(TASKS) + 1])
            )
    bundled = read(results / "open_tasks.json")
    if bundled is not None:
        f1 = [bundled["tasks"][task]["test_tuples"]["student"]["one_to_one"]["f1"] for task in TASKS]
        megabytes = (
            sum(entry["bytes"] for entry in json.loads(BUNDLED.read_text(encoding="utf-8"))["files"].values()) / 1e6
        )
        what = "**er_distill, the bundled student**"
        rows.append((what, f"{megabytes:.0f} MB", *(f"{value:.3f}" for value in f1), f"{statistics.fmean(f1):.3f}"))
    left_out = read(results / "default_left_out.json")
    if left_out is not None:
        f1 = [left_out["tasks"][task]["f1"] for task in TASKS]
        what = "its trees, made without a label of the task"
        rows.append((what, "", *(f"{value:.3f}" for value in f1), f"{statistics.fmean(f1):.3f}"))
    return table(("pairwise F1", "size", *TASKS, "mean"), rows, numbers=len(TASKS) + 1)


def _size_of(results: Path, name: str) -> str:
    """What a headline consists of, by the log of its run."""
    lines = (results / "distiller" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    settings = [entry["settings"] for entry in entries if entry["run"].startswith(f"{name}/") and "settings" in entry][
        -1
    ]
    trees = f"{settings['trees']['rounds']} trees of {settings['trees']['leaves']} leaves"
    return f"{trees} and an encoder" if settings["encoder"] else trees


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
        "second_view": "its part *second view*",
        "agreement": "plain agreement with the teachers",
        "majority": "plain agreement with the teachers",
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
        if part in group["open"]
    ]
    return table(("configurations", "ranked by", "Spearman", "Kendall"), rows, numbers=2)


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


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int | None = None) -> str:
    """A Markdown table; its last `numbers` columns are numbers, by default all but the first."""
    right = len(head) - 1 if numbers is None else numbers
    rule = ["---"] * (len(head) - right) + ["---:"] * right
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


if __name__ == "__main__":
    main()
