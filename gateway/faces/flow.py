"""Follow boxes from one frame to the next by sparse optical flow.

Pyramidal Lucas–Kanade (Bouguet 2001) on a grid of points in each box, the median of
their motions, checked forward against backward (Kalal et al. 2010, "Forward-Backward
Error"). Works on small grey frames: a face is followed, not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gateway.faces.boxes import F32, centres, sizes

Grey = npt.NDArray[np.uint8]

GREY_SIDE = 480
GRID = 4
SCENE_GRID = 5
WINDOW = (11, 11)
LEVELS = 3
STOP = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 15, 0.02)
MIN_SPAN = 4.0
MAX_ERROR = 1.5
SCALE_STEP = 0.06


@dataclass(frozen=True)
class Motion:
    """What happened between two frames, in pixels of the small frames.

    boxes: (N, 4) where the boxes went. reliable: (N,) whether most of a box's points
    agree and come back. scene: median motion (2,) of the whole frame.
    """

    boxes: F32
    reliable: npt.NDArray[np.bool_]
    scene: F32


def shrink(luma: npt.NDArray[np.uint8]) -> tuple[Grey, float]:
    """A small copy of a luma plane (H, W), and how many plane pixels one of its pixels is."""
    height, width = luma.shape
    # Halving is many times cheaper than other ratios.
    halvings = max(0, round(math.log2(max(height, width) / GREY_SIDE)))
    small = luma
    for step in range(1, halvings + 1):
        size = (max(16, width >> step), max(16, height >> step))
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return small.copy() if small is luma else small, float(1 << halvings)


def follow(before: Grey, after: Grey, boxes: F32) -> Motion:
    """Where boxes (N, 4), pixels of ``before``, are in ``after``."""
    count = len(boxes)
    points = np.concatenate([_box_points(boxes, before.shape), _scene_points(before.shape)])
    there, found = _track(before, after, points)
    back, returned = _track(after, before, there)
    error = np.linalg.norm(back - points, axis=1)
    good = found & returned & (error < MAX_ERROR)
    moved = there - points

    inside = count * GRID * GRID
    scene_good = good[inside:]
    scene = np.median(moved[inside:][scene_good], axis=0) if scene_good.sum() >= 4 else np.zeros(2)
    shape = (count, GRID * GRID)
    kept = good[:inside].reshape(shape)
    reliable = kept.sum(1) >= GRID * GRID // 2
    shift = _median(moved[:inside].reshape(*shape, 2), kept[..., None])
    shift[~reliable] = scene
    zoom = _zoom(points[:inside].reshape(*shape, 2), there[:inside].reshape(*shape, 2), kept)
    zoom[~reliable] = 1
    middle, half = centres(boxes) + shift, sizes(boxes) * zoom[:, None] / 2
    result = np.concatenate([middle - half, middle + half], 1).astype(np.float32)
    return Motion(result, reliable, scene.astype(np.float32))


def _box_points(boxes: F32, shape: tuple[int, ...]) -> F32:
    """A grid in each box, or, of a face cut by the border, in what shows of it."""
    step = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID - 0.5
    grid = np.stack(np.meshgrid(step, step), -1).reshape(-1, 2)
    limit = np.array([shape[1], shape[0], shape[1], shape[0]], np.float32)
    shown = np.clip(boxes, 0, limit)
    # A tiny face has no texture of its own at this size: its surroundings carry it.
    span = np.maximum(sizes(shown) * 0.8, MIN_SPAN)
    return (centres(shown)[:, None] + grid[None] * span[:, None]).reshape(-1, 2).astype(np.float32)


def _scene_points(shape: tuple[int, ...]) -> F32:
    step = (np.arange(SCENE_GRID, dtype=np.float32) + 0.5) / SCENE_GRID
    x, y = np.meshgrid(step * shape[1], step * shape[0])
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def _track(a: Grey, b: Grey, points: F32) -> tuple[F32, npt.NDArray[np.bool_]]:
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        a,
        b,
        points[:, None],
        None,
        winSize=WINDOW,
        maxLevel=LEVELS,
        criteria=STOP,  # type: ignore[call-overload]
    )
    return there[:, 0], status[:, 0] > 0


def _median(values: F32, kept: npt.NDArray[np.bool_]) -> F32:
    """Median over axis 1 of what is kept, (n, m, …) → (n, …); 0 where nothing is."""
    ordered = np.sort(np.where(kept, values, np.inf), axis=1)
    count = np.broadcast_to(kept, values.shape).sum(1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, 1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[1] - 1), 1)
    return np.where(count > 0, (low + high) / 2, 0)[:, 0].astype(np.float32)


def _zoom(before: F32, after: F32, kept: npt.NDArray[np.bool_]) -> F32:
    """Median ratio (n,) of distances to the median point; 1 where points are too close."""
    a = np.linalg.norm(before - _median(before, kept[..., None])[:, None], axis=2)
    b = np.linalg.norm(after - _median(after, kept[..., None])[:, None], axis=2)
    far = kept & (a > 3)
    ratio = _median(b / np.maximum(a, 1e-3), far)
    return np.where(far.sum(1) < 4, 1, ratio.clip(1 - SCALE_STEP, 1 + SCALE_STEP))
