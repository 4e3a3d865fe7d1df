"""What a classifier is shown of a picture: open → check its shape → decode → shrink."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gateway.errors import BadMedia, BadOption
from gateway.media.image_base import on_white
from gateway.media.images import ImageLimits, Picture, open_picture

U8 = npt.NDArray[np.uint8]

SMALLEST = 8
"""Shorter side in pixels from which a picture shows anything."""

NARROWEST = 20
"""A picture may be this many times as long as it is wide."""

MOST_SHOWN = 8
"""Frames of an animated picture that are looked at."""


class ImageTooSmall(BadMedia):
    """A picture of so few pixels that it shows nothing."""

    code, title = "image-too-small", "Image too small"


class ImageTooNarrow(BadMedia):
    """A stripe, which would be squashed beyond recognition."""

    code, title = "image-too-narrow", "Image too narrow"


@dataclass(frozen=True)
class ClassifyOptions:
    """Which categories are told: those of at least ``threshold``, at most the first ``top_k``."""

    top_k: int = 1000
    threshold: float = 0.0

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> ClassifyOptions:
        """Options from form fields, a query string or JSON.

        Raises:
            BadOption: an unknown name or a value out of range; the text names both.
        """
        unknown = set(raw) - {"top_k", "threshold"}
        if unknown:
            raise BadOption(f"unknown option '{min(unknown)[:40]}'; known are top_k, threshold")
        top_k = _number(raw, "top_k", 1, 1000, cls.top_k)
        if top_k != int(top_k):
            raise BadOption("top_k must be a whole number")
        return cls(int(top_k), _number(raw, "threshold", 0, 1, cls.threshold))

    def told(self, scores: Mapping[str, float]) -> list[dict[str, Any]]:
        """The categories of an answer, by falling score."""
        rows = sorted(scores.items(), key=lambda item: -item[1])
        kept = [row for row in rows if row[1] >= self.threshold][: self.top_k]
        return [{"name": name, "score": round(score, 4)} for name, score in kept]


def _number(raw: Mapping[str, Any], name: str, low: float, high: float, default: float) -> float:
    text = raw.get(name, default)
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if isinstance(text, bool) or not low <= value <= high:
        raise BadOption(f"{name} must be a number from {low} to {high}, not {str(text)[:40]!r}")
    return value


def shown(data: bytes, limits: ImageLimits, side: int) -> tuple[Picture, U8]:
    """A picture's header, and (N, h, w, 3) uint8 BGR of it with ``side`` as the shorter side.

    A still is one frame; of an animated picture the first, the last and some between. What
    is smaller stays as it is.

    Raises:
        EmptyUpload, UnsupportedMedia, BadMedia, TooLarge, ImageTooSmall, ImageTooNarrow.
    """
    picture = open_picture(data, limits)
    check_shape(picture.width, picture.height)
    wanted = sampled(picture.frame_count)
    frames = [
        shrunk(on_white(frame), side)
        for index, frame in enumerate(picture.frames())
        if index in wanted
    ]
    return picture, np.stack(frames)


def check_shape(width: int, height: int) -> None:
    """Refuse what no classifier can see anything in.

    Raises:
        ImageTooNarrow, ImageTooSmall.
    """
    short, long = sorted((width, height))
    if long > NARROWEST * short:
        raise ImageTooNarrow(
            f"the image is {width}×{height} pixels; it may be {NARROWEST} times as long as wide"
        )
    if short < SMALLEST:
        raise ImageTooSmall(f"the image is {width}×{height} pixels; {SMALLEST} a side are needed")


def sampled(frames: int) -> set[int]:
    """Which frames of an animation are looked at: evenly spread, with the first and the last."""
    return set(np.linspace(0, frames - 1, min(frames, MOST_SHOWN)).round().astype(int).tolist())


def shrunk(picture: U8, side: int) -> U8:
    """(H, W, 3) uint8 with its shorter side at most ``side`` pixels, by averaging.

    Stripes beyond ``NARROWEST`` are squashed to it: a gate has to look at them, too.
    """
    height, width = picture.shape[:2]
    factor = min(1.0, side / min(height, width))
    most = NARROWEST * side
    size = (min(most, round(width * factor)), min(most, round(height * factor)))
    if size == (width, height):
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def packed(frames: U8) -> bytes:
    """Frames as the model server takes them (``.npy``)."""
    body = io.BytesIO()
    np.lib.format.write_array(body, np.ascontiguousarray(frames), version=(1, 0))
    return body.getvalue()


def highest(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The highest score of each category over several frames: what shows once, shows."""
    best: dict[str, float] = {}
    for frame in scores:
        for name, score in frame.items():
            best[name] = max(score, best.get(name, 0.0))
    return best
