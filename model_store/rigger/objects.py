"""Things on a page that are no figures: houses, suns, plants, animals, cars, writing, scribbles.

Each is drawn in a box of ±1 by ±1 that ``sheet.place`` takes to pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from . import parts
from .body import make_body, one_of
from .figure import any_colour, make_pen
from .shapes import Points, blob, ellipse, points, spline, superellipse, zigzag
from .sheet import Pen, Sheet
from .things import THINGS, coloured

WORDS = (
    *("mama", "papa", "hallo", "ich", "love", "you", "robot", "hero", "max", "lena"),
    *("7", "2024", "happy", "dog", "cat", "school", "the", "END"),
)


def house(sheet: Sheet, pen: Pen) -> None:
    """Walls, roof, door, windows."""
    rng = sheet.rng
    w, roof = rng.uniform(0.5, 0.9), rng.uniform(-0.4, 0.1)
    coloured(sheet, pen, points((-w, roof), (w, roof), (w, 1), (-w, 1)))
    coloured(sheet, pen, points((-w * 1.1, roof), (rng.normal(0, 0.1), -1), (w * 1.1, roof)))
    for x in (-0.5, 0.5):
        if rng.random() < 0.8:
            sheet.line(superellipse(x * w, roof + 0.35, 0.18, 0.18, 8), pen, closed=True)
    door = points((-0.14, 1), (-0.14, 0.5), (0.14, 0.5), (0.14, 1))
    sheet.line(door, pen)


def sun(sheet: Sheet, pen: Pen) -> None:
    """A disc with rays, sometimes a face."""
    rng = sheet.rng
    r = rng.uniform(0.35, 0.6)
    coloured(sheet, pen, ellipse(0, 0, r, r))
    for a in np.radians(np.linspace(0, 360, int(rng.integers(6, 16)), endpoint=False)):
        c, s = math.cos(a), math.sin(a)
        sheet.line(points((c * r * 1.15, s * r * 1.15), (c * rng.uniform(0.8, 1), s * 0.9)), pen)
    if rng.random() < 0.4:
        for x in (-1, 1):
            sheet.line(ellipse(x * r * 0.4, -r * 0.2, r * 0.1, r * 0.1), pen, closed=True)
        sheet.line(ellipse(0, r * 0.1, r * 0.5, r * 0.4, 20, 160), pen)


def tree(sheet: Sheet, pen: Pen) -> None:
    """A trunk with a crown, a fir, or bare branches."""
    rng = sheet.rng
    w = rng.uniform(0.06, 0.2)
    coloured(sheet, pen, points((-w, 0), (w, 0), (w * 1.2, 1), (-w * 1.2, 1)))
    if rng.random() < 0.5:
        coloured(sheet, pen, blob(rng, 0, -0.3, rng.uniform(0.5, 0.9), 0.65, 0.12))
    elif rng.random() < 0.5:
        for y in (0.2, -0.2, -0.55):
            coloured(sheet, pen, points((-0.7, y), (0, y - 0.5), (0.7, y)))
    else:
        for a in np.radians(rng.uniform(200, 340, int(rng.integers(3, 9)))):
            sheet.line(points((0, 0), (math.cos(a) * 0.9, math.sin(a) * 0.9)), pen)


def flower(sheet: Sheet, pen: Pen) -> None:
    """A stem, petals, leaves."""
    rng = sheet.rng
    sheet.line(spline(points((0, -0.4), (rng.normal(0, 0.1), 0.3), (rng.normal(0, 0.1), 1))), pen)
    count, r = int(rng.integers(4, 9)), rng.uniform(0.18, 0.3)
    for a in np.radians(np.linspace(0, 360, count, endpoint=False)):
        coloured(
            sheet,
            pen,
            ellipse(math.cos(a) * r * 1.4, -0.55 + math.sin(a) * r * 1.4, r * 0.7, r * 0.7),
        )
    sheet.line(ellipse(0, -0.55, r * 0.7, r * 0.7), pen, closed=True)
    for side in (-1, 1):
        if rng.random() < 0.7:
            y = rng.uniform(0.2, 0.7)
            leaf = spline(
                points((0, y), (side * 0.25, y - 0.2), (side * 0.5, y - 0.1), (side * 0.25, y)),
                True,
            )
            coloured(sheet, pen, leaf)


def cloud(sheet: Sheet, pen: Pen) -> None:
    """Bumps around."""
    angle = np.linspace(0, 2 * math.pi, 60)
    bump = 1 + 0.15 * np.abs(np.sin(angle * int(sheet.rng.integers(2, 5))))
    coloured(
        sheet, pen, np.stack([0.85 * bump * np.cos(angle), 0.5 * bump * np.sin(angle)], 1), 0.2
    )


def car(sheet: Sheet, pen: Pen) -> None:
    """A body, a cabin and two wheels."""
    rng = sheet.rng
    coloured(sheet, pen, superellipse(0, 0.25, 0.95, 0.3, 6))
    coloured(sheet, pen, points((-0.6, -0.05), (-0.4, -0.5), (0.35, -0.5), (0.6, -0.05)))
    for x in (-0.5, 0.5):
        r = rng.uniform(0.16, 0.25)
        sheet.knock_out(ellipse(x, 0.58, r, r))
        coloured(sheet, pen, ellipse(x, 0.58, r, r))


def beast(sheet: Sheet, pen: Pen) -> None:
    """A four-legged animal seen from the side."""
    rng = sheet.rng
    flip = float(rng.choice([-1.0, 1.0]))
    tall = rng.uniform(0.2, 0.4)
    coloured(sheet, pen, blob(rng, 0, 0, 0.65, tall, 0.06))
    for x in (-0.5, -0.3, 0.3, 0.5):
        x += rng.normal(0, 0.04)
        y, w = tall * 0.75, rng.uniform(0.03, 0.09)
        leg = points((x - w, y), (x - w, 0.85), (x + w, 0.85), (x + w, y))
        if pen.width > 4 or rng.random() < 0.3:
            sheet.line(points((x, y), (x, 0.85)), pen)
        else:
            sheet.line(leg, pen)
    r = rng.uniform(0.2, 0.38)
    hx, hy = flip * (0.65 + r * 0.5), -tall * rng.uniform(0.3, 1.4)
    sheet.knock_out(ellipse(hx, hy, r, r * 0.85))
    coloured(sheet, pen, blob(rng, hx, hy, r, r * 0.85, 0.05))
    for x in (-0.6, 0.6):
        ear = points(
            (hx + x * r * 1.3, hy - r * 0.4),
            (hx + x * r * 1.4, hy - r * 1.5),
            (hx + x * r * 0.4, hy - r * 0.8),
        )
        sheet.line(ear, pen, closed=True)
        sheet.line(ellipse(hx + x * r * 0.5, hy - r * 0.1, r * 0.1, r * 0.1), pen, closed=True)
    tail = points(
        (-flip * 0.62, -0.05), (-flip * 0.85, -0.3), (-flip * 0.95, rng.uniform(-0.7, 0.2))
    )
    sheet.line(spline(tail), pen)


def fish(sheet: Sheet, pen: Pen) -> None:
    """A body, a tail, an eye."""
    flip = float(sheet.rng.choice([-1.0, 1.0]))
    coloured(sheet, pen, ellipse(0, 0, 0.65, sheet.rng.uniform(0.25, 0.5)))
    coloured(sheet, pen, points((flip * 0.6, 0), (flip, -0.4), (flip, 0.4)))
    sheet.line(ellipse(-flip * 0.4, -0.08, 0.05, 0.05), pen, closed=True)


def bird(sheet: Sheet, pen: Pen) -> None:
    """Two arcs in the sky."""
    lift = sheet.rng.uniform(0.2, 0.5)
    sheet.line(spline(points((-1, 0), (-0.5, -lift), (0, 0.1), (0.5, -lift), (1, 0))), pen)


def butterfly(sheet: Sheet, pen: Pen) -> None:
    """Four wings and feelers."""
    for side in (-1, 1):
        for y, r in ((-0.4, 0.45), (0.4, 0.33)):
            coloured(sheet, pen, ellipse(side * 0.5, y, r, r * 0.9))
        sheet.line(points((0, -0.5), (side * 0.3, -1)), pen)
    coloured(sheet, pen, ellipse(0, 0, 0.08, 0.6))


def star(sheet: Sheet, pen: Pen) -> None:
    """Spikes around."""
    count = 2 * int(sheet.rng.integers(4, 8))
    angle = np.radians(-90) + np.linspace(0, 2 * math.pi, count, endpoint=False)
    reach = np.where(np.arange(count) % 2, sheet.rng.uniform(0.35, 0.6), 1.0)
    coloured(sheet, pen, np.stack([reach * np.cos(angle), reach * np.sin(angle)], 1))


def heart(sheet: Sheet, pen: Pen) -> None:
    """A heart."""
    half = points((0, 0.9), (0.9, -0.1), (0.75, -0.75), (0.35, -0.8), (0, -0.35))
    coloured(sheet, pen, spline(np.concatenate([half, half[-2:0:-1] * (-1, 1)]), True))


def rainbow(sheet: Sheet, pen: Pen) -> None:
    """Arcs in many colours."""
    for r in np.linspace(1, 0.5, int(sheet.rng.integers(3, 7))):
        sheet.line(ellipse(0, 0.5, r, r * 1.3, 180, 360), pen.of(any_colour(sheet.rng)))


def balloon(sheet: Sheet, pen: Pen) -> None:
    """An oval on a string."""
    coloured(sheet, pen, ellipse(0, -0.5, 0.4, 0.48))
    sheet.line(spline(points((0, 0), (sheet.rng.normal(0, 0.15), 0.5), (0, 1))), pen)


def scribble(sheet: Sheet, pen: Pen) -> None:
    """A zigzag, a spiral, or a tangle."""
    rng = sheet.rng
    kind = one_of(rng, zigzag=0.4, spiral=0.3, tangle=0.3)
    if kind == "zigzag":
        sheet.line(
            zigzag(rng, (-0.8, -0.6, 0.8, 0.6), rng.uniform(0, 180), rng.uniform(0.08, 0.3)), pen
        )
    elif kind == "spiral":
        t = np.linspace(0, rng.uniform(8, 25), 120)
        sheet.line(np.stack([np.cos(t), np.sin(t)], 1) * (t / t[-1])[:, None], pen)
    else:
        sheet.line(spline(rng.uniform(-0.9, 0.9, (int(rng.integers(5, 14)), 2))), pen)


def lone_shape(sheet: Sheet, pen: Pen) -> None:
    """A circle, square, arrow, cross, ball or table: parts of figures that are none."""
    rng = sheet.rng
    kind = int(rng.integers(6))
    if kind == 0:
        coloured(sheet, pen, blob(rng, 0, 0, rng.uniform(0.4, 1), rng.uniform(0.4, 1), 0.05))
    elif kind == 1:
        coloured(sheet, pen, superellipse(0, 0, rng.uniform(0.3, 1), rng.uniform(0.3, 1), 9))
    elif kind == 2:
        sheet.line(points((0, 1), (0, -1)), pen)
        sheet.line(points((-0.4, -0.5), (0, -1), (0.4, -0.5)), pen)
    elif kind == 3:
        sheet.line(points((-0.9, rng.uniform(-0.5, 0.5)), (0.9, rng.uniform(-0.5, 0.5))), pen)
        sheet.line(points((rng.uniform(-0.4, 0.4), -1), (rng.uniform(-0.4, 0.4), 1)), pen)
    elif kind == 4:
        sheet.line(superellipse(0, -0.2, 0.9, 0.12, 9), pen, closed=True)
        for x in (-0.7, 0.7):
            sheet.line(points((x, -0.1), (x * 1.1, 0.9)), pen)
    else:
        coloured(sheet, pen, points((0, -1), (1, 0.8), (-1, 0.8)))


def lone_face(sheet: Sheet, pen: Pen) -> None:
    """A head without a body."""
    body = make_body(sheet.rng)
    rx, ry = body.radii
    unit = 0.9 / max(rx, ry)
    body.plan, body.head, body.radii = "outline", (0.0, 0.1), (rx * unit, ry * unit)
    coloured(sheet, pen, blob(sheet.rng, 0, 0.1, *body.radii, 0.03), 0.15)
    if sheet.rng.random() < 0.4:
        parts.hair(sheet, pen, body)
    parts.face(sheet, pen, body)


def writing(sheet: Sheet, pen: Pen) -> None:
    """A word in stroke letters, one contour a letter's ink."""
    rng = sheet.rng
    text = " ".join(rng.choice(list(WORDS), int(rng.integers(1, 3))))
    font, thick = int(rng.choice([0, 1, 2, 3, 4, 6, 7])), max(1, round(pen.width * 0.6))
    unit = float(np.hypot(*sheet.place[:, 0]))
    (w, h), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = 2 * unit / max(w, 2 * h)
    patch = np.zeros_like(sheet.alpha)
    x, y = sheet.to_pixels(points((-0.98, 0.2)))[0]
    cv2.putText(patch, text, (round(x), round(y)), font, scale, 255, thick, cv2.LINE_AA)
    x1, y1, w, h = cv2.boundingRect(patch)
    if w and h:
        sheet.blend(x1, y1, patch[y1 : y1 + h, x1 : x1 + w].copy(), replace(pen, soft=0.0))


KINDS: list[Callable[[Sheet, Pen], None]] = [
    house, sun, tree, flower, cloud, car, beast, beast, fish, bird, butterfly, star, heart, rainbow,
    balloon, scribble, lone_shape, lone_face, lone_face, writing, tree, flower, flower, house,
    lone_shape, sun, balloon, *THINGS,
]  # fmt: skip


def draw_object(sheet: Sheet, centre: Points, size: float) -> None:
    """Draw one thing, about ``size`` pixels across, around ``centre``."""
    rng = sheet.rng
    angle = math.radians(rng.normal(0, 8))
    half = size / 2
    sx, sy = half * rng.uniform(0.7, 1.0), half * rng.uniform(0.7, 1.0)
    c, s = math.cos(angle), math.sin(angle)
    sheet.place = np.array([[sx * c, -sy * s, centre[0]], [sx * s, sy * c, centre[1]]])
    pen = make_pen(rng, size * 1.3)
    KINDS[int(rng.integers(len(KINDS)))](sheet, pen)
    sheet.place = np.array([[1.0, 0, 0], [0, 1.0, 0]])
