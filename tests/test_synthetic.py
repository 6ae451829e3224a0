"""The generated tables: their truth, their variety, their hard negatives, and that nothing gives the truth away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill.errors import InputError
from er_distill.training.synthetic import KINDS, MOST_DUPLICATES, SyntheticTask, generate, tasks
from er_distill.training.synthetic import addresses as address_tables
from er_distill.training.synthetic import companies as company_tables
from er_distill.training.synthetic import people as people_tables
from er_distill.training.synthetic.corrupt import damage_digits, damage_text
from er_distill.training.synthetic.draw import Draw
from er_distill.training.synthetic.scheme import DIGIT_ERRORS, TEXT_ERRORS

BOTH = [(kind, dedup) for kind in KINDS for dedup in (False, True)]


def draw(seed: int) -> Draw:
    return Draw(np.random.default_rng(seed))


def rows(table: dict[str, list[str]]) -> list[tuple[str, ...]]:
    return list(zip(*table.values(), strict=True))


def trigrams(row: tuple[str, ...]) -> Counter[str]:
    text = " ".join(row).lower()
    return Counter(text[place : place + 3] for place in range(len(text) - 2))


def likeness(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    left, right = trigrams(one), trigrams(other)
    return 2 * (left & right).total() / max(1, left.total() + right.total())


def same(one: SyntheticTask, other: SyntheticTask) -> bool:
    tables = (one.name, one.left, one.right) == (other.name, other.left, other.right)
    return tables and np.array_equal(one.truth, other.truth)


@pytest.mark.parametrize(("kind", "dedup"), BOTH)
def test_the_seed_decides_everything(kind: str, dedup: bool):
    task = generate(kind, 80, seed=3, dedup=dedup)
    assert same(task, generate(kind, 80, seed=3, dedup=dedup))
    assert not same(task, generate(kind, 80, seed=4, dedup=dedup))


def test_other_processes_generate_the_same():
    code = (
        "import hashlib; from er_distill.training.synthetic import tasks;"
        "print(hashlib.sha256(repr([(t.name, t.left, t.right, t.truth.tolist()) for t in tasks(5, 40)]).encode())"
        ".hexdigest())"
    )
    root = Path(__file__).parents[1]
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    ]
    assert len(digests[0].strip()) == 64
    assert len(set(digests)) == 1


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(BOTH), st.integers(0, 10_000), st.integers(1, 60))
def test_shapes_and_truth(case: tuple[str, bool], seed: int, count: int):
    kind, dedup = case
    task = generate(kind, count, seed=seed, dedup=dedup)
    sizes = []
    for table in (task.left, task.left if task.right is None else task.right):
        (size,) = {len(values) for values in table.values()}
        sizes.append(size)
        assert all(isinstance(value, str) for values in table.values() for value in values)
        assert all(any(row) for row in rows(table)), "a record that shows nothing"
    assert (task.right is None) == dedup
    assert task.truth.dtype == np.int64
    assert task.truth.shape[1:] == (2,)
    pairs = [tuple(pair) for pair in task.truth.tolist()]
    assert pairs == sorted(set(pairs))
    assert all(0 <= left < sizes[0] and 0 <= right < sizes[1] for left, right in pairs)
    if not dedup:
        assert list(task.left) == list(task.right or {})
        assert sizes[0] == count
        assert len({left for left, _ in pairs}) == len({right for _, right in pairs}) == len(pairs)
        assert len(pairs) >= int(0.3 * count)
        return
    groups: dict[int, set[int]] = {}
    for left, right in pairs:
        assert left < right
        group = groups.setdefault(left, {left}) | groups.setdefault(right, {right})
        for row in group:
            groups[row] = group
    distinct = {min(group): group for group in groups.values()}
    assert all(len(group) <= 1 + MOST_DUPLICATES for group in distinct.values())
    assert sorted(pairs) == sorted(pair for group in distinct.values() for pair in combinations(sorted(group), 2))
    assert sizes[0] - len(groups) + len(distinct) == count  # singles and groups are the entities


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.65, 1.0])
def test_overlap_is_as_asked(kind: str, overlap: float):
    task = generate(kind, 200, seed=1, overlap=overlap)
    assert len(task.truth) == round(200 * overlap)
    assert task.right is not None


def test_overlap_is_drawn_from_its_range():
    shares = [len(generate("addresses", 50, seed=seed).truth) / 50 for seed in range(40)]
    assert min(shares) >= 0.3
    assert min(shares) < 0.5
    assert max(shares) == 1.0


def test_duplicates_per_entity_vary():
    most = [np.bincount(generate("people", 100, seed=seed, dedup=True).truth.ravel()).max() for seed in range(12)]
    assert min(most) == 1  # tasks in which nobody has more than one duplicate
    assert max(most) == MOST_DUPLICATES


def test_the_mix_covers_every_kind_and_differs_between_seeds():
    mix = tasks(2, 30)
    assert {(task.name.split("-")[0], task.right is None) for task in mix} == set(BOTH)
    assert len({task.name for task in mix}) == len(mix)
    assert len({tuple(task.left) for task in mix}) > len(mix) // 2
    assert not {task.name for task in tasks(3, 30)} & {task.name for task in mix}


@pytest.mark.parametrize(("kind", "dedup"), BOTH)
def test_rows_do_not_give_the_truth_away(kind: str, dedup: bool):
    """Neither the row order nor any column is the number of the entity."""
    for seed in range(3):
        task = generate(kind, 300, seed=seed, dedup=dedup)
        assert abs(np.corrcoef(task.truth.T)[0, 1]) < 0.35 or dedup
        for table in (task.left, task.right or {}):
            for name, values in table.items():
                numbers = np.array([[row, int(value)] for row, value in enumerate(values) if value.isdecimal()])
                if len(numbers) > 50 and len(np.unique(numbers[:, 1])) > 20:
                    ranks = numbers[:, 1].argsort().argsort()
                    assert abs(np.corrcoef(numbers[:, 0], ranks)[0, 1]) < 0.35, name
                if len(numbers) == len(values):  # a running number would fill 0 to n - 1 or 1 to n
                    assert set(numbers[:, 1].tolist()) != set(range(len(values)))
                    assert set(numbers[:, 1].tolist()) != set(range(1, len(values) + 1))


def test_dedup_rows_of_one_entity_are_spread():
    task = generate("people", 400, seed=8, dedup=True)
    apart = task.truth[:, 1] - task.truth[:, 0]
    assert np.mean(apart == 1) < 0.05
    assert np.median(apart) > len(rows(task.left)) / 8


@pytest.mark.parametrize("kind", KINDS)
def test_true_pairs_stay_recognisable(kind: str):
    """A true pair is mostly much more alike than two records drawn at random."""
    for seed in range(6):
        task = generate(kind, 150, seed=seed, overlap=1.0)
        left, right = rows(task.left), rows(task.right or {})
        true = [likeness(left[one], right[other]) for one, other in task.truth.tolist()]
        chance = [likeness(left[one], right[other - 1]) for one, other in task.truth.tolist()]
        assert np.mean(np.array(true) > np.quantile(chance, 0.95)) > 0.9
        assert np.mean(true) < 0.9999, "nothing was changed at all"


@pytest.mark.parametrize("dedup", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_records_of_two_entities_are_never_the_same(kind: str, dedup: bool):
    """Truth that no reader could tell would only teach noise."""
    confused = 0
    for seed in range(8):
        task = generate(kind, 300, seed=seed, dedup=dedup)
        true = {tuple(pair) for pair in task.truth.tolist()}
        places: dict[tuple[str, ...], list[int]] = {}
        for row, record in enumerate(rows(task.right or task.left)):
            places.setdefault(tuple(value.lower().strip() for value in record), []).append(row)
        for row, record in enumerate(rows(task.left)):
            for other in places.get(tuple(value.lower().strip() for value in record), ()):
                confused += (row, other) not in true and (not dedup or row < other)
    assert confused <= 1


def test_hard_negatives_among_people():
    found: Counter[str] = Counter()
    for seed in range(6):
        scheme, _ = people_tables.scheme(draw(seed), 400)
        people = [entity.value for entity in scheme.entities]
        for one, other in pairwise(people):
            home, family = one.place == other.place, one.surname == other.surname
            birthday, given_name = one.born == other.born, one.given == other.given
            found["household"] += home and family and not birthday and not given_name
            found["twins"] += home and family and birthday and not given_name
            found["parent and child"] += home and family and given_name and abs(other.born.year - one.born.year) >= 18
            found["namesakes"] += family and given_name and not home and not birthday
            found["neighbours"] += one.place.street == other.place.street and not family
            assert (one.given, one.surname, one.born) != (other.given, other.surname, other.born)
    assert all(found[kind] >= 10 for kind in ("household", "twins", "parent and child", "namesakes", "neighbours")), (
        found
    )


def test_hard_negatives_among_companies_and_addresses():
    found: Counter[str] = Counter()
    for seed in range(6):
        firms = [entity.value for entity in company_tables.scheme(draw(seed), 400)[0].entities]
        for one, other in pairwise(firms):
            town = one.place.town.name == other.place.town.name
            found["group"] += one.core == other.core and one.line != other.line
            found["branch"] += (one.core, one.line) == (other.core, other.line) and not town
            found["tenant"] += one.place == other.place and one.core != other.core
            found["look-alike"] += one.line == other.line and bool(set(one.core.split()) ^ set(other.core.split()))
            assert (one.core, one.line, town) != (other.core, other.line, True)
        places = [entity.value for entity in address_tables.scheme(draw(seed), 400)[0].entities]
        for here, there in pairwise(places):
            street, number = here.street == there.street, here.number == there.number
            found["next door"] += street and not number
            found["another flat"] += street and number and here.unit != there.unit
            found["same street elsewhere"] += here.street.name == there.street.name and number and not street
    kinds = ("group", "branch", "tenant", "look-alike", "next door", "another flat", "same street elsewhere")
    assert all(found[kind] >= 10 for kind in kinds), found


def test_a_house_number_is_never_mistyped_where_the_address_is_the_entity():
    """One wrong digit would be another address, and the truth wrong."""
    checked = 0
    for seed in range(25):
        task = generate("addresses", 60, seed=seed, overlap=1.0)
        for name in {"street_number", "house_number", "number", "street_no"} & set(task.left):
            checked += 1
            left, right = task.left[name], (task.right or {})[name]
            assert all(left[one].lower() == right[other].lower() for one, other in task.truth.tolist())
    assert checked >= 3


def test_profiles_differ_between_tasks():
    missing, columns, layouts = [], Counter[str](), set()
    for seed in range(30):
        task = generate("people", 60, seed=seed)
        layouts.add(tuple(task.left))
        columns.update(list(task.left))
        cells = [value for values in (task.right or {}).values() for value in values]
        missing.append(cells.count("") / len(cells))
    assert len(layouts) > 20
    assert {"surname", "last_name", "full_name", "dob", "date_of_birth", "email", "phone"} <= set(columns)
    assert min(missing) < 0.1
    assert max(missing) > 0.2


@pytest.mark.parametrize("kind", TEXT_ERRORS)
def test_every_text_error_damages_something(kind: str):
    samples = ["Katherine O'Brien", "12 Wellington Street", "smythe", "Global Engineering Services", "Philip"]
    changed = sum(damage_text(text, kind, draw(seed)) != text for seed in range(20) for text in samples)
    assert changed > 10
    assert all(damage_text(text, kind, draw(seed)).strip() for seed in range(20) for text in [*samples, "Bo"])


@pytest.mark.parametrize("kind", DIGIT_ERRORS)
def test_every_digit_error_damages_something(kind: str):
    samples = ["1987-03-12", "021 434 2745", "K1A 0B1"]
    assert sum(damage_digits(text, kind, draw(seed)) != text for seed in range(20) for text in samples) > 10
    assert damage_digits("none", kind, draw(0)) == "none"


@given(st.text(max_size=40), st.sampled_from(TEXT_ERRORS), st.integers(0, 1000))
def test_sturdy_text_keeps_its_digits(text: str, kind: str, seed: int):
    """Scanning errors may read a letter as a digit; the digits that were there stay in their order."""
    damaged = damage_text(text, kind, draw(seed), sturdy=True)
    kept = iter(damaged)
    assert all(digit in kept for digit in text if digit in "0123456789")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "person", "n_entities": 5, "seed": 1}, "people"),
        ({"kind": "people", "n_entities": 0, "seed": 1}, "n_entities"),
        ({"kind": "people", "n_entities": 5, "seed": -1}, "seed"),
        ({"kind": "people", "n_entities": 5, "seed": 1, "overlap": 1.2}, "overlap"),
        ({"kind": "people", "n_entities": 5, "seed": 1, "dedup": True, "overlap": 0.5}, "dedup"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        generate(**arguments)  # type: ignore[arg-type]
