"""What can be chosen about training a generative student."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from er_distill.errors import InputError, did_you_mean

_ANSWER_ROOM = 16  # tokens of an answer and of what opens it

Explanations = Literal["none", "after", "before"]
"""Whether the model learns to say why, and if so after the answer or before it."""


def _above_zero(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise InputError(f"{type(config).__name__}: {name} must be above 0, not {getattr(config, name)!r}.")


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning: the answer is said as the teacher said it; the loss is on what is said alone.

    The figures are DistillER's (Zeakis et al., arXiv 2602.05452).
    """

    learning_rate: float = 2e-4
    epochs: float = 3.0
    explanations: Explanations = "none"  # choices whose teacher gave none are answered in short
    explanation_tokens: int = 128  # whole sentences up to there are learnt

    def __post_init__(self) -> None:
        if self.explanations not in get_args(Explanations):
            known = did_you_mean(self.explanations, get_args(Explanations))
            raise InputError(f"Sft: there is no explanations {self.explanations!r}. {known}")
        _above_zero(self, "learning_rate", "epochs", "explanation_tokens")


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimisation: the right option is preferred to every wrong one.

    From Rafailov et al., arXiv 2305.18290; beta is DistillER's. One epoch, not three: every choice stands in as many
    pairs as it has wrong options, and three epochs of them are what made DistillER's student say "none" to everything.
    """

    learning_rate: float = 5e-6
    epochs: float = 1.0
    beta: float = 0.1  # how much leaving the reference model costs

    def __post_init__(self) -> None:
        _above_zero(self, "learning_rate", "epochs", "beta")


@dataclass(frozen=True)
class Reward:
    """What an answer earns in GRPO; the parts are added up. DistillER's figures."""

    bracketed: float = 0.25  # for exactly one number in brackets
    short: float = 0.25  # for at most `short_chars` characters
    right: float = 0.50  # for the right number
    short_chars: int = 8

    def __post_init__(self) -> None:
        if min(self.bracketed, self.short, self.right) < 0 or self.right == 0:
            raise InputError(f"{self}: no part of a reward may be negative, and the right number must earn something.")
        _above_zero(self, "short_chars")


@dataclass(frozen=True)
class Grpo:
    """Group relative policy optimisation: answers are sampled and earn a reward, relative to others to the same prompt.

    From Shao et al., arXiv 2402.03300; learning rate and reward are DistillER's.
    """

    learning_rate: float = 5e-6
    epochs: float = 1.0
    group: int = 8  # answers sampled to one prompt
    answer_tokens: int = 16  # an answer is cut off there
    temperature: float = 1.0  # of the sampling
    reward: Reward = Reward()

    def __post_init__(self) -> None:
        _above_zero(self, "learning_rate", "epochs", "answer_tokens", "temperature")
        if self.group < 2:
            raise InputError(f"Grpo: group is {self.group}; a reward is relative to others, so give 2 or more.")


@dataclass(frozen=True)
class GenerativeConfig:
    """How to train a generative student.

    Raises
    ------
    InputError
        When a value is none that training can use.
    """

    base: str | Path  # a transformers id, or a folder with config.json, weights and tokenizer
    method: Sft | Dpo | Grpo = Sft()
    rank: int = 16  # of the adapters
    alpha: int = 16  # their weight is alpha / rank
    max_tokens: int = 2_048  # of a prompt with its answer; longer records are cut
    batch: int = 8  # sequences a step; a step's pairs in DPO, sampled answers in GRPO
    batch_at_once: int = 2  # sequences that go through the model together: bounds the memory
    held_out: float = 0.1  # share of the choices that watch the training instead of being trained on
    watched: int = 64  # held-out choices at most
    checks: int = 20  # times a run that they are answered
    four_bit: bool | None = None  # the base's weights in 4 bits; None: where bitsandbytes and a GPU are there
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the hardware has it
    device: str = "auto"  # auto: cuda where there is one, else cpu
    seed: int = 0

    def __post_init__(self) -> None:
        _above_zero(self, "rank", "alpha", "max_tokens", "batch", "batch_at_once", "held_out", "watched", "checks")
        if self.held_out >= 1:
            raise InputError(f"GenerativeConfig: held_out is a share below 1, not {self.held_out}.")
        if self.batch % self.batch_at_once:
            raise InputError(
                f"GenerativeConfig: a batch of {self.batch} cannot be cut into parts of batch_at_once="
                f"{self.batch_at_once}. Take a divisor."
            )
        if isinstance(self.method, Grpo) and self.batch % self.method.group:
            raise InputError(
                f"GenerativeConfig: a batch of {self.batch} answers holds no whole number of groups of "
                f"{self.method.group}. Take a multiple."
            )

    @property
    def answer_room(self) -> int:
        """Tokens that are kept free for the answer."""
        if isinstance(self.method, Grpo):
            return self.method.answer_tokens
        if isinstance(self.method, Sft) and self.method.explanations != "none":
            return _ANSWER_ROOM + self.method.explanation_tokens
        return _ANSWER_ROOM

    def about(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self) | {"base": str(self.base), "method": {type(self.method).__name__: asdict(self.method)}}
