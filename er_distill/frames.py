"""The doors for dataframes: `link`, `dedupe`, `score_pairs` and `match_pairs`.

Plain functions that work in ``.pipe``. They take pandas, polars and pyarrow tables, give back the library of their
first argument, and never change what they are given. A polars LazyFrame is collected once, at the call, and the result
is a LazyFrame again.

Record ids are, in this order: the column named by `id`, a column named ``id``, the index of a pandas frame, the row
number. They keep their dtype and are never compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from er_distill import matching as rules
from er_distill.blocking import Rule
from er_distill.deciding import Decision
from er_distill.errors import InputError, did_you_mean
from er_distill.incremental import begin
from er_distill.matching import Matching
from er_distill.records import require
from er_distill.scoring import Scorer, candidate_pairs, check_threshold, load_student, scored_candidates, threshold_of
from er_distill.state import check_free
from er_distill.student import CHUNK_SIZE, Student
from er_distill.tables import (
    Columns,
    Ids,
    codes_of,
    open_frame,
    pairs_of,
    read_either,
    read_one,
    read_two,
    table_of_matches,
    with_column,
)

How = Literal["ids", "inner", "left"]


def link(
    left: Any,
    right: Any,
    *,
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    student: str | Path | Scorer = "default",
    device: str = "auto",
    threads: int | None = None,
    threshold: float | None = None,
    matching: Matching = "one_to_one",
    optimal: bool = False,
    top_k: int | None = None,
    how: How = "ids",
    suffixes: tuple[str, str] = ("_left", "_right"),
    blocking: Sequence[Rule] | None = None,
    pairs: Any = None,
    context: bool = True,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Any:
    """Find the records of two tables that are the same thing.

    Parameters
    ----------
    left, right : pandas.DataFrame, polars.DataFrame, polars.LazyFrame or pyarrow.Table
        The tables, one record a row. They may be of two libraries.
    columns : list of str, optional
        Columns to compare, named alike in both tables. By default all usable ones of each table.
    left_on, right_on : str or list of str, optional
        Instead of `columns`, where names differ: the columns to compare, paired in order.
    id : str or (str or None, str or None), optional
        The id column of both tables, or of each. By default see the module.
    student : str, Path or Student
        The name of a bundled student, a student folder, or a loaded student.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"tensorrt"``.
    threads : int, optional
        Default: the cores this process may use.
    threshold : float, optional
        Probability in [0, 1] from which a pair is a match. By default the student's; none for "best" and `top_k`.
    matching : {"one_to_one", "many_to_one", "best", "all"}
        See `er_distill.matching.match`.
    optimal : bool
        "one_to_one" only: the matching of highest total probability instead of the greedy one.
    top_k : int, optional
        Rank instead of match: the best `top_k` candidates of each left record, with a column ``rank`` from 1.
        `matching` has no part in it.
    how : {"ids", "inner", "left"}
        "ids": one row a match. "inner": both records' columns beside it. "left": as "inner", and a row for each left
        record without a match, with nulls on the right.
    suffixes : (str, str)
        What is appended to the name of every column of the left and of the right table.
    blocking : sequence of TopK and Exact, optional
        How candidate pairs are found; see `er_distill.blocking.candidates`. Where there is none, a warning says so and
        no record has a match.
    pairs : frame, optional
        Candidate pairs of your own, with columns ``left_id`` and ``right_id``, instead of blocking.
    context : bool
        Whether a pair is judged beside the other candidates of its records.
    chunk_size : int
        Pairs held in memory at a time; it never changes a score.
    progress : bool
        Whether to show a bar on stderr.

    Returns
    -------
    frame of the library of `left`
        ``left_id``, ``right_id``, ``score`` (and ``rank``); with "inner" and "left" then the columns of both tables but
        their id columns. Rows are in the order of the left table, the best match first, equal ones in the order of the
        right table. Where "left" puts nulls into integers or booleans, pandas columns take the nullable dtype.

    Raises
    ------
    InputError
        When a table, column, pair or argument cannot be used as given.
    StudentError, DeviceError, MissingExtraError
        As `Student.load`.
    """
    if how not in ("ids", "inner", "left"):
        raise InputError(f"how={how!r} is not known. {did_you_mean(how, ('ids', 'inner', 'left'))}")
    decision = Decision(matching, threshold, optimal, top_k)  # refuses before anything is scored
    scorer = load_student(student, device, threads)
    first, give_back = open_frame(left, "left")
    second, _ = open_frame(right, "right")
    a, b = read_two(first, second, columns, left_on, right_on, id)
    found, scores = scored_candidates(
        a.records, b.records, scorer, blocking, pairs, threads, context, chunk_size, progress
    )
    matches = decision.at(scorer.threshold).matches(found, scores)
    return give_back(table_of_matches(a, b, matches, how, suffixes))


def dedupe(
    frame: Any,
    *,
    columns: Sequence[str] | None = None,
    id: str | None = None,
    student: str | Path | Scorer = "default",
    device: str = "auto",
    threads: int | None = None,
    threshold: float | None = None,
    clustering: Literal["components", "average"] = "components",
    entity_column: str = "entity_id",
    blocking: Sequence[Rule] | None = None,
    pairs: Any = None,
    context: bool = True,
    state: str | Path | None = None,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Any:
    """Find the records of one table that are the same thing.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame, polars.LazyFrame or pyarrow.Table
        The table, one record a row.
    columns, id, student, device, threads, threshold, blocking, pairs, context, chunk_size, progress
        As in `link`.
    clustering : {"components", "average"}
        How matches become entities; "average" resists chaining. See `er_distill.matching.clusters`.
    entity_column : str
        The column to add.
    state : str or Path, optional
        A folder to leave what `extend` needs to add records later; for "components" alone.

    Returns
    -------
    frame of the library of `frame`
        The frame, unchanged in order, index and dtypes, with a column of integers: equal for records of one entity,
        numbered 0, 1, ... by the first record of each.

    Raises
    ------
    InputError
        When the frame has a column `entity_column` already, and as in `link`.
    """
    check_threshold(threshold)
    table, give_back = open_frame(frame, "frame")
    if entity_column in table.columns:
        raise InputError(f"frame has a column {entity_column!r} already. Drop it, or name another with entity_column=.")
    rules.clusters(0, [], [], [], method=clustering)  # refuses before anything is scored
    scorer = load_student(student, device, threads)
    opened = read_one(table, "frame", columns, id)
    records = opened.records
    at = scorer.threshold if threshold is None else threshold
    if state is not None:
        if clustering != "components" or not isinstance(scorer, Student):
            raise InputError(
                "state= is kept of clustering='components' and a student that is loaded by name or folder."
            )
        check_free(Path(state))
        labels = begin(
            opened, *candidate_pairs(records, None, blocking, pairs, threads), scorer, Path(state),
            rules=blocking, at=at, context=context, chunk_size=chunk_size,
        )  # fmt: skip
        return give_back(with_column(table, entity_column, labels))
    found, scores = scored_candidates(records, None, scorer, blocking, pairs, threads, context, chunk_size, progress)
    labels = rules.clusters(len(records), found.left, found.right, scores, at, clustering)
    return give_back(with_column(table, entity_column, labels))


def score_pairs(
    pairs: Any,
    left: Any,
    right: Any = None,
    *,
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    student: str | Path | Scorer = "default",
    device: str = "auto",
    threads: int | None = None,
    context: bool = True,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Any:
    """Add the probability that each candidate pair is a match.

    Parameters
    ----------
    pairs : frame
        The pairs, with columns ``left_id`` and ``right_id``; further columns are kept.
    left, right : frame
        The tables the ids belong to; without `right` the pairs are within one table.
    columns, left_on, right_on, id, student, device, threads, context, chunk_size, progress
        As in `link`. A score depends on the pairs beside it unless ``context=False``.

    Returns
    -------
    frame of the library of `pairs`
        The pairs, unchanged in order, index and dtypes, with a column ``score``.

    Raises
    ------
    InputError
        When `pairs` has a column ``score`` already, an id belongs to no record, and as in `link`.
    """
    given, give_back = open_frame(pairs, "pairs")
    if "score" in given.columns:
        raise InputError("pairs has a column 'score' already. Drop or rename it.")
    scorer = load_student(student, device, threads)
    a, b = read_either(left, right, columns, left_on, right_on, id)
    found = pairs_of(given, a, b)
    scores = scorer.score(a, b, found, context=context, corpus=None, chunk_size=chunk_size, progress=progress)
    return give_back(with_column(given, "score", scores))


def match_pairs(
    scored: Any,
    *,
    threshold: float | None = None,
    matching: Matching = "one_to_one",
    optimal: bool = False,
    one_table: bool = False,
    student: str | Path | Scorer = "default",
) -> Any:
    """Decide which scored pairs are matches.

    Parameters
    ----------
    scored : frame
        Pairs with columns ``left_id``, ``right_id`` and ``score``, as `score_pairs` returns them.
    threshold, matching, optimal
        As in `link`.
    one_table : bool
        Whether both ids name records of one table.
    student : str, Path or Student
        Whose threshold to use where none is given.

    Returns
    -------
    frame of the library of `scored`
        The pairs, unchanged in order, index and dtypes, with an integer column ``match``: 1 or 0. Equal scores are
        decided by the text of the ids, so the order of the rows never matters.

    Raises
    ------
    InputError
        When a column is missing, `scored` has a column ``match`` already, a score or id is missing, or an argument
        cannot be used as given.
    """
    check_threshold(threshold)
    given, give_back = open_frame(scored, "scored")
    if "match" in given.columns:
        raise InputError("scored has a column 'match' already. Drop or rename it.")
    for column in ("left_id", "right_id", "score"):
        require(given, column, "scored")
        if given[column].null_count():
            raise InputError(
                f"scored: column {column!r} has {given[column].null_count()} missing value(s). Drop these rows."
            )
    if threshold is None and matching != "best":
        threshold = threshold_of(student)
    left, right = codes_of(given["left_id"].to_list(), given["right_id"].to_list(), one_table)
    mask = rules.match(
        left, right, given["score"].to_numpy(), matching=matching, at=threshold, optimal=optimal, one_table=one_table
    )
    return give_back(with_column(given, "match", mask.astype(np.int64)))
