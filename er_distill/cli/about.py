"""`er-distill info`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from er_distill import artefact
from er_distill.cli.console import Console, reported
from er_distill.instructions import SAFE_REACH, instructions, int8_reach


@reported
def info(
    context: typer.Context,
    student: Annotated[
        str, typer.Argument(help="Name of a bundled student, or the folder of one of your own.")
    ] = "default",
) -> None:
    """Show a student's teachers, licence, variants and card.

    Every file of it is checked.

    \b
    Examples:
      er-distill info
      er-distill info my-student/
    """  # noqa: D301
    console: Console = context.obj
    folder = artefact.locate(student)
    manifest = artefact.read(folder)
    size = sum(entry.bytes for entry in manifest.files.values())
    console.facts(
        [
            ("student", manifest.name),
            ("folder", str(folder)),
            ("made", f"{manifest.created} with er_distill {manifest.er_distill}"),
            ("licence", manifest.licence),
            *(("teacher", f"{one.name} ({one.licence}), {one.labels:,} labels") for one in manifest.teachers),
            ("trained on", ", ".join(manifest.tasks)),
            *([("expect", _expected(manifest))] if manifest.left_out else []),
            *(("variant", _variant(manifest, name)) for name in manifest.variants),
            *(("int8 here", _int8(folder, variant)) for variant in manifest.variants.values() if variant.one_by_one),
            ("files", f"{len(manifest.files)}, {size / 1e6:.1f} MB, all as the manifest says"),
        ]
    )
    card = folder / artefact.CARD
    if card.is_file():
        typer.echo(f"\n{card.read_text(encoding='utf-8').strip()}")


def _expected(manifest: artefact.Manifest) -> str:
    f1 = manifest.left_out.values()
    return f"F1 of {fmean(f1):.2f} ({min(f1):.2f} to {max(f1):.2f}) on tables without labels of their own"


def _variant(manifest: artefact.Manifest, name: str) -> str:
    variant = manifest.variants[name]
    # The weights of a big model stand in a file beside its graph.
    size = sum(entry.bytes for file, entry in manifest.files.items() if file.startswith(variant.encoder)) / 1e6
    default = ", the default" if name == manifest.default_variant else ""
    return f"{name}: {variant.encoder}, {size:.1f} MB, threshold {variant.threshold:.4g}{default}"


def _int8(folder: Path, variant: artefact.Variant) -> str:
    """Say what a graph's int8 arithmetic runs on, and why that is exact or not."""
    reach, here = int8_reach(folder / variant.encoder), instructions()
    if reach <= SAFE_REACH:
        why = f"weights have 7 bits (at most {reach}): sums cannot saturate on any processor"
    elif here.exact:
        why = "sums are taken in 32 bits and cannot saturate"
    else:
        why = f"weights have 8 bits (up to {reach}): sums may saturate, another variant is chosen where there is one"
    return f"{variant.encoder} on {here.name}: {why}"
