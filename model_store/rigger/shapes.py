"""Outlines as points: curves, ellipses, tubes, and the tremor of a hand.

Points are (N, 2) float64 arrays, x right and y down, in whatever unit the caller
draws in. Nothing here draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[Any]  # float64; OpenCV promises no more
Rng = np.random.Generator
Pair = Sequence[float] | Points


def points(*pairs: Pair) -> Points:
    """The pairs as an array."""
    return np.asarray(pairs, np.float64)


def ellipse(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0
) -> Points:
    """An ellipse or an arc of it; degrees, 0 at the right, clockwise on the screen."""
    steps = max(8, int(abs(stop - start) / 12))
    angle = np.radians(np.linspace(start, stop, steps + 1))
    if abs(stop - start) >= 360:
        angle = angle[:-1]
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def blob(rng: Rng, x: float, y: float, rx: float, ry: float, uneven: float) -> Points:
    """An ellipse that a hand has drawn: its radius varies smoothly by about ``uneven``."""
    angle = np.linspace(0, 2 * math.pi, 33)[:-1]
    radius = np.ones_like(angle)
    for order in (2, 3, 4):
        radius += uneven / order * rng.normal() * np.cos(order * angle + rng.uniform(0, 7))
    return np.stack([x + rx * radius * np.cos(angle), y + ry * radius * np.sin(angle)], 1)


def superellipse(x: float, y: float, rx: float, ry: float, power: float) -> Points:
    """Between a diamond (1), an ellipse (2) and a rectangle (large)."""
    angle = np.linspace(0, 2 * math.pi, 41)[:-1]
    c, s = np.cos(angle), np.sin(angle)
    return np.stack(
        [
            x + rx * np.sign(c) * np.abs(c) ** (2 / power),
            y + ry * np.sign(s) * np.abs(s) ** (2 / power),
        ],
        1,
    )


def spline(controls: Points, closed: bool = False, per_span: int = 6) -> Points:
    """A Catmull-Rom curve through the control points."""
    p = np.asarray(controls, np.float64)
    if len(p) < 3:
        return p
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = (np.arange(per_span) / per_span)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    ).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def resample(line: Points, step: float) -> Points:
    """The same line with points about ``step`` apart (at most 400)."""
    length = np.concatenate([[0.0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
    if length[-1] <= 0:
        return line
    at = np.linspace(0, length[-1], int(np.clip(length[-1] / step, 1, 400)) + 1)
    return np.stack([np.interp(at, length, line[:, 0]), np.interp(at, length, line[:, 1])], 1)


def tube(chain: Points, widths: Sequence[float]) -> tuple[Points, Points]:
    """Both sides of a limb along ``chain`` whose half-widths are given at its ends."""
    line = resample(chain, max(1e-3, float(np.hypot(*np.ptp(chain, 0))) / 12))
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    along = (along + np.roll(along, 1, 0) + np.roll(along, -1, 0)) / 3
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    along /= np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    half = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)
    normal = np.stack([along[:, 1], -along[:, 0]], 1) * half[:, None]
    return line + normal, line - normal


def tremble(rng: Rng, line: Points, amount: float, closed: bool) -> Points:
    """The line as a hand draws it: slow drift of about ``amount`` pixels, and a fine shake."""
    if closed:
        line = np.concatenate([line, line[:1]])
    line = resample(line, 4.0)
    knots = max(3, len(line) // 7)
    at = np.linspace(0, knots - 1, len(line))
    drift = rng.normal(0, amount, (knots, 2))
    if closed:
        drift[-1] = drift[0] + rng.normal(0, amount / 2, 2)
    moved = [np.interp(at, np.arange(knots), drift[:, i]) for i in (0, 1)]
    fine = rng.normal(0, amount * 0.12, (len(line), 2))
    return line + np.stack(moved, 1) + fine


def zigzag(rng: Rng, box: tuple[float, float, float, float], angle: float, gap: float) -> Points:
    """A back-and-forth scribble over the box (x1, y1, x2, y2) at ``angle`` degrees."""
    x1, y1, x2, y2 = box
    radius = math.hypot(x2 - x1, y2 - y1) / 2
    count = int(np.clip(2 * radius / max(gap, 0.5), 2, 160))
    along = np.linspace(-radius, radius, count) + rng.normal(0, gap / 4, count)
    across = radius * np.where(np.arange(count) % 2, 1.0, -1.0) * rng.uniform(0.85, 1.05, count)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = (x1 + x2) / 2 + along * c - across * s, (y1 + y2) / 2 + along * s + across * c
    return np.stack([x, y], 1)
