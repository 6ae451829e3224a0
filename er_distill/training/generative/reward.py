"""Group relative policy optimisation: sampled answers earn a reward for their form and for the right number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from er_distill.errors import InputError
from er_distill.selecting import prompt_text
from er_distill.training.generative import trainers
from er_distill.training.generative.base import Learner
from er_distill.training.generative.config import Grpo, Reward
from er_distill.training.generative.data import Choice

_OPENING = "["  # the prompt's last character belongs to the answer
_NUMBER = re.compile(r"\[(\d+)\]")


def earned(said: str, right: int, reward: Reward) -> dict[str, float]:
    """Return what an answer earns, by part of the reward.

    Parameters
    ----------
    said : str
        The whole answer, from its opening bracket.
    right : int
        The right number.
    reward : Reward

    Returns
    -------
    dict of str to float
        Under ``bracketed``, ``short`` and ``right``; an answer of several numbers is not right.
    """
    numbers = [int(number) for number in _NUMBER.findall(said)]
    return {
        "bracketed": reward.bracketed * (len(numbers) == 1),
        "short": reward.short * (len(said.strip()) <= reward.short_chars),
        "right": reward.right * (numbers == [right]),
    }


def grpo_trainer(
    learner: Learner, choices: Sequence[Choice], method: Grpo, arguments: dict[str, Any], callbacks: list[Any]
) -> Any:
    """Return the trainer.

    Raises
    ------
    InputError
        When a step's groups are more than there are choices.
    """
    groups = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"] // method.group
    if len(choices) < groups:
        raise InputError(f"{len(choices)} choices are fewer than the {groups} of a step. Lower GenerativeConfig.batch.")
    reader, frame = learner.student.tokenizer, learner.student.frame
    prompts = [
        {"prompt": prompt_text(reader, choice.query, choice.candidates, frame), "answer": choice.answer}
        for choice in choices
    ]
    datasets, trl = trainers()
    config = trl.GRPOConfig(
        **arguments,
        num_generations=method.group,
        max_completion_length=method.answer_tokens,
        temperature=method.temperature,
    )
    return trl.GRPOTrainer(
        learner.model,
        reward_funcs=[_part(name, method.reward) for name in ("bracketed", "short", "right")],
        args=config,
        train_dataset=datasets.Dataset.from_list(prompts),
        processing_class=learner.for_trainers(),
        callbacks=callbacks,
    )


def _part(name: str, reward: Reward) -> Callable[..., list[float]]:
    """Return one part as a function of its own: the trainer adds them up and logs each under its name."""

    def part(completions: Sequence[str], answer: Sequence[int], **_: Any) -> list[float]:
        return [earned(_OPENING + said, right, reward)[name] for said, right in zip(completions, answer, strict=True)]

    part.__name__ = name
    return part
