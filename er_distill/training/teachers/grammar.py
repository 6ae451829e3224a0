"""How a teacher is named in one word: ``openai:MODEL``, ``transformers:PATH``, ``labels:PATH``, ``student:PATH``."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from er_distill.errors import InputError, did_you_mean
from er_distill.training.teachers.base import Teacher
from er_distill.training.teachers.strategies import Elicitation

KINDS = {
    "openai": "openai:MODEL",
    "transformers": "transformers:PATH",
    "labels": "labels:PATH",
    "student": "student:PATH",
}
"""Kinds of teachers, and how each is written."""

OPENAI_KEY = "OPENAI_API_KEY"
_OPENAI_URL = "OPENAI_BASE_URL"  # where the openai client goes when it is not told
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class TeacherName:
    """A teacher's name, read.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    value : str
        The model, or the path.
    """

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


@dataclass(frozen=True)
class Asking:
    """How models are asked; label files and students have no use for it.

    Attributes
    ----------
    how : Elicitation
    base_url : str or None
        Of an OpenAI-compatible server that is not OpenAI's.
    key_variable : str or None
        The environment variable that holds the server's key.
    api : str
        See `OpenAITeacher`, as the next two.
    concurrency : int
    timeout : float
        Seconds.
    answer_tokens : int
        Most tokens of an answer.

    Raises
    ------
    InputError
        When the address or the variable cannot be used. The message never repeats what could be a key.
    """

    how: Elicitation = field(default_factory=Elicitation)
    base_url: str | None = None
    key_variable: str | None = None
    api: str = "chat"
    concurrency: int = 8
    timeout: float = 60.0
    answer_tokens: int = 64

    def __post_init__(self) -> None:
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.username is not None or parts.query:
                raise InputError("The base URL must hold no user, password or key. Keys come from the environment.")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InputError(f"{self.base_url!r} is no address of a server: write http://localhost:11434/v1.")
        if self.key_variable is not None:
            if not _VARIABLE.match(self.key_variable):
                raise InputError("What is given as the key's variable is no name of one. Name it; never write the key.")
            if not os.environ.get(self.key_variable):
                raise InputError("The environment variable that is named for the key is not set. Set it first.")

    @property
    def endpoint(self) -> str | None:
        """Address of the server that is asked; None for OpenAI's own."""
        return self.base_url or os.environ.get(_OPENAI_URL) or None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that may be sent, to be kept out of everything."""
        variables = {OPENAI_KEY, self.key_variable or OPENAI_KEY}
        return tuple(os.environ[name] for name in sorted(variables) if os.environ.get(name))


def read_names(texts: Sequence[str]) -> list[TeacherName]:
    """Read teachers' names.

    Raises
    ------
    InputError
        When there is none, one is given twice, or one is of no known kind.
    """
    if not texts:
        raise InputError(f"No teacher is named. Write {' or '.join(KINDS.values())}.")
    names = [_read(text) for text in texts]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name} is named twice. Name each teacher once.")
    return names


def _read(text: str) -> TeacherName:
    kind, colon, value = text.partition(":")
    if not colon and kind not in KINDS:
        raise InputError(f"{text!r} is no teacher. Write {' or '.join(KINDS.values())}.")
    if kind not in KINDS:
        raise InputError(f"{text!r} is no teacher: the kind {kind!r} is unknown. {did_you_mean(kind, KINDS)}")
    if not value:
        raise InputError(f"{text!r} names no {KINDS[kind].partition(':')[2].lower()}. Write {KINDS[kind]}.")
    return TeacherName(kind, value)


def open_teacher(name: TeacherName, asking: Asking, *, to_ask: bool = True) -> Teacher:
    """Return the teacher of a name.

    Parameters
    ----------
    name : TeacherName
    asking : Asking
    to_ask : bool
        Whether it will be asked; what it would cost can be said without a key.

    Raises
    ------
    InputError
        When a file cannot be read or a key is missing.
    StudentError
        When a student's folder cannot be used.
    MissingExtraError
        When what the teacher needs is not installed.
    """
    # Each kind is imported where it is named: nobody needs torch to ask a server.
    if name.kind == "labels":
        from er_distill.training.teachers.files import LabelFile

        return LabelFile(name.value)
    if name.kind == "student":
        from er_distill.training.teachers.student import StudentTeacher

        return StudentTeacher.load(name.value)
    how = asking.how
    elicitation: dict[str, Any] = {
        "strategy": how.strategy,
        "variants": how.variants,
        "keep": how.keep,
        "confirm": how.confirm,
        "explain": how.explain,
        "seed": how.seed,
    }
    if name.kind == "transformers":
        from er_distill.training.teachers.local import TransformersTeacher

        return TransformersTeacher(name.value, **elicitation)
    from er_distill.training.teachers.openai import OpenAITeacher

    teacher = OpenAITeacher(
        name.value,
        base_url=asking.base_url,
        api_key_env=asking.key_variable,
        api=asking.api,
        concurrency=asking.concurrency,
        timeout=asking.timeout,
        max_tokens=asking.answer_tokens,
        **elicitation,
    )
    if to_ask:
        teacher.check_key()
    return teacher


def asked_at(name: TeacherName, asking: Asking) -> str | None:
    """Return where a model is asked, and so which of that name it is; None where the name alone says so.

    A model in a folder is known by the folder and the time of its last change: one that was trained anew is another.
    """
    if name.kind == "openai":
        return asking.endpoint
    folder = Path(name.value)
    if name.kind != "transformers" or not folder.is_dir():
        return None
    changed = max((file.stat().st_mtime for file in folder.iterdir()), default=0.0)
    return f"{folder.resolve()} of {dt.datetime.fromtimestamp(changed, dt.UTC).isoformat(timespec='seconds')}"


def kept_as(name: TeacherName, asking: Asking) -> str:
    """Return the name that a teacher's answers are kept under: one model asked in two ways is two teachers.

    >>> from er_distill.training.teachers.strategies import Elicitation
    >>> kept_as(TeacherName("openai", "tiny"), Asking())
    'openai:tiny'
    >>> kept_as(TeacherName("openai", "tiny"), Asking(Elicitation("compound", ("plain", "json"), confirm="drop")))
    'openai:tiny compound plain+json confirm-drop'
    """
    if name.kind in ("labels", "student"):
        return str(name)
    how, default = asking.how, Elicitation()
    said = [
        (how.strategy, how.strategy != default.strategy),
        (f"keep-{how.keep}", how.strategy == "compound" and how.keep != default.keep),
        ("+".join(how.variants), how.variants != default.variants),
        (f"confirm-{how.confirm}", how.confirm is not None),
        (f"seed-{how.seed}", how.seed != default.seed),
        (asking.api, asking.api != "chat" and name.kind == "openai"),
    ]
    return " ".join([str(name), *(words for words, differs in said if differs)])
