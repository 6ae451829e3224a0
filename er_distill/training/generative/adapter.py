"""What training leaves: a folder with the adapters, their tokenizer and where they come from; and the merged model."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from er_distill.errors import InputError
from er_distill.selecting import Frame
from er_distill.training import missing_extra
from er_distill.training.generative.base import Learner, quiet_libraries
from er_distill.training.pretrained import load, load_tokenizer

try:
    import peft
    import torch
    import transformers
except ImportError as error:
    raise missing_extra(error) from error

ABOUT = "generative.json"


def save_adapter(learner: Learner, folder: Path, about: dict[str, Any]) -> None:
    """Write the adapters, the tokenizer and `about` into a folder, whole or not at all."""
    arriving = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(arriving, ignore_errors=True)  # of a run that was stopped here
    try:
        learner.model.save_pretrained(arriving, selected_adapters=["default"])
        learner.tokenizer.save_pretrained(arriving)
        _write_about(arriving, {"base": learner.base, "frame": asdict(learner.student.frame)} | about)
        if folder.is_dir():
            folder.rmdir()
        arriving.rename(folder)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def frame_in(folder: Path) -> Frame | None:
    """Return what stood around the questions in training; None for a folder that training has not written.

    A template can hold the day's date: that of training is the one that the model knows.
    """
    path = folder / ABOUT
    return Frame(**json.loads(path.read_text(encoding="utf-8"))["frame"]) if path.is_file() else None


def merge_adapter(adapter: Path, output: Path, *, base: str | Path | None = None) -> Path:
    """Add the adapters to the base's weights: a model like any other, for exporting and for going on.

    Parameters
    ----------
    adapter : Path
        What `fit_generative` returned.
    output : Path
        The model's folder: config, weights and tokenizer. Must not exist, or be empty.
    base : str or Path, optional
        Where the base lies now, should it have been moved.

    Returns
    -------
    Path
        `output`, written whole or not at all; computed in float32 and written in the precision of the base.

    Raises
    ------
    InputError
        When there is no adapter, its base is not there, they do not fit, or `output` is there already.
    """
    check_absent(output)
    if not (adapter / ABOUT).is_file():
        raise InputError(
            f"{adapter} holds no adapter of a generative student. Name a folder that training has written."
        )
    about = json.loads((adapter / ABOUT).read_text(encoding="utf-8"))
    origin = str(base or about["base"])
    arriving = output.with_name(f".{output.name}.partial")
    shutil.rmtree(arriving, ignore_errors=True)
    with quiet_libraries():
        stored = load(transformers.AutoConfig, origin).dtype or torch.float32
        model = load(transformers.AutoModelForCausalLM, origin, dtype=torch.float32)
        try:
            merged = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"The adapter in {adapter} does not fit the base {origin!r}. Name its own base."
            ) from error
        try:
            arriving.mkdir(parents=True)
            merged.to(stored).save_pretrained(arriving)
            load_tokenizer(str(adapter)).save_pretrained(arriving)
            _write_about(arriving, about)
            if output.is_dir():
                output.rmdir()
            arriving.rename(output)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
    return output


def check_absent(output: Path) -> None:
    """Raise InputError where `output` is there already and holds something."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already. Name another output, or remove it first.")


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
