"""Several students of one task, and which of them to keep. No gold is read: they are judged by held-out labels."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from er_distill import artefact
from er_distill.artefact import Manifest
from er_distill.errors import InputError
from er_distill.training.configuration import configured
from er_distill.training.recipe import DistillConfig

Criterion = Callable[[Manifest], float]
"""How good a student is, higher is better; it must not read gold."""


@dataclass(frozen=True)
class Member:
    """One student of a sweep.

    Attributes
    ----------
    name : str
    folder : Path
    manifest : Manifest
    score : float
        By the criterion of the sweep.
    """

    name: str
    folder: Path
    manifest: Manifest
    score: float


def held_out_agreement(manifest: Manifest) -> float:
    """Return the mean F1 of the student against the teachers' labels of held-out queries, over its tasks."""
    return _mean(manifest, "f1")


def calibration_error(manifest: Manifest) -> float | None:
    """Return the expected calibration error on held-out labels, cross-fitted; None where these are too few."""
    found = manifest.training["checks"][manifest.default_variant]["calibration_error_cross_fitted"]
    return None if found is None else float(found["mean"])


def held_out_pairs(manifest: Manifest) -> int:
    """Return how many labelled pairs of held-out queries a student was measured on."""
    return sum(int(part["pairs"]) for part in _held_out(manifest))


def size_of(manifest: Manifest) -> float:
    """Return the size, in megabytes, of what serving the default variant reads; shared files count once."""
    files = {manifest.trees, manifest.tokenizer, manifest.variant().encoder}
    return sum(manifest.files[name].bytes for name in files) / 1e6


def best_of(members: Sequence[Member]) -> Member:
    """Return the member with the highest score; of equal ones the best calibrated, then the first."""

    def rank(one: Member) -> tuple[float, float]:
        error = calibration_error(one.manifest)
        return -one.score, 1.0 if error is None else error

    return min(members, key=rank)


def comparison(members: Sequence[Member]) -> pa.Table:
    """Return a table of the members, with what is known of them without gold."""
    best = best_of(members)
    rows = [
        {
            "member": one.name,
            "best": one is best,
            "score": round(one.score, 4),
            "held_out_pairs": held_out_pairs(one.manifest),
            "f1": round(held_out_agreement(one.manifest), 4),
            "f1_trees_alone": round(_mean(one.manifest, "f1_lexical"), 4),
            "calibration_error": calibration_error(one.manifest),
            "encoder_share": round(_mean(one.manifest, "encoder_share"), 4),
            "megabytes": round(size_of(one.manifest), 1),
            "seconds": one.manifest.training["seconds"],
        }
        for one in members
    ]
    return pa.Table.from_pylist(rows)


def member_configs(
    config: DistillConfig, members: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, DistillConfig]:
    """Return the configuration of each member, its student in a folder of its own.

    Raises
    ------
    InputError
        When there is no member, a name is none for a folder, or a setting is unknown.
    """
    if not members:
        raise InputError("a sweep needs members. Give settings by name, or seeds.")
    found = {}
    for name, settings in members.items():
        if not name or Path(name).name != name or name.startswith("."):
            raise InputError(f"sweep: {name!r} cannot be the name of a member: its student has a folder of that name.")
        if not isinstance(settings, Mapping):
            raise InputError(f"sweep: {name} is {settings!r}. Write its settings in a table of their own.")
        found[name] = replace(configured(config, settings, f"sweep: {name}"), output=folder / name)
    return found


def of_seeds(
    seeds: Sequence[int], members: Mapping[str, Mapping[str, Any]] | None = None, *, kind: str = "encoder"
) -> dict[str, dict[str, Any]]:
    """Return members with each of the seeds, of each of the members given.

    The seed is that of training the second tier alone, an ``encoder`` or ``generative`` by `kind`: all members hold the
    same queries out, and can be compared.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, settings in (members or {"": {}}).items():
        for seed in seeds:
            tier = {**settings.get(kind, {}), "seed": seed}
            found[f"{name}-seed-{seed}".removeprefix("-")] = {**settings, kind: tier}
    return found


def judged(name: str, folder: Path, criterion: Criterion) -> Member:
    """Read a student that is there, and judge it."""
    manifest = artefact.read(folder)
    return Member(name, folder, manifest, float(criterion(manifest)))


def _mean(manifest: Manifest, figure: str) -> float:
    return statistics.fmean(float(part[figure]) for part in _held_out(manifest))


def _held_out(manifest: Manifest) -> list[Mapping[str, Any]]:
    """What the default variant reached on held-out labels, a task each."""
    return list(manifest.training["checks"][manifest.default_variant]["held_out"].values())
