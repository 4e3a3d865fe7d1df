"""Heads, faces, hair, hats, hands and feet of a made-up figure.

Lengths are in the figure's units (see :mod:`.body`); ``sheet.place`` takes them to
pixels.
"""

from __future__ import annotations

import math

import numpy as np

from .body import Body, one_of
from .shapes import Points, Rng, blob, ellipse, points, spline, superellipse
from .sheet import Pen, Sheet


def face(sheet: Sheet, pen: Pen, body: Body) -> None:
    """Eyes, nose, mouth, cheeks, glasses, beard: each of them may be missing."""
    rng = sheet.rng
    if rng.random() < 0.06:
        return
    x, y = body.head
    rx, ry = body.radii
    if body.plan == "egg":
        rx, ry = rx * rng.uniform(0.55, 0.9), min(ry * 0.6, ry * rng.uniform(0.4, 0.8))
    fine = pen.wide(rng.uniform(0.4, 1.0))
    eye_x, eye_y = rx * rng.uniform(0.25, 0.5), y - ry * rng.uniform(0.05, 0.35)
    size = rx * rng.uniform(0.04, 0.2)
    kind = one_of(rng, dot=0.35, ring=0.3, pupil=0.25, line=0.1)
    for sign in (-1, 1):
        ex = x + sign * eye_x
        if kind == "line":
            sheet.line(points((ex - size, eye_y), (ex + size, eye_y)), fine)
            continue
        outline = ellipse(ex, eye_y, size, size * rng.uniform(0.8, 1.6))
        if kind == "dot":
            sheet.fill(ellipse(ex, eye_y, size * 0.6, size * 0.6), fine, "solid")
        else:
            sheet.line(outline, fine, closed=True)
        if kind == "pupil":
            sheet.fill(ellipse(ex, eye_y, size * 0.4, size * 0.4), fine, "solid")
        if rng.random() < 0.25:
            lashes = ellipse(ex, eye_y - size * 0.4, size * 1.3, size * 1.5, 200, 340)
            sheet.line(lashes, fine)
    nose = one_of(rng, none=0.3, dot=0.25, line=0.25, triangle=0.1, ball=0.1)
    ny, n = y + ry * 0.05, rx * rng.uniform(0.05, 0.15)
    if nose == "line":
        sheet.line(points((x, ny - n), (x + rng.normal(0, n / 2), ny + n)), fine)
    elif nose == "triangle":
        sheet.line(points((x, ny - n), (x + n, ny + n), (x - n, ny + n)), fine, closed=True)
    elif nose != "none":
        sheet.line(ellipse(x, ny, n * 0.7, n * 0.7), fine, closed=True)
    if rng.random() < 0.9:
        bend, half = rng.uniform(-0.15, 0.5) * ry, rx * rng.uniform(0.15, 0.6)
        my = y + ry * rng.uniform(0.3, 0.5)
        mouth = spline(points((x - half, my), (x, my + bend), (x + half, my)))
        if rng.random() < 0.25:
            mouth = np.concatenate([mouth, points((x, my))])
        sheet.line(mouth, fine.of(_reddish(rng)) if rng.random() < 0.4 else fine)
    if rng.random() < 0.12:
        for sign in (-1, 1):
            sheet.line(ellipse(x + sign * eye_x, eye_y, size * 2, size * 2), fine, closed=True)
    if rng.random() < 0.15:
        for sign in (-1, 1):
            cheek = ellipse(x + sign * rx * 0.6, y + ry * 0.2, rx * 0.14, rx * 0.12)
            sheet.fill(cheek, fine.of(_reddish(rng)), "wash")


