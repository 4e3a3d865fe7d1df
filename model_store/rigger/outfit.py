"""What a made-up figure wears, carries and has behind it: skirts, belts, capes, wings, tails.

Lengths are in the figure's units (see :mod:`.body`).
"""

from __future__ import annotations

import math

import numpy as np

from .body import Body, half_width, one_of
from .parts import shape
from .shapes import Points, ellipse, points, spline
from .sheet import Pen, Sheet


def behind(sheet: Sheet, pen: Pen, body: Body) -> None:
    """A tail, wings or a cape, drawn before the body."""
    rng = sheet.rng
    kind = one_of(rng, tail=0.4, wings=0.35, cape=0.25)
    wide = max(body.top, 0.1)
    if kind == "tail":
        out = float(rng.choice([-1.0, 1.0]))
        x, y = out * max(body.bottom, 0.1) * 0.7, 0.85
        reach = rng.uniform(0.4, 0.9)
        curve = points(
            (x, y), (x + out * reach * 0.5, y + 0.1), (x + out * reach, y - rng.uniform(-0.1, 0.6))
        )
        sheet.line(spline(curve), pen.wide(rng.uniform(1, 2)))
    elif kind == "wings":
        span, tall = rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.45)
        for sign in (-1, 1):
            near, far = sign * wide * 0.6, sign * (wide + span)
            wing = points((near, 0.2), (far, 0.2 - tall), (far * 0.9, 0.3 + tall), (near, 0.55))
            shape(sheet, pen, spline(wing, closed=True))
    else:
        low = rng.uniform(0.9, 1.5)
        flare = wide + rng.uniform(0.15, 0.5)
        shape(sheet, pen, points((-wide, 0.05), (wide, 0.05), (flare, low), (-flare, low)))


def held(sheet: Sheet, pen: Pen, wrist: Points) -> None:
    """A stick, sword, wand, flag or flower in a hand."""
    rng = sheet.rng
    a = math.radians(rng.uniform(-150, -30))
    way = np.array([math.cos(a), math.sin(a)])
    tip = wrist + way * rng.uniform(0.3, 0.8)
    sheet.line(np.stack([wrist - way * rng.uniform(0, 0.15), tip]), pen)
    kind = one_of(rng, bare=0.4, ball=0.35, flag=0.25)
    if kind == "ball":
        r = rng.uniform(0.06, 0.15)
        shape(sheet, pen, ellipse(tip[0], tip[1], r, r))
    elif kind == "flag":
        side = np.array([-way[1], way[0]]) * rng.uniform(0.15, 0.3)
        shape(sheet, pen, np.stack([tip, tip + side - way * 0.08, tip - way * 0.2]))


def clothes(sheet: Sheet, pen: Pen, body: Body) -> None:
    """Belt, buttons, stripes, a picture on the shirt, a navel."""
    rng = sheet.rng
    fine = pen.wide(rng.uniform(0.5, 1.0))
    if body.torso != "triangle" and rng.random() < 0.1:
        _skirt(sheet, pen, body)
    if rng.random() < 0.3:
        y = rng.uniform(0.45, 0.95)
        w = half_width(body, y)
        sheet.line(spline(points((-w, y), (0, y + rng.normal(0, 0.04)), (w, y))), fine)
    if rng.random() < 0.2:
        for y in np.linspace(0.2, 0.8, int(rng.integers(2, 5))):
            sheet.line(ellipse(0, y, 0.035, 0.035), fine, closed=True)
    elif rng.random() < 0.15:
        for y in np.linspace(0.15, 0.9, int(rng.integers(3, 7))):
            w = half_width(body, y) * 0.95
            sheet.line(points((-w, y), (w, y)), fine)
    elif rng.random() < 0.15:
        size, y = rng.uniform(0.06, 0.16), rng.uniform(0.25, 0.6)
        half = points((0, 1), (-1, -0.3), (-0.5, -1), (0, -0.4))
        heart = np.concatenate([half, half[-2:0:-1] * (-1, 1)]) * size + (0, y)
        sheet.line(heart, fine, closed=True)
    if body.torso == "triangle" and rng.random() < 0.25:
        bottom = 1.0 + body.hem
        xs = np.linspace(-body.bottom, body.bottom, int(rng.integers(7, 14)))
        wave = bottom - 0.05 + 0.05 * np.where(np.arange(len(xs)) % 2, 1, -1)
        sheet.line(np.stack([xs, wave], 1), fine)


def _skirt(sheet: Sheet, pen: Pen, body: Body) -> None:
    """From the waist to somewhere above the knees, over the legs."""
    rng = sheet.rng
    waist, low = rng.uniform(0.5, 0.85), 1.0 + rng.uniform(0.02, 0.3)
    w, wide = half_width(body, waist), max(body.bottom, 0.2) * rng.uniform(1.1, 1.8)
    dip = low + rng.uniform(0, 0.06)
    outline = points((-w, waist), (w, waist), (wide, low), (0, dip), (-wide, low))
    sheet.knock_out(outline)
    if rng.random() < 0.6:
        sheet.fill(outline, pen, one_of(rng, scribble=0.4, hatch=0.2, solid=0.2, wash=0.2))
    sheet.line(outline, pen, closed=True)
