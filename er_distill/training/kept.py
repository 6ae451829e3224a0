"""Answers in a labels folder: kept question by question, and read back.

A question is known by its ids and by what its records say. So an answer about a record that has changed since is kept,
and is not taken for an answer about what the record says now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from er_distill.records import Records
from er_distill.training.database import Database, now
from er_distill.training.labels import Candidates
from er_distill.training.teachers.base import Answer, Cost, Question


@dataclass(frozen=True)
class KeptAnswer:
    """What one teacher said to one question, at last.

    Attributes
    ----------
    teacher, licence : str
    query_id : str
    candidate_ids : tuple of str
        What the answer's choice counts.
    answer : Answer
        Of its cost only the seconds.
    round : int
        In which the question was first asked.
    """

    teacher: str
    licence: str
    query_id: str
    candidate_ids: tuple[str, ...]
    answer: Answer
    round: int

    @property
    def choice_id(self) -> str | None:
        """The id of the candidate that was chosen; None where none was."""
        choice = self.answer.choice
        return None if choice is None or choice < 0 else self.candidate_ids[choice]


@dataclass(frozen=True)
class Shown:
    """A question with the fields and values of its records, for a person to read."""

    query_id: str
    candidate_ids: tuple[str, ...]
    query: Mapping[str, str]
    candidates: tuple[Mapping[str, str], ...]


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
    left = _positions(candidates.left)
    right = left if candidates.right is None else _positions(candidates.right)
    flags = []
    for row in database.rows("SELECT id, query_id, candidate_ids FROM questions"):
        ids = json.loads(row["candidate_ids"])
        current = False
        if row["query_id"] in left and all(one in right for one in ids):
            question = Question(left[row["query_id"]], tuple(right[one] for one in ids))
            current = _identity(_content(candidates, question)) == row["id"]
        flags.append((int(current), row["id"]))
    with database.transaction():
        for flag in flags:
            database.run("UPDATE questions SET current = ? WHERE id = ?", *flag)
    (count,) = database.rows(
        "SELECT COUNT(DISTINCT question) AS n FROM answers JOIN questions ON id = question WHERE NOT current"
    )
    return int(count["n"])


def kept_answers(database: Database) -> list[KeptAnswer]:
    """Read the last answer of each teacher to each question that is current, in the order of the questions."""
    rows = database.rows(
        """SELECT answers.*, query_id, candidate_ids, round FROM answers JOIN questions ON id = question
        WHERE current ORDER BY questions.rowid, teacher"""
    )
    return [
        KeptAnswer(
            row["teacher"],
            row["licence"],
            row["query_id"],
            tuple(json.loads(row["candidate_ids"])),
            Answer(
                row["choice"],
                None if row["probabilities"] is None else tuple(json.loads(row["probabilities"])),
                row["explanation"],
                Cost(seconds=row["seconds"]),
                row["reason"],
            ),
            row["round"],
        )
        for row in rows
    ]


def shown(database: Database, query_ids: Iterable[str]) -> dict[tuple[str, tuple[str, ...]], Shown]:
    """Read the records of the current questions about some queries, by query id and candidate ids."""
    found = {}
    for query_id in set(query_ids):
        for row in database.rows("SELECT * FROM questions WHERE current AND query_id = ?", query_id):
            records = json.loads(row["records"])
            ids = tuple(json.loads(row["candidate_ids"]))
            found[query_id, ids] = Shown(query_id, ids, records[0], tuple(records[1:]))
    return found


def _content(candidates: Candidates, question: Question) -> dict[str, Any]:
    right = candidates.left if candidates.right is None else candidates.right
    rows = [(candidates.left, question.query), *((right, row) for row in question.candidates)]
    return {
        "query_id": str(candidates.left.ids[question.query]),
        "candidate_ids": [str(right.ids[row]) for row in question.candidates],
        "records": [_fields(records, row) for records, row in rows],
    }


def _fields(records: Records, row: int) -> dict[str, str]:
    values = zip(records.fields, records.values, strict=True)
    return {field: str(column[row]) for field, column in values if column[row]}


def _identity(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _positions(records: Records) -> dict[str, int]:
    return {str(value): row for row, value in enumerate(records.ids.tolist())}
