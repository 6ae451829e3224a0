"""The card of a student, written from its manifest alone: ``README.md``, and ``card.html`` with plots."""

from __future__ import annotations

from html import escape
from pathlib import Path

from er_distill.artefact import CARD, Manifest
from er_distill.report.parts import page as whole_page
from er_distill.report.parts import tile_row
from er_distill.training.card import content
from er_distill.training.card.blocks import html, markdown, plain

__all__ = ["PAGE", "page", "render", "write"]

PAGE = "card.html"
"""The card as a page, in the student folder."""


def write(manifest: Manifest, folder: Path) -> None:
    """Write the card into a folder, as Markdown and as a page."""
    (folder / CARD).write_text(render(manifest), encoding="utf-8")
    (folder / PAGE).write_text(page(manifest), encoding="utf-8")


def render(manifest: Manifest) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    manifest : Manifest
        Its ``training`` entry holds how it was made and the checks of every variant; what is not there is left out.
        Sizes are stated where ``files`` describes the graphs.
    """
    does, made = content.header(manifest)
    parts = [
        f"# {plain(manifest.name)}",
        f"A student of [er_distill](https://pypi.org/project/er-distill/). {does} {made} With plots: `{PAGE}`.",
        markdown(content.sections(manifest)),
    ]
    return "\n\n".join(parts) + "\n"


def page(manifest: Manifest) -> str:
    """Return the card as an HTML page, one file with plots, without scripts or anything from elsewhere.

    Parameters
    ----------
    manifest : Manifest
        As `render` takes it.
    """
    does, made = content.header(manifest)
    head = (
        f'<header><p class="eyebrow">Student card</p><h1>{escape(manifest.name)}</h1>'
        f"<p>{escape(does)} {escape(made)}</p></header>"
    )
    good, cost = content.tiles(manifest)
    sections = [html(section) for section in content.sections(manifest) if section.blocks]
    figures = [tile_row("found", good), tile_row("cost", cost)]
    return whole_page(manifest.name, [head, *figures, *sections])
