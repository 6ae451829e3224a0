"""How `link`, `dedupe` and `demo` run: candidates, scores, matches; then the files and the summary."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

import er_distill
from er_distill import matching as rules
from er_distill import report
from er_distill.blocking import BlockingReport, Rule, candidates
from er_distill.cli.console import Console
from er_distill.errors import InputError
from er_distill.files import check_writable, write_table, write_text
from er_distill.matching import Matching
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.report.run import Run
from er_distill.review import (
    Settled,
    chosen_threshold,
    open_pairs,
    refuse_decided,
    review_path,
    review_table,
    settled_scores,
    with_settled,
)
from er_distill.student import Student
from er_distill.tables import Matches, Table, table_of_matches, with_column

ENTITY_COLUMN = "entity_id"

Clustering = Literal["components", "average"]


@dataclass(frozen=True)
class Plan:
    """What a run is to do and write; the names are those of the options."""

    output: Path
    student: str = "default"
    variant: str | None = None
    device: str = "auto"
    threads: int | None = None
    threshold: float | None = None
    blocking: list[Rule] | None = None
    context: bool = True
    report: Path | None = None
    review: tuple[float, float] | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def outputs(self) -> list[Path]:
        """Every file that will be written."""
        review = review_path(self.output) if self.review else None
        return [path for path in (self.output, self.report, review) if path is not None]

    def check(self) -> None:
        """Raise InputError for an output that cannot be written or must not be, before the work is done."""
        for path in self.outputs:
            check_writable(path)
        if self.review is not None:
            refuse_decided(review_path(self.output))

    def load(self) -> Student:
        """Load the student."""
        return Student.load(self.student, variant=self.variant, device=self.device, threads=self.threads)


@dataclass(frozen=True)
class Scored:
    """Candidate pairs, their scores, and the threshold where it is not the student's."""

    pairs: Pairs
    scores: np.ndarray
    seconds: float
    blocking: BlockingReport | None
    threshold: float | None


def link_tables(
    console: Console,
    plan: Plan,
    student: Student,
    left: Table,
    right: Table,
    *,
    matching: Matching = "one_to_one",
    top_k: int | None = None,
    how: str = "ids",
    truth: Pairs | None = None,
    settled: Settled | None = None,
    given: tuple[Pairs, np.ndarray] | None = None,
) -> Run:
    """Link two tables and write what the plan asks for; `given` are pairs that are scored already."""
    found = (
        _scored(console, plan, student, left.records, right.records, settled)
        if given is None
        else Scored(*given, 0.0, None, plan.threshold)
    )
    pairs, scores = found.pairs, found.scores
    decided, free = (
        (np.zeros(len(pairs), bool), np.ones(len(pairs), bool))
        if settled is None
        else open_pairs(pairs, settled, "all" if top_k else matching)
    )
    rows = np.flatnonzero(free)
    unlimited = matching == "best" or top_k is not None
    at = student.threshold if found.threshold is None and not unlimited else found.threshold
    ranks = None
    if top_k is None:
        kept, matched = decided.copy(), decided.copy()
        for mask, threshold in ((kept, 0.0), (matched, at)):
            mask[rows] = rules.match(pairs.left[rows], pairs.right[rows], scores[rows], matching=matching, at=threshold)
            mask |= decided
    else:
        ranks = rules.ranks(pairs.left, scores, right=pairs.right) + 1
        kept = (ranks <= top_k) & (free | decided)
        matched = kept if at is None else kept & ((scores >= at) | decided)
    matches = Matches(
        pairs.left[matched], pairs.right[matched], scores[matched], None if ranks is None else ranks[matched]
    )
    table = table_of_matches(left, right, matches, how, ("_left", "_right"))
    write_table(table.to_arrow(), plan.output)
    run = Run(
        left=left.records,
        right=right.records,
        pairs=pairs,
        scores=scores,
        matched=matched,
        kept=kept,
        threshold=at,
        matching=matching if top_k is None else f"best {top_k}",
        device=student.device,
        seconds=time.perf_counter() - plan.started,
        scoring_seconds=found.seconds,
        blocking=found.blocking,
        truth=truth,
    )
    _finish(console, plan, student, run)
    return run


