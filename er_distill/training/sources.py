"""Labels that are there already, from wherever they are: labels folders, answer files, tables of labelled pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.artefact import Teacher
from er_distill.errors import InputError
from er_distill.files import ENDINGS, ids_as_in, read_pairs, require_columns
from er_distill.pairs import Pairs
from er_distill.tables import open_frame
from er_distill.training.database import FILE, Database
from er_distill.training.kept import Kept, read_kept
from er_distill.training.label_files import verdicts
from er_distill.training.labels import Candidates, Labels, from_table
from er_distill.training.spending import spending, total_cost
from er_distill.training.teachers.base import Answer, Question, questions_of
from er_distill.training.teachers.ensemble import Rule
from er_distill.training.teachers.files import ANSWER_ENDINGS, LabelFile
from er_distill.training.teachers.targets import labels_of

LABEL_COLUMNS = ("left_id", "right_id", "label")


@dataclass(frozen=True)
class Source:
    """Where labels are.

    Attributes
    ----------
    name : str
        What messages call it.
    folder : Path or None
        A labels folder.
    answers : Path or None
        A file of answers to lists (JSON lines).
    table : mapping of str to list, or None
        The columns `LABEL_COLUMNS` of labelled pairs.
    file : Path or None
        That the table was read from.
    teachers : frozenset of str or None
        Of a folder: whose answers count; None: everybody's.
    questions : frozenset of Question or None
        Of a folder: which answers count; None: all about the tables.
    """

    name: str
    folder: Path | None = None
    answers: Path | None = None
    table: Mapping[str, list[Any]] | None = None
    file: Path | None = None
    teachers: frozenset[str] | None = None
    questions: frozenset[Question] | None = None


@dataclass(frozen=True)
class Labelled:
    """Candidate pairs and what all sources say of them together.

    Attributes
    ----------
    candidates : Candidates
        Those given, and the pairs that a source has labelled besides.
    labels : Labels
    rule : str
        How the sources were combined.
    cost : str
        Of the labels, in words.
    """

    candidates: Candidates
    labels: Labels
    rule: str
    cost: str


def open_source(source: Any) -> Source:
    """Read where labels are: a labels folder, a file of answers or of labelled pairs, or a frame of the latter.

    Raises
    ------
    InputError
        When it is none of these, or lacks a column.
    """
    if not isinstance(source, (str, Path)):
        frame, _ = open_frame(source, "labels")
        missing = [name for name in LABEL_COLUMNS if name not in frame.columns]
        if missing:
            raise InputError(f"labels have no column {missing[0]!r}. Give left_id, right_id and label.")
        if not len(frame):
            raise InputError("labels hold no row. Label some candidate pairs, matches and non-matches.")
        return Source("labels", table={name: frame[name].to_list() for name in LABEL_COLUMNS})
    path = Path(source)
    if path.is_dir():
        if not (path / FILE).is_file():
            raise InputError(
                f"{path} is no labels folder: it holds no {FILE}. Name one that er-distill label has made."
            )
        return Source(str(path), folder=path)
    if path.name.lower().endswith(ANSWER_ENDINGS):
        return Source(str(path), answers=path)
    if not path.name.lower().endswith(ENDINGS):
        endings = ", ".join((*ANSWER_ENDINGS, *ENDINGS))
        raise InputError(f"{path} is no labels folder, and its ending says no known format. Use one of {endings}.")
    table = read_pairs(path)
    require_columns(table, LABEL_COLUMNS[2:], path)
    if not len(table):
        raise InputError(f"{path} holds no label. Label some candidate pairs, matches and non-matches.")
    return Source(str(path), table={name: table[name].to_pylist() for name in LABEL_COLUMNS}, file=path)


def content_of(source: Source) -> list[Any]:
    """Return what a source says, for a fingerprint; see `runs.fingerprint`."""
    if source.table is not None:
        return [[str(value) for value in column] for column in source.table.values()]
    if source.folder is None:
        return [source.answers]
    database = Database(source.folder / FILE)
    try:
        rows = database.rows("SELECT teacher, question, choice, probabilities FROM answers ORDER BY teacher, question")
        return [list(row) for row in rows]
    finally:
        database.close()


def labelled(candidates: Candidates, sources: Sequence[Source], rule: Rule | None = None) -> Labelled:
    """Label candidate pairs with what all sources say together.

    Tables of labelled pairs alone are votes on each pair, averaged. Otherwise every teacher of every source answers the
    questions that were asked, or else the candidate lists, and `verdicts` combines them; a pair that no combined answer
    covers takes its label from the tables.

    Parameters
    ----------
    candidates : Candidates
    sources : sequence of Source
    rule : str, optional
        See `verdicts`.

    Raises
    ------
    InputError
        When an id of a table belongs to no record, a file speaks of other records, or the rule does not go with the
        teachers.
    """
    tables = [source for source in sources if source.table is not None]
    votes: Labels | None = None
    if tables:
        candidates, votes = _with_tables(candidates, tables)
    if votes is not None and len(sources) == len(tables) and (len(tables) == 1 or rule is None):
        return Labelled(candidates, votes, "labels of pairs", "nothing: the labels were there")
    kept, costs = _with_folders(candidates, sources)
    kept = _with_files(kept, sources)
    combined = verdicts(kept, rule)
    labels = labels_of(kept.candidates, kept.questions, combined.answers, name="", licence="")
    teachers = [
        Teacher(name, kept.licences[name], sum(not answer.abstained for answer in answers.values()))
        for name, answers in kept.answers.items()
        if answers
    ]
    target = labels.target
    if votes is not None:
        own = np.full(len(target), np.nan, dtype=np.float32)
        own[_rows_in(kept.candidates.pairs, candidates.pairs)] = votes.target
        target = np.where(np.isnan(target), own, target)
    cost = "; ".join(costs) or "nothing: the labels were there"
    return Labelled(
        kept.candidates, dataclasses.replace(labels, target=target, teachers=tuple(teachers)), combined.rule, cost
    )


def _with_tables(candidates: Candidates, tables: Sequence[Source]) -> tuple[Candidates, Labels]:
    """Join the tables' labels to the pairs, adding those that are not among them."""
    columns: dict[str, list[Any]] = {name: [] for name in LABEL_COLUMNS}
    for source in tables:
        for name in LABEL_COLUMNS:
            columns[name] += (source.table or {})[name]
    right = candidates.left if candidates.right is None else candidates.right
    columns["left_id"] = ids_as_in(candidates.left, columns["left_id"])
    columns["right_id"] = ids_as_in(right, columns["right_id"])
    names = ", ".join(source.name for source in tables)
    teacher = Teacher(names, "unknown", len(columns["label"]))
    return from_table(columns, names, candidates.left, candidates.right, candidates.pairs, teacher)


