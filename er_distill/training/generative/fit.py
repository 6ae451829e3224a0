"""`fit_generative`: from choices to a folder of adapters.

Read it from top to bottom: what is trained on and what watches, the base with its adapters, the method's trainer, and
how a run that was stopped goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.errors import InputError
from er_distill.training import missing_extra
from er_distill.training.generative import trainers
from er_distill.training.generative.adapter import check_absent, save_adapter
from er_distill.training.generative.base import Learner, load_learner, quiet_libraries
from er_distill.training.generative.config import Dpo, GenerativeConfig, Sft
from er_distill.training.generative.data import Choice, check_choices
from er_distill.training.generative.preference import dpo_trainer
from er_distill.training.generative.reward import grpo_trainer
from er_distill.training.generative.sft import sft_trainer
from er_distill.training.generative.watch import GOOD, Watch

try:
    import torch
    from transformers import PrinterCallback
    from transformers.trainer_utils import get_last_checkpoint
except ImportError as error:
    raise missing_extra(error) from error

log = logging.getLogger(__name__)

_FEWEST_WATCHED = 8  # of fewer answers, all may be equal by chance
_RUN = "run.json"


def fit_generative(
    choices: Sequence[Choice],
    config: GenerativeConfig,
    output: Path,
    *,
    start: Path | None = None,
    held_out: Sequence[Choice] | None = None,
    progress: bool = False,
) -> Path:
    """Train a causal language model to choose, by the method that `config` names.

    Beside `output` lies a folder ``<output>.run`` with the trainer's checkpoints: a run that was killed goes on from
    the last of them when it is started again with the same arguments. It is removed when the run has ended well.

    Parameters
    ----------
    choices : sequence of Choice
        What to learn from; one student learns the choices of all tasks.
    config : GenerativeConfig
    output : Path
        Folder for the adapters; must not exist, or be empty.
    start : Path, optional
        Adapters of the same base to go on from: DPO and GRPO on top of SFT.
    held_out : sequence of Choice, optional
        Choices that watch the training. By default a share of `choices`, whole queries, which is then not trained on.
    progress : bool
        Whether to show the trainer's bar and losses.

    Returns
    -------
    Path
        `output`: the adapters, the base's tokenizer, and ``generative.json`` with the configuration, what stands around
        a question, and how the held-out choices were answered.

    Raises
    ------
    InputError
        When choices, base or folders cannot be used; also when the model stops choosing. The last adapters that still
        chose are then kept, and the message says where.
    MissingExtraError
        When the trainers are not installed, or 4 bits are asked for and bitsandbytes is not there.
    DeviceError
        When the device cannot be had.
    """
    trainers()  # should they be missing, that is known before anything else is done
    check_absent(output)
    check_choices(choices)
    trained, watched = (list(choices), list(held_out)) if held_out is not None else _split(choices, config)
    if len(watched) < _FEWEST_WATCHED:
        raise InputError(
            f"{len(watched)} held-out choices are too few to watch a training by: label more, or give held_out with "
            f" {_FEWEST_WATCHED} or more."
        )
    watched = watched[: config.watched]
    run = output.with_name(f"{output.name}.run")
    with _own_seeds(config.seed), quiet_libraries():
        learner = load_learner(config, start)
        _open_run(run, trained, config, start)
        watch = Watch(learner, watched, run, config.checks)
        trainer = _trainer(learner, trained, config, _arguments(learner, config, run, progress), watch)
        trainer.remove_callback(PrinterCallback)  # which prints every step's losses
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(run)))
        _check_losses(trainer.state.log_history)
        collapsed = watch.finish(trainer.state.global_step)
    if collapsed is not None:
        kept = f"The last adapters that still chose are in {run / GOOD}." if (run / GOOD).is_dir() else ""
        raise InputError(
            f"Training has collapsed: {collapsed}. {kept} Lower learning_rate or epochs, or start from SFT, and remove "
            f"{run} first."
        )
    about = {"config": config.about(), "start": str(start) if start else None, "choices": len(trained)}
    save_adapter(learner, output, about | {"checks": [asdict(check) for check in watch.checks]})
    shutil.rmtree(run)
    return output


def _split(choices: Sequence[Choice], config: GenerativeConfig) -> tuple[list[Choice], list[Choice]]:
    """Hold out the choices of some queries: the share that is asked for, a quarter at most where there are few."""
    wanted = max(round(config.held_out * len(choices)), min(2 * _FEWEST_WATCHED, len(choices) // 4))
    queries = sorted({choice.query for choice in choices})
    by_query: dict[str, list[Choice]] = {query: [] for query in queries}
    for choice in choices:
        by_query[choice.query].append(choice)
    held: set[str] = set()
    count = 0
    for place in np.random.default_rng(config.seed).permutation(len(queries)).tolist():
        if count >= min(wanted, config.watched):
            break
        held.add(queries[place])
        count += len(by_query[queries[place]])
    return [c for c in choices if c.query not in held], [c for c in choices if c.query in held]


def _open_run(run: Path, choices: Sequence[Choice], config: GenerativeConfig, start: Path | None) -> None:
    """Make the run's folder, or see that the one there is of the same run."""
    inputs = json.dumps([[asdict(choice) for choice in choices], config.about(), str(start)], sort_keys=True)
    own = {"inputs": hashlib.sha256(inputs.encode()).hexdigest(), "config": config.about()}
    try:
        if (run / _RUN).is_file():
            if json.loads((run / _RUN).read_text(encoding="utf-8")) != own:
                raise InputError(f"{run} is of a run with other choices or another configuration. Remove it first.")
            log.info("going on in %s", run)
            return
        run.mkdir(parents=True, exist_ok=True)
        (run / _RUN).write_text(json.dumps(own, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{run} cannot be written ({error.strerror}). Name another output.") from error


def _arguments(learner: Learner, config: GenerativeConfig, run: Path, progress: bool) -> dict[str, Any]:
    """Return the trainer's arguments that all methods share."""
    device = learner.student.model.device
    on_cpu = device.type == "cpu"
    return {
        "output_dir": str(run),
        "learning_rate": config.method.learning_rate,
        "num_train_epochs": config.method.epochs,
        "per_device_train_batch_size": config.batch_at_once,
        "gradient_accumulation_steps": config.batch // config.batch_at_once,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 1.0,
        "bf16": learner.half,
        "use_cpu": on_cpu,
        "gradient_checkpointing": not on_cpu,  # memory is scarce on a GPU, time on a CPU
        "dataloader_pin_memory": not on_cpu,
        "save_strategy": "steps",
        "save_steps": 1 / config.checks,
        "save_total_limit": 1,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": not progress,
        "seed": config.seed,
    }


def _trainer(
    learner: Learner, choices: Sequence[Choice], config: GenerativeConfig, arguments: dict[str, Any], watch: Watch
) -> Any:
    method = config.method
    if isinstance(method, Sft):
        return sft_trainer(learner, choices, method, arguments, [watch])
    if isinstance(method, Dpo):
        return dpo_trainer(learner, choices, method, arguments, [watch])
    return grpo_trainer(learner, choices, method, arguments, [watch])


def _check_losses(history: Sequence[dict[str, Any]]) -> None:
    for entry in history:
        if not np.isfinite(entry.get("loss", 0.0)):
            raise InputError(
                f"Training diverged in step {entry['step']}: the loss is {entry['loss']}. Lower learning_rate."
            )


@contextlib.contextmanager
def _own_seeds(seed: int) -> Iterator[None]:
    """Seed the adapters' first values; the trainers seed every generator there is, which is undone afterwards."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what the trainers seed
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
