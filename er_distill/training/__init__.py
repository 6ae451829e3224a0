"""Making students: labels, training sets, fitting, calibration, export.

What trains needs the ``train`` extra (torch, transformers, scikit-learn, onnx); scoring with a finished
student never does. Modules here that import one of these turn its absence into the error of `missing_extra`.
"""

from __future__ import annotations

from er_distill.errors import MissingExtraError


def missing_extra(error: ImportError) -> MissingExtraError:
    """Return the error to raise where an import of the ``train`` extra failed.

    Parameters
    ----------
    error : ImportError
        What the failed import raised.

    Returns
    -------
    MissingExtraError
    """
    return MissingExtraError(
        f'Training needs {error.name or "a package"}, which is not installed. Run: pip install "er-distill[train]"'
    )
