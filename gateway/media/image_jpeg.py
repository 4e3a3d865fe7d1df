"""JPEG: a strict walk over its segments, then libjpeg-turbo for the pixels.

The walk finds size, orientation, profile, quality and the end of the first picture
without decoding, and yields the same picture without any metadata. Everything after
the first end marker (further pictures of an MPO, a phone's motion video) is left out.
Source: ITU-T T.81, JFIF 1.02, ICC.1 annex B.4; quality scaling as in IJG libjpeg.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from io import BytesIO

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image, ImageCms

from gateway.media import icc
from gateway.media.image_base import (
    Encoded,
    ImageLimits,
    Picture,
    truncated,
    upright,
    upright_size,
)
from gateway.media.image_jpeg_segments import (
    Scan,
    join_profile,
    orientation_segment,
    profile_segments,
    walk,
)

# Annex K.1, luminance and chrominance; the sums are all that the estimate needs.
# fmt: off
_LUMA_TABLE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
])
# fmt: on
_CHROMA_TABLE = np.array([17, 18, 24, 47, 18, 21, 26, 66, 24, 26, 56, 47, 66] + [99] * 51)

_SAMPLING: dict[tuple[float, float], int] = {
    (4, 1): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    (2, 2): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    (2, 1): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    (1, 2): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
}


def open_jpeg(data: bytes, limits: ImageLimits) -> Picture:
    """Open a JPEG of 1, 3 or 4 components (grey, colour, CMYK), 8 bits, any usual coding.

    Raises:
        BadMedia, TooLarge, UnsupportedMedia: see ``gateway.media.images.open_picture``.
    """
    scan = walk(data, limits)
    orientation = scan.orientation or 1
    components = len(scan.sampling)
    exif = orientation_segment(orientation) if orientation > 1 else b""
    plain = b"".join([b"\xff\xd8", exif, scan.head, *scan.plain, b"\xff\xd9"])
    profile = join_profile(scan.profile)
    width, height = upright_size(scan.width, scan.height, orientation)
    return Picture(
        "jpeg",
        width,
        height,
        1,
        read=partial(_decode, plain, components, orientation, profile),
        write=partial(
            _encode_one,
            quality=_quality(scan),
            sampling=_subsampling(scan, orientation),
            profile=profile if components < 4 else None,
        ),
        detector_bytes=plain if components < 4 else None,
    )


def encode_jpeg(
    frame: np.ndarray,
    *,
    quality: int,
    sampling: int = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    profile: bytes | None = None,
) -> Encoded:
    """Encode (H, W, 3) BGR or (H, W) grey uint8; ``profile`` is rebuilt before it goes in.

    sampling: one of OpenCV's ``IMWRITE_JPEG_SAMPLING_FACTOR_*``.
    """
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, coded = cv2.imencode(".jpg", frame, settings)
    view = coded.data
    clean = icc.rebuild(profile, "GRAY" if frame.ndim == 2 else "RGB ")
    # OpenCV opens with SOI and an 18-byte JFIF segment; the profile comes behind those.
    body = b"".join([view[:20], *profile_segments(clean), view[20:]])
    return Encoded(body, "image/jpeg", "jpg")


def _quality(scan: Scan) -> int:
    """The IJG quality, 75 to 95, whose tables add up most nearly to the file's."""
    used = [scan.tables[name] for name in dict.fromkeys(scan.table_ids) if name in scan.tables]
    target = sum(int(table.sum()) for table in used[:2])
    standard = np.concatenate([_LUMA_TABLE, _CHROMA_TABLE][: len(used[:2])] or [_LUMA_TABLE])

    def distance(quality: int) -> int:
        scaled = np.clip((standard * (200 - 2 * quality) + 50) // 100, 1, 255)
        return abs(int(scaled.sum()) - target)

    return min(range(95, 74, -1), key=distance)


def _subsampling(scan: Scan, orientation: int) -> int:
    """OpenCV's name for the file's chroma subsampling, turned with the picture."""
    first, *others = scan.sampling
    if len(others) == 3:  # CMYK: the fourth component is black, at full size
        others.pop()
    if not others or len(set(others)) > 1 or 0 in others[0]:
        return cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    ratio = first[0] / others[0][0], first[1] / others[0][1]
    if orientation >= 5:
        ratio = ratio[1], ratio[0]
    return _SAMPLING.get(ratio, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


def _decode(
    plain: bytes, components: int, orientation: int, profile: bytes | None
) -> Iterator[np.ndarray]:
    pixels = _pixels(plain, {1: "GRAY", 3: "BGR", 4: "CMYK"}[components])
    if components == 1:
        pixels = pixels[:, :, 0]
    elif components == 4:
        pixels = _from_cmyk(pixels, profile)
    yield upright(pixels, orientation)


def _pixels(plain: bytes, colours: str) -> np.ndarray:
    """Decode strictly: missing pixels are an error. Other damage is read as viewers read it."""
    try:
        return simplejpeg.decode_jpeg(plain, colours, strict=True)
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise truncated("jpeg", "inside its pixels") from error
    return simplejpeg.decode_jpeg(plain, colours, strict=False)


def _from_cmyk(stored: np.ndarray, profile: bytes | None) -> np.ndarray:
    """BGR (sRGB) from CMYK as JPEG files store it, inverted (255 is no ink), as Adobe does.

    By the embedded profile, else by R = (1 - C)(1 - K). A band of rows at a time.
    """
    transform = _cmyk_transform(profile)
    height, width = stored.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 256):
        band = stored[top : top + 256]
        if transform is None:
            black = band[:, :, 3:]
            light = cv2.multiply(band[:, :, :3], np.repeat(black, 3, axis=2), scale=1 / 255)
        else:
            inks = Image.fromarray(255 - band, "CMYK")
            light = np.asarray(ImageCms.applyTransform(inks, transform))
        cv2.cvtColor(light, cv2.COLOR_RGB2BGR, dst=out[top : top + 256])
    return out


def _cmyk_transform(profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    clean = icc.rebuild(profile, "CMYK")
    if clean is None:
        return None
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(clean)),
            ImageCms.createProfile("sRGB"),
            "CMYK",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return None


def _encode_one(
    frames: Iterable[np.ndarray], *, quality: int, sampling: int, profile: bytes | None
) -> Encoded:
    (frame,) = frames
    return encode_jpeg(frame, quality=quality, sampling=sampling, profile=profile)
