"""The charts of a page, as inline SVG.

Colours and fonts come from the page's style sheet by class, so that a chart follows its light or dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

# One user unit is about a pixel where the page is wide; a phone shrinks it by a fifth and stays readable.
_WIDTH, _HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 14, 40
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


def histogram(
    title: str, description: str, counts: Mapping[str, np.ndarray], *, threshold: float | None, label: str
) -> str:
    """Draw bars over [0, 1], side by side, on a logarithmic scale.

    Parameters
    ----------
    title, description : str
        What the chart shows, for those who do not see it.
    counts : mapping of CSS class to ndarray of int, shape (bins,)
        Counts in equal bins of [0, 1]; all of one length.
    threshold : float or None
        Where to draw a line across.
    label : str
        Name of the horizontal axis.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    highest = max(int(values.max(initial=0)) for values in counts.values())
    # A bar of one pair still stands a little above the ground, hence the + 1 inside the logarithm.
    top = np.log10(max(highest, 10) * 1.25 + 1)

    def height(count: float) -> float:
        return float(np.log10(count + 1) / top * _PLOT_HEIGHT)

    ticks = [0] + [10**power for power in range(int(top) + 1) if 10**power <= max(highest, 10) * 1.25]
    parts = [_horizontal(_TOP + _PLOT_HEIGHT - height(tick), f"{tick:,}") for tick in ticks]
    bins = len(next(iter(counts.values())))
    slot = _PLOT_WIDTH / bins
    bar = (slot - 2) / len(counts)
    for place, (name, values) in enumerate(counts.items()):
        for index, count in enumerate(values.tolist()):
            if count:
                x = _LEFT + index * slot + 1 + place * bar
                tall = height(count)
                parts.append(
                    f'<rect class="bar {escape(name)}" x="{x:.1f}" y="{_TOP + _PLOT_HEIGHT - tall:.1f}" '
                    f'width="{bar:.1f}" height="{tall:.1f}" rx="1.5"><title>{index / bins:.2f} to '
                    f"{(index + 1) / bins:.2f}: {count:,}</title></rect>"
                )
    return _svg(title, description, parts, threshold, label, text_y=_TOP + 2)


def lines(
    title: str,
    description: str,
    grid: Sequence[float] | np.ndarray,
    series: Mapping[str, np.ndarray],
    *,
    threshold: float | None,
    label: str,
) -> str:
    """Draw lines over [0, 1] x [0, 1].

    Parameters
    ----------
    title, description, threshold, label
        As in `histogram`.
    grid : sequence of float, shape (n,)
        Horizontal positions, ascending.
    series : mapping of CSS class to ndarray of float, shape (n,)
        Vertical positions; NaN breaks a line.
    """
    parts = [_horizontal(_TOP + _PLOT_HEIGHT * (1 - tick), f"{tick:.1f}") for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    for name, values in series.items():
        points = " ".join(
            f"{_LEFT + x * _PLOT_WIDTH:.1f},{_TOP + _PLOT_HEIGHT * (1 - y):.1f}"
            for x, y in zip(grid, values.tolist(), strict=True)
            if y == y
        )
        parts.append(f'<polyline class="line {escape(name)}" points="{points}"/>')
    # Lines seldom come near the ground, bars seldom near the ceiling.
    return _svg(title, description, parts, threshold, label, text_y=_TOP + _PLOT_HEIGHT - 8)


def calibration(title: str, description: str, points: Sequence[tuple[float, float, int]], *, label: str) -> str:
    """Draw how often what was given a probability is so; on the diagonal, as often as was said. Large dots are many.

    Parameters
    ----------
    title, description, label
        As in `histogram`.
    points : sequence of (float, float, int)
        Mean probability of a bin, share that is so, and how many are in it; by ascending probability.
    """
    parts = [_horizontal(_TOP + _PLOT_HEIGHT * (1 - tick), f"{tick:.1f}") for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    places = [(_LEFT + x * _PLOT_WIDTH, _TOP + _PLOT_HEIGHT * (1 - y)) for x, y, _ in points]
    parts.append(f'<polyline class="line ideal" points="{_LEFT},{_TOP + _PLOT_HEIGHT} {_LEFT + _PLOT_WIDTH},{_TOP}"/>')
    most = max((count for *_, count in points), default=1)
    parts += [
        f'<circle class="dot match" cx="{x:.1f}" cy="{y:.1f}" r="{2 + 4 * np.sqrt(count / most):.1f}"><title>'
        f"{count:,} at {mean:.3f}: {share:.3f}</title></circle>"
        for (x, y), (mean, share, count) in zip(places, points, strict=True)
    ]
    return _svg(title, description, parts, None, label, text_y=0)


def _horizontal(y: float, text: str) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _svg(title: str, description: str, parts: list[str], threshold: float | None, label: str, text_y: int) -> str:
    floor = _TOP + _PLOT_HEIGHT
    axis = [
        f'<text x="{_LEFT + tick * _PLOT_WIDTH:.1f}" y="{floor + 17}" text-anchor="middle">{tick:.1f}</text>'
        for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    axis.append(
        f'<text x="{_LEFT + _PLOT_WIDTH / 2:.1f}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>'
    )
    if threshold is not None:
        x = _LEFT + threshold * _PLOT_WIDTH
        anchor, shift = ("end", -5) if threshold > 0.5 else ("start", 5)
        axis.append(
            f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{floor}"/>'
            f'<text class="threshold-text" x="{x + shift:.1f}" y="{text_y}" text-anchor="{anchor}">'
            f"threshold {threshold:.2f}</text>"
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}. {escape(description)}">'
        + "".join([*parts, *axis])
        + "</svg>"
    )
