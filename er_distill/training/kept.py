"""Answers in a labels folder: kept question by question, and read back.

A question is known by its ids and by what its records say. So an answer about a record that has changed since is kept,
and is not taken for an answer about what the record says now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.training.database import Database, now
from er_distill.training.labels import Candidates
from er_distill.training.teachers.base import Answer, Cost, Question


@dataclass(frozen=True)
class Kept:
    """What a labels folder holds about the tables of its last run.

    Attributes
    ----------
    candidates : Candidates
        Made of the questions alone: the records that they are about, with text for ids.
    questions : tuple of Question
        About these candidates, in the order in which they were first asked.
    rounds : tuple of int
        In which each question was first asked.
    answers : mapping of str to (mapping of Question to Answer)
        By teacher, also one whose answers are all about something else; of an answer's cost only the seconds.
    licences : mapping of str to str
        What each teacher's answers stand under.
    """

    candidates: Candidates
    questions: tuple[Question, ...]
    rounds: tuple[int, ...]
    answers: Mapping[str, Mapping[Question, Answer]]
    licences: Mapping[str, str]

    def teachers(self) -> list[KeptTeacher]:
        """Return each teacher that has answered any of the questions, to answer them again."""
        return [KeptTeacher(name, self.licences[name], answers) for name, answers in self.answers.items() if answers]


class KeptTeacher:
    """A teacher who is not asked again: its kept answers, as a Teacher."""

    def __init__(self, name: str, licence: str, answers: Mapping[Question, Answer]) -> None:
        self.name = name
        self.licence = licence
        self._answers = answers

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer) of the questions that it was asked."""
        for position, question in enumerate(questions):
            yield position, self._answers.get(question, Answer(None, reason="not asked"))


def put_questions(database: Database, candidates: Candidates, questions: Sequence[Question], round: int) -> list[str]:
    """Keep questions and return what each is known by."""
    contents = [_content(candidates, question) for question in questions]
    identities = [_identity(content) for content in contents]
    with database.transaction():
        for identity, content in zip(identities, contents, strict=True):
            row = {
                "id": identity,
                "query_id": content["query_id"],
                "candidate_ids": json.dumps(content["candidate_ids"]),
                "records": json.dumps(content["records"], ensure_ascii=False),
                "one_table": content["one_table"],
                "round": round,
                "current": 1,
            }
            database.put("questions", row, or_else="IGNORE")
    return identities


def put_answer(database: Database, teacher: str, licence: str, question: str, answer: Answer) -> None:
    """Keep what a teacher said to a question, in the place of what it said before."""
    database.put(
        "answers",
        {
            "teacher": teacher,
            "question": question,
            "licence": licence,
            "choice": answer.choice,
            "probabilities": None if answer.probabilities is None else json.dumps(answer.probabilities),
            "explanation": answer.explanation,
            "reason": answer.reason,
            "seconds": answer.cost.seconds,
            "stored": now(),
        },
        or_else="REPLACE",
    )


def mark_current(database: Database, candidates: Candidates) -> int:
    """Note which questions the tables still pose as they were asked.

    Returns
    -------
    int
        Questions with an answer that are about records the tables no longer hold, or hold otherwise.
    """
    flags = [(question is not None, identity) for identity, question in _posed_alike(database, candidates)]
    with database.transaction():
        for current, identity in flags:
            database.run("UPDATE questions SET current = ? WHERE id = ?", int(current), identity)
    return outdated(database)


def outdated(database: Database) -> int:
    """Count the questions with an answer that are not current."""
    (count,) = database.rows(
        "SELECT COUNT(DISTINCT question) AS n FROM answers JOIN questions ON id = question WHERE NOT current"
    )
    return int(count["n"])


