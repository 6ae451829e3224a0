"""What a student is to learn from, and the first stage of it: candidate pairs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import er_distill
from er_distill import blocking
from er_distill.blocking import Rule as BlockingRule
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.labelling import BLOCKING, LabelPlan, label_of, may_send
from er_distill.training.labels import Candidates
from er_distill.training.sources import Source
from er_distill.training.teachers.base import Teacher
from er_distill.training.teachers.ensemble import Rule
from er_distill.training.teachers.grammar import TeacherName


@dataclass(frozen=True)
class Material:
    """What a student is to learn from.

    Attributes
    ----------
    left : Records
    right : Records or None
        None: one table.
    plan : LabelPlan or None
        Whom to ask.
    sources : tuple of Source
        Labels that are there.
    blocking : tuple of TopK and Exact, or None
        How candidates are found. None: as `link` finds them; teachers are asked about the shorter lists of `BLOCKING`.
    pairs : Pairs or None
        Candidates of the caller's own instead.
    rule : str or None
        How teachers are combined; see `verdicts`.
    """

    left: Records
    right: Records | None
    plan: LabelPlan | None = None
    sources: tuple[Source, ...] = ()
    blocking: tuple[BlockingRule, ...] | None = None
    pairs: Pairs | None = None
    rule: Rule | None = None


def check_material(material: Material) -> None:
    """Raise InputError where nothing could be learned: no labels, nobody to ask, or limits that let nobody answer."""
    plan = material.plan
    if plan is None:
        if not material.sources:
            raise InputError("there is nothing to learn from. Name a teacher=, or bring labels=.")
        return
    plan.check()
    limits = plan.limits
    asked = [teacher for teacher in plan.teachers if may_send(teacher)]
    free = all(_is_free(plan, teacher) for teacher in asked)
    held = (("budget", limits.money), ("max_calls", limits.calls), ("max_tokens", limits.tokens))
    for name, limit in held:
        if limit == 0 and len(asked) == len(plan.teachers) and not (name == "budget" and free):
            names = ", ".join(label_of(teacher) for teacher in asked)
            raise InputError(f"{name}=0 lets {names} answer nothing. Raise it, or bring labels= that are there.")


def _is_free(plan: LabelPlan, teacher: TeacherName | Teacher) -> bool:
    price = plan.price(teacher)
    return price is not None and not price.prompt and not price.completion


def inputs_of_candidates(material: Material) -> dict[str, Any]:
    """Return what the candidates depend on; see `runs.fingerprint`."""
    given = material.pairs
    return {
        "er_distill": er_distill.__version__,
        "tables": [
            {"ids": [str(one) for one in table.ids.tolist()], "fields": table.fields, "values": table.values}
            for table in (material.left, material.right)
            if table is not None
        ],
        "rules": None if material.blocking is None else [repr(rule) for rule in material.blocking],
        "short_lists": material.plan is not None,
        "pairs": None if given is None else given.keys(),
    }


def write_candidates(material: Material, folder: Path) -> None:
    """Find the candidates and keep them in a folder."""
    if material.pairs is not None:
        found = asked = material.pairs.unique()[0]
    else:
        found = asked = blocking.candidates(material.left, material.right, rules=material.blocking).pairs
        if material.blocking is None and material.plan is not None:
            asked = blocking.candidates(material.left, material.right, rules=[BLOCKING]).pairs
            found = dataclasses.replace(
                found, left=np.append(found.left, asked.left), right=np.append(found.right, asked.right)
            ).unique()[0]
    if not len(asked):
        names = material.left.name + ("" if material.right is None else f" and {material.right.name}")
        raise InputError(f"there is no candidate pair in {names}. Compare other columns, or use other blocking rules.")
    np.savez(
        folder / "candidates.npz",
        left=found.left,
        right=found.right,
        asked_left=asked.left,
        asked_right=asked.right,
    )


def read_candidates(folder: Path, material: Material, name: str) -> tuple[Candidates, Candidates]:
    """Return all candidate pairs, and those that teachers may be asked about."""
    left, right = material.left, material.right
    n_right = len(left if right is None else right)
    with np.load(folder / "candidates.npz") as ends:
        both = [
            Pairs(ends[f"{part}left"], ends[f"{part}right"], len(left), n_right, right is None)
            for part in ("", "asked_")
        ]
    return Candidates(name, left, right, both[0]), Candidates(name, left, right, both[1])
