"""Put the figures of ``benchmarks/results`` into the README, between its two ``figures`` comments.

    python -m benchmarks.readme_figures

Run it after the benchmarks; ``tests/test_readme.py`` fails where the README says anything else than the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.provenance import RESULTS, ROOT

README = ROOT / "README.md"
START, END = "<!-- figures:start -->", "<!-- figures:end -->"
ORDER = ("febrl", "open_tasks", "speed", "memory", "import_time")


def main() -> None:
    README.write_text(with_figures(README.read_text(encoding="utf-8"), read_results()), encoding="utf-8")
    print(f"written to {README}")


def read_results(folder: Path = RESULTS) -> dict[str, Any]:
    """Return the results that are there, by name, in the order of the README."""
    paths = {name: folder / f"{name}.json" for name in ORDER}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def with_figures(readme: str, results: Mapping[str, Any]) -> str:
    """Return the README with its figures replaced by those of `results`."""
    before, _, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"README.md has no {START} ... {END}. Put both lines where the figures belong.")
    return f"{before}{START}\n{render(results)}{END}{after}"


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
