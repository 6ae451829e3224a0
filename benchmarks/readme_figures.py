"""Put the figures of ``benchmarks/results`` into the README and docs/, between two ``figures`` comments.

    python -m benchmarks.readme_figures

Run it after the benchmarks; ``tests/test_readme.py`` fails where a page says anything else than the results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.provenance import RESULTS, ROOT

START, END = "<!-- figures:start -->", "<!-- figures:end -->"
ORDER = ("febrl", "open_tasks", "default_left_out", "speed", "memory", "scale", "import_time")


def main() -> None:
    for page, block in pages().items():
        page.write_text(with_figures(page.read_text(encoding="utf-8"), block), encoding="utf-8")
        print(f"written to {page}")


def pages() -> dict[Path, str]:
    """Return the block of figures that each page has."""
    blocks = {ROOT / "README.md": render(read_results())}
    for name, (page, rendered) in _PAGES.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            blocks[ROOT / "docs" / page] = rendered(json.loads(path.read_text(encoding="utf-8")))
    return blocks


def read_results(folder: Path = RESULTS) -> dict[str, Any]:
    """Return the results that are there, by name, in the order of the README."""
    paths = {name: folder / f"{name}.json" for name in ORDER}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def with_figures(page: str, block: str) -> str:
    """Return a page's text with its figures replaced by `block`."""
    before, _, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"the page has no {START} ... {END}. Put both lines where the figures belong.")
    return f"{before}{START}\n{block}{END}{after}"


def render(results: Mapping[str, Any]) -> str:
    """Return the figures as Markdown; nothing where there is no result."""
    if not results:
        return ""
    blocks = [_targets(results)]
    if "open_tasks" in results:
        blocks.append(_tasks(results["open_tasks"]["figures"]))
    if "speed" in results:
        blocks.append(_speeds(results["speed"]["figures"]))
    # F1 does not depend on the machine, and what counts nothing else names none.
    timed = [one for name, one in results.items() if name != "default_left_out"]
    blocks.append(
        "\n".join(f"Measured on {machine}." for machine in dict.fromkeys(map(_machine, timed)))
        + " No gold label was used to train or to choose anything."
    )
    return "\n\n".join(blocks) + "\n"


def _targets(results: Mapping[str, Any]) -> str:
    rows = []
    for name, result in results.items():
        for target in result["targets"]:
            side = "at_least" if "at_least" in target else "at_most"
            bound = f"{side.replace('_', ' ')} {target[side]:,.7g}"
            digits = 3 if target["measured"] < 1.5 else 1 if target["measured"] < 100 else 0
            reached = f"{target['measured']:,.{digits}f}"
            missed = "" if target["met"] else " (missed)"
            rows.append((f"[{target['what']}](benchmarks/results/{name}.json)", reached + missed, bound))
    return _table(("what", "reached", "aim"), rows)


def _tasks(figures: Mapping[str, Any]) -> str:
    rows = (
        (
            name,
            f"{task['test_tuples']['student']['one_to_one']['f1']:.3f}",
            f"{task['end_to_end']['f1']:.3f}",
            f"{task['end_to_end']['blocking']['pair_completeness']:.3f}",
        )
        for name, task in figures["tasks"].items()
    )
    head = ("task", "F1 on the published test candidates", "F1 end to end", "matches that blocking keeps")
    return _table(head, rows)


_IN_SHORT = ("peer", "neural", "student", "lexical")
"""Contenders of `speed` that the README names; docs/speed.md names all."""

_CONTENDERS = {
    "peer": "sentence-transformers `CrossEncoder.predict`, torch fp32",
    "peer_bf16": "the same in bf16",
    "onnxruntime_fp32": "plain onnxruntime loop, fp32",
    "onnxruntime_int8": "plain onnxruntime loop, int8",
    "fastembed": "fastembed `TextCrossEncoder`, fp32",
    "neural": "our encoder alone, int8, the peer's weights",
    "student": "the whole student",
    "lexical": "its trees alone, vectors made before",
    "random_forest": "scikit-learn random forest on our features",
    "boosted_trees": "scikit-learn boosted trees on our features",
    "recordlinkage": "recordlinkage string compares",
    "splink": "Splink on DuckDB",
}


