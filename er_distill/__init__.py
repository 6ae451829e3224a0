"""Entity resolution for dataframes: candidate pairs scored with a small student that LLM teachers taught.

Importing the package is cheap: each public name brings its module, and the libraries behind it, on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from er_distill.blocking import Exact, TopK
    from er_distill.errors import (
        DeviceError,
        ErDistillError,
        ErDistillWarning,
        InputError,
        MissingExtraError,
        StudentError,
    )
    from er_distill.explaining import explain
    from er_distill.explanation import Explanation
    from er_distill.frames import dedupe, link, match_pairs, score_pairs
    from er_distill.incremental import Extension, extend
    from er_distill.iterating import iter_link, iter_scored
    from er_distill.recordlinkage import Compare, Matcher, StudentFeature
    from er_distill.student import Student

__version__ = "0.1.0"

__all__ = [
    "Compare",
    "DeviceError",
    "ErDistillError",
    "ErDistillWarning",
    "Exact",
    "Explanation",
    "Extension",
    "InputError",
    "Matcher",
    "MissingExtraError",
    "Student",
    "StudentError",
    "StudentFeature",
    "TopK",
    "__version__",
    "dedupe",
    "explain",
    "extend",
    "iter_link",
    "iter_scored",
    "link",
    "match_pairs",
    "score_pairs",
]

_HOMES = {
    "blocking": ("Exact", "TopK"),
    "errors": ("DeviceError", "ErDistillError", "ErDistillWarning", "InputError", "MissingExtraError", "StudentError"),
    "explaining": ("explain",),
    "explanation": ("Explanation",),
    "frames": ("dedupe", "link", "match_pairs", "score_pairs"),
    "incremental": ("Extension", "extend"),
    "iterating": ("iter_link", "iter_scored"),
    "recordlinkage": ("Compare", "Matcher", "StudentFeature"),
    "student": ("Student",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'er_distill' has no attribute {name!r}")
    value = getattr(import_module(f"er_distill.{_HOME_OF[name]}"), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
