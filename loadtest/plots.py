"""Plots as SVG text, to stand in a page: dots and lines over time, bars. Pure.

Colours are the page's, by CSS class: ``s0`` to ``s5`` for series, ``good``, ``refused``, ``bad``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 760, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 28, 40
_DOTS = 1500  # of a series, at most: more cannot be told apart

Scale = Callable[[float], float]
Values = npt.ArrayLike


@dataclass(frozen=True)
class Series:
    """Values to plot; ``style`` is the CSS class, ``dots`` or a line."""

    name: str
    x: Values
    y: Values
    style: str = "s0"
    dots: bool = False


@dataclass(frozen=True)
class Limit:
    """A level that is a goal."""

    name: str
    y: float


def plot(
    title: str,
    series: Sequence[Series],
    axes: tuple[str, str],
    *,
    log: bool = False,
    limit: Limit | None = None,
) -> str:
    """Series over a common x; ``log``: the y axis counts in powers of ten.

    Values that are not finite are left out, and those at or below 0 on a logarithmic axis.
    """
    drawn = [(one, *_thinned(*_plain(one, log), one.dots)) for one in series]
    drawn = [(one, x, y) for one, x, y in drawn if len(x)]
    if not drawn:
        return _frame(title, axes, '<text class="none" x="50%" y="50%">no data</text>')
    xs = np.concatenate([x for _, x, _ in drawn])
    ys = np.concatenate([y for _, _, y in drawn] + ([[limit.y]] if limit else []))
    x_ticks = _ticks(float(xs.min()), float(xs.max()))
    y_ticks = _decades(ys) if log else _ticks(min(0.0, float(ys.min())), float(ys.max()))
    to_x = _scale(x_ticks, _LEFT, WIDTH - _RIGHT)
    to_y = _scale(y_ticks, HEIGHT - _BOTTOM, _TOP, log)
    parts = [_grid(x_ticks, y_ticks, to_x, to_y)]
    if limit:
        parts.append(_level(limit, to_y))
    for one, x, y in drawn:
        at = [(to_x(a), to_y(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        parts.append(_dots(at, one.style) if one.dots else _line(at, one.style))
    return _frame(title, axes, "".join(parts), [(one.name, one.style) for one, *_ in drawn])


def bars(
    title: str,
    labels: Sequence[str],
    stacks: Sequence[tuple[str, str, Sequence[float]]],
    axes: tuple[str, str],
) -> str:
    """A bar for each label, stacked of (name, CSS class, heights)."""
    heights = np.array([values for *_, values in stacks], np.float64).reshape(len(stacks), -1)
    top = float(heights.sum(0).max(initial=0))
    y_ticks = _ticks(0.0, top)
    to_y = _scale(y_ticks, HEIGHT - _BOTTOM, _TOP)
    room = (WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    every = max(1, math.ceil(len(labels) / 12))
    parts = [_grid([], y_ticks, to_y, to_y)]
    for number, label in enumerate(labels):
        left, below = _LEFT + room * number, 0.0
        for (name, style, _), height in zip(stacks, heights[:, number].tolist(), strict=True):
            if height:
                parts.append(
                    f'<rect class="{style}" x="{left + 0.1 * room:.1f}" '
                    f'y="{to_y(below + height):.1f}" width="{0.8 * room:.1f}" '
                    f'height="{to_y(below) - to_y(below + height):.1f}">'
                    f"<title>{escape(label)}, {escape(name)}: {height:g}</title></rect>"
                )
            below += height
        if number % every == 0:
            parts.append(_text(left + room / 2, HEIGHT - _BOTTOM + 15, label, "middle"))
    return _frame(title, axes, "".join(parts), [(name, style) for name, style, _ in stacks])


def _plain(one: Series, log: bool) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
    shown = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not log))
    return x[shown], y[shown]


def _thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], dots: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """No more dots than can be seen: of each group the lowest and the highest."""
    if not dots or len(x) <= _DOTS:
        return x, y
    groups = np.array_split(np.arange(len(x)), _DOTS // 2)
    kept = np.unique([group[[np.argmin(y[group]), np.argmax(y[group])]] for group in groups])
    return x[kept], y[kept]


def _ticks(low: float, high: float) -> list[float]:
    """Round values, four to nine, that hold the range."""
    if high <= low:
        high = low + 1
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= 7)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, last + 1)]


def _decades(values: npt.NDArray[np.float64]) -> list[float]:
    first = math.floor(math.log10(values.min()))
    last = max(first + 1, math.ceil(math.log10(values.max())))
    return [10.0**power for power in range(first, last + 1)]


def _scale(ticks: Sequence[float], start: float, end: float, log: bool = False) -> Scale:
    """From values to pixels."""
    low, high = (math.log10(t) if log else t for t in (ticks[0], ticks[-1]))
    return lambda v: start + (end - start) * ((math.log10(v) if log else v) - low) / (high - low)


def _grid(x_ticks: Sequence[float], y_ticks: Sequence[float], to_x: Scale, to_y: Scale) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = [f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>']
    for tick in y_ticks:
        y = to_y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(_text(_LEFT - 8, y + 4, _number(tick), "end"))
    parts += [_text(to_x(tick), bottom + 15, _number(tick), "middle") for tick in x_ticks]
    return "".join(parts)


def _level(limit: Limit, to_y: Scale) -> str:
    y = to_y(limit.y)
    line = f'<path class="limit" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
    return line + _text(WIDTH - _RIGHT - 4, y - 5, limit.name, "end", "limit-name")


def _line(points: Sequence[tuple[float, float]], style: str) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="line {style}" d="M{path}"/>'


def _dots(points: Sequence[tuple[float, float]], style: str) -> str:
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    return f'<path class="dots {style}" d="{path}"/>'


def _frame(
    title: str, axes: tuple[str, str], inside: str, legend: Sequence[tuple[str, str]] = ()
) -> str:
    keys = "".join(f'<span class="{style}">{escape(name)}</span>' for name, style in legend)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<div class="legend">{keys}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{inside}'
        f"{_text(_LEFT, _TOP - 12, axes[1], 'start')}"
        f"{_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, axes[0], 'middle')}</svg></figure>"
    )


def _text(x: float, y: float, words: str, anchor: str, style: str = "tick") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{style}" {where}>{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