def _speeds(figures: Mapping[str, Any], names: Iterable[str] = _IN_SHORT) -> str:
    def rows() -> Iterator[Iterable[str]]:
        for name in (name for name in names if name in figures):
            own = figures[name]
            times = own["pairs_per_second"] / figures["peer"]["pairs_per_second"]
            f1 = f"{own['f1']:.3f}" if "f1" in own else ""
            yield _CONTENDERS[name], f"{own['pairs_per_second']:,.0f}", f"{times:,.3g}", f1

    head = (f"{figures['task']}, {figures['pairs']:,} pairs", "pairs/s", "times the first", "F1")
    return _table(head, rows())


def _speed_page(result: Mapping[str, Any]) -> str:
    figures = result["figures"]
    blocks = [_speeds(figures, _CONTENDERS)]
    judged = [name for name in _CONTENDERS if "held_out_labels" in figures.get(name, {})]
    if judged:
        rows: list[Iterable[str]] = []
        for name in judged:
            own, labelled = figures[name]["threshold_from_labels"], figures[name]["held_out_labels"]
            f1 = (figures[name]["f1"], own["f1"], figures[name]["f1_one_to_one"], own["f1_one_to_one"], labelled["f1"])
            rows.append((_CONTENDERS[name], *(f"{value:.3f}" for value in (*f1, labelled["log_loss"]))))
        head = ("F1", "at 0.5", "from labels", "one-to-one", "from labels", "of held-out labels", "their log loss")
        blocks.append(_table(head, rows))
    for name, other in figures.get("other_workloads", {}).items():
        head = (f"{name}, {other['all_pairs']:,} pairs", "pairs/s", "times the first")
        own = other["contenders"]
        each = [one for one in _CONTENDERS if one in own]
        rates = {one: own[one]["pairs_per_second"] for one in each}
        blocks.append(
            _table(
                head, ((_CONTENDERS[one], f"{rates[one]:,.0f}", f"{rates[one] / rates['peer']:,.3g}") for one in each)
            )
        )
    if whole := figures.get("end_to_end"):
        left, right = whole["records"]
        blocks.append(
            f"End to end, {left:,} x {right:,} products by `link`, blocking included: {whole['seconds']:.1f} s for "
            f"{whole['candidates']:,} candidates. The first row would need "
            f"{whole['seconds_of_the_peer_for_these_candidates_alone']:,.0f} s to score these alone."
        )
    blocks.append(f"Measured on {_machine(result)}.")
    path = RESULTS / "split_student.json"
    if path.is_file():
        blocks.append(_split(json.loads(path.read_text(encoding="utf-8"))))
    return "\n\n".join(blocks) + "\n"


def _split(result: Mapping[str, Any]) -> str:
    figures = result["figures"]
    rows = [
        (name.removeprefix("split_"), f"{own['pairs_per_second']:,.0f}", f"{own['f1']:.3f}", f"{own['log_loss']:.3f}")
        for name, own in figures.items()
        if name.startswith("split_")
    ]
    head = ("layers that read each record alone", "pairs/s", "F1 against held-out labels", "log loss")
    kept = figures["kept_bytes_a_record"] / 1e3
    return (
        f"{_table(head, rows)}\n\n{figures['pairs']:,} pairs of {figures['records']:,} records; what is kept of a "
        f"record takes {kept:,.0f} kB."
    )


def _merging(result: Mapping[str, Any]) -> str:
    f1 = result["figures"]["f1"]
    tasks = list(next(iter(f1.values())))
    rows = [(name, *(f"{of_task[task]:.3f}" for task in tasks)) for name, of_task in f1.items()]
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in result["figures"]["weights_by_fit"].items())
    return f"{_table(('encoder', *tasks), rows)}\n\nWeights by fit: {weights}. Measured on {_machine(result)}.\n"


_PAGES: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "merging": ("merging.md", _merging),
    "speed": ("speed.md", _speed_page),
}
"""Results that have a page of their own in docs/."""


def _machine(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    return f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''} of {machine['processor']}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def lines() -> Iterator[Iterable[str]]:
        yield head
        yield ["---"] + ["---:"] * (len(tuple(head)) - 1)
        yield from rows

    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines())


if __name__ == "__main__":
    main()
