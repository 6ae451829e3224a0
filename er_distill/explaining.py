"""The door of explanations: `explain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from er_distill.blocking import Rule
from er_distill.errors import InputError
from er_distill.explanation import Attribute, Candidate, Explanation, Word
from er_distill.occlusion import (
    MAX_EXACT,
    AlteredPair,
    Row,
    scores_of,
    shapley,
    touching,
    without,
    without_word,
    words_of,
)
from er_distill.pairs import Pairs
from er_distill.readers import generated_explanation
from er_distill.records import Records
from er_distill.scoring import Scorer, candidate_pairs, load_student
from er_distill.student import Student
from er_distill.tables import Columns, Ids, read_either
from er_distill.vectors import Corpus, vectorise

WORDS = 10
"""Words listed when the caller names no other number."""

_DRIVING = 3  # attributes whose words are looked at
_MOST_WORDS = 64  # looked at in all: a long description has hundreds


def explain(
    left: Any,
    right: Any = None,
    *,
    pair: tuple[Any, Any],
    columns: Sequence[str] | None = None,
    left_on: Columns = None,
    right_on: Columns = None,
    id: Ids = None,
    student: str | Path | Scorer = "default",
    device: str = "auto",
    threads: int | None = None,
    blocking: Sequence[Rule] | None = None,
    pairs: Any = None,
    context: bool = True,
    words: int = WORDS,
) -> Explanation:
    """Say which attributes and words drove the score of a candidate pair, and who its rivals are.

    The contributions of the attributes are Shapley values of the score's log-odds: the pair is scored with every
    combination of its attributes, the others being empty in both of its records; all other records, the candidate pairs
    and the weights of words and values stay as they are. See `er_distill.occlusion`.

    Parameters
    ----------
    left, right : frame
        The tables; without `right` the pair is within one table.
    pair : (id, id)
        Ids of the left and of the right record.
    columns, left_on, right_on, id, student, device, threads, blocking, pairs, context
        As in `er_distill.link`. The pair must be one of the candidate pairs.
    words : int
        Most words to list.

    Returns
    -------
    Explanation
        Print it to read it.

    Raises
    ------
    InputError
        When an id belongs to no record, or the pair is not among the candidate pairs, and as in `er_distill.link`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> left = pa.table({"name": ["Ada Lovelace", "Alan Turing"], "city": ["London", "Wilmslow"]})
    >>> right = pa.table({"name": ["Ada Lovelace", "Alan M. Turing"], "city": ["London", "Wilmslow"]})
    >>> why = explain(left, right, pair=(1, 1))
    >>> sorted(attribute.name for attribute in why.attributes)
    ['city', 'name']
    """
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise InputError(f"pair={pair!r} must be two ids: that of the left and that of the right record.")
    scorer = load_student(student, device, threads)
    a, b = read_either(left, right, columns, left_on, right_on, id)

    def find(corpus: Corpus) -> Pairs:
        return candidate_pairs(a, b, blocking, pairs, threads, corpus)[0]

    return explain_records(scorer, a, b, pair[0], pair[1], find, context=context, words=words)


def explain_records(
    scorer: Scorer,
    left: Records,
    right: Records | None,
    left_id: Any,
    right_id: Any,
    find: Callable[[Corpus], Pairs],
    *,
    context: bool = True,
    words: int = WORDS,
) -> Explanation:
    """Explain a pair of records that have been read.

    Parameters
    ----------
    scorer : Scorer
    left : Records
    right : Records or None
        None when both sides are one table.
    left_id, right_id : object
        As the tables have them.
    find : callable
        Returns the candidate pairs, each once, given the tables' vectors.
    context, words
        As in `explain`.
    """
    other = left if right is None else right
    i, j = int(left.codes([left_id], source="pair")[0]), int(other.codes([right_id], source="pair")[0])
    if right is None and i == j:
        raise InputError(f"pair: {left_id!r} is paired with itself. Name two records.")
    word_ids: dict[str, int] = {}
    corpus = vectorise(left, right, word_ids=word_ids)
    pairs = find(corpus)
    own = Pairs(np.array([i]), np.array([j]), len(left), len(other), right is None).keys()
    if not np.isin(own, pairs.keys()).any():
        raise InputError(
            f"pair: {left_id!r} and {right_id!r} are not among the {len(pairs):,} candidate pairs, so they have no "
            "score. Block wider, such as by the 50 most similar, or bring candidate pairs that hold this one."
        )
    rivals = _neighbours(scorer, left, right, pairs, i, j, corpus, context)
    altered = AlteredPair(scorer, left, right, pairs, i, j, corpus, word_ids, context)
    rows = tuple(column[i] for column in left.values), tuple(column[j] for column in other.values)
    attributes, base = _attributes(altered, left.fields, other.fields, rows)
    return Explanation(
        left_id=left_id,
        right_id=right_id,
        # As scored beside its altered versions, so that the sum holds to the last digit.
        score=float(altered.scores([rows])[0]),
        threshold=float(scorer.threshold),
        base=base,
        attributes=attributes,
        exact=sum(bool(one.left or one.right) for one in attributes) <= MAX_EXACT,
        words=_words(altered, left.fields, other.fields, rows, attributes)[:words],
        candidates_of_left=rivals[0],
        candidates_of_right=rivals[1],
        generated=_generated(scorer, left.texts[i], other.texts[j], rivals[0]),
    )


def _neighbours(
    scorer: Scorer, left: Records, right: Records | None, pairs: Pairs, i: int, j: int, corpus: Corpus, context: bool
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """The other candidates of its records, each as among all candidate pairs."""
    near = pairs.take(np.flatnonzero(touching(pairs, [i], [j])))
    # A rival's score depends on the candidates of its other record, too.
    near = pairs.take(np.flatnonzero(touching(pairs, near.left, near.right)))
    scores = scores_of(scorer, left, right, near, context, corpus, touching(near, [i], [j]))
    own = (near.left == i) & (near.right == j)
    if right is None:
        own |= (near.left == j) & (near.right == i)
    others = [
        _candidates(near.left, near.right, scores, i, left if right is None else right, own),
        _candidates(near.right, near.left, scores, j, left, own),
    ]
    if right is None:
        others[0] += _candidates(near.right, near.left, scores, i, left, own)
        others[1] += _candidates(near.left, near.right, scores, j, left, own)
    best_first = [tuple(sorted(side, key=lambda one: (-one.score, one.text, str(one.id)))) for side in others]
    return best_first[0], best_first[1]


def _candidates(
    ends: np.ndarray, others: np.ndarray, scores: np.ndarray, row: int, table: Records, own: np.ndarray
) -> list[Candidate]:
    here = np.flatnonzero((ends == row) & ~own)
    codes = others[here]
    return [
        Candidate(id, score, table.texts[code])
        for id, score, code in zip(table.ids[codes].tolist(), scores[here].tolist(), codes.tolist(), strict=True)
    ]


def _attributes(
    altered: AlteredPair, left_fields: tuple[str, ...], right_fields: tuple[str, ...], rows: tuple[Row, Row]
) -> tuple[tuple[Attribute, ...], float]:
    """Each attribute's contribution, largest first, and the log-odds without any."""
    fields = list(dict.fromkeys(left_fields + right_fields))
    values = {field: (_value(left_fields, rows[0], field), _value(right_fields, rows[1], field)) for field in fields}
    present = [field for field in fields if any(values[field])]

    def value(coalitions: np.ndarray) -> np.ndarray:
        versions = []
        for coalition in coalitions:
            gone = {field for field, stays in zip(present, coalition.tolist(), strict=True) if not stays}
            places = [[k for k, field in enumerate(side) if field in gone] for side in (left_fields, right_fields)]
            versions.append((without(rows[0], places[0]), without(rows[1], places[1])))
        return altered.log_odds(versions)

    gains = dict(zip(present, shapley(value, len(present)).tolist(), strict=True))
    found = [Attribute(field, *values[field], gains.get(field, 0.0)) for field in fields]
    base = float(value(np.zeros((1, len(present)), dtype=bool))[0])
    return tuple(sorted(found, key=lambda one: -abs(one.contribution))), base


