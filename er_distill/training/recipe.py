"""What a student is to be made of, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from er_distill.training.encoder import EncoderConfig
from er_distill.training.trees import TreesConfig


@dataclass(frozen=True)
class DistillConfig:
    """How to distil."""

    output: Path  # the student folder; must not exist, or be empty
    encoder: EncoderConfig  # its base may be a student folder: the encoder goes on from there, all else is fitted anew
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