def hair(sheet: Sheet, pen: Pen, body: Body) -> None:
    """Something on the head: hair, a hat, ears, antennae, horns, or nothing."""
    rng = sheet.rng
    x, y = body.head
    rx, ry = body.radii
    if body.plan == "egg":
        y = 0.5
    kind = one_of(
        rng, none=0.14, spikes=0.14, strokes=0.1, long=0.14, scribble=0.1, pigtails=0.1,
        curls=0.06, bun=0.03, hat=0.07, crown=0.04, ears=0.06, antennae=0.04, bow=0.03,
    )  # fmt: skip
    top = y - ry
    if kind == "spikes":
        spread, tall = rng.uniform(40, 95), ry * rng.uniform(0.15, 0.75)
        count = 2 * int(rng.integers(3, 9)) + 1
        angle = np.radians(np.linspace(-90 - spread, -90 + spread, count))
        reach = 1 + np.where(np.arange(count) % 2, tall / ry, 0.0) * rng.uniform(0.6, 1.1, count)
        crest = np.stack([x + rx * reach * np.cos(angle), y + ry * reach * np.sin(angle)], 1)
        _crest(sheet, pen, crest)
    elif kind == "strokes":
        spread, tall = rng.uniform(15, 100), rng.uniform(0.12, 0.7)
        for a in np.radians(-90 + np.linspace(-spread, spread, int(rng.integers(3, 16)))).tolist():
            a += rng.normal(0, 0.06)
            root = np.array([x + rx * math.cos(a), y + ry * math.sin(a)])
            tip = root + ry * tall * rng.uniform(0.7, 1.2) * np.array([math.cos(a), math.sin(a)])
            middle = (root + tip) / 2 + rng.normal(0, 0.06, 2) * ry
            sheet.line(spline(np.stack([root, middle, tip])), pen)
    elif kind == "long":
        _long_hair(sheet, pen, x, y, rx, ry)
    elif kind == "scribble":
        low = rng.uniform(-0.6, 0.1)
        cap = np.concatenate(
            [ellipse(x, y, rx * 1.08, ry * 1.1, 180, 360), points((x + rx * 0.8, y + low * ry),
             (x, y - ry * 0.55), (x - rx * 0.8, y + low * ry))]
        )  # fmt: skip
        sheet.fill(cap, pen, one_of(rng, scribble=0.6, hatch=0.2, solid=0.2))
    elif kind == "pigtails":
        out, size = rng.uniform(1.0, 1.35), ry * rng.uniform(0.2, 0.65)
        dy, thin, slope = rng.uniform(-0.5, 0.35) * ry, rng.uniform(0.3, 1.0), rng.uniform(0, 1.4)
        for sign in (-1, 1):
            tail = blob(rng, 0, 0, size, size * thin, 0.06)
            c, s = math.cos(slope), math.sin(slope)
            turned = np.stack([tail[:, 0] * c - tail[:, 1] * s, tail[:, 0] * s + tail[:, 1] * c], 1)
            turned[:, 0] = x + sign * (turned[:, 0] + rx * out + size * c * 0.7)
            turned[:, 1] += y + dy + size * s * 0.7
            shape(sheet, pen, turned)
        if rng.random() < 0.5:
            sheet.line(ellipse(x, y - ry * 0.1, rx * 1.02, ry * 0.95, 190, 350), pen)
    elif kind == "curls":
        size = ry * rng.uniform(0.12, 0.28)
        spread = rng.uniform(70, 130)
        for a in np.radians(-90 + np.linspace(-spread, spread, int(rng.integers(6, 12)))):
            cx, cy = x + rx * 1.05 * math.cos(a), y + ry * 1.05 * math.sin(a)
            sheet.line(ellipse(cx, cy, size, size), pen, closed=True)
    elif kind == "bun":
        size = ry * rng.uniform(0.2, 0.45)
        shape(sheet, pen, blob(rng, x, top - size * 0.8, size, size, 0.05))
    elif kind == "hat":
        _hat(sheet, pen, x, y, rx, ry)
    elif kind == "crown":
        wide, tall = rx * rng.uniform(0.55, 1.0), ry * rng.uniform(0.35, 0.8)
        base, count = top + ry * 0.15, 2 * int(rng.integers(3, 6)) + 1
        xs = np.linspace(-wide, wide, count)
        tips = np.stack([x + xs, base - tall * np.where(np.arange(count) % 2, 0.5, 1.0)], 1)
        shape(sheet, pen, np.concatenate([tips, points((x + wide, base), (x - wide, base))]))
    elif kind == "ears":
        _ears(sheet, pen, x, y, rx, ry)
    elif kind == "antennae":
        lean, tall = rng.uniform(0.1, 0.8), ry * rng.uniform(0.4, 1.2)
        knob = ry * rng.uniform(0.07, 0.2)
        for sign in (-1, 1):
            root = points((x + sign * rx * 0.35, y - ry * 0.92))[0]
            end = np.add(root, (sign * lean * tall, -tall))
            bend = np.add((root + end) / 2, (-sign * lean * tall * 0.3, 0))
            sheet.line(spline(np.stack([root, bend, end])), pen)
            sheet.line(ellipse(end[0], end[1], knob, knob), pen, closed=True)
    elif kind == "bow":
        size, by = rx * rng.uniform(0.2, 0.5), top - ry * 0.05
        for sign in (-1, 1):
            wing = points(
                (x, by), (x + sign * size, by - size * 0.6), (x + sign * size, by + size * 0.5)
            )
            shape(sheet, pen, wing)


