"""Pictures in, pictures out: JPEG, PNG, WebP, GIF, HEIF and AVIF, still or animated.

``open_picture`` checks the header, ``Picture.frames`` decodes, ``encode`` writes the
same format and size again with none of the original's metadata. One module per format
(``image_jpeg`` …) does the work; nothing here touches a file or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from gateway.errors import EmptyUpload, TooLarge, UnsupportedMedia
from gateway.media.image_base import Encoded, ImageLimits, Picture, decoding
from gateway.media.image_gif import open_gif
from gateway.media.image_heif import open_avif, open_heif
from gateway.media.image_jpeg import open_jpeg
from gateway.media.image_png import open_png
from gateway.media.image_webp import open_webp
from gateway.media.sniff import ImageFormat, image_format

__all__ = ["Encoded", "ImageLimits", "Picture", "encode", "open_picture"]

_OPENERS: dict[ImageFormat, Callable[[bytes, ImageLimits], Picture]] = {
    "jpeg": open_jpeg,
    "png": open_png,
    "webp": open_webp,
    "gif": open_gif,
    "heif": open_heif,
    "avif": open_avif,
}


def open_picture(data: bytes, limits: ImageLimits) -> Picture:
    """Recognise a picture by its content and check it without decoding its pixels.

    Raises:
        EmptyUpload: no bytes. UnsupportedMedia: not a picture of these formats.
        TooLarge: over a limit. BadMedia: truncated, damaged or contradictory.
    """
    if not data:
        raise EmptyUpload("the file is empty")
    kind = image_format(data)
    if kind is None:
        raise UnsupportedMedia("this is not a JPEG, PNG, WebP, GIF, HEIC/HEIF or AVIF picture")
    if len(data) > limits.bytes:
        raise TooLarge(f"the file has {len(data)} bytes; the limit for a picture is {limits.bytes}")
    with decoding(kind):
        return _OPENERS[kind](data, limits)


def encode(picture: Picture, frames: Iterable[np.ndarray]) -> Encoded:
    """Write ``frames`` (shaped, ordered and as many as ``picture.frames()`` gives) as a file.

    Same format and size, timing and loop count; HEIF becomes JPEG (PNG with transparency),
    an animated AVIF becomes WebP. JPEG keeps the original's subsampling and about its
    quality. The colour profile keeps its effect; every other metadata is gone. Frames are
    taken one at a time, so ``frames`` may be a generator.

    Raises:
        whatever ``frames`` raises. ValueError: not as many frames as the picture has.
    """
    return picture.write(frames)
