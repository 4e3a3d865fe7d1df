"""A made-up photo of a page with none, one or several figures, and all that is true of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from . import clutter, photo
from .body import one_of
from .figure import Truth, box_of, draw_figure, make_pen
from .objects import draw_object
from .shapes import Points, Rng, points
from .sheet import Bytes, Sheet

Box = tuple[float, float, float, float]
LONG_SIDE = 448


@dataclass(frozen=True)
class Scene:
    """image (H, W, 3) uint8 BGR; its figures; boxes of the other things, pixels."""

    image: Bytes
    figures: list[Truth]
    others: list[Box]


def make_scene(rng: Rng) -> Scene:
    """Draw a page and photograph it."""
    aspect = rng.uniform(0.62, 1.5)
    long = LONG_SIDE * rng.uniform(0.85, 1.1)
    height, width = (
        (int(long), int(long * aspect)) if aspect < 1 else (int(long / aspect), int(long))
    )
    if rng.random() < 0.06:
        return Scene(photo.expose(rng, photo.shine(rng, _no_drawing(rng, height, width))), [], [])
    sheet = Sheet(rng, height, width)
    figures, others = _compose(rng, sheet)
    printed = photo.print_ink(rng, photo.paper(rng, height, width), sheet)
    if not figures and rng.random() < 0.25:
        printed = clutter.still(rng, printed)
    # A phone held upright or across, whatever the page is.
    scale = rng.uniform(0.95, 1.2)
    out = (int(height * scale), int(width * scale * rng.uniform(0.85, 1.2)))
    homography = photo.camera_pose(rng, height, width, out)
    image = photo.expose(rng, photo.shine(rng, photo.lay(rng, printed, homography, out)))
    seen = [_moved(figure, homography, out) for figure in figures]
    return Scene(
        image,
        [figure for figure in seen if figure.mask.any()],
        [_moved_box(box, homography) for box in others],
    )


def _no_drawing(rng: Rng, height: int, width: int) -> Bytes:
    """A photo in which nothing is drawn: colours, a table, a sheet with things on it."""
    kind = one_of(rng, patches=0.45, desk=0.3, paper=0.25)
    if kind == "patches":
        return clutter.patches(rng, height, width)
    ground = photo.desk if kind == "desk" else photo.paper
    return clutter.still(rng, ground(rng, height, width))


def _compose(rng: Rng, sheet: Sheet) -> tuple[list[Truth], list[Box]]:
    height, width = sheet.alpha.shape
    count = int(one_of(rng, **{"0": 0.26, "1": 0.57, "2": 0.13, "3": 0.04}))
    taken: list[Box] = []
    places: list[Box] = []
    for number in range(count):
        box = _place(rng, taken, width, height, number, count)
        if box is not None:
            taken.append(box)
            places.append(box)
    busy = rng.integers(1, 8) if not count or rng.random() < 0.5 else 0
    if not count and rng.random() < 0.2:
        busy = 0
    others = []
    for _ in range(int(busy)):
        size = rng.uniform(0.12, 0.5 if count else 0.95) * min(height, width)
        at = rng.uniform(0.05, 0.95, 2) * (width, height)
        box = (at[0] - size / 2, at[1] - size / 2, at[0] + size / 2, at[1] + size / 2)
        if all(_overlap(box, other) < 0.06 for other in taken):
            draw_object(sheet, at, size)
            taken.append(box)
            others.append(box)
    if rng.random() < 0.12:
        _ground(rng, sheet, places)
    return [_figure(rng, sheet, box) for box in places], others


def _place(
    rng: Rng, taken: list[Box], width: int, height: int, number: int, count: int
) -> Box | None:
    for _ in range(12):
        share = rng.uniform(0.45, 0.97) if rng.random() < 0.75 else rng.uniform(0.22, 0.5)
        tall = height * share * (1.0 if count == 1 else 0.85)
        wide = min(tall * rng.uniform(0.5, 0.9), width * 0.98 / count)
        cx = rng.uniform(wide / 2, max(wide / 2 + 1, width - wide / 2))
        if count > 1 and rng.random() < 0.7:
            cx = width * (number + 0.5) / count + rng.normal(0, 0.02) * width
        cy = rng.uniform(tall / 2, max(tall / 2 + 1, height - tall / 2))
        box = (cx - wide / 2, cy - tall / 2, cx + wide / 2, cy + tall / 2)
        if all(_overlap(box, other) < 0.03 for other in taken):
            return box
    return None


def _figure(rng: Rng, sheet: Sheet, box: Box) -> Truth:
    """A figure drawn so that it keeps to its box as a child keeps to a page: roughly."""
    tall, wide = box[3] - box[1], box[2] - box[0]
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    tilt = rng.normal(0, 6) if rng.random() < 0.85 else rng.uniform(-28, 28)
    # Hair and hats reach above, spread arms to the sides.
    shrink = rng.uniform(0.75, 0.95)
    ink = (sheet.colour.copy(), sheet.alpha.copy())
    truth = draw_figure(sheet, centre, tall * shrink, tilt)
    x1, y1, x2, y2 = truth.box
    height, width = sheet.alpha.shape
    out = min(1.0, (wide * 1.6) / max(x2 - x1, 1), (tall * 1.15) / max(y2 - y1, 1))
    cut = x1 <= 1 or y1 <= 1 or x2 >= width - 1 or y2 >= height - 1
    if out < 0.97 or (cut and rng.random() < 0.85):
        # Too large here: redraw the sheet's part smaller by resampling the ink.
        return _shrunk(sheet, ink, truth, centre, min(out, 0.8 if cut else out))
    return truth


def _shrunk(
    sheet: Sheet, before: tuple[Bytes, Bytes], truth: Truth, centre: Points, factor: float
) -> Truth:
    own = truth.mask > 0
    colour: Bytes = np.where(own[..., None], sheet.colour, 0).astype(np.uint8)
    alpha: Bytes = np.where(own, sheet.alpha, 0).astype(np.uint8)
    x1, y1, x2, y2 = truth.box
    middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    to = centre - factor * middle
    move = np.array([[factor, 0, to[0]], [0, factor, to[1]]])
    size = (sheet.alpha.shape[1], sheet.alpha.shape[0])
    alpha, mask = (cv2.warpAffine(a, move, size, flags=cv2.INTER_AREA) for a in (alpha, truth.mask))
    colour = cv2.warpAffine(colour, move, size, flags=cv2.INTER_NEAREST)
    sheet.colour, sheet.alpha = before
    mask = np.where(mask > 127, 255, 0).astype(np.uint8)
    inside = mask > 0
    sheet.colour[inside], sheet.alpha[inside] = colour[inside], alpha[inside]
    return Truth(truth.joints * factor + to, mask, box_of(mask))


def _ground(rng: Rng, sheet: Sheet, places: list[Box]) -> None:
    """A line or some grass to stand on."""
    height, width = sheet.alpha.shape
    y = max((box[3] for box in places), default=height * 0.85) + rng.normal(0, 4)
    pen = make_pen(rng, height * 0.7)
    line = points((0, y), (width / 2, y + rng.normal(0, 6)), (width, y))
    sheet.line(line, replace(pen, colour=(50, 140, 60)) if rng.random() < 0.5 else pen)
    if rng.random() < 0.4:
        for x in np.arange(0, width, rng.uniform(6, 20)):
            sheet.line(points((x, y), (x + rng.normal(0, 4), y - rng.uniform(4, 16))), pen)


def _overlap(a: Box, b: Box) -> float:
    """Common area as a share of the smaller box."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    least = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(w, 0.0) * max(h, 0.0) / max(least, 1e-6)


def _moved(figure: Truth, homography: Points, out: tuple[int, int]) -> Truth:
    mask = cv2.warpPerspective(figure.mask, homography, (out[1], out[0]), flags=cv2.INTER_LINEAR)
    mask = np.where(mask > 127, 255, 0).astype(np.uint8)
    joints = cv2.perspectiveTransform(figure.joints[None], homography)[0]
    return Truth(joints, mask, box_of(mask))


def _moved_box(box: Box, homography: Points) -> Box:
    x1, y1, x2, y2 = box
    corners = points((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    moved = cv2.perspectiveTransform(corners[None], homography)[0]
    (x1, y1), (x2, y2) = moved.min(0), moved.max(0)
    return (float(x1), float(y1), float(x2), float(y2))
