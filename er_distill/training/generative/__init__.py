"""Generative students: a causal language model learns to name the match by its number.

Read `config` for what can be chosen, `data` for what is learnt from, `fit` for how it goes, and `adapter` for what
comes out of it. The trainers are those of trl, the adapters those of peft: both need the ``generative`` extra.
"""

from __future__ import annotations

from er_distill.errors import MissingExtraError


def missing_generative(error: ImportError) -> MissingExtraError:
    """Return the error to raise where an import of the ``generative`` extra failed.

    Parameters
    ----------
    error : ImportError
        What the failed import raised.

    Returns
    -------
    MissingExtraError
    """
    return MissingExtraError(
        f"Training a generative student needs {error.name or 'a package'}, which is not installed. "
        'Run: pip install "er-distill[generative,train]"'
    )
