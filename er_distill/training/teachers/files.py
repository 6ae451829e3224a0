"""A teacher whose answers stand in a file: labels made elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from er_distill.errors import InputError, did_you_mean
from er_distill.files import ENDINGS, read_pairs, require_columns
from er_distill.training.exclusion import at_most_one
from er_distill.training.labels import Candidates, GivenAnswer, label_value, read_answers
from er_distill.training.teachers.base import NONE, Answer, Question

ANSWER_ENDINGS = (".jsonl", ".jsonl.gz")


class LabelFile:
    """Reads answers from a file.

    Two kinds of file:

    - ``.jsonl``, ``.jsonl.gz``: answers to lists, ``{"query_id", "answer_id", "answered"}`` a line, as published with
      the DistillER benchmark. `answer_id` is null for none of the candidates; `answered` false is an abstention.
    - ``.csv``, ``.tsv`` (also with ``.gz``), ``.parquet``: labels of pairs in the columns `left_id`, `right_id` and
      `label`, which is 0, 1 or a probability. Several labels of one pair are votes, and averaged. The best candidate is
      the answer where its label is above 0.5; "none" needs a label of every candidate.

    What the file does not answer is an abstention with its reason. Queries that are not asked are passed over.

    Parameters
    ----------
    path : Path
    name : str, optional
        By default ``labels:`` and the file's name.
    licence : str
        What the labels stand under.

    Raises
    ------
    InputError
        When the file cannot be read; the message names the line.
    """

    def __init__(self, path: str | Path, *, name: str | None = None, licence: str = "unknown") -> None:
        self.path = Path(path)
        self.name = f"labels:{self.path.name}" if name is None else name
        self.licence = licence
        self._answers: dict[str, GivenAnswer] | None = None
        self._labels: dict[tuple[str, str], float] = {}
        if self.path.name.lower().endswith(ANSWER_ENDINGS):
            self._answers = read_answers(self.path)
        elif self.path.name.lower().endswith(ENDINGS):
            self._labels = _read_labels(self.path)
        else:
            raise InputError(
                f"{self.path}: the ending says no known format. Use one of {', '.join((*ANSWER_ENDINGS, *ENDINGS))}."
            )

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer), in their order.

        Raises
        ------
        InputError
            When the file speaks of no record of the left table: it belongs to another task.
        """
        right = candidates.left if candidates.right is None else candidates.right
        left_ids = [str(one) for one in candidates.left.ids.tolist()]
        right_ids = [str(one) for one in right.ids.tolist()]
        self._check_ids(candidates.left.name, left_ids, one_table=candidates.right is None)
        for position, question in enumerate(questions):
            query, listed = left_ids[question.query], [right_ids[row] for row in question.candidates]
            if self._answers is not None:
                yield position, self._from_answer(self._answers.get(query), listed)
            else:
                yield position, self._from_labels(query, listed, one_table=candidates.right is None)

    def _check_ids(self, table: str, left_ids: Sequence[str], *, one_table: bool) -> None:
        known = set(left_ids)
        if self._answers is not None:
            column, found = "query_id", set(self._answers)
        else:
            column, found = "left_id", {left for left, _ in self._labels}
            if one_table:  # a pair of one table has no direction
                found |= {right for _, right in self._labels}
        if not known & found:
            example = min(found, default="")
            raise InputError(
                f"no {column} of {self.path} is a record of {table}. {did_you_mean(example, left_ids)} "
                "Check that both name the records by the same column."
            )

    def _from_answer(self, given: GivenAnswer | None, listed: Sequence[str]) -> Answer:
        if given is None:
            return Answer(None, reason=f"not in {self.path.name}")
        if not given.answered:
            return Answer(None, reason=f"unanswered in {self.path.name}")
        choice = given.place_in(listed)
        if choice is None:
            return Answer(None, reason=f"answer {given.answer_id!r} is not among the candidates")
        return Answer(choice, explanation=given.explanation)

    def _from_labels(self, query: str, listed: Sequence[str], *, one_table: bool) -> Answer:
        labels: dict[int, float] = {}
        for place, candidate in enumerate(listed):
            label = self._labels.get((query, candidate))
            if label is None and one_table:
                label = self._labels.get((candidate, query))
            if label is not None:
                labels[place] = label
        if not labels:
            return Answer(None, reason=f"not in {self.path.name}")
        highest = max(labels.values())
        best = [place for place, label in labels.items() if label == highest]
        whole = len(labels) == len(listed)
        if highest > 0.5 and len(best) > 1:
            return Answer(None, reason=f"{len(best)} candidates are labelled as matches alike")
        if highest <= 0.5 and not whole:
            return Answer(None, reason=f"{len(listed) - len(labels)} of {len(listed)} candidates have no label")
        hard = not whole or all(label in (0.0, 1.0) for label in labels.values())
        probabilities = None if hard else tuple(at_most_one([labels[place] for place in range(len(listed))]).tolist())
        return Answer(best[0] if highest > 0.5 else NONE, probabilities)


def _read_labels(path: Path) -> dict[tuple[str, str], float]:
    table = read_pairs(path)
    require_columns(table, ("label",), path)
    votes: dict[tuple[str, str], list[float]] = {}
    columns = (table[name].to_pylist() for name in ("left_id", "right_id", "label"))
    for row, (left, right, label) in enumerate(zip(*columns, strict=True)):
        votes.setdefault((str(left), str(right)), []).append(label_value(label, row, str(path)))
    return {pair: sum(labels) / len(labels) for pair, labels in votes.items()}
