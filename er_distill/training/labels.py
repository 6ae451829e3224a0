"""Candidate pairs and what teachers said of them.

A label is soft: the share of the teachers' votes that call the pair a match. A pair no teacher was asked about has no
label (NaN); it still stands in its records' candidate lists, so it belongs to the candidates.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from er_distill import blocking
from er_distill.artefact import Teacher
from er_distill.errors import InputError, did_you_mean
from er_distill.files import read_table
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.synthetic import SyntheticTask


@dataclass(frozen=True)
class Candidates:
    """The candidate pairs of one task.

    Attributes
    ----------
    name : str
        What messages and the card call the task.
    left : Records
    right : Records or None
        None when both sides are one table (dedup).
    pairs : Pairs
        All candidate pairs, labelled or not, each once.
    """

    name: str
    left: Records
    right: Records | None
    pairs: Pairs


@dataclass(frozen=True)
class Labels:
    """What teachers said of a task's candidate pairs.

    Attributes
    ----------
    target : ndarray of float32, shape (m,)
        Share of votes for a match, in the order of the pairs; NaN for a pair without a label.
    teachers : tuple of Teacher
        Who voted.
    weight : float
        How much the task counts beside the others in training.
    """

    target: np.ndarray
    teachers: tuple[Teacher, ...]
    weight: float = 1.0

    @property
    def known(self) -> np.ndarray:
        """Which pairs have a label."""
        return ~np.isnan(self.target)


def read_task(folder: Path, teachers: Mapping[str, str], *, unlabelled: bool = True) -> tuple[Candidates, Labels]:
    """Read a task in the layout of the DistillER benchmark (see ``docs/benchmark-data.md``).

    Parameters
    ----------
    folder : Path
        Holds ``left.csv.gz``, ``right.csv.gz``, ``train_tuples.jsonl.gz``, ``test_tuples.jsonl.gz`` and
        ``teachers/<name>.jsonl.gz``.
    teachers : mapping of str to str
        Whose labels to read, and the licence each name stands under.
    unlabelled : bool
        Whether to take the test tuples along, without labels, as context.

    Returns
    -------
    candidates : Candidates
    labels : Labels
        The mean of the teachers' votes; a teacher that gave no usable answer to a query has no vote on it.

    Raises
    ------
    InputError
        When a file is missing or names a record that is not there.
    """
    left = _read_records(folder / "left.csv.gz", f"{folder.name} left")
    right = _read_records(folder / "right.csv.gz", f"{folder.name} right")
    tuples = read_jsonl(folder / "train_tuples.jsonl.gz")
    n_labelled = sum(len(entry["candidate_ids"]) for entry in tuples)
    if unlabelled:
        tuples += read_jsonl(folder / "test_tuples.jsonl.gz")
    pairs = pairs_of_tuples(tuples, left, right, source=f"{folder.name}: tuples")
    votes = np.full((len(teachers), len(pairs)), np.nan, dtype=np.float32)
    counts = []
    for vote, name in zip(votes, teachers, strict=True):
        answers = {str(entry["query_id"]): entry for entry in read_jsonl(_teacher_file(folder, name))}
        at = 0
        for entry in tuples:
            size = len(entry["candidate_ids"])
            answer = answers.get(str(entry["query_id"])) if at < n_labelled else None
            if answer is not None and answer["answered"]:
                vote[at : at + size] = [candidate == answer["answer_id"] for candidate in entry["candidate_ids"]]
            at += size
        counts.append(Teacher(name, teachers[name], sum(bool(entry["answered"]) for entry in answers.values())))
    voted = (~np.isnan(votes)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        target = np.where(voted > 0, np.nansum(votes, axis=0) / voted, np.nan).astype(np.float32)
    return _in_order(Candidates(folder.name, left, right, pairs), Labels(target, tuple(counts)))


def pairs_of_tuples(tuples: Sequence[Mapping[str, Any]], left: Records, right: Records, *, source: str) -> Pairs:
    """Candidate pairs of ``{"query_id", "candidate_ids"}`` entries, in their order.

    Raises
    ------
    InputError
        When an id belongs to no record.
    """
    queries = [str(entry["query_id"]) for entry in tuples for _ in entry["candidate_ids"]]
    candidates = [str(candidate) for entry in tuples for candidate in entry["candidate_ids"]]
    return Pairs.from_ids(queries, candidates, left, right, source=source)


def from_synthetic(
    task: SyntheticTask, weight: float, rules: Sequence[blocking.Rule] | None = None
) -> tuple[Candidates, Labels]:
    """Turn a generated task into candidates from blocking, labelled with its truth."""
    left = _records_of(task.left, f"{task.name} left")
    right = None if task.right is None else _records_of(task.right, f"{task.name} right")
    pairs = blocking.candidates(left, right, rules=rules).pairs
    truth = Pairs(task.truth[:, 0], task.truth[:, 1], pairs.n_left, pairs.n_right, pairs.one_table)
    target = np.isin(pairs.keys(), truth.keys()).astype(np.float32)
    generator = Teacher("synthetic truth", "Apache-2.0", len(pairs))
    return Candidates(task.name, left, right, pairs), Labels(target, (generator,), weight)


def from_table(
    labels: Mapping[str, Iterable[Any]], name: str, left: Records, right: Records | None, pairs: Pairs, teacher: Teacher
) -> tuple[Candidates, Labels]:
    """Label candidate pairs from a table with the columns ``left_id``, ``right_id`` and ``label``.

    Parameters
    ----------
    labels : mapping of str to iterable
        The table's columns; a label is 0, 1 or a probability.
    name : str
        What messages call the task.
    left, right : Records
    pairs : Pairs
        The candidate pairs; labelled pairs that are not among them are added.
    teacher : Teacher
        Who labelled.

    Raises
    ------
    InputError
        When a label is no number from 0 to 1, or an id belongs to no record.
    """
    for column in ("left_id", "right_id", "label"):
        if column not in labels:
            raise InputError(f"labels of {name} have no column {column!r}. {did_you_mean(column, labels)}")
    labelled = Pairs.from_ids(labels["left_id"], labels["right_id"], left, right, source=f"labels of {name}")
    values = np.array([_label(value, row, name) for row, value in enumerate(labels["label"])], dtype=np.float32)
    keys = labelled.keys()
    everything = Pairs(
        np.concatenate([pairs.left, labelled.left]),
        np.concatenate([pairs.right, labelled.right]),
        pairs.n_left,
        pairs.n_right,
        pairs.one_table,
    ).unique()[0]
    target = np.full(len(everything), np.nan, dtype=np.float32)
    # Several labels of one pair (several people, several teachers) are votes.
    found, first, counts = np.unique(keys, return_inverse=True, return_counts=True)
    target[np.searchsorted(everything.keys(), found)] = np.bincount(first, weights=values) / counts
    return Candidates(name, left, right, everything), Labels(target, (teacher,))


def _label(value: Any, row: int, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number <= 1:
        raise InputError(f"labels of {name}: row {row} has the label {value!r}. Give 0, 1 or a probability between.")
    return number


def _in_order(candidates: Candidates, labels: Labels) -> tuple[Candidates, Labels]:
    """Sort by pair, as :meth:`Pairs.unique` does."""
    pairs, inverse = candidates.pairs.unique()
    if inverse is None:
        return candidates, labels
    target = np.full(len(pairs), np.nan, dtype=np.float32)
    target[inverse] = labels.target
    return Candidates(candidates.name, candidates.left, candidates.right, pairs), Labels(
        target, labels.teachers, labels.weight
    )


def _read_records(path: Path, name: str) -> Records:
    return Records.from_frame(read_table(path), name=name, id="id")


def _records_of(table: Mapping[str, list[str]], name: str) -> Records:
    columns = tuple(np.array(values, dtype=object) for values in table.values())
    return Records(name, np.arange(len(columns[0])), tuple(table), columns)


def _teacher_file(folder: Path, name: str) -> Path:
    path = folder / "teachers" / f"{name}.jsonl.gz"
    if not path.is_file():
        there = [file.name.removesuffix(".jsonl.gz") for file in (folder / "teachers").glob("*.jsonl.gz")]
        raise InputError(f"{folder.name} has no labels of the teacher {name!r}. {did_you_mean(name, there)}")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a gzipped file of JSON lines.

    Raises
    ------
    InputError
        When the file is missing or a line is no JSON object; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing. Check the folder against docs/benchmark-data.md.")
    entries = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number} is no JSON ({error}). Get the file anew.") from error
    return entries
