"""What a viewer might see of a picture: its colours, on white, on black, stretched, turned.

A face may be drawn by alpha alone, or in so few levels that only a profile, or whoever
stretches the picture, brings it out. Each view is (H, W, 3) uint8 BGR, for the detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gateway.faces.blur import Pixels, is_opaque
from gateway.faces.boxes import F32, Detections

U8 = npt.NDArray[np.uint8]

COLOURS = "colours"

# Shares of a picture's samples that count as stray, at either end of its levels, and how
# many samples are enough to tell.
STRAY = 0.1 / 100
SAMPLED = 10_000
# Part of the full range below which the levels of a picture are few: with a sixteenth of
# them small faces get lost, with an eighth hardly any.
NARROW = 1 / 8
BAND = 256


def views(picture: Pixels) -> Iterator[tuple[str, U8]]:
    """Each view and its name; the colours come first, and are all that usual pictures have.

    picture: (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA, straight alpha; uint8 or uint16.
    """
    for name, layer in _layers(picture):
        yield name, bgr8(layer)
        low, high = levels(layer)
        if 0 < high - low < NARROW * np.iinfo(layer.dtype).max:
            yield f"{name} stretched", stretched(layer, low, high)


def _layers(picture: Pixels) -> Iterator[tuple[str, Pixels]]:
    yield COLOURS, picture[..., :3] if picture.ndim == 3 else picture
    if is_opaque(picture):
        return
    alpha, top = picture[..., 3], np.iinfo(picture.dtype).max
    yield "on white", over(picture, top)
    # Where nothing is half transparent black shows what the colours alone have shown.
    if ((alpha > 0) & (alpha < top)).any():
        yield "on black", over(picture, 0)


def over(picture: Pixels, ground: int) -> Pixels:
    """A picture (H, W, 4) with straight alpha on a grey ground, (H, W, 3) of its own depth."""
    top = np.float32(np.iinfo(picture.dtype).max)
    out = np.empty((*picture.shape[:2], 3), picture.dtype)
    for start in range(0, len(picture), BAND):  # a band of rows at a time: floats are large
        band = picture[start : start + BAND]
        shine = band[..., 3:] / top
        out[start : start + BAND] = np.rint(ground + (band[..., :3] - np.float32(ground)) * shine)
    return out


def levels(picture: Pixels) -> tuple[float, float]:
    """The lowest and highest level of a picture but for stray ones, of some of its samples."""
    step = max(1, int((picture.shape[0] * picture.shape[1] / SAMPLED) ** 0.5))
    samples = np.sort(picture[::step, ::step], axis=None)
    stray = int(len(samples) * STRAY)
    return float(samples[stray]), float(samples[-1 - stray])


def stretched(picture: Pixels, low: float, high: float) -> U8:
    """Levels from ``low`` to ``high`` spread over all of a view's, from the full depth."""
    table = np.arange(np.iinfo(picture.dtype).max + 1, dtype=np.float32)
    table = np.rint(((table - low) * 255 / (high - low)).clip(0, 255))
    return bgr8(table.astype(np.uint8)[picture])


def bgr8(picture: Pixels) -> U8:
    """A picture as (H, W, 3) uint8 BGR, its alpha left out."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    return picture[..., :3]


def planes(picture: Pixels) -> tuple[U8, U8, U8]:
    """Full-size Y, U and V planes of a picture (BT.601, full range)."""
    y, v, u = cv2.split(cv2.cvtColor(bgr8(picture), cv2.COLOR_BGR2YCrCb))
    return y, u, v  # type: ignore[return-value]


def within(view: U8, side: int) -> U8:
    """The view with its longer side at most ``side`` pixels, by averaging."""
    factor = side / max(view.shape[:2])
    if factor >= 1:
        return view
    size = (max(1, round(view.shape[1] * factor)), max(1, round(view.shape[0] * factor)))
    return np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class Turn:
    """A turn of a picture by so many quarters, clockwise."""

    quarters: int

    def picture(self, view: U8) -> U8:
        """The view, turned; contiguous."""
        return np.ascontiguousarray(np.rot90(view, -self.quarters))

    def back(self, found: Detections, width: int, height: int) -> Detections:
        """What was found in the turned view, in the view as it was, ``width`` × ``height``."""
        corners, points = found.boxes.reshape(-1, 2, 2), found.landmarks
        for turned in range(self.quarters, 0, -1):
            # Undo a quarter: (x, y) of the turned lies at (y, tall - x), tall before it.
            tall = height if turned % 2 else width
            corners, points = (_unturned(p, tall) for p in (corners, points))
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return Detections(boxes, found.scores, points)


TURNS = ((Turn(0), Turn(2)), (Turn(1), Turn(3)))
"""All four, by the shape that they give a picture."""


def _unturned(points: npt.NDArray[Any], tall: int) -> F32:
    return np.stack([points[..., 1], tall - points[..., 0]], axis=-1).astype(np.float32)
