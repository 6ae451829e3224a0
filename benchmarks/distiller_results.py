"""What `distiller` has found, and what others published: read, not made."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

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


def read(path: Path) -> dict[str, Any] | None:
    """Return the figures of a result, or None where there is none."""
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else None


def runs(results: Path, name: str, variation: str = "") -> list[dict[str, Any]]:
    """Return the figures of a configuration's seeds."""
    end = f"-{variation}" if variation else ""
    paths = sorted((results / "distiller" / name).glob(f"seed*{end}.json"))
    wanted = re.compile(rf"seed\d+{re.escape(end)}\.json")
    return [figures for path in paths if wanted.fullmatch(path.name) and (figures := read(path)) is not None]


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