def _reddish(rng: Rng) -> tuple[int, int, int]:
    return (int(rng.integers(30, 120)), int(rng.integers(20, 90)), int(rng.integers(150, 240)))


def shape(sheet: Sheet, pen: Pen, outline: Points) -> None:
    """An outline, often coloured in."""
    kind = one_of(sheet.rng, none=0.5, solid=0.15, scribble=0.2, hatch=0.1, wash=0.05)
    if kind != "none":
        sheet.fill(outline, pen, kind)
    sheet.line(outline, pen, closed=True)


def _crest(sheet: Sheet, pen: Pen, crest: Points) -> None:
    sheet.mark(crest)
    if sheet.rng.random() < 0.45:
        sheet.fill(crest, pen, one_of(sheet.rng, solid=0.4, scribble=0.4, hatch=0.2))
    sheet.line(crest, pen)


def _long_hair(sheet: Sheet, pen: Pen, x: float, y: float, rx: float, ry: float) -> None:
    rng = sheet.rng
    low, flare = ry * rng.uniform(0.3, 1.9), rng.uniform(0.0, 0.45)
    wavy = rng.uniform(0, 0.08)
    for sign in (-1, 1):
        inner = points((x + sign * rx * 0.2, y - ry * 0.98), (x + sign * rx * 0.98, y - ry * 0.1),
                       (x + sign * rx * (0.95 + flare * 0.4), y + low))  # fmt: skip
        outer = points((x + sign * rx * (1.2 + flare), y + low * rng.uniform(0.85, 1.1)),
                       (x + sign * rx * (1.15 + wavy), y - ry * 0.1),
                       (x, y - ry * rng.uniform(1.03, 1.15)))  # fmt: skip
        lock = spline(np.concatenate([inner, outer]), closed=True, per_span=4)
        kind = one_of(rng, none=0.35, scribble=0.35, hatch=0.15, solid=0.15)
        if kind != "none":
            sheet.fill(lock, pen, kind)
        if kind in ("none", "solid") or rng.random() < 0.5:
            sheet.line(lock, pen, closed=True)


def _hat(sheet: Sheet, pen: Pen, x: float, y: float, rx: float, ry: float) -> None:
    rng = sheet.rng
    base, wide = y - ry * rng.uniform(0.5, 0.85), rx * rng.uniform(0.6, 1.05)
    tall = ry * rng.uniform(0.5, 1.3)
    kind = one_of(rng, cone=0.35, top=0.3, cap=0.35)
    if kind == "cone":
        outline = points(
            (x - wide, base), (x + rng.normal(0, 0.1) * rx, base - tall), (x + wide, base)
        )
    elif kind == "top":
        outline = points(
            (x - wide, base), (x - wide, base - tall), (x + wide, base - tall), (x + wide, base)
        )
    else:
        outline = ellipse(x, base, wide, min(tall, ry * 0.7), 180, 360)
    sheet.knock_out(outline)
    shape(sheet, pen, outline)
    if kind != "cone":
        brim = wide * rng.uniform(1.1, 1.6)
        sheet.line(points((x - brim, base), (x + brim, base)), pen)


