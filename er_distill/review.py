"""The uncertain band as a file for a person, and the decisions read back.

The file shows pairs side by side, without their scores and in random order, so that nothing but the records suggests an
answer. The person fills the column `decision`; what comes back are labels, a threshold, and pairs that are settled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from er_distill.curves import best_threshold
from er_distill.errors import InputError, did_you_mean
from er_distill.files import PAIR_COLUMNS, format_of, ids_as_in, line_of, read_pairs, read_table, require_columns
from er_distill.pairs import Pairs
from er_distill.records import Records

DECISIONS = ("match", "no match", "unsure")

_SEED = 0


@dataclass(frozen=True)
class Decisions:
    """What a person decided; pairs without a decision, or where they were unsure, are left out.

    Attributes
    ----------
    path : Path
        The file the decisions come from.
    left_ids, right_ids : tuple
        The two ids of each decided pair.
    matches : ndarray of bool, shape (n,)
        Whether the pair is a match.
    lines : tuple of str
        Where in the file each decision stands, for messages.
    """

    path: Path
    left_ids: tuple[Any, ...]
    right_ids: tuple[Any, ...]
    matches: npt.NDArray[np.bool_]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Settled:
    """Decisions as pairs of the tables they are about; see `settle`."""

    pairs: Pairs
    matches: npt.NDArray[np.bool_]


def review_path(output: Path) -> Path:
    """Return where the review file of `output` goes: ``matches.csv`` has ``matches.review.csv`` beside it."""
    return output.with_name(output.name[: -len(format_of(output).ending)] + ".review.csv")


def refuse_decided(path: Path) -> None:
    """Raise InputError when there is a review file at `path` with decisions: a person's work is not written over."""
    if not path.exists():
        return
    try:
        table = read_table(path)
    except InputError as error:
        raise InputError(f"{path} is there and may hold decisions. Move it away before a new one is made.") from error
    if "decision" in table.column_names and table["decision"].null_count < len(table):
        raise InputError(f"{path} holds decisions. Use them (--decisions), or move it away before a new one is made.")


def review_table(
    left: Records, right: Records | None, pairs: Pairs, scores: npt.NDArray[np.float64], band: tuple[float, float]
) -> pa.Table:
    """Lay the uncertain pairs out for a person.

    Parameters
    ----------
    left : Records
    right : Records or None
        None for dedup.
    pairs : Pairs
        Candidate pairs.
    scores : ndarray, shape (len(pairs),)
    band : (float, float)
        Lowest and highest score of a pair worth a look.

    Returns
    -------
    pyarrow.Table
        The columns `decision` (empty), `left_id`, `right_id`, and each compared field of either side next to each other
        as `left_<field>`, `right_<field>`. The order is random, with a fixed seed.
    """
    other = left if right is None else right
    rows = np.flatnonzero((scores >= band[0]) & (scores <= band[1]))
    rows = np.random.default_rng(_SEED).permutation(rows)
    chosen = pairs.take(rows)
    columns: dict[str, Any] = {
        "decision": pa.nulls(len(rows), pa.string()),
        "left_id": [str(value) for value in left.ids[chosen.left].tolist()],
        "right_id": [str(value) for value in other.ids[chosen.right].tolist()],
    }
    for field in dict.fromkeys((*left.fields, *other.fields)):
        for side, records, codes in (("left", left, chosen.left), ("right", other, chosen.right)):
            if field in records.fields:
                columns[f"{side}_{field}"] = records.values[records.fields.index(field)][codes].tolist()
    return pa.table(columns)


def read_decisions(path: Path) -> Decisions:
    """Read a review file back.

    Parameters
    ----------
    path : Path
        A file with the columns `left_id`, `right_id` and `decision`, which holds ``match``, ``no match``, ``unsure`` or
        nothing.

    Raises
    ------
    InputError
        When the file cannot be read, a decision is none of these (with the line), or nothing was decided.
    """
    table = read_pairs(path)
    require_columns(table, ["decision"], path)
    left_ids, right_ids, decisions = (table[name].to_pylist() for name in (*PAIR_COLUMNS, "decision"))
    kept = []
    for row, given in enumerate(decisions):
        decision = re.sub(r"[\s_-]+", " ", str(given or "")).strip().lower()
        if decision in ("", "unsure"):
            continue
        if decision not in DECISIONS:
            hint = did_you_mean(decision, DECISIONS)
            raise InputError(f"{path}: {line_of(path, row)}: the decision {given!r} is not known. {hint}")
        kept.append((row, decision == "match"))
    if not kept:
        raise InputError(
            f"{path} holds no decision yet. Fill the column 'decision' with {', '.join(map(repr, DECISIONS))}."
        )
    return Decisions(
        path,
        tuple(left_ids[row] for row, _ in kept),
        tuple(right_ids[row] for row, _ in kept),
        np.array([answer for _, answer in kept]),
        tuple(line_of(path, row) for row, _ in kept),
    )


