"""Two large tables of made-up people whose matches are known: generated in seconds, the same columns at every size.

`er_distill.training.synthetic` draws richer tables, with other columns for each seed and size; here tables must differ
in their number of records alone. Names, streets and towns are words of made-up syllables. How often each is used
follows Zipf's law with Mandelbrot's offset, with which the most frequent surname is borne by one person in a hundred,
as in a census. Each person of the left table stands in the right one too: retyped, some moved, in another order.
"""

from __future__ import annotations

import numpy as np

_OFFSET = 10  # of Zipf's law
_SIZES = {"given_name": 5_000, "surname": 100_000, "street": 30_000, "town": 5_000}
_ONSETS = np.array([
    "b", "br", "c", "ch", "d", "f", "fl", "g", "gr", "h", "j", "k", "kl", "l", "m", "n",
    "p", "pr", "r", "s", "sh", "st", "t", "th", "tr", "v", "w",
])  # fmt: skip
_VOWELS = np.array(["a", "e", "i", "o", "u", "ai", "ea", "ee", "ou", "oo"])  # fmt: skip
_CODAS = np.array(["", "", "", "n", "r", "l", "s", "t", "ck", "nd", "rt", "m"])
_KINDS = np.array(["street", "road", "avenue", "lane", "drive", "close", "way"])  # fmt: skip
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))

MISSING, MOVED, RETYPED, INITIAL = 0.03, 0.05, 0.1, 0.05
"""Shares of the values of the right table that are missing or have a wrong letter; of people who moved, who are there
with the initial of the given name alone."""

Table = dict[str, np.ndarray]


def people(records: int, seed: int) -> tuple[Table, Table, np.ndarray]:
    """Make both tables.

    Returns
    -------
    left, right : dict of str to ndarray of str objects, shape (records,)
        The columns; an empty string is a missing value.
    truth : ndarray of int64, shape (records,)
        The right row of each left one.
    """
    rng = np.random.default_rng(seed)
    words = {name: _words(size, rng) for name, size in _SIZES.items()}
    words["postcode"] = np.array([f"{code:05d}" for code in rng.integers(1_000, 99_999, _SIZES["town"])], dtype=object)
    left = {
        "given_name": _drawn(words["given_name"], records, rng),
        "surname": _drawn(words["surname"], records, rng),
        "birth_date": _dates(records, rng),
    }
    left |= _homes(words, records, rng)
    right = {name: column.copy() for name, column in left.items()}
    moved = np.flatnonzero(rng.random(records) < MOVED)
    for name, column in _homes(words, len(moved), rng).items():
        right[name][moved] = column
    for row in np.flatnonzero(rng.random(records) < INITIAL):
        right["given_name"][row] = right["given_name"][row][:1]
    for column in right.values():
        for row in np.flatnonzero(rng.random(records) < RETYPED):
            column[row] = _retyped(column[row], rng)
        column[rng.random(records) < MISSING] = ""
    order = rng.permutation(records)
    truth = np.empty(records, dtype=np.int64)
    truth[order] = np.arange(records)
    return left, {name: column[order] for name, column in right.items()}, truth


def _words(size: int, rng: np.random.Generator) -> np.ndarray:
    syllables = rng.choice([2, 3], size, p=[0.7, 0.3])
    made = np.full(size, "", dtype=object)
    for place in range(3):
        part = rng.choice(_ONSETS, size).astype(object) + rng.choice(_VOWELS, size) + rng.choice(_CODAS, size)
        made += np.where(place < syllables, part, "")
    return made


def _drawn(words: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    share = 1 / (_OFFSET + np.arange(len(words)))
    return words[rng.choice(len(words), count, p=share / share.sum())]


def _dates(count: int, rng: np.random.Generator) -> np.ndarray:
    days = np.datetime64("1930-01-01") + rng.integers(0, 80 * 365, count)
    return np.datetime_as_string(days).astype(object)


def _homes(words: dict[str, np.ndarray], count: int, rng: np.random.Generator) -> Table:
    numbers = np.array([str(number) for number in range(400)], dtype=object)
    number = numbers[(rng.pareto(1.0, count) * 20 + 1).clip(max=399).astype(np.int64)]
    town = _drawn(np.arange(_SIZES["town"]), count, rng)
    return {
        "address": number + " " + _drawn(words["street"], count, rng) + " " + rng.choice(_KINDS, count).astype(object),
        "town": words["town"][town],
        "postcode": words["postcode"][town],
    }


def _retyped(value: str, rng: np.random.Generator) -> str:
    """A letter replaced, left out, doubled by another, or in its neighbour's place."""
    at = int(rng.integers(len(value)))
    letter = str(rng.choice(_LETTERS)) if value[at].isalpha() else str(rng.integers(10))
    kind = rng.integers(4)
    if kind == 0:
        return value[:at] + letter + value[at + 1 :]
    if kind == 1:
        return value[:at] + value[at + 1 :]
    if kind == 2:
        return value[:at] + letter + value[at:]
    return value[:at] + value[at + 1 : at + 2] + value[at] + value[at + 2 :]
