"""Rig a drawing: open → decode → shrink → find the figures → cut each out with its skeleton."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from gateway.drawings.character import Character, character
from gateway.errors import NoFigure
from gateway.media.image_base import on_white
from gateway.media.images import ImageLimits, open_picture
from gateway.models import FoundFigure
from gateway.pipelines.review import Review

U8 = npt.NDArray[np.uint8]

MODEL_SIDE = 1280
"""Longer side of what the model sees, in pixels: more than it can use."""

TEXTURE_SIDE = 1400
"""Longer side of all figures together, in pixels: more than the largest animation can show."""

MARGIN = 0.05
"""Paper kept around a figure, as a share of its longer side, for corrections of its mask."""

MAX_FIGURES = 4


class Rigger(Protocol):
    """Finds drawn figures; see :class:`gateway.models.Rigger`."""

    def rig(self, picture: U8) -> list[FoundFigure]:
        """Figures in (H, W, 3) uint8 BGR, best first."""
        ...


@dataclass(frozen=True)
class RiggedFigure:
    """A figure ready to be animated.

    box: x1, y1, x2, y2 in pixels of the upright photo. place: x, y of the texture's corner in
    the drawing, in pixels of the texture; all figures of a drawing have one scale.
    """

    character: Character
    box: tuple[float, float, float, float]
    score: float
    place: tuple[float, float]


@dataclass(frozen=True)
class Rigged:
    """A photo's figures, best first, at least one. timings: milliseconds by stage.

    review: what the gate saw, where there is one.
    """

    width: int
    height: int
    figures: list[RiggedFigure]
    timings: dict[str, float]
    review: dict[str, Any] | None = None


def rig_drawing(
    data: bytes,
    rigger: Rigger,
    limits: ImageLimits,
    *,
    figures: int = 1,
    review: Review | None = None,
) -> Rigged:
    """Find at most ``figures`` drawn figures in an encoded picture (an animation's first frame).

    Raises:
        EmptyUpload, UnsupportedMedia, BadMedia, TooLarge, ModelUnavailable. NoFigure: there is
        none. BadDrawing: the figure is too small. ContentRejected: the review refuses it.
    """
    begun = time.perf_counter()
    photo = on_white(next(iter(open_picture(data, limits).frames())))
    decoded = time.perf_counter()
    reviewed = review.look(photo) if review else None
    passed = time.perf_counter()
    shown = _shrunk(photo, MODEL_SIDE)
    found = rigger.rig(shown)[:figures]
    seen = time.perf_counter()
    if not found:
        raise NoFigure(
            "no drawn figure found; photograph one figure with arms and legs from straight"
            " above, whole, in even light, with nothing lying on it"
        )
    cut = _cut_out(photo, found, shown.shape)
    timings = {
        "decode_ms": _ms(begun, decoded),
        **({"review_ms": _ms(decoded, passed)} if review else {}),
        "rig_ms": _ms(passed, seen),
        "cut_ms": _ms(seen, time.perf_counter()),
    }
    return Rigged(photo.shape[1], photo.shape[0], cut, timings, reviewed)


def _cut_out(photo: U8, found: list[FoundFigure], shown: tuple[int, ...]) -> list[RiggedFigure]:
    """The figures found in a picture of the shape ``shown``, out of the whole photo."""
    boxes = np.array([_with_paper(figure.mask_box, shown) for figure in found])
    # From what was shown to the photo, and on to the textures.
    zoom = np.array([photo.shape[1] / shown[1], photo.shape[0] / shown[0]])
    extent = (boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)) * zoom
    scale = min(1.0, TEXTURE_SIDE / float(extent.max()))
    cut = []
    for figure, (left, top, right, bottom) in zip(found, boxes.tolist(), strict=True):
        x1, y1 = (round(v) for v in (left, top) * zoom)
        x2, y2 = (round(v) for v in (right, bottom) * zoom)
        texture = _resized(photo[y1:y2, x1:x2], scale)
        height, width = texture.shape[:2]
        mask = np.zeros((bottom - top, right - left), np.uint8)
        at_x, at_y = figure.mask_box[0] - left, figure.mask_box[1] - top
        mask[at_y : at_y + figure.mask.shape[0], at_x : at_x + figure.mask.shape[1]] = figure.mask
        if mask.shape != (height, width):
            mask = np.asarray(cv2.resize(mask, (width, height)), np.uint8)
        sx, sy = width / (right - left), height / (bottom - top)
        joints = {
            name: (_within((x - left) * sx, width), _within((y - top) * sy, height))
            for name, (x, y) in figure.joints.items()
        }
        box = np.array(figure.box).reshape(2, 2) * zoom
        drawn = character(np.ascontiguousarray(texture), mask, joints)
        cut.append(
            RiggedFigure(drawn, tuple(box.ravel().tolist()), figure.score, (x1 * scale, y1 * scale))
        )
    return cut


def _with_paper(box: tuple[int, int, int, int], shown: tuple[int, ...]) -> tuple[int, ...]:
    x1, y1, x2, y2 = box
    margin = round(MARGIN * max(x2 - x1, y2 - y1)) + 1
    height, width = shown[:2]
    return (
        max(0, x1 - margin),
        max(0, y1 - margin),
        min(width, x2 + margin),
        min(height, y2 + margin),
    )


def _within(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))


def _shrunk(picture: U8, side: int) -> U8:
    return _resized(picture, min(1.0, side / max(picture.shape[:2])))


def _resized(picture: U8, factor: float) -> U8:
    if factor == 1:
        return picture
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _ms(begun: float, ended: float) -> float:
    return round(1000 * (ended - begun), 1)
