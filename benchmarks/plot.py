"""A plain chart: lines of points with two axes, as SVG.

    draw("out.svg", "Cores per session", "sessions", "core", {"patchbay": [(10, 0.002), (100, 0.001)]}, log=True)

The marks are those of `cli.canvas`; the axes are labelled at round numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.canvas import Svg

__all__ = ["Chart", "draw", "round_steps"]

Chart = tuple[str, str, str, Mapping[str, Sequence[tuple[float, float]]], bool]
"""Title, name of x, name of y, lines by name, both axes logarithmic."""
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760.0, 320.0, 70.0, 40.0, 140.0, 50.0
"""The names of the lines stand to the right of them."""
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")


def round_steps(low: float, high: float, log: bool) -> list[float]:
    """Where to label an axis from `low` to `high`: 1, 2 or 5 times a power of ten.

    >>> round_steps(0, 10, False)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    >>> round_steps(1, 100, True)
    [1.0, 10.0, 100.0]
    """
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**e for e in range(first, last + 1)]
    raw = (high - low) / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step)
    return [round((first + i) * step, 12) for i in range(math.ceil(high / step) - first + 1)]


def draw(path: str | Path, *charts: Chart) -> None:
    """One chart under the other, written to `path`."""
    svg = Svg(_WIDTH, _HEIGHT * len(charts), "#ffffff")
    for number, chart in enumerate(charts):
        _chart(svg, _HEIGHT * number, *chart)
    Path(path).write_bytes(svg.data())


def _chart(
    svg: Svg, top: float, title: str, x_name: str, y_name: str, lines: Mapping[str, Sequence[tuple[float, float]]],
    log: bool,
) -> None:  # fmt: skip
    lines = {n: [(x, y) for x, y in some if not log or (x > 0 and y > 0)] for n, some in lines.items()}
    points = [p for some in lines.values() for p in some]
    svg.text(_LEFT, top + 20, title, "#222222", size=14, bold=True)
    if not points:
        svg.text(_LEFT, top + 60, "nothing was measured", "#222222")
        return
    xs = round_steps(min(x for x, _ in points), max(x for x, _ in points), log)
    ys = round_steps(min(y for _, y in points) if log else 0.0, max(y for _, y in points) or 1.0, log)
    at = math.log10 if log else float

    def place(x: float, y: float) -> tuple[float, float]:
        across = (at(x) - at(xs[0])) / ((at(xs[-1]) - at(xs[0])) or 1)
        up = (at(y) - at(ys[0])) / ((at(ys[-1]) - at(ys[0])) or 1)
        left = _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
        return left, top + _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    for x in xs:
        svg.line(place(x, ys[0]), place(x, ys[-1]), "#e5e5e5")
        svg.text(place(x, ys[0])[0], top + _HEIGHT - _BOTTOM + 16, f"{x:g}", "#555555", size=11, anchor="middle")
    for y in ys:
        svg.line(place(xs[0], y), place(xs[-1], y), "#e5e5e5")
        svg.text(_LEFT - 6, place(xs[0], y)[1] + 4, f"{y:g}", "#555555", size=11, anchor="end")
    svg.text(_WIDTH - _RIGHT, top + _HEIGHT - 12, x_name, "#555555", size=11, anchor="end")
    svg.text(_LEFT - 60, top + _TOP - 6, y_name, "#555555", size=11)
    for number, (name, some) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        ordered = sorted(some)
        for a, b in itertools.pairwise(ordered):
            svg.line(place(*a), place(*b), colour, width=2)
        for x, y in ordered if len(ordered) <= 60 else ():
            left, high = place(x, y)
            svg.rect(left - 3, high - 3, 6, 6, colour, radius=3, tip=f"{name}: {x:g}, {y:g}")
        svg.text(_WIDTH - _RIGHT + 12, top + _TOP + 10 + 14 * number, name, colour, size=11, bold=True)
