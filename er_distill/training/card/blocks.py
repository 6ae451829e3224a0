"""What a card is made of, written down once and rendered twice: as Markdown and as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from er_distill.report import parts

# An underscore inside a word, as in a column's name, is no markup.
_SPECIAL = re.compile(r"([\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_]))")

_MOST_ROWS = 12  # a longer table folds out


@dataclass(frozen=True)
class Text:
    """A paragraph; what stands between backticks is code."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences, as `Text` each."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Lines as they stand."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table whose first columns, as many as `text_columns`, are text and whose others are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1


@dataclass(frozen=True)
class Chart:
    """A plot with its numbers.

    Attributes
    ----------
    heading : str
    svg, caption : str
        Markup, for HTML alone.
    table : Table
        The numbers.
    in_markdown : bool
        Whether Markdown, which shows no plot, shows the numbers.
    """

    heading: str
    svg: str
    caption: str
    table: Table
    in_markdown: bool


Block = Text | Items | Code | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: tuple[Block, ...]


def markdown(sections: Sequence[Section]) -> str:
    """Return sections as Markdown."""
    found = []
    for section in sections:
        blocks = [text for text in map(_markdown_of, section.blocks) if text]
        found += [f"## {section.title}", *blocks] if blocks else []
    return "\n\n".join(found)


def _markdown_of(block: Block) -> str:
    if isinstance(block, Text):
        return plain(block.text)
    if isinstance(block, Items):
        return "\n".join(f"- {plain(item)}" for item in block.items)
    if isinstance(block, Code):
        return "\n".join(f"    {line}" for line in block.text.splitlines())
    if isinstance(block, Chart):
        return f"### {block.heading}\n\n{_markdown_table(block.table)}" if block.in_markdown else ""
    return _markdown_table(block)


def _markdown_table(table: Table) -> str:
    rule = ["---"] * table.text_columns + ["---:"] * (len(table.columns) - table.text_columns)
    rows = [[_cell(value) for value in row] for row in table.rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (list(table.columns), rule, *rows))


def plain(text: str) -> str:
    """Text in which nothing but what stands between backticks is markup."""
    return "`".join(part if k % 2 else _SPECIAL.sub(r"\\\1", part) for k, part in enumerate(text.split("`")))


def _cell(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def html(section: Section) -> str:
    """Return a section as HTML: its plots side by side, all else in one box."""
    charts = [block for block in section.blocks if isinstance(block, Chart)]
    others = [block for block in section.blocks if not isinstance(block, Chart)]
    box = f'<div class="card">{"".join(map(_html_of, others))}</div>' if others else ""
    plots = "".join(
        parts.figure(escape(one.heading), one.svg, one.caption, one.table.columns, one.table.rows) for one in charts
    )
    grid = f'<div class="charts">{plots}</div>' if charts else ""
    return f"<section><h2>{escape(section.title)}</h2>{box}{grid}</section>"


def _html_of(block: Text | Items | Code | Table) -> str:
    if isinstance(block, Text):
        return f"<p>{_marked(block.text)}</p>"
    if isinstance(block, Items):
        return f"<ul>{''.join(f'<li>{_marked(item)}</li>' for item in block.items)}</ul>"
    if isinstance(block, Code):
        return f"<pre><code>{escape(block.text)}</code></pre>"
    table = parts.table(block.columns, block.rows, text_columns=block.text_columns)
    if len(block.rows) <= _MOST_ROWS:
        return table
    return f"<details><summary>{len(block.rows)} lines by {escape(block.columns[0])}</summary>{table}</details>"


def _marked(text: str) -> str:
    split = enumerate(escape(text).split("`"))
    return "".join(f"<code>{part}</code>" if k % 2 else part for k, part in split)
