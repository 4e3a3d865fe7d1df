"""Follow boxes from one frame to the next by sparse optical flow.

Pyramidal Lucas–Kanade (Bouguet 2001) on a grid of points in each box, the median of
their motions, checked forward against backward (Kalal et al. 2010, "Forward-Backward
Error"). Works on small grey frames: a face is followed, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gateway.faces.boxes import F32, centres, sizes

Grey = npt.NDArray[np.uint8]

GREY_SIDE = 480
GRID = 4
SCENE_GRID = 5
WINDOW = (15, 15)
LEVELS = 3
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
    factor = max(1, round(max(height, width) / GREY_SIDE))
    size = (max(16, width // factor), max(16, height // factor))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA), float(factor)  # type: ignore[return-value]


def follow(before: Grey, after: Grey, boxes: F32) -> Motion:
    """Where boxes (N, 4), pixels of ``before``, are in ``after``."""
    count = len(boxes)
    points = np.concatenate([_box_points(boxes), _scene_points(before.shape)])
    there, found = _track(before, after, points)
    back, returned = _track(after, before, there)
    error = np.linalg.norm(back - points, axis=1)
    good = found & returned & (error < MAX_ERROR)
    moved = there - points

    inside = count * GRID * GRID
    scene_good = good[inside:]
    scene = np.median(moved[inside:][scene_good], axis=0) if scene_good.sum() >= 4 else np.zeros(2)
    result = boxes.copy()
    reliable = np.zeros(count, bool)
    for i in range(count):
        part = slice(i * GRID * GRID, (i + 1) * GRID * GRID)
        kept = good[part]
        if kept.sum() < GRID * GRID // 2:
            result[i] += np.tile(scene, 2)
            continue
        reliable[i] = True
        shift = np.median(moved[part][kept], axis=0)
        zoom = _zoom(points[part][kept], there[part][kept])
        middle, half = centres(boxes[i]) + shift, sizes(boxes[i]) * zoom / 2
        result[i] = np.concatenate([middle - half, middle + half])
    return Motion(result, reliable, scene.astype(np.float32))


def _box_points(boxes: F32) -> F32:
    step = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID - 0.5
    grid = np.stack(np.meshgrid(step, step), -1).reshape(-1, 2)
    # A tiny face has no texture of its own at this size: its surroundings carry it.
    span = np.maximum(sizes(boxes) * 0.8, MIN_SPAN)
    return (centres(boxes)[:, None] + grid[None] * span[:, None]).reshape(-1, 2).astype(np.float32)


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
        maxLevel=LEVELS,  # type: ignore[call-overload]
    )
    return there[:, 0], status[:, 0] > 0


def _zoom(before: F32, after: F32) -> float:
    """Median ratio of distances to the median point; 1 where points are too close."""
    a = np.linalg.norm(before - np.median(before, axis=0), axis=1)
    b = np.linalg.norm(after - np.median(after, axis=0), axis=1)
    far = a > 3
    if far.sum() < 4:
        return 1.0
    return float(np.clip(np.median(b[far] / a[far]), 1 - SCALE_STEP, 1 + SCALE_STEP))
