"""Which of a student's variants is run, on which device, and why: it is said in the log, and aloud where it costs.

A variant is a graph with the calibration and the threshold that were fitted on its own scores, so these change with it.
int8 is for processors; a GPU has kernels for attention in half precision, fused when the student was exported.
"""

from __future__ import annotations

import logging
from pathlib import Path

from er_distill.artefact import Manifest
from er_distill.devices import Device
from er_distill.errors import warn
from er_distill.instructions import instructions, saturates
from er_distill.session import Session

logger = logging.getLogger("er_distill")

# TensorRT compiles plain operators itself, in half precision; it knows none that are fused for CUDA.
_FOR_GPUS = {"auto": ("fp16", "fp32"), "cuda": ("fp16", "fp32"), "tensorrt": ("fp32", "fp16")}


def open_variant(
    folder: Path, manifest: Manifest, asked: str | None, device: str, threads: int | None
) -> tuple[str, Session]:
    """Return the name of the variant to run, and its graph's session on the device.

    Parameters
    ----------
    folder : Path
        The student.
    manifest : Manifest
        Its manifest.
    asked : str, optional
        The variant that the caller named. By default the one that suits the device: on a GPU half precision where the
        student has it; elsewhere the manifest's own, unless its int8 sums may saturate on this processor.
    device : str
        As for :class:`~er_distill.session.Session`. With ``"auto"`` an int8 graph runs on the CPU, also beside a GPU.
    threads : int, optional

    Raises
    ------
    DeviceError, StudentError, MissingExtraError
        As :attr:`Session.device`, or when the student has no variant of that name.
    """
    kind = Device.named(device).kind
    if kind != "cpu":
        preferred = (name for name in _FOR_GPUS[kind] if name in manifest.variants)
        name = next(preferred, manifest.default_variant) if asked is None else asked
        variant = manifest.variant(name)
        if not (kind == "auto" and variant.one_by_one):
            session = Session(folder / variant.encoder, device=device, threads=threads)
            if session.device != "cpu":
                if variant.one_by_one:
                    warn(
                        f"{folder}: variant {name!r} is quantised for CPUs and slow on {session.device}. Distil the "
                        "student with variant 'fp16' too, or use device='cpu'."
                    )
                return _said(manifest, name, session)
    name = _safe_variant(folder, manifest, asked)
    return _said(manifest, name, Session(folder / manifest.variant(name).encoder, device="cpu", threads=threads))


def _said(manifest: Manifest, name: str, session: Session) -> tuple[str, Session]:
    logger.info("student %s: variant %r on %s", manifest.name, name, session.device)
    return name, session


def _safe_variant(folder: Path, manifest: Manifest, asked: str | None) -> str:
    """Return the variant to run, and warn where its scores may be wrong on this processor."""
    name = manifest.default_variant if asked is None else asked
    if not saturates(folder / manifest.variant(name).encoder):
        return name
    about = f"{folder}: int8 sums of variant {name!r} may saturate on this processor ({instructions().name})."
    others = [one for one in sorted(manifest.variants) if not saturates(folder / manifest.variants[one].encoder)]
    if asked is None and others:
        name = "fp32" if "fp32" in others else others[0]
        warn(f"{about} Variant {name!r} is used instead.")
    else:
        hint = f"use variant {others[0]!r}, or " if others else ""
        warn(f"{about} Scores may differ from those elsewhere: {hint}export the student again, with 7-bit weights.")
    return name
