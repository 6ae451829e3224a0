"""The doors for recordlinkage users: `Compare`, `StudentFeature` and `Matcher`.

Everything else of recordlinkage is found here too, so that ``from er_distill import recordlinkage`` in the place of
``import recordlinkage`` is all that a script needs.

Two tables must be given as two (``compute(pairs, dfA, dfB)``): where both have the index 0, 1, 2, ..., leaving the
second out compares the first with itself, and recordlinkage's features and the student's alike cannot tell.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from er_distill import matching
from er_distill.errors import InputError, MissingExtraError, did_you_mean, warn
from er_distill.metrics import best_threshold
from er_distill.multiindex import Codes, as_one_table, records_in_pairs, records_of, rows_of
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.scoring import Scorer, check_threshold, load_student, threshold_of
from er_distill.student import CHUNK_SIZE
from er_distill.tables import paired

try:
    import pandas
    import recordlinkage
    from recordlinkage.base import BaseClassifier, BaseCompareFeature
    from recordlinkage.utils import listify, return_type_deprecator
except ImportError as error:
    raise MissingExtraError(
        f"er_distill.Compare, StudentFeature and Matcher need recordlinkage ({error}): "
        "pip install 'er-distill[recordlinkage]'. link and dedupe work without it."
    ) from error


def __getattr__(name: str) -> Any:
    return getattr(recordlinkage, name)


class StudentFeature(BaseCompareFeature):
    """The probability that two records are the same thing, as a feature of recordlinkage.

    Parameters
    ----------
    left_on, right_on : label or list of labels
        The columns to compare, paired in order. By default the same on the right.
    student : str, Path or Student
        The name of a bundled student, a student folder, or a loaded student.
    label : label
        The name of the column of probabilities.
    device, threads, context, chunk_size, progress
        As in `er_distill.link`.

    Notes
    -----
    A probability depends on the candidate pairs beside it (unless ``context=False``) and on how rare words are. Added
    to recordlinkage's own ``Compare``, the feature sees the records that are in pairs; `Compare` shows it the whole
    tables, and is the only one that may have ``n_jobs > 1``.
    """

    name = "student"
    description = "Probability of a match, by a student that LLM teachers taught."

    def __init__(
        self,
        left_on: Any,
        right_on: Any = None,
        student: str | Path | Scorer = "default",
        label: Any = "student",
        *,
        device: str = "auto",
        threads: int | None = None,
        context: bool = True,
        chunk_size: int = CHUNK_SIZE,
        progress: bool = False,
    ) -> None:
        super().__init__(left_on, left_on if right_on is None else right_on, label=label)
        self._left, self._right = paired(self.labels_left, self.labels_right)
        self.student = student
        self.device = device
        self.threads = threads
        self.context = context
        self.chunk_size = chunk_size
        self.progress = progress
        self._pickled_in: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pickled_in": os.getpid()}

    def compute(self, pairs: Any, x: Any, x_link: Any = None) -> Any:
        """Return the probabilities as a Series with the pairs as its index; arguments as recordlinkage's."""
        return Compare([self]).compute(pairs, x, x_link).iloc[:, 0]  # the original takes both sides from level 0

    def score(self, pairs: Any, x: Any, x_link: Any = None) -> npt.NDArray[np.float64]:
        """Return the probability of each pair, in the order of `pairs`, shape (len(pairs),).

        Parameters
        ----------
        pairs : pandas.MultiIndex
            Labels of the two records of each pair.
        x : pandas.DataFrame
            The left table, or the only one (duplicate detection).
        x_link : pandas.DataFrame, optional
            The right table.

        Raises
        ------
        InputError
            When `pairs` is empty or no MultiIndex of two levels, a label belongs to no record, an index has repeats, a
            column is missing or has nothing to compare.
        """
        if not isinstance(pairs, pandas.MultiIndex) or pairs.nlevels != 2:
            raise InputError("pairs must be a pandas.MultiIndex with two levels, as recordlinkage.Index().index makes.")
        for name, frame in (("left", x), ("right", x if x_link is None else x_link)):
            if not isinstance(frame, pandas.DataFrame):
                raise InputError(f"{name} is a {type(frame).__qualname__}, not a pandas.DataFrame.")
        left = records_of(x, self._left, "left")
        if x_link is None and self._left == self._right:  # a pair has no direction then: one table
            return self._score(left, None, rows_of(pairs, 0, left), rows_of(pairs, 1, left))
        right = records_of(x if x_link is None else x_link, self._right, "right")
        return self._score(left, right, rows_of(pairs, 0, left), rows_of(pairs, 1, right))

    def _compute_vectorized(self, *columns: Any) -> npt.NDArray[np.float64]:
        """Score the rows that recordlinkage's own ``Compare`` has looked up: one Series a label, left ones first."""
        if self._pickled_in is not None and self._pickled_in == os.getppid():
            raise InputError(
                "recordlinkage.Compare(n_jobs=...) cuts the candidate lists that the student needs whole. "
                "Use er_distill.Compare(n_jobs=...), which scores them before it starts jobs, or n_jobs=1."
            )
        if not len(columns[0]):
            raise InputError("pairs holds no candidate pair. Bring pairs, or let blocking find them.")
        middle = len(listify(self.labels_left))
        left, left_rows = records_in_pairs(columns[:middle], list(self._left), 0)
        right, right_rows = records_in_pairs(columns[middle:], list(self._left), 1)
        if table := as_one_table(left, right, left_rows, right_rows):
            return self._score(table[0], None, table[1], table[2])
        return self._score(left, right, left_rows, right_rows)

    def _score(
        self, left: Records, right: Records | None, left_rows: Codes, right_rows: Codes
    ) -> npt.NDArray[np.float64]:
        n_right = len(left if right is None else right)
        pairs = Pairs(left_rows, right_rows, len(left), n_right, right is None).checked("pairs")
        scorer = load_student(self.student, self.device, self.threads)
        return scorer.score(
            left, right, pairs, context=self.context, corpus=None, chunk_size=self.chunk_size, progress=self.progress
        )


