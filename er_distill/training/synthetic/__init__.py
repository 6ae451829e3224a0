"""People, companies and addresses with known truth: generated tables to train a general student on.

Real labels of a teacher cover what its tasks cover. These tables add what those lack: every value is made up from a
vocabulary of our own, every task draws its own columns, formats, missing values, errors and overlap from its seed, and
the hard negatives of real registers are there: households, twins, parent and child of one name, namesakes, company
groups and branches, addresses next door. A record shows nothing of its entity's number, and rows are shuffled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError, did_you_mean
from . import addresses, companies, people
from .corrupt import observe
from .draw import Draw
from .geography import Country
from .scheme import Scheme, Source, T, draw_sources

_SCHEMES: dict[str, Callable[[Draw, int], tuple[Scheme[Any], Country]]] = {
    "people": people.scheme,
    "companies": companies.scheme,
    "addresses": addresses.scheme,
}
KINDS = tuple(_SCHEMES)
LEAST_OVERLAP = 0.3
MOST_DUPLICATES = 5
# The mix of `tasks`: (kind, dedup), most of it people.
_MIX = (
    ("people", False), ("people", True), ("companies", False), ("addresses", False), ("people", False),
    ("people", True), ("companies", True), ("people", False), ("addresses", True), ("people", True),
    ("companies", False), ("people", False),
)  # fmt: skip


@dataclass(frozen=True)
class SyntheticTask:
    """Generated tables and their true pairs.

    Attributes
    ----------
    name : str
        Kind, link or dedup, and seed.
    left : dict of str to list of str
        Column -> rendered values, "" where missing; all of one length.
    right : dict of str to list of str, or None
        The other table, with the same columns; None when `left` is to be deduplicated.
    truth : numpy.ndarray of int64, shape (m, 2)
        Row numbers (left, right) of all true pairs, sorted. For dedup all pairs of rows of one entity, smaller first.
    """

    name: str
    left: dict[str, list[str]]
    right: dict[str, list[str]] | None
    truth: np.ndarray


def generate(
    kind: str, n_entities: int, *, seed: int, dedup: bool = False, overlap: float | None = None
) -> SyntheticTask:
    """Generate one task; the seed decides everything about it, also its columns and how dirty it is.

    Parameters
    ----------
    kind : str
        "people", "companies" or "addresses".
    n_entities : int
        Rows of the left table, each of another entity; for dedup the number of entities in the table.
    seed : int
        Not negative. The same arguments give the same task on every machine with the same numpy stream.
    dedup : bool
        One table in which entities have up to six records, instead of two tables without duplicates.
    overlap : float, optional
        Share of left rows that have a match on the right, for link tasks. Drawn from 0.3 to 1 when not given.

    Returns
    -------
    SyntheticTask
        The tables and the truth.

    Raises
    ------
    InputError
        If the kind is unknown, a number is out of its range, or `overlap` is given for a dedup task.
    """
    if kind not in _SCHEMES:
        raise InputError(f"There is no synthetic table of kind {kind!r}. {did_you_mean(kind, KINDS)}")
    if n_entities < 1 or seed < 0:
        raise InputError(
            f"A synthetic {kind} table needs n_entities >= 1 and seed >= 0, not {n_entities} and {seed}: raise them."
        )
    if overlap is not None and (dedup or not 0.0 <= overlap <= 1.0):
        raise InputError(
            f"overlap={overlap!r} does not fit the synthetic {kind} table: it is a share from 0 to 1 of the left rows "
            "that have a match on the right. Leave it out for dedup, or choose such a share."
        )
    stream = np.random.SeedSequence([seed, KINDS.index(kind), int(dedup)])
    draw = Draw(np.random.Generator(np.random.PCG64(stream)))
    name = f"{kind}-{'dedup' if dedup else 'link'}-{seed}"
    if dedup:
        copies = _draw_copies(draw, n_entities)
        scheme, country = _SCHEMES[kind](draw, n_entities)
        source, _ = draw_sources(scheme, draw, dedup=True, day_first=country.day_first)
        owners = draw.shuffled(entity for entity, count in enumerate(copies) for _ in range(count))
        return SyntheticTask(name, _table(scheme, owners, source, draw), None, _pairs_within(owners))
    share = draw.uniform(LEAST_OVERLAP, 1.0) if draw.chance(0.8) else 1.0
    common = round((share if overlap is None else overlap) * n_entities)
    right_only = round((n_entities - common) * draw.uniform(0.3, 1.5))
    scheme, country = _SCHEMES[kind](draw, n_entities + right_only)
    left_source, right_source = draw_sources(scheme, draw, dedup=False, day_first=country.day_first)
    order = draw.shuffled(range(n_entities + right_only))
    left_owners, right_owners = order[:n_entities], draw.shuffled(order[:common] + order[n_entities:])
    left_owners = draw.shuffled(left_owners)
    left = _table(scheme, left_owners, left_source, draw)
    right = _table(scheme, right_owners, right_source, draw)
    return SyntheticTask(name, left, right, _pairs_between(left_owners, right_owners))


def tasks(seed: int, n_entities: int) -> list[SyntheticTask]:
    """Generate the mix of tasks that the bundled student trains on.

    Parameters
    ----------
    seed : int
        Decides every task; other seeds give other columns, formats and errors.
    n_entities : int
        Entities of each task, see `generate`.

    Returns
    -------
    list of SyntheticTask
        Twelve tasks of all kinds, to link and to deduplicate, mostly of people.
    """
    seeds = np.random.SeedSequence(seed).generate_state(len(_MIX))
    return [
        generate(kind, n_entities, seed=int(own), dedup=dedup) for (kind, dedup), own in zip(_MIX, seeds, strict=True)
    ]


def _draw_copies(draw: Draw, n_entities: int) -> list[int]:
    """Draw how many records each entity has: the shape of the distribution differs between tasks."""
    singles = draw.uniform(0.2, 0.85)
    shape = draw.pick(("one", "falling", "even"))
    copies = []
    for _ in range(n_entities):
        if draw.chance(singles):
            copies.append(1)
        elif shape == "one":
            copies.append(2)
        elif shape == "even":
            copies.append(1 + draw.between(1, MOST_DUPLICATES))
        else:
            copies.append(2 + min(MOST_DUPLICATES - 1, draw.poisson(0.8)))
    return copies


def _table(scheme: Scheme[T], owners: list[int], source: Source, draw: Draw) -> dict[str, list[str]]:
    rows = [observe(scheme, owner, source, draw) for owner in owners]
    return {column.name: [row[column.name] for row in rows] for column in scheme.columns}


def _pairs_between(left: list[int], right: list[int]) -> np.ndarray:
    place = {owner: row for row, owner in enumerate(right)}
    pairs = [(row, place[owner]) for row, owner in enumerate(left) if owner in place]
    return np.asarray(pairs, dtype=np.int64).reshape(-1, 2)


def _pairs_within(owners: list[int]) -> np.ndarray:
    rows: dict[int, list[int]] = {}
    for row, owner in enumerate(owners):
        rows.setdefault(owner, []).append(row)
    pairs = [(one, other) for group in rows.values() for at, one in enumerate(group) for other in group[at + 1 :]]
    return np.asarray(sorted(pairs), dtype=np.int64).reshape(-1, 2)
