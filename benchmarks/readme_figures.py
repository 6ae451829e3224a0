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
ORDER = ("febrl", "open_tasks", "default_left_out", "speed", "memory", "import_time")


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
    blocks.append(
        "\n".join(f"Measured on {machine}." for machine in dict.fromkeys(map(_machine, results.values())))
        + " No gold label was used to train or to choose anything."
    )
    return "\n\n".join(blocks) + "\n"


def _targets(results: Mapping[str, Any]) -> str:
    rows = []
    for name, result in results.items():
        for target in result["targets"]:
            bound = f"at least {target['at_least']:g}" if "at_least" in target else f"at most {target['at_most']:g}"
            reached = f"{target['measured']:.3g}" if target["measured"] >= 1.5 else f"{target['measured']:.3f}"
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


def _speeds(figures: Mapping[str, Any]) -> str:
    contenders = {
        "peer": "sentence-transformers `CrossEncoder.predict`, torch fp32",
        "neural": "our encoder alone, int8",
        "student": "the whole student",
    }
    rows = (
        (what, f"{figures[name]['pairs_per_second']:,.0f}", f"{figures[name]['f1']:.3f}")
        for name, what in contenders.items()
    )
    return _table((f"{figures['task']}, {figures['pairs']:,} pairs", "pairs/s", "F1"), rows)


def _merging(result: Mapping[str, Any]) -> str:
    f1 = result["figures"]["f1"]
    tasks = list(next(iter(f1.values())))
    rows = [(name, *(f"{of_task[task]:.3f}" for task in tasks)) for name, of_task in f1.items()]
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in result["figures"]["weights_by_fit"].items())
    return f"{_table(('encoder', *tasks), rows)}\n\nWeights by fit: {weights}. Measured on {_machine(result)}.\n"


_PAGES: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {"merging": ("merging.md", _merging)}
"""Results that have a page of their own in docs/."""


def _machine(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    return f"{machine['cores']} cores of {machine['processor']}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def lines() -> Iterator[Iterable[str]]:
        yield head
        yield ["---"] + ["---:"] * (len(tuple(head)) - 1)
        yield from rows

    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines())


if __name__ == "__main__":
    main()
