"""More things on a page that are no figures, many of them upright or with a head and a stem.

Each is drawn in a box of ±1 by ±1 that ``sheet.place`` takes to pixels, as in :mod:`.objects`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .body import one_of
from .figure import any_colour
from .shapes import Points, blob, ellipse, points, spline, superellipse
from .sheet import Pen, Sheet

Thing = Callable[[Sheet, Pen], None]


def coloured(sheet: Sheet, pen: Pen, outline: Points, often: float = 0.4) -> None:
    """An outline, filled in another colour as often as said."""
    if sheet.rng.random() < often:
        kind = one_of(sheet.rng, scribble=0.5, hatch=0.2, solid=0.2, wash=0.1)
        sheet.fill(outline, pen.of(any_colour(sheet.rng)), kind)
    sheet.line(outline, pen, closed=True)


def lettering(sheet: Sheet, pen: Pen) -> None:
    """Lines of joined-up handwriting."""
    rng = sheet.rng
    fine, tall = pen.wide(0.5), rng.uniform(0.05, 0.16)
    for y in np.arange(-0.9, 0.9, tall * rng.uniform(2.0, 3.5)):
        x, stop = -0.95 + rng.uniform(0, 0.1), rng.uniform(0.3, 0.95)
        while x < stop:
            count = int(rng.integers(4, 18))
            xs = x + np.arange(count) * tall * 0.35
            ys = y + rng.uniform(-1, 1, count) * tall * rng.choice([0.6, 1.0, 1.7], count)
            sheet.line(spline(np.stack([xs, ys], 1)), fine)
            x = float(xs[-1]) + tall * rng.uniform(0.5, 1.2)


def sign(sheet: Sheet, pen: Pen) -> None:
    """One large letter, digit or mark, of strokes and arcs."""
    rng = sheet.rng
    corners = points(*((x, y) for x in (-0.6, 0.0, 0.6) for y in (-0.9, 0.0, 0.9)))
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() < 0.6:
            sheet.line(corners[rng.choice(9, 2, replace=False)], pen)
        else:
            start = rng.uniform(0, 360)
            x, y = corners[int(rng.integers(9))] * 0.5
            arc = ellipse(x, y, 0.5, rng.uniform(0.3, 0.6), start, start + rng.uniform(120, 320))
            sheet.line(arc, pen)


def grid(sheet: Sheet, pen: Pen) -> None:
    """A table, a fence, a ladder, a window: bars across bars."""
    rng = sheet.rng
    wide, tall = rng.uniform(0.15, 1), rng.uniform(0.15, 1)
    for y in np.linspace(-tall, tall, int(rng.integers(2, 8))):
        sheet.line(points((-wide, y), (wide, y)), pen)
    for x in np.linspace(-wide, wide, int(rng.integers(2, 8))):
        sheet.line(points((x, -tall * 1.05), (x, tall * 1.05)), pen)


def on_stem(sheet: Sheet, pen: Pen) -> None:
    """A mushroom, lollipop, lamp, umbrella, sign post, tulip or ice cream."""
    rng = sheet.rng
    w, top = rng.uniform(0.02, 0.25), rng.uniform(-0.5, 0.2)
    if rng.random() < 0.4:
        sheet.line(points((0, top), (rng.normal(0, 0.08), 1)), pen)
    else:
        coloured(sheet, pen, points((-w, top), (w, top), (w * rng.uniform(0, 1.6), 1), (-w, 1)))
    wide = rng.uniform(0.3, 0.9)
    kind = one_of(rng, dome=0.3, ball=0.25, box=0.15, cone=0.15, cup=0.15)
    outline = {
        "dome": ellipse(0, top, wide, top + 1, 180, 360),
        "ball": blob(rng, 0, (top - 1) / 2, min(wide, 0.6), (top + 1) / 2, 0.05),
        "box": superellipse(0, (top - 1) / 2, wide, (top + 1) / 2, 8),
        "cone": points((-wide, top), (0, -1), (wide, top)),
        "cup": points((-wide, -1), (-wide / 2, top), (wide / 2, top), (wide, -1), (0, -0.7)),
    }[kind]
    coloured(sheet, pen, outline)
    if kind == "dome":
        for x in rng.uniform(-0.6, 0.6, int(rng.integers(0, 5))) * wide:
            sheet.line(ellipse(x, top - (top + 1) * 0.4, 0.08, 0.08), pen, closed=True)
    if rng.random() < 0.3:  # leaves, or a bar across
        y = rng.uniform(top, 0.9)
        sheet.line(points((-0.4, y - 0.2), (0, y), (0.4, y - rng.uniform(-0.1, 0.3))), pen)


def cactus(sheet: Sheet, pen: Pen) -> None:
    """A trunk with arms bent upwards."""
    rng = sheet.rng
    w = rng.uniform(0.1, 0.25)
    coloured(sheet, pen, superellipse(0, 0.1, w, 0.88, 4))
    for side in (-1, 1):
        y, out = rng.uniform(-0.3, 0.5), rng.uniform(0.35, 0.75)
        arm = points((side * w, y), (side * out, y), (side * out, y - rng.uniform(0.25, 0.6)))
        sheet.line(spline(arm), pen.wide(rng.uniform(1, 3)))


def vessel(sheet: Sheet, pen: Pen) -> None:
    """A cup, vase, bottle or pot, perhaps with flowers."""
    rng = sheet.rng
    top, wide, neck = rng.uniform(-0.6, 0.3), rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.7)
    side = points((neck, top), (wide, (top + 1) / 2), (wide * rng.uniform(0.5, 1), 1))
    coloured(sheet, pen, np.concatenate([spline(side), spline(side)[::-1] * (-1, 1)]))
    if rng.random() < 0.4:
        sheet.line(ellipse(wide, (top + 1) / 2, 0.25, 0.3, -90, 90), pen)
    for x in rng.uniform(-1, 1, int(rng.integers(0, 4))) * neck:
        end = (x * 2, rng.uniform(-0.9, top - 0.1))
        sheet.line(points((x, top), end), pen)
        coloured(sheet, pen, ellipse(*end, 0.14, 0.14))


def vehicle(sheet: Sheet, pen: Pen) -> None:
    """A boat, rocket, plane, train or bicycle."""
    rng = sheet.rng
    kind = one_of(rng, boat=0.3, rocket=0.3, bicycle=0.2, train=0.2)
    if kind == "boat":
        coloured(sheet, pen, points((-0.9, 0.3), (0.9, 0.3), (0.6, 0.9), (-0.6, 0.9)))
        sheet.line(points((0, 0.3), (0, -0.95)), pen)
        coloured(sheet, pen, points((0.05, -0.9), (rng.uniform(0.4, 0.8), 0.1), (0.05, 0.1)))
    elif kind == "rocket":
        w = rng.uniform(0.2, 0.4)
        coloured(sheet, pen, points((-w, 0.7), (-w, -0.4), (0, -1), (w, -0.4), (w, 0.7)))
        for side in (-1, 1):
            coloured(sheet, pen, points((side * w, 0.3), (side * w * 2, 0.95), (side * w, 0.7)))
        for y in (-0.25, 0.15):
            sheet.line(ellipse(0, y, w * 0.45, w * 0.45), pen, closed=True)
    elif kind == "bicycle":
        for x in (-0.55, 0.55):
            sheet.line(ellipse(x, 0.45, 0.4, 0.4), pen, closed=True)
        frame = points((-0.55, 0.45), (-0.1, -0.2), (0.45, -0.2), (0.05, 0.45), (-0.55, 0.45))
        sheet.line(frame, pen)
        sheet.line(points((0.55, 0.45), (0.4, -0.4), (0.6, -0.5)), pen)
    else:
        for x in (-0.65, 0.0, 0.65):
            coloured(sheet, pen, superellipse(x, 0.1, 0.28, rng.uniform(0.2, 0.5), 8))
            for dx in (-0.14, 0.14):
                sheet.line(ellipse(x + dx, 0.65, 0.1, 0.1), pen, closed=True)


def crawler(sheet: Sheet, pen: Pen) -> None:
    """A spider, beetle, ladybird or caterpillar."""
    rng = sheet.rng
    if rng.random() < 0.4:
        for x in np.linspace(-0.8, 0.8, int(rng.integers(4, 8))):
            coloured(sheet, pen, ellipse(x, 0.1 * math.sin(9 * x), 0.2, 0.22))
        return
    wide, tall = rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.5)
    for side in (-1, 1):
        for y in np.linspace(-0.7, 0.7, int(rng.integers(3, 5))):
            knee = (side * rng.uniform(0.5, 0.75), y * 0.8 - 0.1)
            foot = (side * rng.uniform(0.75, 1.0), y + rng.uniform(0, 0.3))
            sheet.line(points((side * wide * 0.9, y * tall), knee, foot), pen)
    outline = ellipse(0, 0, wide, tall)
    sheet.knock_out(outline)
    coloured(sheet, pen, outline)


def furniture(sheet: Sheet, pen: Pen) -> None:
    """A chair, a bed, a swing, a cupboard."""
    rng = sheet.rng
    seat, left, right = rng.uniform(-0.1, 0.4), -rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.9)
    low = seat + 0.12
    coloured(sheet, pen, points((left, seat), (right, seat), (right, low), (left, low)))
    for x in (left, right):
        sheet.line(points((x, seat), (x * rng.uniform(0.9, 1.1), 0.95)), pen)
    if rng.random() < 0.7:
        sheet.line(points((left, seat), (left, -0.9), (left + rng.uniform(0, 0.5), -0.9)), pen)
    if rng.random() < 0.3:
        sheet.line(points((right, seat), (right, -0.5), (left, -0.5)), pen)


def jumble(sheet: Sheet, pen: Pen) -> None:
    """Circles, boxes and sticks put together as no body is."""
    rng = sheet.rng
    at = rng.uniform(-0.4, 0.4, 2)
    for _ in range(int(rng.integers(2, 8))):
        size = rng.uniform(0.1, 0.45, 2)
        kind = one_of(rng, stick=0.4, oval=0.3, box=0.2, zigzag=0.1)
        if kind == "stick":
            end = np.clip(at + rng.normal(0, 0.6, 2), -0.95, 0.95)
            sheet.line(np.stack([at, end]), pen)
            at = end if rng.random() < 0.5 else at
            continue
        if kind == "oval":
            coloured(sheet, pen, blob(rng, at[0], at[1], size[0], size[1], 0.08), 0.3)
        elif kind == "box":
            coloured(sheet, pen, superellipse(at[0], at[1], size[0], size[1], 7), 0.3)
        else:
            sheet.line(at + rng.normal(0, 0.2, (5, 2)), pen)
        at = np.clip(at + rng.choice([-1.0, 1.0], 2) * size * rng.uniform(0.5, 1.5, 2), -0.7, 0.7)


def branches(sheet: Sheet, pen: Pen) -> None:
    """A bare tree, roots, a river, cracks: sticks that fork."""
    rng = sheet.rng
    ends = [(np.array([rng.normal(0, 0.1), 1.0]), -90.0)]
    reach = rng.uniform(0.35, 0.7)
    for _ in range(int(rng.integers(2, 4))):
        grown = []
        for at, angle in ends[:10]:
            for _ in range(int(rng.integers(1, 4))):
                a = angle + rng.normal(0, 32)
                way = np.array([math.cos(math.radians(a)), math.sin(math.radians(a))])
                tip = at + way * reach * rng.uniform(0.5, 1.1)
                sheet.line(np.stack([at, tip]), pen)
                grown.append((tip, a))
        ends, reach = grown, reach * 0.75


def round_thing(sheet: Sheet, pen: Pen) -> None:
    """A ball, clock, wheel, pizza, apple, planet, snowflake or cake of a round shape."""
    rng = sheet.rng
    r = rng.uniform(0.5, 0.9)
    if rng.random() < 0.8:
        coloured(sheet, pen, blob(rng, 0, 0, r, r * rng.uniform(0.7, 1.1), 0.04))
    inner = rng.uniform(0, 0.5) * r
    for a in np.radians(np.linspace(0, 360, int(rng.integers(3, 13)), endpoint=False)):
        c, s = math.cos(a), math.sin(a)
        sheet.line(points((c * inner, s * inner), (c * r, s * r)), pen)
    if rng.random() < 0.4:
        sheet.line(ellipse(0, 0, r * 0.3, r * 0.3), pen, closed=True)
    if rng.random() < 0.3:
        sheet.line(points((0, -r), (rng.normal(0, 0.1), -1)), pen)


#: Those that resemble a figure most are twice in it.
THINGS: list[Thing] = [
    lettering, sign, grid, on_stem, on_stem, on_stem, cactus, cactus, vessel, vehicle, crawler,
    furniture, jumble, jumble, branches, round_thing,
]  # fmt: skip