def _value(fields: tuple[str, ...], row: Row, field: str) -> str:
    return row[fields.index(field)] if field in fields else ""


def _words(
    altered: AlteredPair,
    left_fields: tuple[str, ...],
    right_fields: tuple[str, ...],
    rows: tuple[Row, Row],
    attributes: Sequence[Attribute],
) -> tuple[Word, ...]:
    """The words of the attributes that contribute most, largest effect first."""
    looked_at: list[tuple[str, str, str, Literal["both", "left", "right"]]] = []
    versions = []
    for one in [one for one in attributes if one.contribution][:_DRIVING]:
        on_left, on_right = words_of(one.left), words_of(one.right)
        places = [fields.index(one.name) if one.name in fields else None for fields in (left_fields, right_fields)]
        for word, shown in (on_right | on_left).items():
            side = "both" if word in on_left and word in on_right else "left" if word in on_left else "right"
            looked_at.append((one.name, word, shown, side))  # type: ignore[arg-type]  # mypy widens it to str
            versions.append((without_word(rows[0], places[0], word), without_word(rows[1], places[1], word)))
    versions, looked_at = versions[:_MOST_WORDS], looked_at[:_MOST_WORDS]
    effects = altered.log_odds([rows])[0] - altered.log_odds(versions)
    found = [
        Word(name, shown, side, effect)
        for (name, _, shown, side), effect in zip(looked_at, effects.tolist(), strict=True)
        if effect
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.effect)))


def _generated(scorer: Scorer, query: str, candidate: str, others: Sequence[Candidate]) -> str | None:
    if not isinstance(scorer, Student):
        return None
    return generated_explanation(scorer, query, [candidate, *(one.text for one in others)])
