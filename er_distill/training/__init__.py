"""Making students: labels, training sets, fitting, calibration, export.

What trains needs the ``train`` extra (torch, transformers, scikit-learn, onnx); scoring with a finished
student never does. Modules here that import one of these turn its absence into the error of `missing_extra`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from er_distill.errors import MissingExtraError

if TYPE_CHECKING:
    from er_distill.training.distillation import distill
    from er_distill.training.encoder import EncoderConfig
    from er_distill.training.generative.config import GenerativeConfig
    from er_distill.training.labels import Candidates, Labels, from_synthetic, from_table, read_task
    from er_distill.training.noise import NoiseConfig
    from er_distill.training.pipeline import fit_student
    from er_distill.training.recipe import DistillConfig
    from er_distill.training.runs import Run
    from er_distill.training.self_training import SelfTrainingConfig
    from er_distill.training.trees import TreesConfig

__all__ = [
    "Candidates",
    "DistillConfig",
    "EncoderConfig",
    "GenerativeConfig",
    "Labels",
    "NoiseConfig",
    "Run",
    "SelfTrainingConfig",
    "TreesConfig",
    "distill",
    "fit_student",
    "from_synthetic",
    "from_table",
    "read_task",
]

_HOME_OF = {
    "Candidates": "labels",
    "DistillConfig": "recipe",
    "EncoderConfig": "encoder",
    "GenerativeConfig": "generative.config",
    "Labels": "labels",
    "NoiseConfig": "noise",
    "Run": "runs",
    "SelfTrainingConfig": "self_training",
    "TreesConfig": "trees",
    "distill": "distillation",
    "fit_student": "pipeline",
    "from_synthetic": "labels",
    "from_table": "labels",
    "read_task": "labels",
}


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


def __getattr__(name: str) -> Any:
    # A public name brings its module, and torch behind it, on first use.
    if name not in _HOME_OF:
        raise AttributeError(f"module 'er_distill.training' has no attribute {name!r}")
    value = getattr(import_module(f"er_distill.training.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
