"""The folder that incremental linking goes on from: records, entities, statistics of candidate lists.

``state.json`` names the other files and their sha256; it is replaced last, so the folder is always one whole state.
Nothing in it is pickled. It holds the compared columns of every record as text: keep it where the tables are kept.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from er_distill import lexical
from er_distill.artefact import MANIFEST, sha256
from er_distill.blocking import Exact, Rule, TopK
from er_distill.errors import InputError
from er_distill.files import held, whole, write_table, write_text
from er_distill.files.formats import first_line
from er_distill.records import Records
from er_distill.student import Student

FORMAT = 1

_STATE = "state.json"


@dataclass(frozen=True)
class State:
    """What is known of the records so far.

    Attributes
    ----------
    records : Records
        All of them, the first run's before the others.
    n_first : int
        Records of the first run, whose words and values are the measure of what is rare.
    entity : ndarray of int64, shape (len(records),)
    next_entity : int
        Above every number that was ever given to an entity.
    statistics : mapping of str to ndarray
        Of the candidate lists (`er_distill.streaming.ListStatistics.arrays`); empty without context.
    threshold : float
        Probability from which a pair is a match.
    context : bool
        Whether pairs are judged beside the other candidates of their records.
    rules : tuple of TopK and Exact
        How candidate pairs are found.
    id_column : str or None
        The id column of the first frame.
    """

    records: Records
    n_first: int
    entity: np.ndarray
    next_entity: int
    statistics: Mapping[str, np.ndarray]
    threshold: float
    context: bool
    rules: tuple[Rule, ...]
    id_column: str | None

    @property
    def first_records(self) -> Records:
        """Those of the first run."""
        columns = tuple(column[: self.n_first] for column in self.records.values)
        return Records(self.records.name, self.records.ids[: self.n_first], self.records.fields, columns)


def check_free(folder: Path) -> None:
    """Raise InputError when a folder holds a state already."""
    if (folder / _STATE).exists():
        raise InputError(f"{folder} holds a state already. Add records with extend, or remove the folder first.")


@contextlib.contextmanager
def taken_up(folder: Path, student: Student) -> Iterator[State]:
    """Read a state that no other process changes inside the block.

    Raises
    ------
    InputError
        When there is none, a file of it is missing or altered, another process is at work on it, or another student or
        version of er_distill has made it.
    """
    path = folder / _STATE
    if not path.is_file():
        raise InputError(f"{folder} holds no state. Make one with dedupe(frame, state={str(folder)!r}).")
    with held(folder):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(_damaged(path, str(error))) from error
        for name, now in (("format", FORMAT), ("lexical", lexical.VERSION), ("student", _student(student))):
            if about.get(name) != now:
                raise InputError(
                    f"{folder} was made with another {name} ({about.get(name)!r}, now {now!r}). Use the same student "
                    "and er_distill, or run dedupe anew on all records."
                )
        for name, digest in about["files"].items():
            file = folder / Path(name).name
            if not file.is_file() or sha256(file) != digest:
                raise InputError(_damaged(file, "missing or altered"))
        yield _read(folder, about)


def keep(state: State, folder: Path, student: Student) -> None:
    """Write a state in the place of the one that is there, whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}. Choose another folder.") from error
    before = set(folder.glob("*-*.*"))
    stem = f"{len(state.records):09}"  # grows with every extension
    records, arrays = folder / f"records-{stem}.parquet", folder / f"arrays-{stem}.npz"
    columns: dict[str, Any] = {"id": _id_array(state.records, folder)}
    columns |= {f"value {k}": pa.array(column.tolist(), pa.string()) for k, column in enumerate(state.records.values)}
    write_table(pa.table(columns), records)
    with whole(arrays) as partial, partial.open("wb") as file:
        content: dict[str, Any] = {"entity": state.entity, **state.statistics}
        np.savez(file, **content)
    about = {
        "format": FORMAT,
        "lexical": lexical.VERSION,
        "student": _student(student),
        "fields": state.records.fields,
        "n_first": state.n_first,
        "next_entity": state.next_entity,
        "threshold": state.threshold,
        "context": state.context,
        "rules": [
            ["topk", rule.k, rule.mode] if isinstance(rule, TopK) else ["exact", *rule.fields] for rule in state.rules
        ],
        "id_column": state.id_column,
        "files": {path.name: sha256(path) for path in (records, arrays)},
    }
    write_text(json.dumps(about, indent=2) + "\n", folder / _STATE)
    for path in before - {records, arrays}:
        path.unlink()


def _read(folder: Path, about: Mapping[str, Any]) -> State:
    records, arrays = (folder / name for name in about["files"])
    try:
        table = pq.read_table(records)
        with np.load(arrays, allow_pickle=False) as stored:
            kept = dict(stored)
    except (pa.ArrowException, OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(_damaged(folder, first_line(error))) from error
    ids = table["id"].to_pylist()
    return State(
        records=Records(
            f"the records of {folder}",
            np.asarray(ids) if isinstance(ids[0], int) else np.array(ids, dtype=object),
            tuple(about["fields"]),
            tuple(np.array(table[f"value {k}"].to_pylist(), dtype=object) for k in range(len(about["fields"]))),
        ),
        n_first=about["n_first"],
        entity=kept.pop("entity"),
        next_entity=about["next_entity"],
        statistics=kept,
        threshold=about["threshold"],
        context=about["context"],
        rules=tuple(_rule(*entry) for entry in about["rules"]),
        id_column=about["id_column"],
    )


def _rule(kind: str, *rest: Any) -> Rule:
    return TopK(*rest) if kind == "topk" else Exact(*rest)


def _student(student: Student) -> str:
    return f"{student.manifest.name} {sha256(student.folder / MANIFEST)[:12]} {student.variant.encoder}"


def _id_array(records: Records, folder: Path) -> pa.Array:
    kinds: Sequence[type] = sorted({type(value) for value in records.ids.tolist()}, key=str)
    if kinds not in ([int], [str]):
        named = ", ".join(kind.__name__ for kind in kinds)
        raise InputError(
            f"{folder} keeps ids that are all numbers or all text; these are {named}. Turn them into text."
        )
    return pa.array(records.ids.tolist())


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged ({why.rstrip('.')}). Take the state from a backup, or run dedupe anew on all records."
