"""Generative students: a causal language model learns to name the match by its number.

Read `config` for what can be chosen, `data` for what is learnt from, `fit` for how it goes, and `adapter` for what
comes out of it. The trainers are those of trl, the adapters those of peft; they need the extras
``generative`` and ``train``.
"""

from __future__ import annotations

from typing import Any

from er_distill.errors import MissingExtraError


def trainers() -> tuple[Any, Any]:
    """Return the modules `datasets` and `trl`, which take seconds to import.

    Raises
    ------
    MissingExtraError
        When they are not installed.
    """
    try:
        import datasets
        import trl
    except ImportError as error:
        raise MissingExtraError(
            f"Training a generative student needs {error.name or 'a package'}, which is not installed. "
            'Run: pip install "er-distill[generative,train]"'
        ) from error
    return datasets, trl
