"""Default candidate pairs, for callers who bring none.

Blocking cuts all possible pairs down to those worth scoring. A match it cuts is lost for good, so the report says how
much was cut and, where the truth is known, :func:`er_distill.metrics.blocking_scores` says what was lost.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tqdm import tqdm

from er_distill.errors import InputError, did_you_mean, warn
from er_distill.nearest import nearest
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.vectors import Corpus, Vectors, vectorise

MAX_EXACT_PAIRS = 50_000_000
"""Pairs one exact rule may make; a rule on a column with few values would otherwise fill the memory."""

_MODES = ("union", "mutual", "left")


@dataclass(frozen=True)
class TopK:
    """The k most similar records by TF-IDF cosine of character trigrams.

    Among more than 100,000 records they are sought among those that share rare words or trigrams
    (`er_distill.nearest`), so that a record takes a bounded time.

    Attributes
    ----------
    k : int
        Candidates a record.
    mode : {"union", "mutual", "left"}
        Keep a pair when it is among the best k of either record, of both, or of the left one. In one table "left" is
        "union".
    """

    k: int = 10
    mode: Literal["union", "mutual", "left"] = "union"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"blocking: k must be at least 1, not {self.k}.")
        if self.mode not in _MODES:
            raise InputError(f"blocking: mode {self.mode!r} is unknown. {did_you_mean(self.mode, _MODES)}")

    def __str__(self) -> str:
        return f"top {self.k} by trigrams ({self.mode})"


@dataclass(frozen=True)
class Exact:
    """Records with equal, present values in every one of some fields.

    Attributes
    ----------
    fields : tuple of str
        Field names both tables have; values are compared without case, accents and punctuation.
    """

    fields: tuple[str, ...]

    def __init__(self, *fields: str) -> None:
        if not fields:
            raise InputError("blocking: Exact needs at least one field name.")
        object.__setattr__(self, "fields", fields)

    def __str__(self) -> str:
        return "equal " + " and ".join(self.fields)


Rule = TopK | Exact


@dataclass(frozen=True)
class BlockingReport:
    """How much blocking cut.

    Attributes
    ----------
    rules : tuple of (str, int)
        Each rule and the pairs it found; a pair may be found by several.
    pairs : int
        Candidate pairs in all.
    possible : int
        Pairs there could be.
    left_without, right_without : int
        Records without any candidate; in dedup both are the same number.
    """

    rules: tuple[tuple[str, int], ...]
    pairs: int
    possible: int
    left_without: int
    right_without: int

    @property
    def reduction(self) -> float:
        """Share of the possible pairs that was cut."""
        return 1 - self.pairs / self.possible if self.possible else 0.0


@dataclass(frozen=True)
class Blocking:
    """Candidate pairs, the report on them, and the corpus they were found in (scoring reads the same)."""

    pairs: Pairs
    report: BlockingReport
    corpus: Corpus


def candidates(
    left: Records,
    right: Records | None = None,
    *,
    rules: Sequence[Rule] | None = None,
    threads: int | None = None,
    corpus: Corpus | None = None,
    progress: bool = False,
) -> Blocking:
    """Find candidate pairs.

    Parameters
    ----------
    left : Records
    right : Records or None
        None finds pairs within one table (dedup).
    rules : sequence of TopK and Exact, optional
        The pairs of all rules together. Default: ``[TopK(10, "union")]``.
    threads : int, optional
        Default: the cores this process may use.
    corpus : Corpus, optional
        The tables' vectors, when they have been made already.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Blocking
        Pairs sorted by left, then right record; each once. A warning says so when there is none.

    Raises
    ------
    InputError
        When `rules` holds none or no rule, a rule names a field that is not on both sides, or makes too many pairs.
    """
    rules = [TopK()] if rules is None else _checked_rules(rules)
    corpus = vectorise(left, right) if corpus is None else corpus
    n_left, n_right = len(left), len(left if right is None else right)
    found = []
    with tqdm(desc="blocking", unit="record", unit_scale=True, disable=not progress, file=sys.stderr) as bar:
        bar.total = sum(_look_ups(rule, n_left, n_right, corpus.one_table) for rule in rules)
        for rule in rules:
            if isinstance(rule, TopK):
                keys = _top_k(corpus, rule, threads, bar.update)
            else:
                keys = _exact(corpus, rule, left.name)
            found.append(np.unique(keys))
    keys = found[0] if len(found) == 1 else np.unique(np.concatenate(found))
    pairs = Pairs(keys // n_right, keys % n_right, n_left, n_right, corpus.one_table)
    possible = n_left * (n_left - 1) // 2 if corpus.one_table else n_left * n_right
    if possible and not len(pairs):  # tables that share nothing are no mistake in a pipeline that runs every night
        listed = "; ".join(map(str, rules))
        tables = left.name if right is None else f"{left.name} and {right.name}"
        warn(f"blocking found no candidate pair in {tables} ({listed}). Compare other columns or use other rules.")
    has_left, has_right = np.zeros(n_left, bool), np.zeros(n_right, bool)
    has_left[pairs.left] = has_right[pairs.right] = True
    if corpus.one_table:
        has_left = has_right = has_left | has_right
    report = BlockingReport(
        rules=tuple((str(rule), len(keys)) for rule, keys in zip(rules, found, strict=True)),
        pairs=len(pairs),
        possible=possible,
        left_without=int((~has_left).sum()),
        right_without=int((~has_right).sum()),
    )
    return Blocking(pairs, report, corpus)


def _checked_rules(rules: Sequence[Rule]) -> list[Rule]:
    if isinstance(rules, (TopK, Exact, str)) or not all(isinstance(rule, (TopK, Exact)) for rule in rules):
        raise InputError(f"blocking={rules!r} must be a list of TopK and Exact, such as [TopK(10), Exact('city')].")
    if not rules:
        raise InputError("blocking: no rule was given. Leave rules out for the default, or name at least one.")
    return list(rules)


def _look_ups(rule: Rule, n_left: int, n_right: int, one_table: bool) -> int:
    """How many records a rule is asked about."""
    if isinstance(rule, Exact):
        return 0
    return n_left if one_table or rule.mode == "left" else n_left + n_right


def _keys(i: np.ndarray, j: np.ndarray, corpus: Corpus) -> np.ndarray:
    i, j = i.astype(np.int64), j.astype(np.int64)
    if corpus.one_table:
        i, j = np.minimum(i, j), np.maximum(i, j)
    return i * len(corpus.right) + j


def _top_k(corpus: Corpus, rule: TopK, threads: int | None, progress: Callable[[int], object]) -> np.ndarray:
    def found(queries: Vectors, others: Vectors, k: int) -> tuple[np.ndarray, np.ndarray]:
        return nearest(queries, others, corpus.vocabulary, k, threads=threads, progress=progress)

    if corpus.one_table:
        i, j = found(corpus.left, corpus.left, rule.k + 1)  # a record is its own nearest
        other = i != j
        keys = _keys(i[other], j[other], corpus)
        if rule.mode == "mutual":
            both, times = np.unique(keys, return_counts=True)
            return both[times == 2]
        return keys
    forward = _keys(*found(corpus.left, corpus.right, rule.k), corpus)
    if rule.mode == "left":
        return forward
    backward = _keys(*found(corpus.right, corpus.left, rule.k)[::-1], corpus)
    if rule.mode == "mutual":
        return np.intersect1d(forward, backward)
    return np.concatenate([forward, backward])


def _exact(corpus: Corpus, rule: Exact, name: str) -> np.ndarray:
    aligned = corpus.vocabulary.aligned
    for field in rule.fields:
        if field not in aligned:
            raise InputError(f"blocking: no compared column {field!r} on both sides. {did_you_mean(field, aligned)}")
    columns = [aligned.index(field) for field in rule.fields]
    keys: dict[tuple[str, ...], int] = {}
    left = _block_of(corpus.left, columns, keys)
    right = left if corpus.one_table else _block_of(corpus.right, columns, keys)
    sizes_left, sizes_right = (np.bincount(side[side >= 0], minlength=len(keys)) for side in (left, right))
    expected = int((sizes_left.astype(np.int64) * sizes_right).sum())
    if expected > MAX_EXACT_PAIRS:
        raise InputError(
            f"blocking: {rule} would make {expected:,} pairs of {name}, more than {MAX_EXACT_PAIRS:,}. "
            "Add a field to the rule, or block by similarity."
        )
    order = np.argsort(right, kind="stable")
    order = order[right[order] >= 0]
    starts = np.cumsum(sizes_right) - sizes_right
    rows = np.flatnonzero(left >= 0)
    repeats = sizes_right[left[rows]]
    i = np.repeat(rows, repeats)
    within = np.arange(len(i)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    j = order[np.repeat(starts[left[rows]], repeats) + within]
    if corpus.one_table:
        i, j = i[i < j], j[i < j]
    return _keys(i, j, corpus)


def _block_of(vectors: Vectors, columns: list[int], keys: dict[tuple[str, ...], int]) -> np.ndarray:
    """Each record's block number; -1 where a value is missing."""
    rows = zip(*(vectors.values[column] for column in columns), strict=True)
    return np.fromiter((keys.setdefault(row, len(keys)) if all(row) else -1 for row in rows), np.int64, len(vectors))
