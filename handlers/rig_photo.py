"""A request's body as photos to look at: decoded no larger than the rigger needs.

A phone's JPEG is decoded at a half, a quarter or an eighth of its size, which costs a
fraction of the full picture; coordinates are answered in pixels of the photo as sent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

try:  # inside an archive the runtime is a sibling
    from runtime import BadInput, Image, read_images
except ModuleNotFoundError:
    from handlers.runtime import BadInput, Image, read_images

ENOUGH = 1000  # longer side that is always kept, pixels
REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


@dataclass(frozen=True)
class Photo:
    """pixels (h, w, 3) uint8 BGR, upright; width and height of the photo as sent, upright."""

    pixels: Image
    width: int
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Factors (x, y) from ``pixels`` to the photo as sent."""
        return self.width / self.pixels.shape[1], self.height / self.pixels.shape[0]


def read_photos(body: bytes | bytearray | memoryview) -> Iterator[Photo]:
    """Photos in a request's body: one encoded image, or a ``.npy`` array of frames.

    Raises:
        BadInput: it is neither, or damaged.
    """
    data = bytes(body)
    size = jpeg_size(data)
    if size is not None:
        factor = next((f for f in REDUCED if max(size) >= f * ENOUGH), None)
        if factor is not None:
            yield _reduced(data, size, factor)
            return
    for image in read_images(data):
        yield Photo(image, image.shape[1], image.shape[0])


def _reduced(data: bytes, size: tuple[int, int], factor: int) -> Photo:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[factor])
    except cv2.error as error:
        raise BadInput("the image is too large or damaged") from error
    if pixels is None:
        raise BadInput("the body is neither an encoded image nor a .npy array")
    width, height = size
    # EXIF may have turned the picture by a quarter.
    if pixels.shape[:2] != (-(-height // factor), -(-width // factor)):
        width, height = height, width
    return Photo(np.asarray(pixels, np.uint8), width, height)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that a JPEG's frame header states, before EXIF; None for anything else."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker >> 8 != 0xFF:
            return None
        if marker == 0xFFFF:  # padding
            at += 1
            continue
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (width, height) if width and height else None
        at += 2 + length
    return None
