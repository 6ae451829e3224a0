"""Supervised fine-tuning: prompts with their answers, and with what the teacher said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from er_distill.selecting import ANSWER, answer, prompt_text
from er_distill.training.generative import trainers
from er_distill.training.generative.base import Learner
from er_distill.training.generative.config import Sft
from er_distill.training.generative.data import Choice, shortened

_NO_LOSS = -100


def said(learner: Learner, choice: Choice, method: Sft) -> tuple[str, str]:
    """Return what a model reads of a choice, and what it learns to say.

    An explanation before the answer stands between the question and the words that open the answer; one after it
    follows the closing bracket, so that the answer is read at the same position as without one.
    """
    prompt = prompt_text(learner.student.tokenizer, choice.query, choice.candidates, learner.student.frame)
    right, why = answer(choice.answer), _explanation(learner, choice, method)
    if not why:
        return prompt, right
    if method.explanations == "after":
        return prompt, f"{right} {why}"
    return prompt.removesuffix(ANSWER), f"{why}\n{ANSWER}{right}"


def example(learner: Learner, choice: Choice, method: Sft) -> dict[str, list[int]]:
    """Return a choice as token ids and labels; only what is said has a loss, and the end of the text with it."""
    head, rest = said(learner, choice, method)
    read, whole = _ids(learner, head), _ids(learner, head + rest)
    # Where the two would melt into one token, the model still must read what it reads when it is asked.
    spoken = whole[len(read) :] if whole[: len(read)] == read else _ids(learner, rest)
    spoken.append(learner.tokenizer.eos_token_id)
    return {"input_ids": read + spoken, "labels": [_NO_LOSS] * len(read) + spoken}


def sft_trainer(
    learner: Learner, choices: Sequence[Choice], method: Sft, arguments: dict[str, Any], callbacks: list[Any]
) -> Any:
    """Return the trainer."""
    examples = [example(learner, choice, method) for choice in choices]
    datasets, trl = trainers()
    config = trl.SFTConfig(
        **arguments,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        shuffle_dataset=False,
    )
    return trl.SFTTrainer(
        learner.model,
        args=config,
        train_dataset=datasets.Dataset.from_list(examples),
        processing_class=learner.for_trainers(),
        callbacks=callbacks,
    )


def _explanation(learner: Learner, choice: Choice, method: Sft) -> str:
    if method.explanations == "none" or choice.explanation is None:
        return ""
    return shortened(choice.explanation, lambda text: len(_ids(learner, text)) <= method.explanation_tokens)


def _ids(learner: Learner, text: str) -> list[int]:
    ids: list[int] = learner.student.tokenizer.encode(text, add_special_tokens=False).ids
    return ids
