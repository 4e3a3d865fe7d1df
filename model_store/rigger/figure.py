"""Draw a made-up figure on a sheet and answer its exact joints and mask."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from . import outfit, parts
from .body import JOINTS, SIDES, Body, make_body, one_of, torso_outline
from .shapes import Points, Rng, points, spline, tube
from .sheet import Bytes, Pen, Sheet


@dataclass(frozen=True)
class Truth:
    """What is known of a drawn figure, pixels.

    joints (13, 2) in the order of ``JOINTS``; mask (H, W) uint8, 0 or 255; box x1 y1 x2 y2.
    """

    joints: Points
    mask: Bytes
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Style:
    """How a child draws this figure."""

    pen: Pen  # outlines
    skin: Pen  # limbs and face, often the same
    cloth: Pen
    hair: Pen
    fill: str  # how the torso is coloured in
    order: str  # what lies on top: torso, limbs, or nothing (all lines show through)
    angular: bool  # limbs with a corner at the elbow, not a curve
    hand: str
    foot: str
    hand_size: float
    foot_size: float
    splay: float  # where the toes point


COLOURS = [
    (40, 40, 40), (60, 50, 45), (170, 60, 30), (200, 110, 30), (40, 40, 200), (60, 90, 220),
    (50, 130, 40), (90, 170, 70), (150, 50, 130), (40, 140, 230), (60, 70, 110), (180, 90, 200),
    (30, 200, 230), (100, 30, 60),
]  # fmt: skip


def any_colour(rng: Rng) -> tuple[int, int, int]:
    """A pencil-case colour (BGR), slightly off."""
    base = np.array(COLOURS[int(rng.integers(len(COLOURS)))]) + rng.normal(0, 18, 3)
    b, g, r = np.clip(base, 5, 245).astype(int)
    return (int(b), int(g), int(r))


def make_pen(rng: Rng, height: float) -> Pen:
    """A pen for a figure of ``height`` pixels."""
    kind = one_of(rng, pencil=0.3, ballpoint=0.13, marker=0.27, crayon=0.2, clean=0.1)
    grey = int(rng.integers(40, 130))
    dark = (grey, grey, grey) if rng.random() < 0.6 else any_colour(rng)
    shaky = height * rng.uniform(0.0, 0.009) + 0.15
    gaps, twice = (0.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.7)), rng.uniform(-0.5, 0.6)
    common = {"wobble": shaky, "gaps": gaps, "twice": max(0.0, twice)}
    if kind == "pencil":
        width = max(0.8, height * rng.uniform(0.003, 0.013))
        return Pen(dark, width, **common, opacity=rng.uniform(0.35, 0.9), grain=rng.uniform(0, 0.3))
    if kind == "ballpoint":
        ink = (int(rng.integers(90, 190)), int(rng.integers(20, 80)), int(rng.integers(10, 70)))
        return Pen(ink, max(0.9, height * rng.uniform(0.003, 0.008)), **common, opacity=0.85)
    colour = any_colour(rng) if rng.random() < 0.6 else (25, 25, 25)
    if kind == "marker":
        width = height * rng.uniform(0.01, 0.042)
        return Pen(colour, width, **common, opacity=rng.uniform(0.7, 1.0), soft=rng.uniform(0, 0.6))
    if kind == "crayon":
        width = height * rng.uniform(0.01, 0.034)
        return Pen(
            colour, width, **common, opacity=rng.uniform(0.6, 1), grain=rng.uniform(0.1, 0.5)
        )
    return Pen((15, 15, 15), max(1.0, height * rng.uniform(0.004, 0.02)), wobble=0.1)


def make_style(rng: Rng, height: float, body: Body) -> Style:
    """Pens and habits for one figure."""
    pen = make_pen(rng, height)
    many = rng.random() < 0.55

    def other() -> Pen:
        return pen.of(any_colour(rng)) if many and rng.random() < 0.6 else pen

    lines = body.arm == "line"
    return Style(
        pen=pen,
        skin=other() if rng.random() < 0.3 else pen,
        cloth=other(),
        hair=other().wide(rng.uniform(0.6, 1.3)),
        fill=one_of(rng, none=0.5, scribble=0.2, hatch=0.1, solid=0.1, wash=0.1),
        order=one_of(rng, torso=0.45, limbs=0.2, nothing=0.35),
        angular=rng.random() < 0.4,
        hand=one_of(rng, none=0.3 if lines else 0.2, fingers=0.3, ball=0.2, cloud=0.15, mitten=0.1),
        foot=one_of(
            rng, none=0.22, line=0.2 if lines else 0.06, oval=0.3, shoe=0.15, block=0.07, toes=0.08
        ),
        hand_size=rng.uniform(0.07, 0.2),
        foot_size=rng.uniform(0.1, 0.3),
        splay=float(rng.choice([1.0, 1.0, 1.0, 0.4, 0.0])) * rng.uniform(0.7, 1.0),
    )  # fmt: skip


def draw_figure(sheet: Sheet, centre: Points, height: float, tilt: float) -> Truth:
    """Draw a figure ``height`` pixels high around ``centre``, tilted by ``tilt`` degrees."""
    rng = sheet.rng
    body = make_body(rng)
    style = make_style(rng, height, body)
    low = max(float(body.joints[f"{side}_foot"][1]) for side in SIDES)
    high = min(body.head[1] - body.radii[1], 0.5 - body.radii[1] if body.plan == "egg" else 9.0)
    unit = height / (low - high)
    narrow = rng.uniform(0.85, 1.15)
    a = math.radians(tilt)
    turn = unit * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    turn = turn @ np.diag([narrow, 1.0])
    middle = np.array([0.0, (low + high) / 2])
    sheet.place = np.concatenate([turn, (centre - turn @ middle)[:, None]], 1)
    sheet.mask = np.zeros_like(sheet.alpha)
    _draw(sheet, body, style)
    nose = np.add(body.head, (0.0, body.radii[1] * 0.05))
    joints = {**body.joints, "neck": nose}
    found = sheet.to_pixels(np.stack([joints[name] for name in JOINTS]))
    mask, sheet.mask = sheet.mask, None
    sheet.place = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    return Truth(found, mask, box_of(mask))


def box_of(mask: Bytes) -> tuple[float, float, float, float]:
    """The bounding box of a mask, x1 y1 x2 y2 (zeros when it is empty)."""
    x, y, w, h = cv2.boundingRect(mask)
    return (float(x), float(y), float(x + w), float(y + h))


def _draw(sheet: Sheet, body: Body, style: Style) -> None:
    rng = sheet.rng
    if rng.random() < 0.1:
        outfit.behind(sheet, style.hair, body)
    if body.plan == "contour":
        _contour(sheet, body, style)
    elif style.order == "limbs" and body.plan != "egg":
        _torso(sheet, body, style)
        _limbs(sheet, body, style, cover=True)
    else:
        _limbs(sheet, body, style, cover=False)
        _torso(sheet, body, style, cover=style.order == "torso")
    if body.plan != "egg":
        _head(sheet, body, style)
    if rng.random() < 0.85:
        parts.hair(sheet, style.hair, body)
    parts.face(sheet, style.skin, body)
    if body.plan != "egg" and body.torso != "line":
        outfit.clothes(sheet, style.cloth, body)
    if rng.random() < 0.06:
        side = "right" if rng.random() < 0.5 else "left"
        outfit.held(sheet, style.cloth, body.joints[f"{side}_hand"])


def _head(sheet: Sheet, body: Body, style: Style) -> None:
    rng = sheet.rng
    x, y = body.head
    rx, ry = body.radii
    if body.neck > 0.03:
        if body.arm == "line" or rng.random() < 0.3:
            sheet.line(points((x, y + ry), (0, 0)), style.skin)
        else:
            half = min(rx * 0.5, max(0.05, body.top * 0.5))
            for sign in (-1, 1):
                sheet.line(points((x + sign * half, y + ry * 0.9), (sign * half, 0.03)), style.skin)
            sheet.mark(
                points(
                    (x - half, y + ry * 0.8), (x + half, y + ry * 0.8), (half, 0.05), (-half, 0.05)
                )
            )
    kind = one_of(rng, round=0.8, box=0.1, egg=0.1)
    if kind == "box":
        outline = parts.superellipse(x, y, rx, ry, rng.uniform(3.5, 10))
    else:
        outline = parts.blob(rng, x, y, rx, ry, 0.015 if kind == "round" else 0.05)
    sheet.knock_out(outline)
    if rng.random() < 0.14:
        sheet.fill(outline, style.cloth, one_of(rng, wash=0.6, scribble=0.4))
    sheet.line(outline, style.skin, closed=True)


def _torso(sheet: Sheet, body: Body, style: Style, cover: bool = False) -> None:
    rng = sheet.rng
    if body.torso == "line":
        sheet.line(points((0, -max(body.neck, 0)), (rng.normal(0, 0.03), 1.0)), style.pen)
        return
    outline = torso_outline(rng, body)
    if cover:
        sheet.knock_out(outline)
    if style.fill != "none":
        sheet.fill(outline, style.cloth, style.fill)
    sheet.line(outline, style.pen, closed=True)
    if body.plan == "stick" and body.torso == "triangle" and rng.random() < 0.3:
        sheet.line(points((0, 0), (0, 1.0)), style.pen)


def _limbs(sheet: Sheet, body: Body, style: Style, cover: bool) -> None:
    more = sheet.rng.random() < 0.07
    apart = sheet.rng.uniform(0.15, 0.3)
    for arm in (False, True):
        for side in SIDES:
            chain = body.limb(side, arm)
            if style.order == "nothing" and not cover and body.torso != "line":
                # Where all lines show, limbs start at the torso's edge.
                inward = chain[0] - chain[1]
                chain = np.concatenate([chain[:1] + inward * 0.02, chain[1:]])
            # Rarely, more arms than two; the joints are those of the upper ones.
            extra = int(sheet.rng.integers(1, 3)) if arm and more else 0
            extra = min(extra, int(0.85 / apart))
            for number in range(extra, -1, -1):
                lower = np.add(chain, (0.0, apart * number))
                _limb(sheet, body, style, lower, arm, cover)
                _end(sheet, body, style, lower, side, arm)


def _limb(sheet: Sheet, body: Body, style: Style, chain: Points, arm: bool, cover: bool) -> None:
    rng = sheet.rng
    kind = body.arm if arm else body.leg
    width = body.arm_width if arm else body.leg_width
    line = chain if style.angular else spline(chain)
    if kind == "line":
        sheet.line(line, style.skin)
        return
    if kind == "thick":
        unit = float(np.hypot(*sheet.place[:, 0]))
        sheet.line(line, replace(style.skin, width=max(2.0, width * unit)))
        return
    taper = rng.uniform(0.6, 1.1)
    right, left = tube(line, (width, width * (1 + taper) / 2, width * taper))
    outline = np.concatenate([right, left[::-1]])
    if cover:
        sheet.knock_out(outline)
    if rng.random() < 0.35:
        # All of it, or a sleeve: the part next to the torso.
        part = outline
        if rng.random() < 0.4:
            end = max(3, int(len(right) * rng.uniform(0.3, 0.8)))
            part = np.concatenate([right[:end], left[:end][::-1]])
            sheet.line(np.stack([right[end - 1], left[end - 1]]), style.cloth)
        fill = one_of(rng, scribble=0.4, hatch=0.1, wash=0.3, solid=0.2)
        sheet.fill(part, style.cloth if arm else style.hair, fill)
    sheet.mark(outline)
    closed = rng.random()
    if closed < 0.35:
        sheet.line(outline, style.skin, closed=True)
    elif closed < 0.75:
        sheet.line(outline, style.skin)
    else:
        sheet.line(right, style.skin)
        sheet.line(left, style.skin)


def _end(sheet: Sheet, body: Body, style: Style, chain: Points, side: str, arm: bool) -> None:
    forward = chain[2] - chain[1]
    forward = forward / max(float(np.hypot(*forward)), 1e-6)
    width = body.arm_width if arm else body.leg_width
    tube_like = (body.arm if arm else body.leg) == "tube"
    if arm and style.hand != "none":
        size = max(style.hand_size, width * 0.9 if tube_like else 0.0)
        parts.hand(sheet, style.skin, chain[2], forward, size, style.hand)
    elif not arm and style.foot != "none":
        size = max(style.foot_size, width * 1.1 if tube_like else 0.0)
        parts.foot(sheet, style.skin, chain[2], SIDES[side] * style.splay, size, style.foot)


def _contour(sheet: Sheet, body: Body, style: Style) -> None:
    """Torso and limbs as one outline, as a gingerbread man is drawn."""
    rng = sheet.rng
    solid = np.zeros_like(sheet.alpha)
    shapes = [torso_outline(rng, body)]
    open_legs = rng.random() < 0.25  # the legs are drawn on their own
    for arm in (True, False):
        for side in SIDES:
            if arm or not open_legs:
                width, line = (
                    body.arm_width if arm else body.leg_width,
                    spline(body.limb(side, arm)),
                )
                right, left = tube(line, (width * 1.1, width, width * rng.uniform(0.6, 1.0)))
                shapes.append(np.concatenate([right, left[::-1]]))
    if open_legs:
        for side in SIDES:
            _limb(sheet, body, style, body.limb(side, False), False, False)
    for shape in shapes:
        cv2.fillPoly(solid, [np.round(sheet.to_pixels(shape)).astype(np.int32)], 255)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    place, sheet.place = sheet.place, np.array([[1.0, 0, 0], [0, 1.0, 0]])
    for outline in outlines:
        if len(outline) > 20:
            line = outline[::3, 0].astype(np.float64)
            if open_legs:
                sheet.knock_out(line)
            if style.fill != "none" and rng.random() < 0.6:
                sheet.fill(line, style.cloth, style.fill)
            sheet.line(line, style.pen, closed=True)
    sheet.place = place
    for arm in (True, False):
        for side in SIDES:
            _end(sheet, body, style, body.limb(side, arm), side, arm)
