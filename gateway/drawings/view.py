"""Where the camera stands: the whole motion is in the frame, as large as it can be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MARGIN = 0.04
"""Free space on each side, as a share of the frame's longer side."""

WANDERING = 0.7
"""A camera that stands still is given up when it would show the figure smaller than this
share of what a following one shows."""

SMOOTH = 1.0
"""Seconds over which a following camera smooths the figure's way."""

NARROWEST = 0.5
"""Least share of the shorter side in the longer one."""


@dataclass(frozen=True)
class View:
    """A frame of width × height pixels in which (x, y) of the figure is at ``scale·x + offset``.

    offsets: (F, 2) float64, one per frame of the motion.
    """

    width: int
    height: int
    scale: float
    offsets: F64

    def apply(self, vertices: F32) -> F32:
        """Vertices (F, V, 2) of the figure in pixels of the frame."""
        placed = vertices * np.float32(self.scale)
        placed += self.offsets.astype(np.float32)[:, None]
        return placed


def fit(vertices: F32, size: int | tuple[int, int], frame_time: float) -> View:
    """The view of a motion.

    Args:
        vertices: (F, V, 2) the figure in all frames, any units.
        size: the frame's longer side in pixels, its shape following the motion; or width
            and height.
        frame_time: seconds.
    """
    low, high = vertices.min(axis=1).astype(float), vertices.max(axis=1).astype(float)
    camera = np.zeros((len(low), 2))
    followed = camera.copy()
    followed[:, 0] = _smooth((low[:, 0] + high[:, 0]) / 2, frame_time)
    if _scale(low, high, size) < WANDERING * _scale(low - followed, high - followed, size):
        camera = followed
    low, high = (low - camera).min(axis=0), (high - camera).max(axis=0)
    scale = _scale(low[None], high[None], size)
    width, height = _shape(high - low, size)
    middle = np.array([width, height]) / 2 - (low + high) / 2 * scale
    return View(width, height, scale, middle - camera * scale)


def _smooth(way: F64, frame_time: float) -> F64:
    """A moving average (F,) over ``SMOOTH`` seconds; the ends go on as they came."""
    reach = min(len(way) - 1, round(SMOOTH / 2 / frame_time))
    padded = np.pad(way, reach, mode="reflect", reflect_type="odd") if reach else way
    return np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode="valid")


def _scale(low: F64, high: F64, size: int | tuple[int, int]) -> float:
    extent = np.maximum(high.max(axis=0) - low.min(axis=0), 1e-6)
    frame = (size, size) if isinstance(size, int) else size
    free = np.array(frame) - 2 * MARGIN * max(frame)
    return float((free / extent).min())


def _shape(extent: F64, size: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height, even (as H.264 wants), of a frame around something of this extent."""
    if not isinstance(size, int):
        return size
    longest = float(extent.max())
    ratio = np.maximum(extent / longest, NARROWEST) * (1 - 2 * MARGIN) + 2 * MARGIN
    width, height = (2 * math.floor(size * r / 2 + 0.5) for r in ratio)
    return width, height