class Compare(recordlinkage.Compare):
    """recordlinkage's ``Compare`` with one more comparison: `student`.

    All else is as there. A student is run once, in this process, on whole candidate lists, whatever ``n_jobs`` is.
    """

    def student(
        self,
        left_on: Any,
        right_on: Any = None,
        student: str | Path | Scorer = "default",
        label: Any = "student",
        **options: Any,
    ) -> Compare:
        """Compare records by a student; arguments as `StudentFeature`. Returns self, like the other comparisons."""
        self.add(StudentFeature(left_on, right_on, student, label, **options))
        return self

    def compute(self, pairs: Any, x: Any, x_link: Any = None) -> Any:
        """Compare the records of each pair; arguments and result as recordlinkage's."""
        students = {
            f"\0student {place}": feature
            for place, feature in enumerate(self.features)
            if isinstance(feature, StudentFeature)
        }
        if not students:
            return super().compute(pairs, x, x_link)
        scores = {held: feature.score(pairs, x, x_link) for held, feature in students.items()}
        others = copy.copy(self)
        others.features = [
            _Held(f"\0student {place}") if isinstance(feature, StudentFeature) else feature
            for place, feature in enumerate(self.features)
        ]
        result = super(Compare, others).compute(pairs, x, x_link)
        labels = list(result.columns)
        for place, held in enumerate(result.columns):
            if held in students:
                result.isetitem(place, scores[held])
                label = students[held].label
                labels[place] = place if label is None else label  # recordlinkage numbers columns without a label
        result.columns = labels
        return result


