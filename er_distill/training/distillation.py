"""`distill`: one call from tables to a student. Block, select, label, aggregate; then `fit_student`; or several of it.

Every stage leaves its result in a run folder and is skipped when it is there and its inputs have not changed: a run
that was killed goes on where it was when the same call is made again, and no question is paid for twice.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from er_distill import artefact
from er_distill.artefact import Manifest
from er_distill.blocking import Rule as BlockingRule
from er_distill.errors import ErDistillError, InputError
from er_distill.files import write_table
from er_distill.tables import Columns, Ids, open_frame, pairs_of, read_either
from er_distill.training.configuration import with_base
from er_distill.training.database import FILE
from er_distill.training.gathering import LABELS_FOLDER, Gathered, Note, about_of, gather, stages_of
from er_distill.training.labelling import LabelPlan
from er_distill.training.limits import Limits
from er_distill.training.material import Material, check_material
from er_distill.training.pipeline import STAGES, fit_student, planned
from er_distill.training.precheck import check_output, check_variants
from er_distill.training.recipe import DistillConfig
from er_distill.training.runs import Run, publish
from er_distill.training.sources import open_source
from er_distill.training.sweep import Criterion, Member, best_of, comparison, held_out_agreement, judged, member_configs
from er_distill.training.teachers.base import Teacher
from er_distill.training.teachers.ensemble import Rule
from er_distill.training.teachers.grammar import TeacherName, read_names
from er_distill.training.tiers import tier_of

COMPARISON = "sweep.csv"
"""File in the run folder of a sweep: its members, compared."""

STUDENTS = "students"
"""Folder in the run folder of a sweep: the student of each member."""


@dataclass(frozen=True)
class Distilled:
    """A student that was made, and what it was made of.

    Attributes
    ----------
    folder : Path
        The student.
    manifest : Manifest
    run : Path
        The run folder: labels in ``labels/``, the results of the stages; not needed any more.
    gathered : Gathered
        Candidates and labels.
    members : tuple of Member
        Of a sweep; the first of them that is best became the student.
    """

    folder: Path
    manifest: Manifest
    run: Path
    gathered: Gathered
    members: tuple[Member, ...] = ()


def distill(
    left: Any,
    right: Any = None,
    *,
    output: str | Path,
    teacher: str | Teacher | LabelPlan | Sequence[str | Teacher] | None = None,
    budget: float | None = None,
    labels: Any = None,
    rule: Rule | None = None,
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    blocking: Sequence[BlockingRule] | None = None,
    pairs: Any = None,
    base: str | Path | None = None,
    from_student: str | Path | None = None,
    config: DistillConfig | Mapping[str, Any] | None = None,
    members: Mapping[str, Mapping[str, Any]] | None = None,
    criterion: Criterion = held_out_agreement,
    run: str | Path | None = None,
    progress: bool = False,
) -> Distilled:
    """Make a student for two tables, or for one.

    Parameters
    ----------
    left, right : pandas.DataFrame, polars.DataFrame, polars.LazyFrame or pyarrow.Table
        The tables, one record a row; without `right`, duplicates within `left`.
    output : str or Path
        The student folder; must not exist, or be empty.
    teacher : str, Teacher, LabelPlan or sequence of str and Teacher, optional
        Who is asked: ``"openai:MODEL"``, ``"transformers:PATH"``, ``"labels:PATH"``, ``"student:PATH"``, or one of your
        own. About a tenth of the queries; a `LabelPlan` says in detail which, how and within which limits.
    budget : float, optional
        Most money for labels, in the currency of the prices, of all runs on the run folder together. When it is spent
        the student learns from the answers that came.
    labels : str, Path, frame or sequence of these, optional
        Labels that are there: a labels folder, a file of answers or of labelled pairs, a frame with ``left_id``,
        ``right_id`` and ``label``. Beside a teacher, who is then not asked about what they settle, or instead of one.
    rule : {"error_model", "majority", "union", "intersection"}, optional
        How several teachers are combined. Default: the error model from three on, else the majority.
    columns, left_on, right_on, id
        As in `er_distill.link`.
    blocking : sequence of TopK and Exact, optional
        How candidate pairs are found. By default as in `er_distill.link`; teachers then are asked about the shorter
        lists of :data:`er_distill.training.labelling.BLOCKING`.
    pairs : frame, optional
        Candidate pairs of your own, with columns ``left_id`` and ``right_id``, instead of blocking.
    base : str or Path, optional
        The encoder to start from: a transformers id, or a folder. Default: that of `config`, else
        :data:`er_distill.training.configuration.BASE`.
    from_student : str or Path, optional
        A student folder with ``weights/``, instead of `base`: go on from its encoder, as when the data has drifted.
    config : DistillConfig or mapping, optional
        How to train; a mapping names the settings that differ from the default: ``{"encoder": {"epochs": 2}}``.
    members : mapping of str to mapping, optional
        A sweep: for each name the settings of a student. All learn from the same labels, and the best one becomes the
        student; the others, and a table that compares them, stay in the run folder.
    criterion : callable
        How good a member is, given its manifest. Default: agreement with the labels of held-out queries.
    run : str or Path, optional
        The run folder. Default: beside the output, ``<output>.run``.
    progress : bool
        Whether to show stages and bars with the time left on stderr.

    Returns
    -------
    Distilled

    Raises
    ------
    InputError
        When a table, label, file, folder or setting cannot be used as given, before anything is paid for; when the
        labels are too few or say one thing only.
    TeacherError
        When a teacher refuses everything. The answers that came are kept.
    ExportError
        When an exported graph does not score as the trained model does.
    MissingExtraError
        When what training, or a teacher, needs is not installed.
    """
    target = Path(output)
    plan = _plan_of(teacher, budget, rule)
    if base is not None and from_student is not None:
        raise InputError("base= and from_student= both say what to start from. Pass one.")
    if from_student is not None:
        base = artefact.weights(artefact.locate(from_student)).parent  # checked: they must be there
    settings = with_base(config, target, base)
    if pairs is not None and blocking is not None:
        raise InputError("pairs= brings candidate pairs, blocking= finds them. Pass one.")
    given = [] if labels is None else list(labels) if isinstance(labels, (list, tuple)) else [labels]
    sources = tuple(open_source(one) for one in given)
    a, b = read_either(left, right, columns, left_on, right_on, id)
    candidates = None if pairs is None else pairs_of(open_frame(pairs, "pairs")[0], a, b)
    rules = None if blocking is None else tuple(blocking)
    material = Material(a, b, plan, sources, rules, candidates, rule)
    folder = beside(target) if run is None else Path(run)
    return distill_material(material, settings, folder, members=members, criterion=criterion, progress=progress)


def distill_material(
    material: Material,
    config: DistillConfig,
    folder: Path,
    *,
    members: Mapping[str, Mapping[str, Any]] | None = None,
    criterion: Criterion = held_out_agreement,
    progress: bool = False,
    note: Note = lambda text: None,
) -> Distilled:
    """Make a student from records; see `distill`.

    Parameters
    ----------
    material : Material
    config : DistillConfig
        With the student folder as its output.
    folder : Path
        The run folder.
    members, criterion, progress
        See `distill`.
    note : callable
        Called with what is worth saying on the way.
    """
    configs = None if members is None else member_configs(config, members, folder / STUDENTS)
    _check(material, config, folder, configs)
    least = max(one.folds for one in (configs or {"": config}).values())
    with Run(folder, progress=progress) as run:
        run.plan(*stages_of(material), *planned(config))

        def fit(one: DistillConfig) -> Path:
            return fit_student(gathered.candidates, gathered.labels, one, run=run, about=about)

        try:
            gathered = gather(run, material, least=least, before_asking=lambda: check_output(config.output), note=note)
            about = about_of(material, gathered)
            if configs is None:
                return Distilled(fit(config), artefact.read(config.output), folder, gathered)
            made = []
            for name, one in configs.items():
                note(f"student {name}")
                # One of an earlier call is made again: it may be of other settings, and stages that are not are kept.
                shutil.rmtree(one.output, ignore_errors=True)
                made.append(judged(name, fit(one), criterion))
        except ErDistillError as error:
            explained = _with_way_on(error, folder)
            if explained is error:
                raise
            raise explained from error
        write_table(comparison(made), folder / COMPARISON)
        best = best_of(made)
        _copy(best, config.output)
    return Distilled(config.output, best.manifest, folder, gathered, tuple(made))


def beside(output: Path) -> Path:
    """Return the run folder of a student folder where nobody names one."""
    return output.with_name(f"{output.name}.run")


def _plan_of(teacher: Any, budget: float | None, rule: Rule | None) -> LabelPlan | None:
    if isinstance(teacher, LabelPlan):
        if budget is not None:
            raise InputError("budget= stands beside a plan that has limits of its own. Put it into the plan.")
        return teacher if rule is None else dataclasses.replace(teacher, rule=rule)
    if teacher is None:
        if budget is not None:
            raise InputError("budget= needs somebody to pay. Name a teacher=.")
        return None
    several = list(teacher) if isinstance(teacher, (list, tuple)) else [teacher]
    named = [read_names([one])[0] if isinstance(one, str) else one for one in several]
    read_names(
        [str(one) for one in named if isinstance(one, TeacherName)] or ["labels:none"]
    )  # refuses one named twice
    return LabelPlan(tuple(named), limits=Limits(money=budget), rule=rule)


def _check(
    material: Material, config: DistillConfig, folder: Path, members: Mapping[str, DistillConfig] | None
) -> None:
    """Refuse what cannot end well, before anything is computed or paid for."""
    if not ((config.output / artefact.MANIFEST).is_file() and any(folder.glob(f"{STAGES[-1]}-*"))):
        check_output(config.output)  # else this run may have made it
    if folder.resolve() == config.output.resolve() or config.output.resolve() in folder.resolve().parents:
        raise InputError(f"the run folder {folder} lies in the student folder {config.output}. Name another with run=.")
    check_material(material)
    opened = set()
    for one in [config] if members is None else members.values():
        tier = tier_of(one)
        check_variants(one.variants, one.default_variant, tier.variants)
        start = (str(one.reader.base), one.encoder.max_length if one.encoder else None)
        if start not in opened:
            tier.open_base()
            opened.add(start)


def _copy(best: Member, output: Path) -> None:
    """Put the best student of a sweep at the output; nothing is done where it is there."""
    if (output / artefact.MANIFEST).is_file() and artefact.read(output) == best.manifest:
        return
    check_output(output)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped here
    shutil.copytree(best.folder, partial)
    if output.is_dir():
        output.rmdir()
    publish(partial, output)


def _with_way_on(error: ErDistillError, folder: Path) -> ErDistillError:
    """The error, with where the labels are that were paid for."""
    kept = folder / LABELS_FOLDER
    if not (kept / FILE).is_file() or str(kept) in str(error):
        return error
    return type(error)(
        f"{error} The labels are kept in {kept}: the same call goes on there and pays for none of them again."
    )