def _ears(sheet: Sheet, pen: Pen, x: float, y: float, rx: float, ry: float) -> None:
    rng = sheet.rng
    kind = one_of(rng, round=0.4, pointed=0.3, long=0.3)
    size, out = rx * rng.uniform(0.2, 0.45), rng.uniform(0.5, 0.85)
    for sign in (-1, 1):
        ex, ey = x + sign * rx * out, y - ry * math.sqrt(1 - out**2)
        if kind == "round":
            outline = ellipse(ex, ey, size, size)
        elif kind == "long":
            outline = superellipse(
                x + sign * rx * out * 0.6, y - ry - size, size * 0.5, size * 2, 2
            )
        else:
            outline = points(
                (ex - size * 0.7, ey),
                (ex + sign * size * 0.4, ey - size * 1.6),
                (ex + size * 0.7, ey),
            )
        shape(sheet, pen, outline)


def hand(sheet: Sheet, pen: Pen, wrist: Points, forward: Points, size: float, kind: str) -> None:
    """A hand at ``wrist`` that points along ``forward`` (unit vector)."""
    rng = sheet.rng
    side = np.array([-forward[1], forward[0]])
    if kind == "ball":
        centre = wrist + forward * size * 0.85
        outline = blob(rng, centre[0], centre[1], size * 0.9, size * 0.9, 0.06)
        sheet.knock_out(outline)
        sheet.line(outline, pen, closed=True)
    elif kind == "fingers":
        count, fan = int(rng.integers(2, 7)), rng.uniform(30, 85)
        for a in np.radians(np.linspace(-fan, fan, count) + rng.normal(0, 5, count)):
            tip = wrist + (forward * math.cos(a) + side * math.sin(a)) * size * rng.uniform(
                1.0, 1.7
            )
            sheet.line(np.stack([wrist, tip]), pen)
    elif kind == "cloud":
        count = int(rng.integers(3, 6))
        palm = wrist + forward * size * 0.7
        tips = np.radians(np.linspace(-80, 80, 2 * count + 1))
        reach = np.where(
            np.arange(2 * count + 1) % 2, rng.uniform(1.1, 1.6), rng.uniform(0.6, 0.95)
        )
        outline = palm + size * reach[:, None] * (
            forward * np.cos(tips)[:, None] + side * np.sin(tips)[:, None]
        )
        ends = np.stack([wrist + side * size * 0.4, wrist - side * size * 0.4])
        outline = spline(np.concatenate([ends[1:], outline, ends[:1]]), closed=True, per_span=4)
        sheet.knock_out(outline)
        sheet.line(outline, pen, closed=True)
    elif kind == "mitten":
        tip = wrist + forward * size * 1.5
        thumb = wrist + forward * size * 0.5 + side * size * 0.9 * rng.choice([-1.0, 1.0])
        sheet.line(
            spline(np.stack([wrist - side * size * 0.5, tip, wrist + side * size * 0.5])), pen
        )
        sheet.line(np.stack([wrist + side * size * 0.2, thumb, wrist + forward * size * 0.8]), pen)
        sheet.mark(np.stack([wrist - side * size * 0.5, tip, wrist + side * size * 0.5]))


def foot(sheet: Sheet, pen: Pen, ankle: Points, out: float, size: float, kind: str) -> None:
    """A foot below ``ankle`` whose toes point to ``out`` (−1 left, 1 right, 0 to us)."""
    rng = sheet.rng
    x, y = ankle
    if kind == "line":
        sheet.line(points((x, y), (x + out * size * 1.5, y + rng.normal(0, 0.1) * size)), pen)
    elif kind in ("oval", "block", "shoe"):
        cx, cy, ry = x + out * size * 0.55, y + size * 0.3, size * rng.uniform(0.38, 0.62)
        if kind == "oval":
            outline = ellipse(cx, cy, size, ry)
        elif kind == "block":
            outline = superellipse(cx, cy, size, ry, 6)
        else:
            outline = ellipse(cx, cy + ry * 0.6, size, ry * 1.4, 180, 360)
        if rng.random() < 0.75:
            sheet.knock_out(outline)
        shape(sheet, pen, outline)
    elif kind == "toes":
        for a in np.radians(90 + np.linspace(-60, 60, int(rng.integers(2, 6))) - out * 35):
            tip = ankle + np.array([math.cos(a), math.sin(a)]) * size * rng.uniform(0.7, 1.2)
            sheet.line(np.stack([ankle, tip]), pen)
