"""Block, select, label, aggregate: the stages of a run that end with labelled candidate pairs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.artefact import Teacher
from er_distill.blocking import TopK
from er_distill.errors import InputError, TeacherError
from er_distill.pairs import Pairs
from er_distill.training.elicit import elicit
from er_distill.training.kept import mark_current, read_kept
from er_distill.training.label_files import verdicts, write_label_files
from er_distill.training.labelling import (
    BLOCKING,
    LabelPlan,
    Panel,
    chosen_questions,
    forecast_facts,
    inputs_of_questions,
    inputs_of_teachers,
    open_panel,
    open_store,
    reporter,
    task_name,
)
from er_distill.training.labels import Candidates, Labels
from er_distill.training.material import Material, inputs_of_candidates, read_candidates, write_candidates
from er_distill.training.runs import Result, Run
from er_distill.training.sources import Source, content_of, labelled
from er_distill.training.teachers.base import NONE, Answer, Question, questions_of
from er_distill.training.teachers.ensemble import Rule

LABELS_FOLDER = "labels"
"""Folder of a run folder that keeps what teachers have said, as `er-distill label` writes it."""

Note = Callable[[str], object]


@dataclass(frozen=True)
class Gathered:
    """Candidate pairs with labels.

    Attributes
    ----------
    candidates : Candidates
    labels : Labels
    rule : str
        How several teachers were combined.
    cost : str
        Of the labels, in words.
    stopped : tuple of str
        Limits that were reached.
    selection : str
        How the labelled queries were chosen, in words.
    """

    candidates: Candidates
    labels: Labels
    rule: str
    cost: str
    stopped: tuple[str, ...]
    selection: str


def stages_of(material: Material) -> list[str]:
    """Return the names of the stages, in order."""
    return ["candidates", *(["questions"] if material.plan else []), "labels"]


def gather(run: Run, material: Material, *, least: int, before_asking: Callable[[], object], note: Note) -> Gathered:
    """Find candidates, ask about some of them and combine the answers; what the run folder holds is not done again.

    Parameters
    ----------
    run : Run
    material : Material
    least : int
        Labelled queries that training needs: fewer questions are refused before they are asked.
    before_asking : callable
        Raises an error where the labels would be of no use.
    note : callable
        Called with what is worth saying: what asking will take, and which limits were reached.

    Raises
    ------
    InputError
        When there are no candidates, too few questions or labels that cannot be used.
    TeacherError
        When a teacher refuses everything; what came before is kept.
    """
    name = task_name(material.left, material.right)
    found = run.stage("candidates", inputs_of_candidates(material), lambda folder: write_candidates(material, folder))
    candidates, asked = read_candidates(found.folder, material, name)
    inputs: dict[str, Any] = {
        "candidates": found.fingerprint,
        "sources": [content_of(source) for source in material.sources],
        "rule": material.rule,
    }
    questions: list[Question] = []
    plan = material.plan
    if plan is not None:
        chosen = run.stage(
            "questions",
            inputs | inputs_of_questions(plan),
            lambda folder: _write_questions(material, candidates, asked, folder, run.progress),
        )
        questions = _read_questions(chosen)
        if len(questions) < least and not material.sources:
            raise InputError(
                f"{len(questions):,} questions about {name} are too few to learn from: {least} folds need as many. "
                "Ask about a larger share of the queries, or a higher number of them."
            )
        inputs |= {"questions": chosen.fingerprint, "teachers": inputs_of_teachers(plan)}

    def make(folder: Path) -> None:
        before_asking()
        _label(run, material, candidates, asked, questions, folder, note)

    return _read_labels(run.stage("labels", inputs, make), candidates)


def about_of(material: Material, gathered: Gathered) -> dict[str, Any]:
    """Return what the card says of tables, candidates and labels; see `fit_student`."""
    tables = [table for table in (material.left, material.right) if table is not None]
    rules = [TopK()] if material.blocking is None else material.blocking
    asked = "" if material.blocking is not None or material.plan is None else f"; teachers were asked about {BLOCKING}"
    return {
        "tables": [{"name": one.name, "fields": list(one.fields), "records": len(one)} for one in tables],
        "blocking": "given" if material.pairs is not None else f"{'; '.join(map(str, rules))}{asked}",
        "selection": gathered.selection,
        "cost": gathered.cost,
    }


def _label(
    run: Run,
    material: Material,
    candidates: Candidates,
    asked: Candidates,
    questions: Sequence[Question],
    folder: Path,
    note: Note,
) -> None:
    stopped: tuple[str, ...] = ()
    sources, selection = material.sources, "labels that were there"
    if material.plan is not None:
        store = run.folder / LABELS_FOLDER
        panel = open_panel(material.plan)
        stopped = _ask(run, material.plan, panel, material.rule, asked, questions, store, note)
        # Others that were asked before, in other runs on the folder, have no say in what this one learns.
        own = Source(str(store), folder=store, teachers=frozenset(panel.teachers), questions=frozenset(questions))
        sources = (own, *sources)
        selection = (
            f"{len(questions):,} of {len(questions_of(asked)):,} queries with candidates ({material.plan.method})"
        )
    found = labelled(candidates, sources, material.rule)
    pairs = found.candidates.pairs
    np.savez(folder / "labels.npz", left=pairs.left, right=pairs.right, target=found.labels.target)
    about = {
        "teachers": [dataclasses.asdict(teacher) for teacher in found.labels.teachers],
        "rule": found.rule,
        "cost": found.cost,
        "stopped": stopped,
        "selection": selection,
    }
    (folder / "labels.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _ask(
    run: Run,
    plan: LabelPlan,
    panel: Panel,
    rule: Rule | None,
    asked: Candidates,
    questions: Sequence[Question],
    folder: Path,
    note: Note,
) -> tuple[str, ...]:
    """Ask the teachers, into a labels folder; return why they were not asked everything."""
    with open_store(plan, panel, folder) as store:
        mark_current(store.database, asked)
        for name, value in forecast_facts(plan, panel, asked, questions, store):
            note(f"{name}: {value}")
        try:
            with run.bar(len(questions) * len(panel.teachers), "answer") as bar:
                found = elicit(panel.teachers, asked, questions, store, report=reporter(bar, plan.table.currency))
        except TeacherError as error:
            raise TeacherError(
                f"{error} The answers that came are kept in {folder}: start the same run again to go on there."
            ) from error
        kept = read_kept(store.database, asked.name)
        write_label_files(folder, kept, verdicts(kept, rule))
    if all(answer.abstained for said in found.answers.values() for answer in said.values()):
        why = "; ".join(found.stopped) or f"every one abstained, and er-distill labels {folder} says why"
        raise InputError(f"no teacher has answered any of the {len(questions):,} questions: {why}.")
    for why in found.stopped:
        note(f"stopped asking: {why}. The student learns from the answers that came; they are kept in {folder}.")
    return found.stopped


def _write_questions(
    material: Material, candidates: Candidates, asked: Candidates, folder: Path, progress: bool
) -> None:
    if material.plan is None:
        return
    known = _answered(candidates, asked, material) if material.sources else {}
    chosen = chosen_questions(material.plan, asked, known, progress=progress)
    lines = [[question.query, list(question.candidates)] for question in chosen]
    (folder / "questions.json").write_text(json.dumps(lines) + "\n", encoding="utf-8")


def _read_questions(chosen: Result) -> list[Question]:
    lines = json.loads((chosen.folder / "questions.json").read_text(encoding="utf-8"))
    return [Question(query, tuple(rows)) for query, rows in lines]


def _answered(candidates: Candidates, asked: Candidates, material: Material) -> dict[Question, Answer]:
    """The lists whose every pair has a label already: nobody needs to be asked about them."""
    found = labelled(candidates, material.sources, material.rule)
    pairs = found.candidates.pairs
    label = dict(zip(pairs.keys().tolist(), found.labels.target.tolist(), strict=True))
    answers = {}
    for question in questions_of(asked):
        listed = np.array(question.candidates, dtype=np.int64)
        ends = Pairs(np.full_like(listed, question.query), listed, pairs.n_left, pairs.n_right, pairs.one_table)
        values = np.array([label[key] for key in ends.keys().tolist()])
        if not np.isnan(values).any():
            answers[question] = Answer(int(values.argmax()) if values.max() > 0.5 else NONE)
    return answers


def _read_labels(result: Result, candidates: Candidates) -> Gathered:
    about = json.loads((result.folder / "labels.json").read_text(encoding="utf-8"))
    with np.load(result.folder / "labels.npz") as found:
        pairs = dataclasses.replace(candidates.pairs, left=found["left"], right=found["right"])
        target = found["target"]
    teachers = tuple(Teacher(**teacher) for teacher in about["teachers"])
    return Gathered(
        dataclasses.replace(candidates, pairs=pairs),
        Labels(target, teachers),
        about["rule"],
        about["cost"],
        tuple(about["stopped"]),
        about["selection"],
    )
