"""Hide faces: masks that leave nothing exposed, and fills that cannot be undone.

Works on one plane or picture at a time, in place: (H, W) or (H, W, C), uint8 or
uint16, any colour order; a fourth channel is taken for alpha and kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from gateway.faces.boxes import F32, centres, grown, sizes

Style = Literal["gaussian", "pixelate", "solid"]
Shape = Literal["ellipse", "box"]
Pixels = npt.NDArray[Any]

# Cells across the shorter side of a face that survive. A 5-cell face holds fewer than
# 40 samples: no method recovers an identity from them.
CELLS = 5
FEATHER = 0.08


def hide(
    pixels: Pixels,
    boxes: F32,
    *,
    style: Style = "gaussian",
    shape: Shape = "ellipse",
    scale: float = 1.3,
    subsampling: tuple[int, int] = (1, 1),
    fill: float | Sequence[float] = 0,
) -> None:
    """Hide every face of a picture or plane, in place.

    Args:
        pixels: (H, W) or (H, W, C), writable.
        boxes: (N, 4) float32 faces, in pixels of the full picture.
        style: ``gaussian`` and ``pixelate`` keep ``CELLS`` samples across a face;
            ``solid`` keeps nothing.
        shape: the mask's outline.
        scale: mask size relative to the box.
        subsampling: full-picture pixels per pixel of this plane, x and y (2, 2 for the
            chroma planes of 4:2:0).
        fill: what ``solid`` paints, one value per channel.
    """
    height, width = pixels.shape[:2]
    ratio = np.array([*subsampling, *subsampling], np.float32)
    faces = np.asarray(boxes, np.float32).reshape(-1, 4) / ratio
    for box in past_edges(grown(faces, scale), width, height):
        _hide_one(pixels, box, style, shape, fill)


def past_edges(boxes: F32, width: int, height: int) -> F32:
    """Stretch boxes that reach a border beyond it, so that no corner stays exposed.

    A face cut by the border has its box cut there too; an ellipse inscribed in that
    would bare the corners next to the border.
    """
    stretched = boxes.copy()
    extent = sizes(boxes)
    limit = np.array([width, height], np.float32)
    low, high = boxes[:, :2] <= 0, boxes[:, 2:] >= limit
    stretched[:, :2] = np.where(low, np.minimum(boxes[:, :2], 0) - extent / 2, boxes[:, :2])
    stretched[:, 2:] = np.where(high, np.maximum(boxes[:, 2:], limit) + extent / 2, boxes[:, 2:])
    return stretched


def _hide_one(
    pixels: Pixels, box: F32, style: Style, shape: Shape, fill: float | Sequence[float]
) -> None:
    height, width = pixels.shape[:2]
    extent = np.maximum(sizes(box), np.float32(1))
    reach = 1 + FEATHER if shape == "ellipse" else 1.0
    outer = grown(box, reach)
    left, top = (max(0, math.floor(v)) for v in outer[:2])
    right, bottom = min(width, math.ceil(outer[2])), min(height, math.ceil(outer[3]))
    if right <= left or bottom <= top:
        return
    region = pixels[top:bottom, left:right]
    colours = region[..., :3] if region.ndim == 3 and region.shape[2] == 4 else region
    hidden = _hidden(colours, float(extent.min()), style, fill)
    if shape == "box":
        colours[...] = hidden
        return
    weight = _ellipse(
        centres(box) - np.array([left, top], np.float32), extent / 2, region.shape[:2]
    )
    colours[...] = _blend(colours, hidden, weight)


def _hidden(colours: Pixels, face: float, style: Style, fill: float | Sequence[float]) -> Pixels:
    if style == "solid":
        return np.broadcast_to(np.asarray(fill, colours.dtype), colours.shape)
    height, width = colours.shape[:2]
    cell = max(2.0, face / CELLS)
    coarse = (max(1, round(width / cell)), max(1, round(height / cell)))
    # A coarse mean first: the fine detail is gone before anything else happens to it.
    small = cv2.resize(np.ascontiguousarray(colours), coarse, interpolation=cv2.INTER_AREA)
    if style == "pixelate":
        shown = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    else:
        small = cv2.GaussianBlur(small, (3, 3), 0.8, borderType=cv2.BORDER_REPLICATE)
        shown = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return shown.reshape(colours.shape)


def _ellipse(centre: F32, axes: F32, shape: tuple[int, ...]) -> F32:
    """Weights (h, w): 1 inside the ellipse, fading to 0 outside over ``FEATHER``."""
    x = (np.arange(shape[1], dtype=np.float32) + 0.5 - centre[0]) / axes[0]
    y = (np.arange(shape[0], dtype=np.float32) + 0.5 - centre[1]) / axes[1]
    radius = np.sqrt(x[None] ** 2 + y[:, None] ** 2)
    return np.clip((1 + FEATHER - radius) / FEATHER, 0, 1).astype(np.float32)


def _blend(original: Pixels, hidden: Pixels, weight: F32) -> Pixels:
    if original.dtype == np.uint8:
        a, b = np.ascontiguousarray(original), np.ascontiguousarray(hidden)
        return cv2.blendLinear(a, b, 1 - weight, weight).reshape(original.shape)
    mask = weight if original.ndim == 2 else weight[..., None]
    mixed = original + (hidden.astype(np.float32) - original) * mask
    return np.rint(mixed).astype(original.dtype)
