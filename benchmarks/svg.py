"""Small plots as SVG, without a plotting library: dots and lines on two axes, names at the right end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1b6ca8", "#d95f02", "#2e8b57", "#8e44ad", "#b8860b", "#c0392b", "#666666")

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 170, 24, 56
_RIGHT_OF_DOTS = 40  # where no line has its name at the right end
_APART = 15  # least distance of two names, one above the other
_NAME = 100  # width of a name, about


@dataclass(frozen=True)
class Axis:
    """One axis: where its marks are, what they say, what it is called."""

    marks: Mapping[float, str]
    name: str
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the first mark and 1 at the last."""
        first, last, at = min(self.marks), max(self.marks), value
        if self.logarithmic:
            first, last, at = math.log(first), math.log(last), math.log(value)
        return (at - first) / (last - first)


@dataclass(frozen=True)
class Series:
    """Points with one colour; `joined` by a line or single, and each with its own name or none.

    A line that was not measured is `dashed`, and has no dots.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    joined: bool = True
    names: Sequence[str] = ()
    dashed: bool = False


def plot(title: str, across: Axis, up: Axis, series: Sequence[Series]) -> str:
    """Draw points on two axes."""
    right = _RIGHT if any(one.joined for one in series) else _RIGHT_OF_DOTS
    parts = [f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>']

    def x(value: float) -> float:
        return _LEFT + across.place(value) * (_WIDTH - _LEFT - right)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - up.place(value) * (_HEIGHT - _TOP - _BOTTOM)

    for value, mark in up.marks.items():
        parts.append(line(_LEFT, y(value), _WIDTH - right, y(value), "#e4e4e4"))
        parts.append(text(_LEFT - 8, y(value) + 4, mark, "end"))
    parts += [text(x(value), _HEIGHT - _BOTTOM + 20, mark, "middle") for value, mark in across.marks.items()]
    parts.append(text((_LEFT + _WIDTH - right) / 2, _HEIGHT - 12, across.name, "middle"))
    parts.append(text(_LEFT - 8, 14, up.name, "end"))
    ends, circles = [], []  # dots last: no name hides one
    for one in series:
        if one.joined:
            points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in one.points)
            dashes = ' stroke-dasharray="5 4"' if one.dashed else ""
            parts.append(f'<polyline points="{points}" fill="none" stroke="{one.colour}" stroke-width="2"{dashes}/>')
            ends.append((y(one.points[-1][1]), one.name, one.colour))
        dots = () if one.dashed else one.points
        circles += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5" fill="{one.colour}"/>' for a, b in dots]
        at = -math.inf
        for (a, b), name in sorted(zip(one.points, one.names, strict=False), key=lambda pair: -pair[0][1]):
            at = max(y(b) + 4, at + _APART)
            # To the left where another dot is in the way.
            crowded = any(0 < x(c) - x(a) < _NAME and abs(y(d) - y(b)) < _APART for c, d in one.points)
            place, anchor = (x(a) - 8, "end") if crowded else (x(a) + 8, "start")
            parts.append(text(place, y(b) + 4 if crowded else at, name, anchor, one.colour))
    at = -math.inf
    for wanted, name, colour in sorted(ends):
        at = max(wanted, at + _APART)
        parts.append(text(_WIDTH - right + 8, at + 4, name, "start", colour))
    return framed(title, parts + circles, _WIDTH, _HEIGHT)


def framed(title: str, parts: Sequence[str], width: int, height: int) -> str:
    """Return a whole SVG document."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-size="13" '
        f'font-family="sans-serif"><title>{escape(title)}</title>' + "".join(parts) + "</svg>\n"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    """Return a line; `more` is further attributes."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="1.5" {more}/>'
    )


def text(x: float, y: float, content: str, anchor: str, colour: str = "#333333") -> str:
    """Return text that begins, ends or is centred at a point; lines behind it leave it readable."""
    halo = 'stroke="white" stroke-width="3" paint-order="stroke"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {halo}>{escape(content)}</text>'
