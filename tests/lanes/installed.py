"""Check what an environment holds: `python installed.py "pandas<3" polars "!torch"`; `!` means must be absent."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement


def check(text: str) -> str | None:
    """Return what is wrong with one requirement, or None."""
    requirement = Requirement(text.removeprefix("!"))
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return None if text.startswith("!") else f"{text} is not installed"
    if text.startswith("!"):
        return f"{requirement.name} {found} is installed"
    return None if requirement.specifier.contains(found, prereleases=True) else f"{text} is asked for, {found} is here"


if __name__ == "__main__":
    problems = [problem for text in sys.argv[1:] if (problem := check(text))]
    if problems:
        sys.exit("This environment is not what its lane promises: " + "; ".join(problems))
