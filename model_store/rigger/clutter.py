"""What lies about on a table, and photos of anything but a drawing.

Images are (H, W, 3) uint8 BGR.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from .shapes import Points, Rng, spline
from .sheet import Bytes

Colour = tuple[int, int, int]
Thing = Callable[[Rng, Bytes, Points, float], None]
WORDS = ("the", "page", "of", "and", "under", "light", "12", "we", "notes", "about", "it", "water")


def _colour(rng: Rng) -> Colour:
    b, g, r = (int(v) for v in rng.uniform(10, 250, 3))
    return (b, g, r)


def _ints(pair: Points) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])


def _pen(rng: Rng, image: Bytes, at: Points, size: float) -> None:
    """A pencil, a crayon, a felt pen with its cap or tip in another colour."""
    way = _way(rng) * size
    thick = max(2, int(size * rng.uniform(0.04, 0.16)))
    cv2.line(image, _ints(at), _ints(at + way), _colour(rng), thick, cv2.LINE_AA)
    tip = at + way * rng.uniform(0.7, 0.95)
    cv2.line(image, _ints(tip), _ints(at + way), _colour(rng), max(1, thick - 1), cv2.LINE_AA)


def _way(rng: Rng) -> Points:
    a = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(a), np.sin(a)])


def _ruler(rng: Rng, image: Bytes, at: Points, size: float) -> None:
    """A ruler with its marks."""
    way, wide = _way(rng) * size * 1.6, size * rng.uniform(0.08, 0.2)
    side = np.array([-way[1], way[0]]) / (size * 1.6)
    corners = np.array([at, at + way, at + way + side * wide, at + side * wide])
    base = rng.uniform(90, 250)
    cv2.fillPoly(image, [corners.astype(np.int32)], (int(base * 0.8), int(base), int(base)))
    dark = tuple(int(v) for v in np.full(3, base * 0.4))
    for share in np.linspace(0, 1, int(rng.integers(8, 40))):
        a = at + way * share
        cv2.line(image, _ints(a), _ints(a + side * wide * 0.4), dark, 1, cv2.LINE_AA)


def _cup(rng: Rng, image: Bytes, at: Points, size: float) -> None:
    """A cup or a roll of tape from above: rings."""
    r = size * rng.uniform(0.2, 0.45)
    for share in (1.0, 0.85, 0.8)[: int(rng.integers(1, 4))]:
        cv2.circle(image, _ints(at), int(r * share), _colour(rng), -1, cv2.LINE_AA)


def _hand(rng: Rng, image: Bytes, at: Points, size: float) -> None:
    """A hand or a finger that reaches in, of some skin's colour."""
    tone = np.array([95, 125, 190]) * rng.uniform(0.35, 1.25)
    b, g, r = (int(v) for v in np.clip(tone + rng.normal(0, 12, 3), 0, 255))
    angle, thick = rng.uniform(0, 360), max(3, int(size * rng.uniform(0.1, 0.18)))
    palm = (int(size * 0.28), int(size * 0.22))
    cv2.ellipse(image, _ints(at), palm, angle, 0, 360, (b, g, r), -1, cv2.LINE_AA)
    for fan in np.linspace(-40, 40, int(rng.integers(1, 6))):
        a = np.radians(angle + fan)
        tip = at + np.array([np.cos(a), np.sin(a)]) * size * rng.uniform(0.45, 0.65)
        cv2.line(image, _ints(at), _ints(tip), (b, g, r), thick, cv2.LINE_AA)
    arm = at - np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * size
    cv2.line(image, _ints(at), _ints(arm), (b, g, r), 3 * thick, cv2.LINE_AA)


def _box(rng: Rng, image: Bytes, at: Points, size: float) -> None:
    """A phone, an eraser, a book, a card."""
    shape = (_ints(at), (size * rng.uniform(0.3, 1), size * rng.uniform(0.2, 0.8)))
    corners = cv2.boxPoints((*shape, rng.uniform(0, 180)))
    cv2.fillPoly(image, [corners.astype(np.int32)], _colour(rng), cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.polylines(image, [corners.astype(np.int32)], True, _colour(rng), 2, cv2.LINE_AA)


def _print(rng: Rng, image: Bytes, at: Points, size: float) -> None:
    """Printed lines of words."""
    scale, grey = size / 500 * rng.uniform(0.7, 1.6), int(rng.integers(0, 120))
    step = max(6, int(30 * scale))
    for row in range(int(rng.integers(1, 14))):
        text = " ".join(rng.choice(list(WORDS), int(rng.integers(2, 9))))
        x, y = int(at[0] - size / 2), int(at[1] - size / 2) + row * step
        cv2.putText(image, text, (x, y), 0, scale, (grey, grey, grey), 1, cv2.LINE_AA)


LYING: list[Thing] = [_pen, _pen, _pen, _ruler, _cup, _hand, _box, _print]


def put(rng: Rng, image: Bytes) -> None:
    """Put one thing somewhere on the image."""
    height, width = image.shape[:2]
    at = rng.uniform(0, 1, 2) * (width, height)
    thing = LYING[int(rng.integers(len(LYING)))]
    thing(rng, image, at, rng.uniform(0.15, 0.6) * min(height, width))


def still(rng: Rng, ground: Bytes) -> Bytes:
    """A photo of things that lie on ``ground``: a table, a sheet of paper."""
    image = ground.copy()
    for _ in range(int(rng.integers(0, 7))):
        put(rng, image)
    return image


def patches(rng: Rng, height: int, width: int) -> Bytes:
    """A photo of anything, as patches of colour, edges and light."""
    image = cv2.resize(
        rng.uniform(0, 255, (3, 3, 3)).astype(np.uint8),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    for _ in range(int(rng.integers(3, 40))):
        colour = _colour(rng)
        at, size = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.02, 0.4, 2) * width
        kind = int(rng.integers(4))
        if kind == 0:
            corners = at + rng.normal(0, 1, (int(rng.integers(3, 7)), 2)) * size
            cv2.fillPoly(image, [cv2.convexHull(corners.astype(np.int32))], colour, cv2.LINE_AA)
        elif kind == 1:
            place, axes = _ints(at), _ints(size)
            cv2.ellipse(image, place, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        elif kind == 2:
            line = spline(at + rng.normal(0, 1, (4, 2)) * size)
            thick = int(rng.integers(1, 14))
            cv2.polylines(image, [line.astype(np.int32)], False, colour, thick, cv2.LINE_AA)
        else:
            x, y = _ints(at)
            w, h = (max(2, int(v)) for v in size)
            patch = image[y : y + h, x : x + w]
            patch[:] = cv2.GaussianBlur(patch, (0, 0), rng.uniform(1, 9))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 4)), np.uint8)
