"""Hide faces: masks that leave nothing exposed, and fills that cannot be undone.

Works on one plane or picture at a time, in place: (H, W) or (H, W, C), uint8 or
uint16, any colour order; a fourth channel is taken for alpha and kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gateway.choices import Shape, Style
from gateway.faces.boxes import F32, grown

Pixels = npt.NDArray[Any]

# Samples of a face that survive: no method recovers an identity from so few, and a face
# detector hardly finds a face in them (with 32, it found every third). They follow the
# mask's area, so a long thin box (half a face at the border) keeps no more.
SAMPLES = 12
FEATHER = 0.08
# Pixels across a cell that its mean is taken of.
CELL_PIXELS = 24


def hide(
    pixels: Pixels | Sequence[Pixels],
    boxes: F32,
    *,
    style: Style = "gaussian",
    shape: Shape = "ellipse",
    scale: float = 1.4,
    subsampling: tuple[int, int] = (1, 1),
    fill: float | Sequence[float] = 0,
) -> None:
    """Hide every face of a picture or plane, in place.

    Args:
        pixels: (H, W) or (H, W, C), writable; or several of one size (the chroma planes),
            for which masks are made just once.
        boxes: (N, 4) float32 faces, in pixels of the full picture.
        style: ``gaussian`` and ``pixelate`` keep ``SAMPLES`` samples of a face (a few
            more with an ellipse's soft edge); ``solid`` keeps nothing.
        shape: the mask's outline.
        scale: mask size relative to the box.
        subsampling: full-picture pixels per pixel of this plane, x and y (2, 2 for the
            chroma planes of 4:2:0).
        fill: what ``solid`` paints, one value per channel.
    """
    ratio = np.array([*subsampling, *subsampling], np.float32)
    faces = np.asarray(boxes, np.float32).reshape(-1, 4) / ratio
    planes = [pixels] if isinstance(pixels, np.ndarray) else list(pixels)
    for box in grown(faces, scale):
        _hide_one(planes, box, style, shape, fill)


def _hide_one(
    planes: list[Pixels], box: F32, style: Style, shape: Shape, fill: float | Sequence[float]
) -> None:
    height, width = planes[0].shape[:2]
    x1, y1, x2, y2 = map(float, box)
    soft = FEATHER / 2 if shape == "ellipse" else 0.0
    wide, high = soft * (x2 - x1), soft * (y2 - y1)
    left, right = max(0, math.floor(x1 - wide)), min(width, math.ceil(x2 + wide))
    top, bottom = max(0, math.floor(y1 - high)), min(height, math.ceil(y2 + high))
    if right <= left or bottom <= top:
        return
    if shape == "ellipse":
        x, y = _distance(x1, x2, width, left, right), _distance(y1, y2, height, top, bottom)
        shown, weight = _ellipse(x, y)
    area = max(1.0, x2 - x1) * max(1.0, y2 - y1)
    for pixels in planes:
        region = pixels[top:bottom, left:right]
        colours = region[..., :3] if region.ndim == 3 and region.shape[2] == 4 else region
        hidden = _hidden(colours, area, style, fill)
        colours[...] = _blend(colours, hidden, shown, weight) if shape == "ellipse" else hidden


def _distance(low: float, high: float, limit: int, start: int, stop: int) -> F32:
    """How far pixels ``start`` … ``stop - 1`` of one axis are from an ellipse's middle.

    In semi-axes of an ellipse from ``low`` to ``high`` in a picture of ``limit`` pixels.
    A face cut by the border goes on outside it. So nothing between its middle and that
    border is far, or the corners next to the border would be bare; and a middle outside
    counts as on the border, or what still shows of a leaving face would be.
    """
    at = np.arange(start, stop, dtype=np.float32) + 0.5
    middle = (low + high) / 2
    first = -math.inf if low <= 0 else min(middle, limit)
    last = math.inf if high >= limit else max(middle, 0)
    before = np.maximum(first - at, 0) / max(first - low, 0.5)
    after = np.maximum(at - last, 0) / max(high - last, 0.5)
    return np.asarray(before + after, np.float32)


def _hidden(colours: Pixels, area: float, style: Style, fill: float | Sequence[float]) -> Pixels:
    if style == "solid":
        return np.broadcast_to(np.asarray(fill, colours.dtype), colours.shape)
    height, width = colours.shape[:2]
    cell = max(2.0, math.sqrt(area / SAMPLES))
    coarse = (max(1, int(width / cell)), max(1, int(height / cell)))
    # A coarse mean first: the fine detail is gone before anything else happens to it.
    # A large face is sampled, not read whole: the mean of a cell needs no more.
    step = max(1, int(cell / CELL_PIXELS))
    sampled = np.ascontiguousarray(colours[::step, ::step])
    small = cv2.resize(sampled, coarse, interpolation=cv2.INTER_AREA)
    if style == "pixelate":
        shown = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    else:
        small = cv2.GaussianBlur(small, (3, 3), 1.5, borderType=cv2.BORDER_REPLICATE)
        shown = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return shown.reshape(colours.shape)


def _ellipse(x: F32, y: F32) -> tuple[F32, F32]:
    """Weights (h, w) of the picture and of what hides it, from distances (w,) and (h,).

    They add up to 1; the latter is 1 inside and fades to 0 over ``FEATHER``.
    """
    reach = (1 + FEATHER) ** 2
    # In squares: a root per pixel is what large faces would wait for.
    slope = np.float32(1 / (reach - 1))
    weight = ((reach - y * y) * slope)[:, None] - x * x * slope
    np.clip(weight, 0, 1, out=weight)
    return 1 - weight, weight


def _blend(original: Pixels, hidden: Pixels, shown: F32, weight: F32) -> Pixels:
    if original.dtype == np.uint8:
        a, b = np.ascontiguousarray(original), np.ascontiguousarray(hidden)
        return cv2.blendLinear(a, b, shown, weight).reshape(original.shape)
    mask = weight if original.ndim == 2 else weight[..., None]
    mixed = original + (hidden.astype(np.float32) - original) * mask
    return np.rint(mixed).astype(original.dtype)
