"""What an encoder is trained on: labelled candidate pairs, cut into lists, put together into batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.tokens import PairEncoder
from er_distill.training import missing_extra
from er_distill.training.pretrained import EncoderModel

try:
    import torch
except ImportError as error:
    raise missing_extra(error) from error

_TOKENS_AT_ONCE = 65_536
# Votes of several teachers are averaged in floats: a sum this little above 1 still is one choice.
_ONE_CHOICE = 1.001


@dataclass(frozen=True)
class EncoderTask:
    """Candidate pairs with labels.

    Attributes
    ----------
    left_texts : list of str
        Texts of the left records.
    right_texts : list of str or None
        Texts of the right records; None when both sides are one table.
    pairs : Pairs
        The candidate pairs, m of them.
    target : ndarray of float, shape (m,)
        How sure the teachers are that the pair is a match, 0 to 1; nan for a pair that is not trained on.
    weight : ndarray of float, shape (m,), optional
        How much a pair counts; by default 1.
    name : str
        What messages call the task.
    teacher_logit : ndarray of float, shape (m,), optional
        The pair's log-odds of a match as a bigger model gives them; nan where it gave none. A list is distilled from
        them when all of its pairs have one.
    """

    left_texts: list[str]
    right_texts: list[str] | None
    pairs: Pairs
    target: np.ndarray
    weight: np.ndarray | None = None
    name: str = "task"
    teacher_logit: np.ndarray | None = None


@dataclass(frozen=True)
class CandidateList:
    """Candidates of one query that are trained on together.

    Attributes
    ----------
    inputs : list of (input_ids, token_type_ids)
        By pair, k of them, each of the pair's own length.
    target, weight : Tensor of float32, shape (k,)
    choose_one : bool
        Whether at most one of them is right.
    teacher : Tensor of float32, shape (k,), or None
        Log-odds of a bigger model; None unless it gave them for every pair.
    """

    inputs: list[tuple[np.ndarray, np.ndarray]]
    target: torch.Tensor
    weight: torch.Tensor
    choose_one: bool
    teacher: torch.Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens of its longest pair."""
        return max(len(ids) for ids, _ in self.inputs)


def check_tasks(tasks: Sequence[EncoderTask]) -> None:
    """Raise InputError where arrays do not fit the pairs or hold values that cannot be trained on."""
    for task in tasks:
        m = len(task.pairs)
        if task.pairs.one_table != (task.right_texts is None):
            raise InputError(
                f"{task.name}: right_texts must be None when both sides of the pairs are one table, and only then."
            )
        for name, values in (("target", task.target), ("weight", task.weight), ("teacher_logit", task.teacher_logit)):
            if values is not None and values.shape != (m,):
                raise InputError(f"{task.name}: {name} has shape {values.shape}, its pairs need ({m},).")
        known = ~np.isnan(task.target)
        target = task.target[known]
        if ((target < 0) | (target > 1)).any():
            raise InputError(f"{task.name}: target must be between 0 and 1, or nan for pairs that are not trained on.")
        if task.weight is not None and not (np.isfinite(task.weight[known]) & (task.weight[known] >= 0)).all():
            raise InputError(f"{task.name}: weight must be 0 or above for every labelled pair.")
        if task.teacher_logit is not None and np.isinf(task.teacher_logit).any():
            raise InputError(f"{task.name}: teacher_logit must be finite, or nan where the bigger model gave none.")


def check_classes(tasks: Sequence[EncoderTask]) -> None:
    """Raise InputError unless there are labels, of matches and of non-matches."""
    known = np.concatenate([np.zeros(0), *(task.target[~np.isnan(task.target)] for task in tasks)])
    names = ", ".join(task.name for task in tasks) or "no task"
    if not len(known):
        raise InputError(
            f"There is no labelled pair to train on ({names}). Join the labels to the candidate pairs first."
        )
    if (known >= 0.5).all() or (known < 0.5).all():
        kind = "a match" if known[0] >= 0.5 else "no match"
        raise InputError(
            f"All {len(known):,} labelled pairs are {kind} ({names}). Training needs both kinds: label more."
        )


