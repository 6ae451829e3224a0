"""Direct preference optimisation: of two answers to one question, the right one is preferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from er_distill.selecting import answer, prompt_text
from er_distill.training.generative import trainers
from er_distill.training.generative.base import Learner
from er_distill.training.generative.config import Dpo
from er_distill.training.generative.data import Choice


def preferences(learner: Learner, choices: Sequence[Choice]) -> list[dict[str, str]]:
    """Return a pair of answers for every wrong option of every choice, "none" and the last candidate included."""
    pairs = []
    for choice in choices:
        prompt = prompt_text(learner.student.tokenizer, choice.query, choice.candidates, learner.student.frame)
        right = answer(choice.answer)
        pairs += [{"prompt": prompt, "chosen": right, "rejected": answer(wrong)} for wrong in choice.wrong]
    return pairs


def dpo_trainer(
    learner: Learner, choices: Sequence[Choice], method: Dpo, arguments: dict[str, Any], callbacks: list[Any]
) -> Any:
    """Return the trainer; the reference is the model as it begins: that of SFT, where the adapters come from."""
    datasets, trl = trainers()
    config = trl.DPOConfig(**arguments, beta=method.beta, loss_type=["sigmoid"], max_length=None)
    return trl.DPOTrainer(
        learner.model,
        args=config,
        train_dataset=datasets.Dataset.from_list(preferences(learner, choices)),
        processing_class=learner.for_trainers(),
        callbacks=callbacks,
    )
