"""HEIF/HEIC and AVIF: decoded by libheif and libavif, which apply the picture's rotation.

HEIF comes back as JPEG (encoding HEVC costs seconds a photo), or as PNG when it has
transparency. AVIF stays AVIF; an animated one comes back as animated WebP.
A HEIF file may hold further photos, depth maps and thumbnails: only the primary one is
read, and nothing of the others reaches the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from io import BytesIO
from typing import cast

import numpy as np
import pillow_heif
from PIL import Image

from gateway.errors import BadMedia, UnsupportedMedia
from gateway.media import icc
from gateway.media.image_base import (
    NAMES,
    Encoded,
    ImageLimits,
    Picture,
    check_frames,
    check_size,
    decoding,
    exif_orientation,
    from_pillow,
    to_pillow,
    truncated,
    upright,
    upright_size,
)
from gateway.media.image_jpeg import encode_jpeg
from gateway.media.image_png import encode_png
from gateway.media.image_webp import write_animation
from gateway.media.sniff import ImageFormat

MAX_BOXES = 50_000
"""At the top, where pictures have three or four."""

JPEG_QUALITY = 92
AVIF_QUALITY = 80
AVIF_SPEED = 9
"""12 megapixels in about a second on one core; the default, 6, takes five."""


def open_heif(data: bytes, limits: ImageLimits) -> Picture:
    """Open a HEIF still; 10 and 12 bits a channel are read as 8.

    Raises:
        BadMedia, TooLarge, UnsupportedMedia: see ``gateway.media.images.open_picture``.
    """
    _check_boxes(data, "heif")
    if data[8:12] in {b"hevc", b"hevx", b"msf1"}:
        raise UnsupportedMedia("this is an image sequence in HEIF; send it as a video (MP4 or MOV)")
    image = _primary(data)
    width, height = image.size
    check_size("heif", width, height, limits)
    profile = cast(bytes | None, image.info.get("icc_profile"))
    return Picture(
        "heif",
        width,
        height,
        1,
        read=partial(_read_heif, data),
        write=partial(_write_heif, as_png=image.has_alpha, profile=profile),
    )


def open_avif(data: bytes, limits: ImageLimits) -> Picture:
    """Open an AVIF, still or animated; 10 and 12 bits a channel are read as 8.

    Raises:
        BadMedia, TooLarge: see ``gateway.media.images.open_picture``.
    """
    _check_boxes(data, "avif")
    with Image.open(BytesIO(data), formats=["AVIF"]) as image:
        width, height = image.size
        frames = getattr(image, "n_frames", 1)
        profile = image.info.get("icc_profile")
        # libavif leaves the file's rotation to the reader; Pillow tells it as Exif.
        orientation = exif_orientation(image.info.get("exif", b""))
    check_size("avif", width, height, limits)
    check_frames(width, height, frames, limits)
    if frames > 1:
        check_size("webp", width, height, limits)  # what it becomes
    width, height = upright_size(width, height, orientation)
    write = _write_avif if frames == 1 else partial(_write_sequence, data)
    return Picture(
        "avif",
        width,
        height,
        frames,
        read=partial(_read_avif, data, orientation),
        write=partial(write, profile=profile),
    )


def _check_boxes(data: bytes, kind: ImageFormat) -> None:
    """Refuse a file whose top-level boxes go on past its end."""
    at = 0
    for _ in range(MAX_BOXES):
        if at + 8 > len(data):
            return
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # to the end of the file
            return
        if at + size > len(data):
            raise truncated(kind, "inside its pixels")
        at += max(size, 8)
    raise BadMedia(f"this {NAMES[kind]} file has more than {MAX_BOXES} boxes")


def _primary(data: bytes) -> pillow_heif.HeifImage:
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True, bgr_mode=True)
    return file[file.primary_index]


def _read_heif(data: bytes) -> Iterator[np.ndarray]:
    pixels = np.asarray(_primary(data))
    yield np.array(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels, order="C")


def _write_heif(frames: Iterable[np.ndarray], *, as_png: bool, profile: bytes | None) -> Encoded:
    (frame,) = frames
    if as_png:
        return encode_png(frame, profile=profile)
    return encode_jpeg(frame, quality=JPEG_QUALITY, profile=profile)


def _read_avif(data: bytes, orientation: int) -> Iterator[np.ndarray]:
    with Image.open(BytesIO(data), formats=["AVIF"]) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            yield upright(from_pillow(image), orientation)


def _write_avif(frames: Iterable[np.ndarray], *, profile: bytes | None) -> Encoded:
    (frame,) = frames
    out = BytesIO()
    clean = icc.rebuild(profile, "GRAY" if frame.ndim == 2 else "RGB ") or b""
    to_pillow(frame).save(
        out, "AVIF", quality=AVIF_QUALITY, speed=AVIF_SPEED, icc_profile=clean, exif=b"", xmp=b""
    )
    return Encoded(out.getvalue(), "image/avif", "avif")


def _write_sequence(data: bytes, frames: Iterable[np.ndarray], *, profile: bytes | None) -> Encoded:
    delays = []
    with decoding("avif"), Image.open(BytesIO(data), formats=["AVIF"]) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()  # only a decoded frame knows how long it is shown
            delays.append(min(int(image.info["duration"]), 0xFFFFFF))
    return write_animation(frames, delays=delays, profile=profile)
