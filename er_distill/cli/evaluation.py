"""`er-distill evaluate`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

from er_distill import metrics
from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.linking import ENTITY_COLUMN
from er_distill.cli.tables import truth_of
from er_distill.errors import InputError
from er_distill.files import PAIR_COLUMNS, line_of, read_pairs, read_table, read_truth
from er_distill.matching import clusters
from er_distill.records import Records, as_frame, check_ids, id_column_of
from er_distill.report.run import threshold_curve

_TRUE, _FALSE = {"1", "true", "True"}, {"0", "false", "False"}


@reported
def evaluate(
    context: typer.Context,
    matches: Annotated[
        Path,
        typer.Argument(
            help="What link, score or dedupe wrote: left_id, right_id (score, match), or entity_id.", show_default=False
        ),
    ],
    truth: Annotated[Path, typer.Argument(help="The true matches: columns left_id, right_id.", show_default=False)],
    threshold: Annotated[
        float | None,
        typer.Option(
            callback=options.probability,
            help="Score from which a row is a match. [default: the column match where there is one, else every row]",
        ),
    ] = None,
    one_table: Annotated[
        bool, typer.Option("--one-table", help="Both ids are of one table, so that a pair has no direction.")
    ] = False,
    id: Annotated[
        str | None,
        typer.Option(
            help="Column of the record ids beside entity_id. [default: a column named id, else the row number]"
        ),
    ] = None,
) -> None:
    """Measure matches, scores or entities against the truth.

    Prints precision, recall and F1; with scores also the best threshold; with candidates that are no match also SELECT
    accuracy, Acc@k and MRR; for what dedupe wrote, the measures of its entities.

    \b
    Examples:
      er-distill evaluate matches.csv truth.csv
      er-distill link a.csv b.csv -o all.csv --matching all --threshold 0
      er-distill evaluate all.csv truth.csv --threshold 0.5
      er-distill evaluate people.entities.csv truth.csv --id person_id
    """  # noqa: D301
    console: Console = context.obj
    table = read_table(matches)
    if ENTITY_COLUMN in table.column_names:
        console.facts(_of_entities(table, matches, truth, id))
    else:
        _of_pairs(console, read_pairs(matches), matches, read_truth(truth), threshold, one_table)


def _of_entities(table: pa.Table, path: Path, truth: Path, id: str | None) -> list[tuple[str, str]]:
    column = id_column_of(as_frame(table, str(path)), id, str(path))
    ids = list(range(len(table))) if column is None else table[column].to_pylist()
    where = f"{path}: the row number" if column is None else f"{path}: id column {column!r}"
    records = Records(str(path), check_ids(ids, where), (), ())
    true = truth_of(truth, records, None)
    if true is None or not len(records):
        raise InputError(f"{path} has no rows. Check how it was made.")
    found = table[ENTITY_COLUMN].to_pylist()
    expected = clusters(len(records), true.left, true.right, np.ones(len(true)))
    scores = metrics.cluster_scores([str(entity) for entity in found], expected)
    return [
        ("records", f"{len(records):,}"),
        ("entities", f"{len(set(found)):,} found, {len(set(expected.tolist())):,} true"),
        ("pairs", _three(scores.pair_precision, scores.pair_recall, scores.pair_f1)),
        ("B-cubed", _three(scores.b_cubed_precision, scores.b_cubed_recall, scores.b_cubed_f1)),
    ]


def _of_pairs(
    console: Console, table: pa.Table, path: Path, truth: pa.Table, threshold: float | None, one_table: bool
) -> None:
    left, right = (_text(table[name]) for name in PAIR_COLUMNS)
    true_left, true_right = (_text(truth[name]) for name in PAIR_COLUMNS)
    scores = _scores(table, path) if "score" in table.column_names else None
    matched, source = _matched(table, path, scores, threshold)
    rows = np.flatnonzero(matched)
    pairs = metrics.pair_scores(left[rows], right[rows], true_left, true_right, one_table=one_table)
    facts = [
        ("matches", f"{len(rows):,} of {len(table):,} rows ({source})"),
        ("truth", f"{pairs.true_positives + pairs.false_negatives:,} true matches"),
        ("pairs", _three(pairs.precision, pairs.recall, pairs.f1)),
        ("", f"{pairs.true_positives:,} right, {pairs.false_positives:,} wrong, {pairs.false_negatives:,} missed"),
    ]
    if len(rows) < len(table) and not one_table:
        facts += _of_lists(left, right, matched, scores, true_left, true_right)
    labels = metrics.label_pairs(left, right, true_left, true_right, one_table=one_table)
    curve = None
    if scores is not None and labels.any():
        curve = threshold_curve(labels, scores, pairs.true_positives + pairs.false_negatives)
        facts.append(("best", f"F1 {curve.f1[curve.best]:.4f} at threshold {curve.thresholds[curve.best]:.2f}"))
    console.facts(facts)
    if curve is not None:
        typer.echo("\nthreshold  precision  recall      F1")
        lines = (curve.precision, curve.recall, curve.f1)
        for i in range(10, 100, 10):
            cells = ("-" if np.isnan(line[i]) else f"{line[i]:.4f}" for line in lines)
            typer.echo("{:9.1f}  {:>9}  {:>6}  {:>6}".format(curve.thresholds[i], *cells))


def _of_lists(
    left: np.ndarray,
    right: np.ndarray,
    matched: np.ndarray,
    scores: np.ndarray | None,
    true_left: np.ndarray,
    true_right: np.ndarray,
) -> Iterable[tuple[str, str]]:
    """Measures of candidate lists: of what was chosen from each, and of how it was ranked."""
    if len(set(left[matched].tolist())) == matched.sum():
        accuracy = metrics.select_accuracy(left, right, matched, true_left, true_right)
        yield ("lists", f"SELECT accuracy {accuracy:.4f}: the right candidate of a left record, or none")
    if scores is not None and len(true_left):
        at = {k: metrics.accuracy_at(left, right, scores, true_left, true_right, k=k) for k in (1, 5)}
        ranked = ", ".join(f"Acc@{k} {value:.4f}" for k, value in at.items())
        yield ("ranks", f"{ranked}, MRR {metrics.mean_reciprocal_rank(left, right, scores, true_left, true_right):.4f}")


def _three(precision: float, recall: float, f1: float) -> str:
    return f"precision {precision:.4f}, recall {recall:.4f}, F1 {f1:.4f}"


def _text(column: pa.ChunkedArray) -> np.ndarray:
    """Ids as text: one file may have them as numbers, the other not."""
    return np.array([str(value) for value in column.to_pylist()], dtype=object)


def _scores(table: pa.Table, path: Path) -> np.ndarray:
    values = table["score"].to_pylist()
    for row, value in enumerate(values):
        try:
            usable = float("nan" if value is None else value)
        except (TypeError, ValueError):
            usable = float("nan")
        if usable != usable:
            raise InputError(f"{path}: {line_of(path, row)} has {value!r} in column 'score', not a number. Correct it.")
    return np.array(values, dtype=np.float64)


def _matched(table: pa.Table, path: Path, scores: np.ndarray | None, threshold: float | None) -> tuple[np.ndarray, str]:
    """Which rows are matches, and how that was told."""
    if threshold is not None:
        if scores is None:
            raise InputError(f"{path} has no column 'score' to hold against --threshold. Leave the threshold out.")
        return scores >= threshold, f"score at least {threshold:g}"
    if "match" not in table.column_names:
        return np.ones(len(table), dtype=bool), "every row"
    values: list[Any] = [str(value) for value in table["match"].to_pylist()]
    for row, value in enumerate(values):
        if value not in _TRUE | _FALSE:
            raise InputError(f"{path}: {line_of(path, row)} has {value!r} in column 'match', not 1 or 0. Correct it.")
    return np.array([value in _TRUE for value in values]), "column match"