class Matcher(BaseClassifier):
    """Decide by the student's probability which pairs are matches; a classifier like recordlinkage's.

    It works without labels: then a pair is a match from the student's own threshold on. `fit` with known links chooses
    the threshold that has the highest F1 on them.

    Parameters
    ----------
    threshold : float, optional
        Probability in [0, 1] from which a pair is a match, whatever `fit` finds.
    student : str, Path or Student
        Whose threshold holds where there is neither `threshold` nor a fit.
    label : label
        The student's column among the features; the others are not looked at.
    one_to_one : bool
        For two tables: no record is in two matches, the best go first.
    """

    def __init__(
        self,
        threshold: float | None = None,
        *,
        student: str | Path | Scorer = "default",
        label: Any = "student",
        one_to_one: bool = False,
    ) -> None:
        check_threshold(threshold)
        self.threshold = threshold
        self.student = student
        self.label = label
        self.one_to_one = one_to_one
        self._fitted: float | None = None

    def fit(self, comparison_vectors: Any, match_index: Any = None) -> None:
        """Choose the threshold from known links; without links there is nothing to learn.

        Parameters
        ----------
        comparison_vectors : pandas.DataFrame
            Features, with the student's column.
        match_index : pandas.MultiIndex, optional
            The true links. Those that are not among the candidate pairs teach nothing, and a warning counts them.

        Raises
        ------
        InputError
            When the student's column is missing, or no link is among the candidate pairs.
        """
        column = self._column(comparison_vectors)
        if isinstance(match_index, pandas.MultiIndex):
            _warn_of_links_outside(match_index, column.index)
        super().fit(column, match_index)

    @return_type_deprecator
    def predict(self, comparison_vectors: Any) -> Any:
        """Return the matches.

        Parameters
        ----------
        comparison_vectors : pandas.DataFrame
            Features, with the student's column.

        Returns
        -------
        pandas.MultiIndex, pandas.Series or ndarray
            As recordlinkage's option ``classification.return_type`` says: the matching pairs, or 1 and 0 for each pair.
        """
        column = self._column(comparison_vectors)
        if not self.one_to_one:
            return super().predict(column)
        left, right = (column.index.codes[level].astype(np.int64) for level in (0, 1))
        chosen = matching.one_to_one(left, right, column.to_numpy()[:, 0], self._threshold())
        return self._return_result(chosen.astype(np.int64), column)

    def prob(self, comparison_vectors: Any, return_type: Any = None) -> Any:
        """Return the student's probability of each pair, as a Series."""
        return super().prob(self._column(comparison_vectors), return_type)

    def _column(self, features: Any) -> Any:
        if not isinstance(features, pandas.DataFrame):
            raise InputError("features must be a pandas.DataFrame, as Compare().compute makes it.")
        if self.label not in features.columns:
            raise InputError(
                f"features has no column {self.label!r}. {did_you_mean(self.label, features.columns)} "
                "Compare().student(...) makes the column; label= names another."
            )
        return features[[self.label]]

    def _threshold(self) -> float:
        if self.threshold is not None:
            return self.threshold
        return threshold_of(self.student) if self._fitted is None else self._fitted

    def _fit(self, features: Any, y: Any = None) -> None:
        if y is not None:
            self._fitted = best_threshold(y, features[:, 0]).threshold

    def _predict(self, features: Any) -> npt.NDArray[np.int64]:
        # integers: recordlinkage would take every pair with another dtype for a match
        return matching.threshold(features[:, 0], self._threshold()).astype(np.int64)

    def _prob_match(self, features: Any) -> npt.NDArray[np.float64]:
        return features[:, 0]


class _Held(BaseCompareFeature):
    """Keeps a column free for scores, in every job."""

    def __init__(self, label: str) -> None:
        super().__init__([], None, label=label)

    def _compute_vectorized(self, indexed: Any) -> npt.NDArray[np.float64]:
        return np.zeros(len(indexed))


def _warn_of_links_outside(links: Any, candidates: Any) -> None:
    outside = links[~links.isin(candidates)]
    if not len(outside):
        return
    turned = int(outside.swaplevel().isin(candidates).sum())
    hint = f" {turned} of them are there the other way round: swap their levels." if turned else ""
    warn(
        f"{len(outside)} of {len(links)} links are not among the candidate pairs and teach nothing.{hint} "
        "Blocking that keeps more pairs would show them."
    )
