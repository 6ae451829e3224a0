"""What reads the pairs that the lexical tier leaves uncertain: the second tier of a student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from er_distill.student import Student


def generated_explanation(student: Student, query_text: str, candidate_texts: Sequence[str]) -> str | None:
    """Return what a generative student says of its choice among the candidates of a query.

    Parameters
    ----------
    student : Student
    query_text : str
        The query record's text, one of `Records.texts`.
    candidate_texts : sequence of str
        Texts of its candidates, at least one.

    Returns
    -------
    str or None
        None when the student cannot: it is an encoder, or was exported without.
    """
    return None