def _with_folders(candidates: Candidates, sources: Sequence[Source]) -> tuple[Kept, list[str]]:
    """What the folders hold of these tables, with the pairs that were asked about among the candidates."""
    questions: dict[Question, int] = {}
    answers: dict[str, dict[Question, Answer]] = {}
    licences: dict[str, str] = {}
    costs: list[str] = []
    for source in sources:
        if source.folder is None:
            continue
        database = Database(source.folder / FILE)
        try:
            kept = read_kept(database, candidates.name, candidates)
            costs.append(total_cost(spending(database)))
        finally:
            database.close()
        if not kept.questions:
            raise InputError(
                f"{source.folder} holds no answer about the records of {candidates.name} as they are in these tables. "
                "Check that tables, columns and ids are those that were labelled."
            )
        rounds = dict(zip(kept.questions, kept.rounds, strict=True))
        wanted = [one for one in kept.questions if source.questions is None or one in source.questions]
        questions |= {one: rounds[one] for one in wanted}
        for name, said in kept.answers.items():
            if source.teachers is None or name in source.teachers:
                answers.setdefault(name, {}).update({one: said[one] for one in wanted if one in said})
                licences[name] = kept.licences[name]
    grown = _with_pairs(candidates, list(questions))
    return Kept(grown, tuple(questions), tuple(questions.values()), answers, licences), costs


def _with_files(kept: Kept, sources: Sequence[Source]) -> Kept:
    """Let the files answer, too: the questions of the folders, and the lists of queries that no folder asked about."""
    files = [path for source in sources for path in (source.answers or source.file,) if path is not None]
    if not files:
        return kept
    asked = {question.query for question in kept.questions}
    others = [question for question in questions_of(kept.candidates) if question.query not in asked]
    questions = [*kept.questions, *others]
    answers, licences = dict(kept.answers), dict(kept.licences)
    for path in files:
        teacher = LabelFile(path)
        said = {questions[place]: answer for place, answer in teacher.answer(kept.candidates, questions)}
        name = teacher.name if teacher.name not in answers else f"labels:{path}"
        answers[name] = {question: answer for question, answer in said.items() if not answer.abstained}
        licences[name] = teacher.licence
        if not answers[name]:
            reason = next(iter(said.values()), Answer(None, reason="there is no candidate list")).reason
            raise InputError(f"{path} answers none of the {len(questions)} candidate lists ({reason}). Check its ids.")
    heard = [question for question in questions if any(question in said for said in answers.values())]
    return dataclasses.replace(
        kept, questions=tuple(heard), rounds=(1,) * len(heard), answers=answers, licences=licences
    )


def _with_pairs(candidates: Candidates, questions: Sequence[Question]) -> Candidates:
    pairs = candidates.pairs
    left = [question.query for question in questions for _ in question.candidates]
    right = [row for question in questions for row in question.candidates]
    grown = Pairs(
        np.concatenate([pairs.left, np.array(left, dtype=np.int64)]),
        np.concatenate([pairs.right, np.array(right, dtype=np.int64)]),
        pairs.n_left,
        pairs.n_right,
        pairs.one_table,
    )
    return dataclasses.replace(candidates, pairs=grown.unique()[0])


def _rows_in(pairs: Pairs, part: Pairs) -> np.ndarray:
    """Rows of `part` in `pairs`, which holds all of them and is sorted as `Pairs.unique` does."""
    return np.searchsorted(pairs.keys(), part.keys())
