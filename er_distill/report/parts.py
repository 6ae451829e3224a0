"""The parts that pages are made of, and the page itself: one file without scripts or anything from elsewhere.

Text is escaped here; what is called markup is taken as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole HTML page; empty sections are left out."""
    template = Template(files("er_distill.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(f"{title} - er_distill"), body="\n".join(filter(None, sections)))


def tile_row(name: str, tiles: Iterable[tuple[str, str]]) -> str:
    """Return figures side by side: what each is, and its value; `name` is the row's style, ``found`` or ``cost``."""
    cells = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in tiles)
    return f'<dl class="tiles {name}">{cells}</dl>'


def figure(heading: str, chart: str, caption: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a chart with its caption, both markup, and its numbers as a table that folds out."""
    return (
        f'<figure class="card"><h3>{heading}</h3>{chart}<figcaption>{caption}</figcaption>'
        f"<details><summary>The numbers</summary>{table(columns, rows)}</details></figure>"
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, text_columns: int = 1) -> str:
    """Return a table whose first columns, as many as `text_columns`, are text and whose others are numbers."""

    def number(column: int) -> str:
        return "" if column < text_columns else ' class="number"'

    head = "".join(f'<th scope="col"{number(i)}>{escape(name)}</th>' for i, name in enumerate(columns))
    body = "".join(
        "<tr>" + "".join(f"<td{number(i)}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and what they stand for, one a line."""
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'