def dedupe_table(
    console: Console,
    plan: Plan,
    student: Student,
    table: Table,
    *,
    clustering: Clustering = "components",
    truth: Pairs | None = None,
    settled: Settled | None = None,
) -> Run:
    """Deduplicate a table and write what the plan asks for."""
    records = table.records
    found = _scored(console, plan, student, records, None, settled)
    pairs, scores = found.pairs, found.scores
    evidence = scores if settled is None else settled_scores(pairs, scores, settled)
    at = student.threshold if found.threshold is None else found.threshold
    entities = rules.clusters(len(records), pairs.left, pairs.right, evidence, at, clustering)
    matched = entities[pairs.left] == entities[pairs.right]
    if settled is not None:
        against = settled.pairs.take(np.flatnonzero(~settled.matches))
        joined = int((entities[against.left] == entities[against.right]).sum())
        if joined:
            console.note(
                f"note: {joined:,} pair(s) decided as no match are in one entity all the same, through other records. "
                "Decide on the pairs between them, too, or use --clustering average."
            )
    write_table(with_column(table.frame, ENTITY_COLUMN, entities).to_arrow(), plan.output)
    run = Run(
        left=records,
        right=None,
        pairs=pairs,
        scores=scores,
        matched=matched,
        kept=np.ones(len(pairs), dtype=bool),
        threshold=at,
        matching=clustering,
        device=student.device,
        seconds=time.perf_counter() - plan.started,
        scoring_seconds=found.seconds,
        blocking=found.blocking,
        entities=entities,
        truth=truth,
    )
    _finish(console, plan, student, run)
    return run


def _scored(
    console: Console, plan: Plan, student: Student, left: Records, right: Records | None, settled: Settled | None
) -> Scored:
    if console.progress:
        console.note("finding candidate pairs ...")
    blocks = candidates(left, right, rules=plan.blocking, threads=plan.threads, progress=console.progress)
    pairs = blocks.pairs if settled is None else with_settled(blocks.pairs, settled)
    began = time.perf_counter()
    scores = np.empty(0)
    if len(pairs):
        scores = student.score(
            left, right, pairs, context=plan.context, corpus=blocks.corpus, progress=console.progress
        )
    seconds = time.perf_counter() - began
    threshold = plan.threshold
    if threshold is None and settled is not None:
        threshold = chosen_threshold(pairs, scores, settled)
        if threshold is None:
            console.note("note: the decisions hold no match to choose a threshold from; the default is used.")
    return Scored(pairs, scores, seconds, blocks.report, threshold)


def _finish(console: Console, plan: Plan, student: Student, run: Run) -> None:
    facts = [("candidates", _candidates(run))]
    if run.entities is None:
        facts.append(("matches", f"{run.matched.sum():,}"))
    else:
        facts.append(("entities", f"{run.n_entities:,} of {len(run.left):,} records"))
    threshold = _threshold(plan, student, run)
    facts.append(("threshold", threshold))
    if run.quality:
        facts.append(("truth", ", ".join(f"{name} {value:.4f}" for name, value in run.quality.items())))
    speed = f"{run.pairs_per_second:,.0f} pairs/s on {run.device}, " if run.scoring_seconds else ""
    facts.append(("speed", f"{speed}{run.seconds:.1f} s in all"))
    facts.append(("output", str(plan.output)))
    if plan.review is not None:
        review = review_table(run.left, run.right, run.pairs, run.scores, plan.review)
        write_table(review, review_path(plan.output))
        facts.append(("review", f"{review_path(plan.output)} ({len(review):,} pairs)"))
    if plan.report is not None:
        page = report.render(run, _settings(plan, student, run, threshold), band=plan.review or report.BAND)
        write_text(page, plan.report)
        facts.append(("report", str(plan.report)))
    console.facts(facts)


def _threshold(plan: Plan, student: Student, run: Run) -> str:
    if run.threshold is None:
        return "none"
    if run.threshold == plan.threshold:
        source = "as given"
    else:
        source = "the student's" if run.threshold == student.threshold else "chosen from the decisions"
    return f"{run.threshold:.4g} ({source})"


def _candidates(run: Run) -> str:
    if run.blocking is None or not run.blocking.possible:
        return f"{len(run.pairs):,}"
    return f"{len(run.pairs):,} of {run.blocking.possible:,} possible pairs ({1 - run.blocking.reduction:.2%})"


def _settings(plan: Plan, student: Student, run: Run, threshold: str) -> dict[str, str]:
    """What is needed to repeat the run."""
    compared = {run.left.name: run.left.fields}
    if run.right is not None:
        compared[run.right.name] = run.right.fields
    rules_used = "; ".join(rule for rule, _ in run.blocking.rules) if run.blocking else "none: pairs were given"
    engine = next((name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)), "onnxruntime")
    return {
        "command": shlex.join(["er-distill", *sys.argv[1:]]),
        **{f"columns of {name}": ", ".join(fields) for name, fields in compared.items()},
        "student": f"{student.manifest.name} (made {student.manifest.created})",
        "device": run.device,
        "blocking": rules_used,
        "threshold": threshold,
        "matching": run.matching.replace("_", " "),
        "context": "yes" if plan.context else "no: each pair alone",
        "er_distill": er_distill.__version__,
        "versions": f"Python {platform.python_version()}, {engine} {_version(engine)}, {platform.platform()}",
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def refuse_column(table: pa.Table, column: str, name: str) -> None:
    """Raise InputError when a table has the column that a command would add, before the work is done."""
    if column in table.column_names:
        raise InputError(f"{name} has a column {column!r} already. Drop or rename it.")
