"""Small plots as SVG, without a plotting library: dots and lines on two axes, names at the right end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1b6ca8", "#d95f02", "#2e8b57", "#8e44ad", "#b8860b", "#c0392b", "#666666")

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 170, 24, 56
_APART = 15  # least distance of two names at the right end


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
    """Points with one colour; `joined` by a line or single, and each with its own name or none."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    joined: bool = True
    names: Sequence[str] = ()


def plot(title: str, across: Axis, up: Axis, series: Sequence[Series]) -> str:
    """Draw points on two axes."""
    parts = [f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>']

    def x(value: float) -> float:
        return _LEFT + across.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - up.place(value) * (_HEIGHT - _TOP - _BOTTOM)

    for value, mark in up.marks.items():
        parts.append(line(_LEFT, y(value), _WIDTH - _RIGHT, y(value), "#e4e4e4"))
        parts.append(text(_LEFT - 8, y(value) + 4, mark, "end"))
    parts += [text(x(value), _HEIGHT - _BOTTOM + 20, mark, "middle") for value, mark in across.marks.items()]
    parts.append(text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, across.name, "middle"))
    parts.append(text(_LEFT - 8, 14, up.name, "end"))
    ends = []
    for one in series:
        if one.joined:
            points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in one.points)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{one.colour}" stroke-width="2"/>')
            ends.append((y(one.points[-1][1]), one.name, one.colour))
        parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5" fill="{one.colour}"/>' for a, b in one.points]
        at = -math.inf
        for (a, b), name in sorted(zip(one.points, one.names, strict=False), key=lambda pair: -pair[0][1]):
            at = max(y(b) + 4, at + _APART)
            parts.append(text(x(a) + 8, at, name, "start", one.colour))
    at = -math.inf
    for wanted, name, colour in sorted(ends):
        at = max(wanted, at + _APART)
        parts.append(text(_WIDTH - _RIGHT + 8, at + 4, name, "start", colour))
    return framed(title, parts, _WIDTH, _HEIGHT)


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
    """Return text that begins, ends or is centred at a point."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(content)}</text>'
