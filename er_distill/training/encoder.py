"""Listwise training of a cross-encoder that reads two records at once.

The question a teacher answers is "which of these candidates is this record, or none of them?". The encoder learns that
question: the logits of a query's candidates, with 0 for "none" beside them, go through one softmax, so that a pair's
logit is its log-odds against "none". Where several candidates may be right (dedup, a teacher who names two) a softmax
cannot say so, and each pair is a yes-or-no question of its own; its logit still is the log-odds against "no".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from er_distill.errors import InputError, did_you_mean
from er_distill.pairs import Pairs
from er_distill.tokens import PairEncoder
from er_distill.training import missing_extra
from er_distill.training.pretrained import EncoderModel, choose_device, has_bfloat16, load_base

try:
    import torch
    from torch.nn import functional as F
    from tqdm import tqdm
except ImportError as error:
    raise missing_extra(error) from error

# Votes of several teachers are averaged in floats: a sum this little above 1 still is one choice.
_ONE_CHOICE = 1.001


@dataclass(frozen=True)
class EncoderConfig:
    """How to train.

    Raises
    ------
    InputError
        When a value is none that training knows or can use.
    """

    base: str | Path  # a transformers id, or a folder with config.json, weights and tokenizer
    max_length: int = 128  # tokens a pair, special tokens included
    epochs: int = 3  # passes over all lists
    learning_rate: float = 1e-4  # of AdamW, at its peak
    warmup: float = 0.1  # share of the steps in which the rate climbs to its peak; then it falls linearly to 0
    weight_decay: float = 0.01  # of AdamW, on matrices only
    max_gradient: float = 1.0  # norm above which a step's gradient is scaled down
    batch_tokens: int = 2_048  # tokens a step, padding included: bounds the memory
    list_pairs: int = 16  # pairs a list; longer candidate lists are cut at random into several
    objective: Literal["listwise", "pairwise", "both"] = "listwise"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 autocast where the hardware has it
    device: str = "auto"  # auto: cuda where there is one, else cpu
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("objective", ("listwise", "pairwise", "both")),
            ("dtype", ("auto", "float32", "bfloat16")),
        ):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"EncoderConfig: there is no {name} {value!r}. {did_you_mean(value, known)}")
        for name in ("max_length", "epochs", "learning_rate", "batch_tokens", "list_pairs", "max_gradient"):
            if not getattr(self, name) > 0:
                raise InputError(f"EncoderConfig: {name} must be above 0, not {getattr(self, name)!r}.")


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
    """

    left_texts: list[str]
    right_texts: list[str] | None
    pairs: Pairs
    target: np.ndarray
    weight: np.ndarray | None = None
    name: str = "task"


