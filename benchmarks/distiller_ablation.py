"""What each part of a headline is worth: taken out of the whole, or added where the whole has it not; and alone.

Of an encoder there are rows for the headline of one teacher only, whose labels the encoders of `distiller_encoder`
learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.distiller_configurations import QWEN_32B, Configuration

PLAIN = Configuration(QWEN_32B, context=False, calibrated=False, one_to_one=False)
"""The least there is: one teacher's hard labels, similarities of single pairs, a threshold."""

ENCODER, SMALL, SMALL_PAIRWISE = "qwen32b", "qwen32b-small", "qwen32b-small-pairwise"
"""Encoders of `distiller_encoder`: the package's default, and two cheap ones that differ in their objective alone."""

_SELF_TRAINED = 0.3  # the most that a label of the student's own counts, as the package has it


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    part : str
    how : {"without", "added", "alone"}
        Taken out of the whole; added to it; or added to the plainest student.
    configuration, beside : Configuration
        What is compared, and with what.
    """

    part: str
    how: Literal["without", "added", "alone"]
    configuration: Configuration
    beside: Configuration


def ablations(full: Configuration) -> Iterator[Row]:
    """Yield the rows of a headline; each compares two students that differ in one part."""
    several = len(full.teachers) > 1
    switched: dict[str, dict[str, Any]] = {
        "list context": {"context": False},
        "generated tasks": {"made_up": 0.0},
        "noise handling": {"noise": "off"},
        "one-to-one": {"one_to_one": False},
        "rivals": {"rivals": False},
        "threshold of the highest expected F1": {"threshold": 0.5},
        "labelled claims": {"claims": False},
        "calibration": {"calibrated": False},
    }
    yield from _row_of_teachers(full) if several else ()
    for part, values in switched.items():
        less = replace(full, **values)
        if less != full:
            yield Row(part, "without", less, full)
            yield Row(part, "alone", replace(PLAIN, **{name: getattr(full, name) for name in values}), PLAIN)
    yield from _rows_of_self_training(full)
    if full.teachers == QWEN_32B:
        yield from _rows_of_encoders(full)


def _row_of_teachers(full: Configuration) -> Iterator[Row]:
    together = replace(PLAIN, teachers=full.teachers)
    yield Row("soft labels of several teachers", "without", replace(full, teachers=QWEN_32B, labels="votes"), full)
    yield Row("soft labels of several teachers", "alone", together, PLAIN)
    if full.labels != "votes":
        yield Row("error rates of the teachers", "without", replace(full, labels="votes"), full)
        yield Row("error rates of the teachers", "alone", replace(together, labels=full.labels), PLAIN)


def _rows_of_self_training(full: Configuration) -> Iterator[Row]:
    if full.self_training:
        yield Row("self-training", "without", replace(full, self_training=0.0), full)
    else:
        yield Row("self-training", "added", replace(full, self_training=_SELF_TRAINED), full)
    yield Row("self-training", "alone", replace(PLAIN, self_training=full.self_training or _SELF_TRAINED), PLAIN)


def _rows_of_encoders(full: Configuration) -> Iterator[Row]:
    """The plainest student is the lexical tier alone: the plainest encoder stands beside it.

    An objective is compared with the other one, in an encoder added to the whole and in the plainest encoder.
    """
    read = replace(full, encoder=full.encoder or ENCODER)
    yield Row("lexical tier", "without", replace(read, lexical=False), full)
    if full.encoder:
        yield Row("cross-encoder", "without", replace(full, encoder=None), full)
    else:
        yield Row("cross-encoder", "added", read, full)
    yield Row("cross-encoder", "alone", replace(PLAIN, lexical=False, encoder=ENCODER), PLAIN)
    for how, given in (("added", full), ("alone", replace(PLAIN, lexical=False))):
        listwise, pairwise = (replace(given, encoder=name) for name in (SMALL, SMALL_PAIRWISE))
        yield Row("listwise objective", how, listwise, pairwise)