def settle(decisions: Decisions, left: Records, right: Records | None, *, one_to_one: bool) -> Settled:
    """Look the decided pairs up in the tables.

    Parameters
    ----------
    decisions : Decisions
    left : Records
    right : Records or None
        None for dedup.
    one_to_one : bool
        Whether a record can have one match at most.

    Raises
    ------
    InputError
        When an id belongs to no record, two decisions on one pair differ, or two decided matches share a record
        although matching is one-to-one.
    """
    other = left if right is None else right
    pairs = Pairs.from_ids(
        ids_as_in(left, decisions.left_ids),
        ids_as_in(other, decisions.right_ids),
        left,
        right,
        source=str(decisions.path),
    )
    keys = pairs.keys().tolist()
    earlier: dict[int, int] = {}
    for place, key in enumerate(keys):
        before = earlier.setdefault(key, place)
        if decisions.matches[before] != decisions.matches[place]:
            raise InputError(
                f"{decisions.path}: {decisions.lines[place]} contradicts {decisions.lines[before]} on the pair "
                f"{decisions.left_ids[place]!r}, {decisions.right_ids[place]!r}. Correct one of them."
            )
    if one_to_one:
        for side, codes in (("left", pairs.left), ("right", pairs.right)):
            first: dict[int, int] = {}
            for place in np.flatnonzero(decisions.matches).tolist():
                before = first.setdefault(int(codes[place]), place)
                if keys[before] != keys[place]:
                    raise InputError(
                        f"{decisions.path}: {decisions.lines[before]} and {decisions.lines[place]} give one {side} "
                        "record two matches, but matching is one-to-one. Correct one, or choose another matching."
                    )
    return Settled(pairs, decisions.matches)


def with_settled(pairs: Pairs, settled: Settled) -> Pairs:
    """Return the candidate pairs and those settled pairs that are not among them."""
    new = ~np.isin(settled.pairs.keys(), pairs.keys())
    extra = settled.pairs.take(np.flatnonzero(new))
    return Pairs(
        np.concatenate([pairs.left, extra.left]),
        np.concatenate([pairs.right, extra.right]),
        pairs.n_left,
        pairs.n_right,
        pairs.one_table,
    ).unique()[0]


def chosen_threshold(pairs: Pairs, scores: npt.NDArray[np.float64], settled: Settled) -> float | None:
    """Return the threshold with the highest F1 on the decisions; None when they hold no match to go by.

    A person looks at a band of scores, and F1 on the band alone would favour a threshold that is too low for the whole.
    So pairs scored above the highest decision count as matches, those below the lowest as none; undecided pairs between
    the two are left out.
    """
    known, labels = _decided(pairs, settled)
    if not known.any():
        return None
    low, high = scores[known].min(), scores[known].max()
    used = known | (scores < low) | (scores > high)
    labels |= ~known & (scores > high)
    return best_threshold(labels[used], scores[used]).threshold if labels[used].any() else None


def open_pairs(pairs: Pairs, settled: Settled, matching: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which pairs are matches by decision, and which may still become one.

    Closed are the pairs decided as no match and, where `matching` gives a record one match only, those that share it
    with a decided match.
    """
    known, labels = _decided(pairs, settled)
    matched = known & labels
    free = ~known
    if matching != "all":
        free &= ~np.isin(pairs.left, pairs.left[matched])
    if matching == "one_to_one":
        free &= ~np.isin(pairs.right, pairs.right[matched])
    return matched, free


def settled_scores(pairs: Pairs, scores: npt.NDArray[np.float64], settled: Settled) -> npt.NDArray[np.float64]:
    """Return the scores with 1 and 0 in the place of those that a person decided: what clusters are made from."""
    known, labels = _decided(pairs, settled)
    return np.where(known, labels.astype(np.float64), scores)


def _decided(pairs: Pairs, settled: Settled) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which of the pairs were decided, and which of them as a match."""
    keys = pairs.keys()
    known = np.isin(keys, settled.pairs.keys())
    return known, np.isin(keys, settled.pairs.keys()[settled.matches])