def train_encoder(
    tasks: Sequence[EncoderTask],
    config: EncoderConfig,
    *,
    progress: bool = False,
    log: Callable[[int, int, float], None] | None = None,
) -> EncoderModel:
    """Train a cross-encoder on labelled candidate lists.

    Parameters
    ----------
    tasks : sequence of EncoderTask
        One model learns all of them.
    config : EncoderConfig
    progress : bool
        Whether to show a progress bar.
    log : callable, optional
        Called after each step with its number (from 1), the number of steps and the step's loss a list.

    Returns
    -------
    EncoderModel
        The same for the same tasks, config and machine.

    Raises
    ------
    InputError
        When the labels or the base cannot be trained on, or the training diverges.
    DeviceError
        When the device cannot be had.

    Notes
    -----
    Where other work shares the cores, set ``OMP_WAIT_POLICY=PASSIVE`` in the environment before Python starts: torch's
    threads otherwise spin while they wait for each other, and a step takes twenty times as long.
    """
    _check_labels(tasks)
    device = choose_device(config.device)
    half = has_bfloat16(device) if config.dtype == "auto" else config.dtype == "bfloat16"
    rng = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        trained = load_base(config.base, config.max_length)
        model = trained.model.to(device)
        lists = _cut_into_lists(tasks, trained, config, rng)
        epochs = [_plan_epoch(lists, config.batch_tokens, rng) for _ in range(config.epochs)]
        n_steps = sum(map(len, epochs))
        # Batches of long texts hold fewer lists; a divisor of their own would make those lists count for more.
        lists_a_step = len(lists) * config.epochs / n_steps

        matrices = [p for p in model.parameters() if p.ndim >= 2]
        vectors = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        n_warmup = max(1, round(config.warmup * n_steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / n_warmup, (n_steps - step) / max(1, n_steps - n_warmup))
        )

        model.train()
        batches = (batch for epoch in epochs for batch in epoch)
        for step, batch in enumerate(tqdm(batches, "training", n_steps, disable=not progress, unit="step"), start=1):
            chosen = [lists[k] for k in batch]
            inputs = _pad(chosen, trained, device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                logits = model(**inputs).logits[:, 0].float()
            scores = logits.split([len(one.target) for one in chosen])
            losses = [list_loss(score, one, config.objective) for score, one in zip(scores, chosen, strict=True)]
            loss = torch.stack(losses).sum() / lists_a_step
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            value = loss.item() * lists_a_step / len(chosen)
            if not math.isfinite(value):
                raise InputError(
                    f"Training diverged in step {step}: the loss is {value}. Lower EncoderConfig.learning_rate."
                )
            if log is not None:
                log(step, n_steps, value)
        model.eval()
    return trained


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
    """

    inputs: list[tuple[np.ndarray, np.ndarray]]
    target: torch.Tensor
    weight: torch.Tensor
    choose_one: bool

    @property
    def length(self) -> int:
        """Tokens of its longest pair."""
        return max(len(ids) for ids, _ in self.inputs)


def list_loss(logits: torch.Tensor, candidates: CandidateList, objective: str) -> torch.Tensor:
    """Return the loss of one list; its gradient by a logit is (probability - target) whatever the objective.

    Parameters
    ----------
    logits : Tensor of float32, shape (k,)
    candidates : CandidateList
    objective : {"listwise", "pairwise", "both"}

    Returns
    -------
    Tensor of float32, a scalar
    """
    target, weight = candidates.target.to(logits.device), candidates.weight.to(logits.device)
    loss = logits.new_zeros(())
    listwise = objective != "pairwise" and candidates.choose_one
    if listwise:
        wanted = torch.cat([(1 - target.sum()).clamp(min=0)[None], target])
        given = torch.cat([logits.new_zeros(1), logits])
        loss = loss + weight.mean() * F.cross_entropy(given, wanted)
    if objective == "both" or not listwise:
        loss = loss + F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    return loss


def _check_labels(tasks: Sequence[EncoderTask]) -> None:
    labels = [np.zeros(0)]
    for task in tasks:
        m = len(task.pairs)
        if task.pairs.one_table != (task.right_texts is None):
            raise InputError(
                f"{task.name}: right_texts must be None when both sides of the pairs are one table, and only then."
            )
        for name, values in (("target", task.target), ("weight", task.weight)):
            if values is not None and values.shape != (m,):
                raise InputError(f"{task.name}: {name} has shape {values.shape}, its pairs need ({m},).")
        known = ~np.isnan(task.target)
        target = task.target[known]
        if ((target < 0) | (target > 1)).any():
            raise InputError(f"{task.name}: target must be between 0 and 1, or nan for pairs that are not trained on.")
        if task.weight is not None and not (np.isfinite(task.weight[known]) & (task.weight[known] >= 0)).all():
            raise InputError(f"{task.name}: weight must be 0 or above for every labelled pair.")
        labels.append(target)
    known = np.concatenate(labels)
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


def _cut_into_lists(
    tasks: Sequence[EncoderTask], model: EncoderModel, config: EncoderConfig, rng: np.random.Generator
) -> list[CandidateList]:
    """Group each task's labelled pairs by query. Every pair is in exactly one list."""
    encoder = PairEncoder(model.tokenizer, model.max_length)
    lists = []
    for task in tasks:
        rows = np.flatnonzero(~np.isnan(task.target))
        pairs = task.pairs.take(rows)
        target = torch.from_numpy(task.target[rows].astype(np.float32))
        weight = (
            torch.ones(len(rows)) if task.weight is None else torch.from_numpy(task.weight[rows].astype(np.float32))
        )
        left = encoder.table(task.left_texts)
        right = left if task.right_texts is None else encoder.table(task.right_texts)
        inputs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for batch in encoder.batches(left, right, pairs, 1_024):
            ids, types = batch.input_ids.astype(np.int32), batch.token_type_ids.astype(np.int8)
            inputs.update(zip(batch.rows.tolist(), zip(ids, types, strict=True), strict=True))
        order = np.argsort(pairs.left, kind="stable")
        for query in np.split(order, np.flatnonzero(np.diff(pairs.left[order])) + 1):
            if not len(query):
                continue
            for part in np.array_split(rng.permutation(query), math.ceil(len(query) / config.list_pairs)):
                choose_one = not task.pairs.one_table and float(target[part].sum()) <= _ONE_CHOICE
                lists.append(
                    CandidateList([inputs[row] for row in part.tolist()], target[part], weight[part], choose_one)
                )
    return lists


def _plan_epoch(lists: list[CandidateList], batch_tokens: int, rng: np.random.Generator) -> list[list[int]]:
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


def _pad(lists: list[CandidateList], model: EncoderModel, device: torch.device) -> dict[str, torch.Tensor]:
    inputs = [pair for one in lists for pair in one.inputs]
    shape = len(inputs), max(one.length for one in lists)
    pad = getattr(model.model.config, "pad_token_id", None) or 0
    padded = {
        "input_ids": np.full(shape, pad),
        "attention_mask": np.zeros(shape, int),
        "token_type_ids": np.zeros(shape, int),
    }
    for row, (ids, types) in enumerate(inputs):
        padded["input_ids"][row, : len(ids)] = ids
        padded["attention_mask"][row, : len(ids)] = 1
        padded["token_type_ids"][row, : len(ids)] = types
    return {name: torch.from_numpy(padded[name]).to(device) for name in model.input_names}
