"""Hide faces: masks that leave nothing exposed, and fills that cannot be undone.

Works on one plane or picture at a time, in place: (H, W) or (H, W, C), uint8 or
uint16, any colour order; a fourth channel is taken for alpha. A face may be drawn by
alpha alone, so where a picture is not opaque alpha is hidden with the colours.
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
# Rows that are worked at in floats at a time.
BAND = 128


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
        fill: what ``solid`` paints, opaque, one value per colour.
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
        clear = colours is not region and not is_opaque(region)
        layer = region if clear else colours
        paint = [*np.broadcast_to(fill, 3), _top(region)] if clear else fill
        hidden = _hidden(layer, area, style, paint)
        if shape == "box":
            layer[...] = hidden
        elif clear:
            _blend_clear(region, hidden, weight)
        else:
            colours[...] = _blend(colours, hidden, shown, weight)


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
    if colours.shape[2:] == (4,):
        sampled = _premultiplied(sampled)
    small = cv2.resize(sampled, coarse, interpolation=cv2.INTER_AREA)
    if style == "gaussian":
        small = cv2.GaussianBlur(small, (3, 3), 1.5, borderType=cv2.BORDER_REPLICATE)
    if colours.shape[2:] == (4,):
        small = _straight(small.reshape(*coarse[::-1], 4), colours.dtype)
    if style == "pixelate":
        shown = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    else:
        shown = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return shown.reshape(colours.shape)


def is_opaque(picture: Pixels) -> bool:
    """Whether a picture (H, W) or (H, W, C) has no alpha, or nothing shines through it."""
    if picture.shape[2:] != (4,) or not picture.size:
        return True
    return int(picture[..., 3].min()) == _top(picture)


def _top(pixels: Pixels) -> int:
    return int(np.iinfo(pixels.dtype).max)


def _premultiplied(region: Pixels) -> F32:
    """Colours by their opacity, and alpha: so what is transparent lends others no colour."""
    layer = region.astype(np.float32)
    layer[..., :3] *= layer[..., 3:] / np.float32(_top(region))
    return layer


def _straight(layer: Pixels, dtype: Any) -> Pixels:
    """The inverse of :func:`_premultiplied`; what is transparent gets the others' mean colour."""
    top = np.float32(np.iinfo(dtype).max)
    alpha = layer[..., 3:]
    mean = layer[..., :3].sum((0, 1)) / max(float(alpha.sum()), 1e-3)
    colours = np.where(alpha > 0, layer[..., :3] / np.maximum(alpha, 1e-3), mean) * top
    return np.rint(np.concatenate([colours, alpha], axis=2).clip(0, top)).astype(dtype)


def _blend_clear(region: Pixels, hidden: Pixels, weight: F32) -> None:
    """Blend what hides into a region (H, W, 4) with alpha, each by its opacity."""
    for start in range(0, len(region), BAND):
        rows = slice(start, start + BAND)
        band, above, share = region[rows], hidden[rows], weight[rows]
        below_alpha, above_alpha = band[..., 3] * (1 - share), above[..., 3] * share
        alpha = below_alpha + above_alpha
        # No colour where no alpha is left.
        unit = np.where(alpha < 0.5, np.float32(0), 1 / np.maximum(alpha, np.float32(0.5)))
        below_share, above_share = below_alpha * unit, above_alpha * unit
        for c in range(3):
            band[..., c] = np.rint(band[..., c] * below_share + above[..., c] * above_share)
        band[..., 3] = np.rint(alpha)


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
