"""Candidate pairs and what teachers said of them.

A label is soft: the share of the teachers' votes that call the pair a match. A pair no teacher was asked about has no
label (NaN); it still stands in its records' candidate lists, so it belongs to the candidates.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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


@dataclass(frozen=True)
class GivenAnswer:
    """An answer in the benchmark's format: ``{"query_id", "answer_id", "answered"}``.

    Attributes
    ----------
    answer_id : str or None
        The chosen candidate; None for none of them.
    answered : bool
        False where the teacher gave no usable answer.
    explanation : str or None
    """

    answer_id: str | None
    answered: bool
    explanation: str | None

    def place_in(self, candidate_ids: Sequence[Any]) -> int | None:
        """Return the chosen candidate's place in a list, -1 for none of them, None for no answer to this list."""
        if not self.answered:
            return None
        if self.answer_id is None:
            return -1
        ids = [str(candidate) for candidate in candidate_ids]
        return ids.index(self.answer_id) if self.answer_id in ids else None


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
        answers = read_answers(_teacher_file(folder, name))
        at = 0
        for entry in tuples:
            size = len(entry["candidate_ids"])
            answer = answers.get(str(entry["query_id"])) if at < n_labelled else None
            if answer is not None and (place := answer.place_in(entry["candidate_ids"])) is not None:
                vote[at : at + size] = np.arange(size) == place
            at += size
        counts.append(Teacher(name, teachers[name], sum(answer.answered for answer in answers.values())))
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
    values = np.array([label_value(value, row, name) for row, value in enumerate(labels["label"])], dtype=np.float32)
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


def label_value(value: Any, row: int, name: str) -> float:
    """Return a label as a number from 0 to 1; `row` and `name` are for the message of the InputError otherwise."""
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


def read_answers(path: Path) -> dict[str, GivenAnswer]:
    """Read a teacher's answers in the benchmark's format, by query id; of several to one query the last counts.

    Parameters
    ----------
    path : Path
        Lines of ``{"query_id", "answer_id", "answered"}``: `answer_id` is null for none of the candidates, `answered`
        may be left out where there is an answer, and what else a line holds is not read, but for `explanation`.

    Raises
    ------
    InputError
        As `read_jsonl`, and when a line has no query or no answer; the message names the line.
    """
    answers = {}
    for number, entry in enumerate(read_jsonl(path), start=1):
        answered = bool(entry.get("answered", True))
        for key in ("query_id", "answer_id") if answered else ("query_id",):
            if key not in entry:
                raise InputError(f"{path}, line {number} has no {key!r}. {did_you_mean(key, entry)}")
        chosen, explanation = entry.get("answer_id"), entry.get("explanation")
        answers[str(entry["query_id"])] = GivenAnswer(
            None if chosen is None else str(chosen), answered, None if explanation is None else str(explanation)
        )
    return answers


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines, gzipped where its name ends in ``.gz``.

    Raises
    ------
    InputError
        When the file is missing or damaged, or a line is no JSON object; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing. Check the folder against docs/benchmark-data.md.")
    opened: Callable[..., IO[Any]] = gzip.open if path.suffix == ".gz" else open
    entries = []
    try:
        with opened(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    raise InputError(f"{path}, line {number} is no JSON object. Get the file anew.")
                entries.append(entry)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {len(entries) + 1} is no JSON ({error}). Get the file anew.") from error
    except (EOFError, OSError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}). Get the file anew.") from error
    return entries
