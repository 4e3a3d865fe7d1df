"""CenterFace's geometry: pyramid and tiles in, faces out.

Xu et al. 2019, "CenterFace: Joint Face Detection and Alignment Using Face as
Point" (https://arxiv.org/abs/1911.03599). The network is fully convolutional and
answers, at a quarter of the input's size, a centre heatmap, box sizes (log),
centre offsets and five landmarks.

Every image is looked at in full resolution and, while it is larger than
``SMALL_SIDE``, again at a third of that: small faces need the first, faces larger
than the network's field of view the second. Large images are cut into overlapping
tiles, which bounds memory and keeps all cores busy with a single image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

try:  # inside an archive the runtime is a sibling
    from runtime import Heads, Image, Network
except ModuleNotFoundError:
    from handlers.runtime import Heads, Image, Network

F32 = npt.NDArray[np.float32]

NETWORK_STRIDE = 32
HEAD_STRIDE = 4
SMALL_SIDE = 640
PYRAMID_STEP = 3
OVERLAP = 128
MAX_TILE_PIXELS = 2_300_000
NMS_IOU = 0.3
STRIP = 128
MAX_SIDE = 65_535
CONTAINED = 0.7


@dataclass(frozen=True)
class Faces:
    """N faces: boxes (N, 4) x1 y1 x2 y2, scores (N,), landmarks (N, 5, 2), pixels, float32."""

    boxes: F32
    scores: F32
    landmarks: F32

    def select(self, index: Any) -> Faces:
        """The faces at ``index`` (any numpy index over N)."""
        return Faces(self.boxes[index], self.scores[index], self.landmarks[index])


@dataclass(frozen=True)
class Tile:
    """A window of one pyramid level: origin and core (where its centres count), level pixels."""

    image: int
    scale: float
    x: int
    y: int
    core: tuple[float, float, float, float]
    pixels: Image


def pyramid(image: Image) -> Iterator[tuple[float, Image]]:
    """(scale, level) from full resolution down by ``PYRAMID_STEP`` to ``SMALL_SIDE``."""
    height, width = image.shape[:2]
    scale, level = 1.0, image
    while True:
        yield scale, level
        if max(level.shape[:2]) <= SMALL_SIDE:
            return
        scale *= PYRAMID_STEP
        size = (max(1, round(width / scale)), max(1, round(height / scale)))
        level = np.asarray(cv2.resize(level, size, interpolation=cv2.INTER_AREA), np.uint8)


def spans(length: int, parts: int, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """Cut ``length`` into ``parts`` equal windows (start, stop) that overlap by ``overlap``."""
    window = math.ceil((length + (parts - 1) * overlap) / parts)
    window = min(length, -(-window // NETWORK_STRIDE) * NETWORK_STRIDE)
    if parts == 1 or window == length:
        return [(0, length)]
    step = (length - window) / (parts - 1)
    return [(round(i * step), round(i * step) + window) for i in range(parts)]


def grid(height: int, width: int, at_least: int) -> tuple[int, int]:
    """Rows and columns that keep a tile under ``MAX_TILE_PIXELS``, and make ``at_least`` tiles.

    The latter only while tiles are not mostly overlap.
    """
    rows = cols = 1
    while height * width / (rows * cols) > MAX_TILE_PIXELS or (
        rows * cols < at_least and min(height / rows, width / cols) >= 2 * OVERLAP
    ):
        if width / cols >= height / rows:
            cols += 1
        else:
            rows += 1
    return rows, cols


def tiles(number: int, image: Image, at_least: int) -> Iterator[Tile]:
    """All windows of all levels of an image; a level is split only where that pays."""
    for scale, level in pyramid(image):
        height, width = level.shape[:2]
        worth = at_least if height * width > SMALL_SIDE * SMALL_SIDE else 1
        rows, cols = grid(height, width, worth)
        ys, xs = spans(height, rows), spans(width, cols)
        for top, bottom in ys:
            for left, right in xs:
                margin = OVERLAP / 2
                core = (
                    -math.inf if left == 0 else left + margin,
                    -math.inf if top == 0 else top + margin,
                    math.inf if right == width else right - margin,
                    math.inf if bottom == height else bottom - margin,
                )
                yield Tile(
                    number, scale, left, top, core, letterbox(level, top, bottom, left, right)
                )


def letterbox(level: Image, top: int, bottom: int, left: int, right: int) -> Image:
    """The window of a level, padded with black to the network's stride."""
    window = level[top:bottom, left:right]
    height = -(-window.shape[0] // NETWORK_STRIDE) * NETWORK_STRIDE
    width = -(-window.shape[1] // NETWORK_STRIDE) * NETWORK_STRIDE
    if window.shape[:2] == (height, width):
        return np.ascontiguousarray(window)
    padded = np.zeros((height, width, 3), np.uint8)
    padded[: window.shape[0], : window.shape[1]] = window
    return padded


def decode(heads: Heads, threshold: float) -> Faces:
    """Faces in the pixels of the network's input; the paper's section 3.2.

    Args:
        heads: heatmap (1, h, w), log size (2, h, w) as y x, offset (2, h, w) as y x,
            landmarks (10, h, w) as y x pairs relative to the box.
        threshold: smallest heatmap value that counts.
    """
    heatmap, size, offset, landmark = heads
    row, col = np.nonzero(heatmap[0] > threshold)
    scores = heatmap[0, row, col]
    extent = np.exp(size[:, row, col]) * HEAD_STRIDE
    centre_y = (row + offset[0, row, col] + 0.5) * HEAD_STRIDE
    centre_x = (col + offset[1, row, col] + 0.5) * HEAD_STRIDE
    x1, y1 = centre_x - extent[1] / 2, centre_y - extent[0] / 2
    boxes = np.stack([x1, y1, x1 + extent[1], y1 + extent[0]], 1)
    points = landmark[:, row, col].reshape(5, 2, -1)
    landmarks = np.stack([points[:, 1] * extent[1] + x1, points[:, 0] * extent[0] + y1], 2)
    return Faces(
        boxes.astype(np.float32),
        scores.astype(np.float32),
        landmarks.transpose(1, 0, 2).astype(np.float32),
    )


def nms(faces: Faces, iou: float = NMS_IOU, contained: float = CONTAINED) -> Faces:
    """Greedy non-maximum suppression, best score first.

    A weaker box goes when it overlaps a kept one by ``iou``, or when ``contained`` of
    its area lies in a kept one (a patch of a face that a coarser level saw whole).
    """
    order = np.argsort(-faces.scores, kind="stable")
    boxes = faces.boxes[order]
    x1, y1, x2, y2 = boxes.T
    area = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    within, first, last = strips(boxes)
    alive = np.ones(len(order), bool)
    keep = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        keep.append(order[i])
        rest = np.concatenate(within[first[i] : last[i] + 1])
        rest = rest[alive[rest] & (rest > i)]
        width = np.minimum(x2[i], x2[rest]) - np.maximum(x1[i], x1[rest])
        height = np.minimum(y2[i], y2[rest]) - np.maximum(y1[i], y1[rest])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        union = area[i] + area[rest] - common
        inside = common >= contained * np.maximum(area[rest], 1e-6)
        alive[rest[(common >= iou * np.maximum(union, 1e-6)) | inside]] = False
    return faces.select(np.array(keep, int))


def strips(boxes: F32) -> tuple[list[npt.NDArray[np.intp]], list[int], list[int]]:
    """Boxes by the strips, ``STRIP`` pixels of the longer axis, that they reach into.

    Only those with a strip in common can overlap: with all pairs, a picture full of faces
    would take minutes. Returns each strip's boxes, and each box's first and last strip.
    """
    if not len(boxes):
        return [], [], []
    axis = int(np.ptp(boxes[:, 0]) < np.ptp(boxes[:, 1]))
    reach = np.clip(boxes[:, axis::2], 0, MAX_SIDE) // STRIP
    first, last = reach.astype(int).T
    within = [np.flatnonzero((first <= n) & (n <= last)) for n in range(last.max() + 1)]
    return within, first.tolist(), last.tolist()


def detect(network: Network, images: list[Image], thresholds: list[float]) -> list[Faces]:
    """Faces of each image, in its own pixels; all tiles of all images run side by side."""
    at_least = -(-network.streams // max(1, len(images)))
    work = [t for n, image in enumerate(images) for t in tiles(n, image, at_least)]
    found: list[list[Faces]] = [[] for _ in images]
    for tile, heads in zip(work, network.run([t.pixels for t in work]), strict=True):
        found[tile.image].append(_place(decode(heads, thresholds[tile.image]), tile))
    return [_merge(parts, image) for parts, image in zip(found, images, strict=True)]


def _place(faces: Faces, tile: Tile) -> Faces:
    origin = np.array([tile.x, tile.y], np.float32)
    boxes = faces.boxes + np.tile(origin, 2)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    left, top, right, bottom = tile.core
    inside = (centre[:, 0] >= left) & (centre[:, 0] < right)
    inside &= (centre[:, 1] >= top) & (centre[:, 1] < bottom)
    landmarks = faces.landmarks + origin
    return Faces(boxes * tile.scale, faces.scores, landmarks * tile.scale).select(inside)


def _merge(parts: list[Faces], image: Image) -> Faces:
    height, width = image.shape[:2]
    every = Faces(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.landmarks for p in parts]),
    )
    kept = nms(every)
    boxes = kept.boxes.copy()
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    visible = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    return Faces(boxes, kept.scores, kept.landmarks).select(visible)
