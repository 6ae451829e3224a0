"""What `distill` reads from its options besides the plan for labels, and what it says at the end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from er_distill import artefact

if TYPE_CHECKING:  # they bring torch, which is slow to come: what is wrong with the options is told before
    from er_distill.training.distillation import Distilled

_BY_DEFAULT = "int8"


def settings_of(config: Path | None, changes: Mapping[str, Any], epochs: int | None) -> dict[str, Any]:
    """Read the file of settings, and put the options in the place of what it says."""
    from er_distill.training.configuration import read_settings

    settings = {} if config is None else read_settings(config)
    settings |= {name: value for name, value in changes.items() if value is not None}
    kind = kind_of(settings)
    tier, trees = dict(settings.get(kind, {})), dict(settings.get("trees", {}))
    if epochs is not None and kind == "generative":
        tier["method"] = {**tier.get("method", {}), "epochs": epochs}
    elif epochs is not None:
        tier["epochs"] = epochs
    if changes.get("seed") is not None:
        tier["seed"] = trees["seed"] = changes["seed"]
    variants = settings.get("variants")
    if variants and "default_variant" not in settings and _BY_DEFAULT not in variants:
        settings["default_variant"] = variants[0]
    return settings | {name: part for name, part in ((kind, tier), ("trees", trees)) if part}


def kind_of(settings: Mapping[str, Any]) -> str:
    """Return which second tier the settings are of: ``"encoder"`` or ``"generative"``."""
    return "generative" if "generative" in settings else "encoder"


def members_of(sweep: Path | None, seeds: str | None, kind: str) -> dict[str, dict[str, Any]] | None:
    """Read the members of a sweep; None where none is asked for."""
    from er_distill.training.configuration import read_settings
    from er_distill.training.sweep import of_seeds

    members = None if sweep is None else read_settings(sweep)
    if seeds is None:
        return members
    try:
        numbers = [int(text) for text in seeds.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{seeds!r} are no seeds: write whole numbers, such as 0,1,2.") from None
    return of_seeds(numbers, members, kind=kind)


def facts_of(made: Distilled, seconds: float) -> list[tuple[str, str]]:
    """Say what was learned from, how well, and where it is."""
    from er_distill.training.sweep import calibration_error, held_out_agreement, held_out_pairs, size_of

    manifest, gathered = made.manifest, made.gathered
    known = gathered.labels.known
    queries = len(np.unique(gathered.candidates.pairs.left[known]))
    error = calibration_error(manifest)
    whole = sum(path.stat().st_size for path in made.folder.rglob("*") if path.is_file()) / 1e6
    agreement = held_out_agreement(manifest)
    matches = int((gathered.labels.target > 0.5).sum())
    return [
        ("labels", f"{known.sum():,} pairs of {queries:,} queries, {matches:,} matches"),
        ("chosen", gathered.selection),
        ("teachers", f"{', '.join(one.name for one in manifest.teachers)} ({gathered.rule.replace('_', ' ')})"),
        ("cost", gathered.cost),
        ("agreement", f"F1 {agreement:.3f} with the labels of {held_out_pairs(manifest):,} held-out pairs"),
        ("calibration", "too few labels to say" if error is None else f"expected error {error:.3f} on held-out labels"),
        ("match from", f"{manifest.variant().threshold:.2f} ({manifest.default_variant})"),
        ("size", f"{size_of(manifest):.1f} MB to serve {manifest.default_variant}, {whole:.1f} MB in all"),
        *_sweep(made),
        ("student", f"{made.folder}, in {_duration(seconds)}"),
        ("card", str(made.folder / artefact.CARD)),
        ("run folder", f"{made.run}, not needed to serve"),
    ]


def next_command(made: Distilled, tables: Sequence[Path]) -> str:
    """Return the command that uses the student."""
    command, result = ("link", "matches.csv") if len(tables) == 2 else ("dedupe", "entities.csv")
    words = ["er-distill", command, *map(str, tables), "--student", str(made.folder), "-o", result]
    return shlex.join(words)


def _sweep(made: Distilled) -> list[tuple[str, str]]:
    if not made.members:
        return []
    from er_distill.training.distillation import COMPARISON
    from er_distill.training.sweep import best_of

    best = best_of(made.members)
    scores = ", ".join(f"{one.name} {one.score:.3f}" for one in made.members)
    return [("sweep", f"{best.name} is the best of: {scores} ({made.run / COMPARISON})")]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