def read_kept(database: Database, name: str, candidates: Candidates | None = None) -> Kept:
    """Read the questions that have an answer, and the answers.

    Parameters
    ----------
    database : Database
    name : str
        What messages call the candidates.
    candidates : Candidates, optional
        The tables to read the questions in; what they do not pose as it was asked is left out. By default the tables of
        the last run on the folder, made of the questions alone.
    """
    rows = database.rows("SELECT * FROM questions WHERE id IN (SELECT question FROM answers) ORDER BY rowid")
    if candidates is None:
        rows = [row for row in rows if row["current"]]
        candidates = _as_asked(name, rows)
        posed = _posed(database, candidates, "WHERE current")
    else:
        posed = _posed_alike(database, candidates)
    of_id = {identity: question for identity, question in posed if question is not None}
    rows = [row for row in rows if row["id"] in of_id]
    answers: dict[str, dict[Question, Answer]] = {}
    licences = {}
    for row in database.rows("SELECT * FROM answers ORDER BY teacher"):
        licences[row["teacher"]] = row["licence"]
        said = answers.setdefault(row["teacher"], {})
        if row["question"] in of_id:
            said[of_id[row["question"]]] = Answer(
                row["choice"],
                None if row["probabilities"] is None else tuple(json.loads(row["probabilities"])),
                row["explanation"],
                Cost(seconds=row["seconds"]),
                row["reason"],
            )
    questions = tuple(of_id[row["id"]] for row in rows)
    return Kept(candidates, questions, tuple(row["round"] for row in rows), answers, licences)


def _as_asked(name: str, rows: Sequence[Any]) -> Candidates:
    """The records that kept questions are about, as tables, with the pairs that were asked about."""
    one_table = any(row["one_table"] for row in rows)
    left: dict[str, dict[str, str]] = {}
    right = left if one_table else {}
    for row in rows:
        query, *listed = json.loads(row["records"])
        left[row["query_id"]] = query
        right.update(zip(json.loads(row["candidate_ids"]), listed, strict=True))
    return _candidates(name, left, None if one_table else right, rows)


def _posed_alike(database: Database, candidates: Candidates) -> Iterator[tuple[str, Question | None]]:
    """As `_posed`; None also where the records say something else than when the question was asked."""
    for identity, question in _posed(database, candidates):
        alike = question is not None and _identity(_content(candidates, question)) == identity
        yield identity, question if alike else None


def _posed(database: Database, candidates: Candidates, where: str = "") -> Iterator[tuple[str, Question | None]]:
    """Each kept question's identity, and the question in the rows of some tables; None where they lack a record."""
    left = {str(value): row for row, value in enumerate(candidates.left.ids.tolist())}
    right = left
    if candidates.right is not None:
        right = {str(value): row for row, value in enumerate(candidates.right.ids.tolist())}
    for row in database.rows(f"SELECT id, query_id, candidate_ids FROM questions {where}"):
        ids = json.loads(row["candidate_ids"])
        known = row["query_id"] in left and all(one in right for one in ids)
        yield row["id"], Question(left[row["query_id"]], tuple(right[one] for one in ids)) if known else None


def _content(candidates: Candidates, question: Question) -> dict[str, Any]:
    right = candidates.left if candidates.right is None else candidates.right
    rows = [(candidates.left, question.query), *((right, row) for row in question.candidates)]
    return {
        "query_id": str(candidates.left.ids[question.query]),
        "candidate_ids": [str(right.ids[row]) for row in question.candidates],
        "records": [_fields(records, row) for records, row in rows],
        "one_table": int(candidates.right is None),
    }


def _fields(records: Records, row: int) -> dict[str, str]:
    values = zip(records.fields, records.values, strict=True)
    return {field: str(column[row]) for field, column in values if column[row]}


def _identity(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _candidates(
    name: str, left: Mapping[str, Mapping[str, str]], right: Mapping[str, Mapping[str, str]] | None, rows: Sequence[Any]
) -> Candidates:
    tables = [_records(f"{name} left", left), *([] if right is None else [_records(f"{name} right", right)])]
    place = [{one: row for row, one in enumerate(table.ids.tolist())} for table in (tables[0], tables[-1])]
    pairs = [
        (place[0][row["query_id"]], place[1][candidate])
        for row in rows
        for candidate in json.loads(row["candidate_ids"])
    ]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    found = Pairs(ends[:, 0], ends[:, 1], len(tables[0]), len(tables[-1]), right is None)
    return Candidates(name, tables[0], None if right is None else tables[1], found.unique()[0])


def _records(name: str, table: Mapping[str, Mapping[str, str]]) -> Records:
    fields = tuple(dict.fromkeys(field for record in table.values() for field in record))
    values = tuple(np.array([record.get(field, "") for record in table.values()], dtype=object) for field in fields)
    return Records(name, np.array(list(table), dtype=object), fields, values)
