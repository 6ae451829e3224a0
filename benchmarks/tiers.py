"""A student's trees without its encoder, to see what either tier does."""

from __future__ import annotations

import dataclasses

import numpy as np

from er_distill.student import Student

_NO_BAND = (2.0, 2.0)  # no probability lies in it


def trees_alone(student: Student) -> Student:
    """Return the student without its encoder: every pair is settled by the trees."""
    alone = Student.load(student.folder, device="cpu")
    alone.variant = dataclasses.replace(student.variant, band=_NO_BAND)
    return alone


def share_to_encoder(student: Student, settled: np.ndarray) -> float:
    """Return the share of the pairs that the encoder looks at, given the probabilities of `trees_alone`."""
    low, high = student.variant.band
    return float(((settled >= low) & (settled <= high)).mean())
