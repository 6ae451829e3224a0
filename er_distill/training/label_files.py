"""What a labels folder holds beside its store: files that training, and other tools, can read.

``labels.csv`` has one label a candidate pair, ``teachers/<name>.jsonl`` what each teacher said to each question, in the
format of the benchmark data (``docs/benchmark-data.md``). Both are made of the store, and can be made again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from er_distill.errors import InputError
from er_distill.files import write_table, write_text
from er_distill.training.agreement import Agreement
from er_distill.training.kept import Kept
from er_distill.training.teachers.base import Answer, Question
from er_distill.training.teachers.ensemble import LEAST_TEACHERS, Ensemble, Rule

LABELS = "labels.csv"
TEACHERS = "teachers"

_DIGITS = 6


@dataclass(frozen=True)
class Verdicts:
    """What all teachers of a folder say together.

    Attributes
    ----------
    rule : str
        How they were combined: one of `Ensemble`'s, or ``"one teacher"``.
    answers : tuple of Answer
        One a question.
    agreement : Agreement or None
        What the error model found, where that was the rule.
    """

    rule: str
    answers: tuple[Answer, ...]
    agreement: Agreement | None


def verdicts(kept: Kept, rule: Rule | None = None) -> Verdicts:
    """Combine the teachers' answers.

    Parameters
    ----------
    kept : Kept
    rule : str, optional
        One of `Ensemble`'s. Default: the error model where there are teachers enough for it, else the majority.

    Raises
    ------
    InputError
        When the rule does not go with the teachers.
    """
    teachers = kept.teachers()
    if len(teachers) < 2:
        if rule is not None and rule != "majority":
            raise InputError(f"the rule {rule!r} combines several teachers, and here is one. Leave the rule out.")
        answers = [answer for teacher in teachers for _, answer in teacher.answer(kept.candidates, kept.questions)]
        return Verdicts("one teacher", tuple(answers), None)
    chosen: Rule = rule or ("error_model" if len(teachers) >= LEAST_TEACHERS else "majority")
    ensemble = Ensemble(teachers, chosen)
    found = dict(ensemble.answer(kept.candidates, kept.questions))
    return Verdicts(chosen, tuple(found[position] for position in range(len(found))), ensemble.agreement)


def write_label_files(folder: Path, kept: Kept, combined: Verdicts) -> int:
    """Write the files, in the place of earlier ones.

    Parameters
    ----------
    folder : Path
        The labels folder.
    kept : Kept
    combined : Verdicts
        Of `kept`.

    Returns
    -------
    int
        Labelled pairs.
    """
    labels = _labels(kept, combined.answers)
    write_table(labels, folder / LABELS)
    files = folder / TEACHERS
    files.mkdir(exist_ok=True)
    for teacher, name in file_names(kept.answers).items():
        lines = _lines(kept, kept.answers[teacher])
        write_text("".join(f"{line}\n" for line in lines), files / name)
    return len(labels)


def file_names(teachers: Sequence[str] | Mapping[str, object]) -> dict[str, str]:
    """Return a name of its own for each teacher's file, made of the teacher's name."""
    names: dict[str, str] = {}
    for teacher in teachers:
        stem = re.sub(r"[^\w.]+", "-", teacher, flags=re.ASCII).strip("-.") or "teacher"
        taken = sum(name == f"{stem}.jsonl" or name.startswith(f"{stem}--") for name in names.values())
        names[teacher] = f"{stem}--{taken + 1}.jsonl" if taken else f"{stem}.jsonl"
    return names


def _labels(kept: Kept, answers: Sequence[Answer]) -> pa.Table:
    left, right = kept.candidates.left.ids, (kept.candidates.right or kept.candidates.left).ids
    rows: list[tuple[str, str, float]] = []
    for question, answer in zip(kept.questions, answers, strict=True):
        if not answer.abstained:
            shares = answer.votes(len(question.candidates))[:-1].tolist()
            rows += [
                (left[question.query], right[row], round(share, _DIGITS))
                for row, share in zip(question.candidates, shares, strict=True)
            ]
    columns: list[list[object]] = [[row[place] for row in rows] for place in range(3)]
    return pa.table(
        dict(zip(("left_id", "right_id", "label"), columns, strict=True)),
        schema=pa.schema([("left_id", pa.string()), ("right_id", pa.string()), ("label", pa.float64())]),
    )


def _lines(kept: Kept, answers: Mapping[Question, Answer]) -> list[str]:
    left, right = kept.candidates.left.ids, (kept.candidates.right or kept.candidates.left).ids
    lines = []
    for question in kept.questions:
        answer = answers.get(question)
        if answer is None:
            continue
        listed = [right[row] for row in question.candidates]
        chosen = None if answer.choice is None or answer.choice < 0 else listed[answer.choice]
        entry = {
            "query_id": left[question.query],
            "candidate_ids": listed,
            "answer_id": chosen,
            "answered": not answer.abstained,
            "probabilities": answer.probabilities,
            "explanation": answer.explanation,
            "reason": answer.reason,
            "seconds": answer.cost.seconds,
        }
        lines.append(
            json.dumps({name: value for name, value in entry.items() if _said(name, value)}, ensure_ascii=False)
        )
    return lines


def _said(name: str, value: object) -> bool:
    return value is not None or name == "answer_id"
