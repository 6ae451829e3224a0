"""What a student is to be made of, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from er_distill.errors import InputError
from er_distill.training.encoder import EncoderConfig
from er_distill.training.exporter import Exporter
from er_distill.training.generative.config import GenerativeConfig
from er_distill.training.noise import NoiseConfig
from er_distill.training.self_training import SelfTrainingConfig
from er_distill.training.trees import TreesConfig


@dataclass(frozen=True)
class DistillConfig:
    """How to distil."""

    output: Path  # the student folder; must not exist, or be empty
    encoder: EncoderConfig | None = None  # its base may be a student folder: it goes on there, all else is fitted anew
    trees: TreesConfig = field(default_factory=TreesConfig)
    name: str = "student"
    base_name: str = ""  # what the card calls the encoder's base; by default the last part of its path
    licence: str = "not stated"  # of the student, for the card
    folds: int = 5  # parts of the queries; each is scored by trees fitted on the others, the first by the encoder too
    encoder_pairs: int = (
        2_500  # labelled pairs the encoder reads of a task of weight 1, to learn and held out; bounds the time
    )
    variants: tuple[str, ...] = ("fp32", "fp16", "int8")  # graphs the folder holds
    default_variant: str = "int8"  # what is served unless another is asked for
    weights: bool = True  # whether the folder holds the encoder's weights, to go on from and to merge
    seed: int = 0
    exporter: Exporter = "torch"  # what makes the graphs; "optimum" on transformers 4
    generative: GenerativeConfig | None = None  # in place of the encoder, a language model that reads whole lists
    noise: NoiseConfig = field(default_factory=NoiseConfig)  # what becomes of labels that look wrong
    self_training: SelfTrainingConfig | None = None  # how to learn from queries without labels; None: not at all

    def __post_init__(self) -> None:
        _ = self.reader
        if self.generative is not None and (self.noise.action == "weight" or self.self_training is not None):
            raise InputError(
                "DistillConfig: a generative student learns whole choices, each as much as the others. Leave "
                'self_training out, and give noise the action "drop" or none.'
            )

    @property
    def revises(self) -> bool:
        """Whether labels are looked at, or added to, before they are learned."""
        return self.noise.action != "off" or self.self_training is not None

    @property
    def reader(self) -> EncoderConfig | GenerativeConfig:
        """The settings of the second tier, whichever it is.

        Raises
        ------
        InputError
            When there are none, or of both kinds; a configuration cannot be made so.
        """
        given = [one for one in (self.encoder, self.generative) if one is not None]
        if len(given) != 1:
            raise InputError("DistillConfig: give the settings of an encoder or of a generative student, one of them.")
        return given[0]

    @property
    def kind(self) -> str:
        """Name of the setting that says what the second tier is: ``"encoder"`` or ``"generative"``."""
        return "encoder" if self.generative is None else "generative"
