"""Training of a cross-encoder that reads two records at once: what it loses on a list is in `losses`."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from er_distill.errors import InputError, did_you_mean
from er_distill.training import missing_extra
from er_distill.training.adapters import add_adapters, freeze_layers, keep_layers
from er_distill.training.checkpoints import Checkpoints, Standing, trained_parameters
from er_distill.training.lists import (
    CandidateList,
    EncoderTask,
    check_classes,
    check_tasks,
    cut_into_lists,
    digest,
    pad,
    plan_epoch,
)
from er_distill.training.losses import imitation_loss, list_loss
from er_distill.training.pretrained import EncoderModel, choose_device, has_bfloat16, load_base

try:
    import torch
    from tqdm import tqdm
except ImportError as error:
    raise missing_extra(error) from error

__all__ = ["EncoderConfig", "EncoderTask", "train_encoder"]

_CHOICES = {
    "objective": ("listwise", "pairwise", "both"),
    "imitate": ("distribution", "margin"),
    "dtype": ("auto", "float32", "bfloat16"),
}
_ABOVE_ZERO = (
    *("max_length", "epochs", "learning_rate", "max_gradient"),
    *("batch_tokens", "accumulate", "list_pairs", "temperature", "lora_alpha"),
)


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
    layers: int = 0  # lowest layers of the base that are kept: half as many score twice as fast; 0: all
    epochs: int = 3  # passes over all lists
    learning_rate: float = 1e-4  # of AdamW, at its peak
    warmup: float = 0.1  # share of the steps in which the rate climbs to its peak; then it falls linearly to 0
    weight_decay: float = 0.01  # of AdamW, on matrices only
    max_gradient: float = 1.0  # norm above which a step's gradient is scaled down
    batch_tokens: int = 2_048  # tokens a forward pass, padding included: bounds the memory
    accumulate: int = 1  # forward passes a step
    list_pairs: int = 16  # pairs a list; longer candidate lists are cut at random into several
    objective: Literal["listwise", "pairwise", "both"] = "listwise"
    imitate: Literal["distribution", "margin"] = "distribution"  # what of the tasks' teacher_logit is learned
    imitation: float = 0.5  # share of the loss that is imitation, in lists that have teacher_logit
    temperature: float = 2.0  # of both softmaxes when a distribution is imitated
    lora_rank: int = 0  # of low-rank adapters beside the layers' matrices, which alone are trained; 0: all is trained
    lora_alpha: int = 32  # an adapter is added times lora_alpha / lora_rank
    frozen_layers: int = 0  # lowest layers that stay as they are, with the embeddings below them
    patience: int = 0  # epochs without a lower loss on held-out lists before training stops; 0: it never does
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 autocast where the hardware has it
    device: str = "auto"  # auto: cuda where there is one, else cpu
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"EncoderConfig: there is no {name} {value!r}. {did_you_mean(value, known)}")
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise InputError(f"EncoderConfig: {name} must be above 0, not {getattr(self, name)!r}.")
        for name in ("warmup", "imitation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"EncoderConfig: {name} is a share, 0 to 1, not {getattr(self, name)!r}.")
        for name in ("layers", "lora_rank", "frozen_layers", "patience"):
            if getattr(self, name) < 0:
                raise InputError(f"EncoderConfig: {name} must be 0 or above, not {getattr(self, name)!r}.")


def train_encoder(
    tasks: Sequence[EncoderTask],
    config: EncoderConfig,
    *,
    held_out: Sequence[EncoderTask] = (),
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = False,
    log: Callable[[int, int, float], None] | None = None,
) -> EncoderModel:
    """Train a cross-encoder on labelled candidate lists.

    Parameters
    ----------
    tasks : sequence of EncoderTask
        One model learns all of them.
    config : EncoderConfig
    held_out : sequence of EncoderTask
        Lists that are not trained on. The model is the one after the epoch with the lowest loss on their labels, and
        ``config.patience`` says when to stop.
    checkpoints : Path, optional
        A folder that keeps the state of the run. A run that was killed and is started again with the same arguments
        goes on from there and ends with the same model; one of other arguments replaces it. It may be removed once the
        model is kept.
    checkpoint_seconds : float
        From one checkpoint to the next: what a kill can cost.
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
        When the labels or the base cannot be trained on, the training diverges, or a checkpoint cannot be written.
    DeviceError
        When the device cannot be had.

    Notes
    -----
    Where other work shares the cores, set ``OMP_WAIT_POLICY=PASSIVE`` in the environment before Python starts: torch's
    threads otherwise spin while they wait for each other, and a step takes twenty times as long.
    """
    check_tasks([*tasks, *held_out])
    check_classes(tasks)
    if held_out and all(np.isnan(task.target).all() for task in held_out):
        raise InputError("The held-out tasks have no labelled pair. Leave them out, or hold labelled queries out.")
    if config.patience and not held_out:
        raise InputError("EncoderConfig: patience needs lists that are not trained on. Give train_encoder held_out.")
    device = choose_device(config.device)
    rng = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        trained = load_base(config.base, config.max_length)
        keep_layers(trained.model, config.layers)
        freeze_layers(trained.model, config.frozen_layers)
        merge = add_adapters(trained.model, config.lora_rank, config.lora_alpha) if config.lora_rank else None
        trained.model.to(device)
        lists = cut_into_lists(tasks, trained, config.list_pairs, rng)
        epochs = [_plan_steps(lists, config, rng) for _ in range(config.epochs)]
        looked_at = cut_into_lists(held_out, trained, config.list_pairs, rng)
        measured = plan_epoch(looked_at, config.batch_tokens, rng) if looked_at else []

        n_steps = sum(map(len, epochs))
        # Batches of long texts hold fewer lists; a divisor of their own would make those lists count for more.
        lists_a_step = len(lists) * config.epochs / n_steps
        optimizer = _optimizer(trained.model, config)
        standing, kept = Standing(), None
        if checkpoints is not None:
            run = _run_of(config, trained.model, lists, looked_at)
            kept = Checkpoints(checkpoints, run, trained.model, optimizer, checkpoint_seconds)
            standing = kept.resume()

        ends = np.cumsum([len(epoch) for epoch in epochs]).tolist()
        steps = [step for epoch in epochs for step in epoch]
        with tqdm(desc="training", total=n_steps, initial=standing.step, disable=not progress, unit="step") as bar:
            while standing.step < n_steps and not 0 < config.patience <= standing.waited:
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * _rate(standing.step, n_steps, config.warmup)
                trained.model.train()
                total = 0.0
                for batch in steps[standing.step]:
                    chosen = [lists[k] for k in batch]
                    loss = torch.stack(_losses(trained, chosen, config, device)).sum() / lists_a_step
                    loss.backward()
                    total += loss.item()
                torch.nn.utils.clip_grad_norm_(trained_parameters(trained.model).values(), config.max_gradient)
                optimizer.step()
                optimizer.zero_grad()
                value = total * lists_a_step / sum(map(len, steps[standing.step]))
                standing.step += 1
                if not math.isfinite(value):
                    raise InputError(
                        f"Training diverged in step {standing.step}: the loss is {value}. "
                        "Lower EncoderConfig.learning_rate."
                    )
                if standing.step in ends and measured:
                    _keep_the_best(standing, trained, _held_out_loss(trained, looked_at, measured, config, device))
                if kept is not None:
                    kept.save_when_due(standing)
                if log is not None:
                    log(standing.step, n_steps, value)
                bar.update()
        if kept is not None:
            kept.save(standing)
        with torch.no_grad():
            for name, values in trained_parameters(trained.model).items():
                values.copy_(standing.best.get(name, values))
        model = trained.model if merge is None else merge()
        model.requires_grad_(True)
        model.eval()
    return dataclasses.replace(trained, model=model)


def _plan_steps(
    lists: Sequence[CandidateList], config: EncoderConfig, rng: np.random.Generator
) -> list[list[list[int]]]:
    """Plan an epoch: its steps, each of some batches, each of some lists."""
    batches = plan_epoch(lists, config.batch_tokens, rng)
    return [batches[begin : begin + config.accumulate] for begin in range(0, len(batches), config.accumulate)]


def _optimizer(model: torch.nn.Module, config: EncoderConfig) -> torch.optim.AdamW:
    parameters = trained_parameters(model).values()
    matrices, vectors = ([p for p in parameters if (p.ndim >= 2) is wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _rate(step: int, n_steps: int, warmup: float) -> float:
    """Share of the peak learning rate that the step after `step` others takes."""
    n_warmup = max(1, round(warmup * n_steps))
    return min((step + 1) / n_warmup, (n_steps - step) / max(1, n_steps - n_warmup))


def _losses(
    trained: EncoderModel, chosen: Sequence[CandidateList], config: EncoderConfig, device: torch.device
) -> list[torch.Tensor]:
    """Return the loss of each list."""
    half = has_bfloat16(device) if config.dtype == "auto" else config.dtype == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        logits = trained.model(**pad(chosen, trained, device)).logits[:, 0].float()
    losses = []
    for score, one in zip(logits.split([len(one.target) for one in chosen]), chosen, strict=True):
        loss = list_loss(score, one, config.objective)
        if one.teacher is not None:
            imitated = imitation_loss(score, one, config.imitate, config.temperature)
            loss = (1 - config.imitation) * loss + config.imitation * imitated
        losses.append(loss)
    return losses


def _held_out_loss(
    trained: EncoderModel,
    lists: Sequence[CandidateList],
    batches: Sequence[Sequence[int]],
    config: EncoderConfig,
    device: torch.device,
) -> float:
    trained.model.eval()
    with torch.inference_mode():
        losses = [loss for batch in batches for loss in _losses(trained, [lists[k] for k in batch], config, device)]
        return float(torch.stack(losses).mean())


def _keep_the_best(standing: Standing, trained: EncoderModel, loss: float) -> None:
    if loss < standing.best_loss:
        standing.best_loss, standing.waited = loss, 0
        standing.best = {name: p.detach().clone() for name, p in trained_parameters(trained.model).items()}
    else:
        standing.waited += 1


def _run_of(config: EncoderConfig, model: torch.nn.Module, *lists: Sequence[CandidateList]) -> str:
    """Name what a run starts from: the configuration, each number of the base and its new head, each list."""
    seen = hashlib.sha256(repr(config).encode())
    for values in model.parameters():
        seen.update(values.detach().cpu().numpy())
    return "-".join([seen.hexdigest(), *map(digest, lists)])
