"""A rigged figure as PNGs, and back: texture, mask, and an overlay of the skeleton for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gateway.drawings.character import Character, character
from gateway.errors import BadDrawing
from gateway.media.images import ImageLimits, open_picture

U8 = npt.NDArray[np.uint8]

PICTURES = ("texture", "mask", "overlay")

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_INK = {"left": (196, 110, 20), "right": (36, 90, 235), "": (168, 52, 113)}
"""BGR of the figure's left, its right and its middle."""


def picture(figure: Character, name: str) -> bytes:
    """One of ``PICTURES`` as a PNG of the texture's size."""
    pixels = {"texture": _texture, "mask": _mask, "overlay": _overlay}[name](figure)
    return cv2.imencode(".png", pixels, _PNG)[1].tobytes()


def read_figure(
    texture: bytes, mask: bytes, joints: Mapping[str, Any], limits: ImageLimits
) -> Character:
    """A figure from its texture and mask, of which the mask may be anybody's picture.

    A mask is read by its brightness: the figure is white, or anything from half grey on.

    Raises:
        BadDrawing: the mask does not fit the texture or is empty; see :func:`character`.
        UnsupportedMedia, BadMedia, TooLarge: the mask is no picture that we read.
    """
    paint = _first_frame(texture, limits)
    shape = _first_frame(mask, limits)
    if shape.shape[:2] != paint.shape[:2]:
        raise BadDrawing(
            f"the mask has {shape.shape[1]}×{shape.shape[0]} pixels, "
            f"but this figure's picture {paint.shape[1]}×{paint.shape[0]}"
        )
    if shape.ndim == 3:
        alpha = shape[..., 3] if shape.shape[2] == 4 else 255
        grey = cv2.cvtColor(shape[..., :3], cv2.COLOR_BGR2GRAY)
        shape = np.asarray(np.minimum(grey, alpha), np.uint8)
    return character(paint, shape, joints)


def _first_frame(data: bytes, limits: ImageLimits) -> npt.NDArray[Any]:
    frame = next(iter(open_picture(data, limits).frames()))
    return (frame >> 8).astype(np.uint8) if frame.dtype == np.uint16 else frame


def _texture(figure: Character) -> U8:
    return figure.texture if figure.texture[..., 3].min() < 255 else figure.texture[..., :3].copy()


def _mask(figure: Character) -> U8:
    return figure.mask.astype(np.uint8) * 255


def _overlay(figure: Character) -> U8:
    """The figure with its bones and joints, what is not part of it faded."""
    drawn = np.ascontiguousarray(figure.texture[..., :3])
    outside = (~figure.mask).astype(np.uint8)
    cv2.addWeighted(drawn, 1 / 3, drawn, 0, 170, dst=(faded := np.empty_like(drawn)))
    cv2.copyTo(faded, outside, drawn)
    thick = max(2, round(max(figure.mask.shape) / 160))
    places = {name: (round(x), round(y)) for name, (x, y) in figure.joints.items()}
    inks = {name: _INK.get(name.split("_")[0], _INK[""]) for name in places}
    for name, parent in figure.parents.items():
        if parent is not None:
            cv2.line(drawn, places[parent], places[name], (255, 255, 255), 2 * thick, cv2.LINE_AA)
            cv2.line(drawn, places[parent], places[name], inks[name], thick, cv2.LINE_AA)
    for name, place in places.items():
        cv2.circle(drawn, place, 2 * thick, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(drawn, place, round(1.5 * thick), inks[name], -1, cv2.LINE_AA)
    return drawn
