"""The card: ``README.md`` in the student folder, written from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from er_distill.artefact import Manifest

_LIMITS = """\
- Its figures come from labels of teachers (and generated truth), not from gold: they say how well it repeats labels it
  was not trained on.
- A pair's score depends on the candidate pairs it is scored with, unless `context=False` is asked for.
- It reads text, numbers and dates as text. It knows nothing of images, geometry or time series.
- The encoder's base reads English. On other languages check a sample first, or distil a student of your own.
- Do not use it alone for decisions about people that cannot be undone: have the uncertain band reviewed."""


def render(manifest: Manifest) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    manifest : Manifest
        Its ``training`` entry holds the checks that distilling made.
    """
    training = manifest.training
    sections = [
        f"# {manifest.name}",
        "A student of [er_distill](https://pypi.org/project/er-distill/): it scores candidate record pairs for entity "
        f"resolution. Made on {manifest.created} with er_distill {manifest.er_distill}; licence: {manifest.licence}.",
        "## Who taught it",
        _table(("teacher", "licence", "labels"), [(t.name, t.licence, f"{t.labels:,}") for t in manifest.teachers]),
        f"Tasks: {', '.join(manifest.tasks)}. Encoder base: {training['config']['encoder']['base']}.",
        "## How it decides",
        "Trees on text similarities and list context score every pair; the encoder reads those they leave uncertain.",
        _table(
            ("variant", "match from", "encoder asked between", "served"),
            [
                (
                    name,
                    f"{variant.threshold:.2f}",
                    f"{variant.band[0]:.3f} and {variant.band[1]:.3f}",
                    "by default" if name == manifest.default_variant else "on request",
                )
                for name, variant in manifest.variants.items()
            ],
        ),
        "## Exported graphs against the trained model",
        _parity(training["checks"]),
        f"## Held-out queries ({manifest.default_variant})",
        "Pairs of queries that neither tier was fitted on. F1 is against the teachers' votes; calibration error is the "
        "expected calibration error over 15 bins of equal mass.",
        _held_out(training["checks"][manifest.default_variant]["held_out"]),
        "## Limits",
        _LIMITS,
        "## Made with",
        f"    {training['command']}",
        f"Seed {training['seed']}, Python {training['python']} on {training['machine']}, "
        f"{training['seconds']:,} seconds; "
        + ", ".join(f"{name} {version}" for name, version in training["versions"].items())
        + ".",
    ]
    return "\n\n".join(sections) + "\n"


def _parity(checks: Mapping[str, Any]) -> str:
    rows = []
    for name, check in checks.items():
        parity = check["parity"]
        row = [name, f"{parity['largest_difference']:.2g}", f"{parity['mean_difference']:.2g}"]
        for part in (parity["encoder"], parity["student"]):
            row += [f"{part['flipped']:.2%}", f"{part['f1']:.3f} ({part['f1_reference']:.3f})"]
        rows.append(row)
    differences = ("largest difference in probability", "mean")
    decisions = ("encoder alone: flipped", "F1 (trained model)", "student: flipped", "F1 (trained model)")
    return _table(("variant", *differences, *decisions), rows)


def _held_out(summary: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        (
            name,
            f"{figures['pairs']:,}",
            f"{figures['f1']:.3f}",
            f"{figures['f1_lexical']:.3f}",
            f"{figures['calibration_error']:.3f}",
            f"{figures['encoder_share']:.0%}",
        )
        for name, figures in summary.items()
    ]
    return _table(("task", "pairs", "F1", "F1 of the trees alone", "calibration error", "encoder asked"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