def cut_into_lists(
    tasks: Sequence[EncoderTask], model: EncoderModel, list_pairs: int, rng: np.random.Generator
) -> list[CandidateList]:
    """Group each task's labelled pairs by query, at most `list_pairs` a list. Every pair is in exactly one list."""
    encoder = PairEncoder(model.tokenizer, model.max_length)
    lists = []
    for task in tasks:
        rows = np.flatnonzero(~np.isnan(task.target))
        pairs = task.pairs.take(rows)
        target = torch.from_numpy(task.target[rows].astype(np.float32))
        weight = (
            torch.ones(len(rows)) if task.weight is None else torch.from_numpy(task.weight[rows].astype(np.float32))
        )
        logit = np.full(len(rows), np.nan) if task.teacher_logit is None else task.teacher_logit[rows]
        teacher = torch.from_numpy(logit.astype(np.float32))
        left = encoder.table(task.left_texts)
        right = left if task.right_texts is None else encoder.table(task.right_texts)
        inputs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for batch in encoder.batches(left, right, pairs, _TOKENS_AT_ONCE):
            ids, types = batch.input_ids.astype(np.int32), batch.token_type_ids.astype(np.int8)
            inputs.update(zip(batch.rows.tolist(), zip(ids, types, strict=True), strict=True))
        order = np.argsort(pairs.left, kind="stable")
        for query in np.split(order, np.flatnonzero(np.diff(pairs.left[order])) + 1):
            if not len(query):
                continue
            for part in np.array_split(rng.permutation(query), math.ceil(len(query) / list_pairs)):
                lists.append(
                    CandidateList(
                        inputs=[inputs[row] for row in part.tolist()],
                        target=target[part],
                        weight=weight[part],
                        choose_one=not task.pairs.one_table and float(target[part].sum()) <= _ONE_CHOICE,
                        teacher=None if teacher[part].isnan().any() else teacher[part],
                    )
                )
    return lists


def plan_epoch(lists: Sequence[CandidateList], batch_tokens: int, rng: np.random.Generator) -> list[list[int]]:
    """Cut an epoch into batches of lists of about one length, so that little of a batch is padding; in random order."""
    length = np.array([one.length for one in lists])
    # The noise lets a list meet others than those of exactly its length, and different ones each epoch.
    order = np.argsort(length * rng.uniform(0.9, 1.1, len(lists)))
    batches: list[list[int]] = []
    n_pairs, longest = 0, 0
    for k in order.tolist():
        n_pairs, longest = n_pairs + len(lists[k].target), max(longest, length[k])
        if not batches or n_pairs * longest > batch_tokens:
            batches.append([])
            n_pairs, longest = len(lists[k].target), length[k]
        batches[-1].append(k)
    return [batches[k] for k in rng.permutation(len(batches))]


def pad(lists: Sequence[CandidateList], model: EncoderModel, device: torch.device) -> dict[str, torch.Tensor]:
    """Put the pairs of `lists` into one batch on `device`: what the model reads, by name."""
    inputs = [pair for one in lists for pair in one.inputs]
    shape = len(inputs), max(one.length for one in lists)
    fill = getattr(model.model.config, "pad_token_id", None) or 0
    padded = {
        "input_ids": np.full(shape, fill),
        "attention_mask": np.zeros(shape, int),
        "token_type_ids": np.zeros(shape, int),
    }
    for row, (ids, types) in enumerate(inputs):
        padded["input_ids"][row, : len(ids)] = ids
        padded["attention_mask"][row, : len(ids)] = 1
        padded["token_type_ids"][row, : len(ids)] = types
    return {name: torch.from_numpy(padded[name]).to(device) for name in model.input_names}


def digest(lists: Sequence[CandidateList]) -> str:
    """Return a hash of all that `lists` hold, in their order."""
    seen = hashlib.sha256()
    for one in lists:
        seen.update(f"{one.choose_one} {one.teacher is None}".encode())
        for values in (one.target, one.weight, *([] if one.teacher is None else [one.teacher])):
            seen.update(values.numpy().tobytes())
        for ids, types in one.inputs:
            seen.update(ids.tobytes() + types.tobytes())
    return seen.hexdigest()
