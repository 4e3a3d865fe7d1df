"""What all picture formats share: limits, the opened picture, orientation, error mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.errors import BadMedia, MasqueradeError, TooLarge, is_out_of_memory
from gateway.media.sniff import ImageFormat

NAMES: dict[ImageFormat, str] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "gif": "GIF",
    "heif": "HEIF",
    "avif": "AVIF",
}

ANIMATION_PIXELS = 16
"""An animation may have this many times the pixels of the largest still, over all its frames."""


MAX_SIDE: dict[ImageFormat, int] = {"jpeg": 65_500, "webp": 16_383}
"""The longest side in pixels that the encoders take; other formats are held to JPEG's."""


@dataclass(frozen=True)
class ImageLimits:
    """The largest picture taken: file size, width × height, and number of frames."""

    bytes: int
    pixels: int
    frames: int


@dataclass(frozen=True)
class Encoded:
    """A finished file. ``extension`` has no dot."""

    body: bytes
    content_type: str
    extension: str


@dataclass(frozen=True)
class Picture:
    """An opened picture whose header was checked and whose pixels are not decoded yet.

    width, height: pixels, upright (orientation applied). frame_count: 1 for a still.
    detector_bytes: for an 8-bit grey or colour JPEG, the same picture as a JPEG without
    metadata but with its orientation, which ``cv2.imdecode(…, IMREAD_COLOR)`` reads to
    the pixels of ``frames()``; None for everything else.
    """

    format: ImageFormat
    width: int
    height: int
    frame_count: int
    read: Callable[[], Iterator[np.ndarray]] = field(repr=False)
    write: Callable[[Iterable[np.ndarray]], Encoded] = field(repr=False)
    detector_bytes: bytes | None = field(default=None, repr=False)

    def frames(self) -> Iterator[np.ndarray]:
        """Decode frame by frame, upright, composited, in order; one in memory at a time.

        Yields (H, W, 3) BGR, (H, W, 4) BGRA (straight alpha) or (H, W) grey, uint8 or
        uint16, C-contiguous and the caller's to change. Colour under fully transparent
        pixels is zeroed: a face left there would survive in the file unseen.

        Raises:
            BadMedia: the data inside is damaged. TooLarge: it does not fit in memory.
        """
        count = 0
        with decoding(self.format):
            for frame in self.read():
                if frame.shape[:2] != (self.height, self.width):
                    raise BadMedia(f"this {NAMES[self.format]} file contradicts its own size")
                if frame.shape[2:] == (4,):
                    frame[frame[:, :, 3] == 0] = 0
                count += 1
                yield frame
            if count != self.frame_count:
                raise BadMedia(f"this {NAMES[self.format]} file has fewer frames than it says")


@contextmanager
def decoding(kind: ImageFormat) -> Iterator[None]:
    """Turn whatever a decoder raises on hostile bytes into one of our errors."""
    try:
        yield
    except MasqueradeError:
        raise
    # Decoders raise whatever they like on hostile bytes: struct.error, SyntaxError, cv2.error, …
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, Image.DecompressionBombError):
            raise TooLarge(f"this {NAMES[kind]} picture is too large to decode") from error
        raise BadMedia(f"the data inside this {NAMES[kind]} file is damaged") from error


def truncated(kind: ImageFormat, where: str) -> BadMedia:
    """The error for a file that ends too early; ``where`` completes "it ends …"."""
    return BadMedia(
        f"this {NAMES[kind]} file is truncated: it ends {where}; export or upload it again"
    )


def check_size(kind: ImageFormat, width: int, height: int, limits: ImageLimits) -> None:
    """Check declared dimensions (pixels) before anything is decoded.

    Raises:
        BadMedia: no pixels. TooLarge: more than the limit.
    """
    if width < 1 or height < 1:
        raise BadMedia(f"this {NAMES[kind]} file says that it is {width}×{height} pixels")
    if max(width, height) > MAX_SIDE.get(kind, MAX_SIDE["jpeg"]):
        raise TooLarge(f"the picture is {width}×{height} pixels: one side is too long")
    if width * height > limits.pixels:
        raise TooLarge(
            f"the picture is {width}×{height} pixels ({width * height / 1e6:.0f} megapixels); "
            f"the limit is {limits.pixels / 1e6:.0f} megapixels"
        )


def check_frames(width: int, height: int, frames: int, limits: ImageLimits) -> None:
    """Check an animation's length, and its total work.

    Raises:
        TooLarge: over either limit.
    """
    if frames > limits.frames:
        raise TooLarge(f"the animation has more than {limits.frames} frames, the limit")
    if frames > 1 and width * height * frames > ANIMATION_PIXELS * limits.pixels:
        raise TooLarge(
            f"the animation has {frames} frames of {width}×{height} pixels; "
            f"the limit is {ANIMATION_PIXELS * limits.pixels / 1e6:.0f} megapixels in all"
        )


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) in an Exif block, with or without ``Exif\\0\\0`` in front.

    1 when it is absent, out of range or the block is malformed: viewers do the same.
    Source: CIPA DC-008 (Exif 2.32), tag 0x0112 in the first directory.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if order == "little" else "big")

    start = number(4, 4)
    for at in range(start + 2, min(start + 2 + 12 * number(start, 2), len(tiff) - 11), 12):
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if number(at + 2, 2) == 3 and 1 <= value <= 8 else 1
    return 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an Exif orientation to (H, W[, C]) pixels; the result is contiguous."""
    match orientation:
        case 2:
            return cv2.flip(pixels, 1)
        case 3:
            return cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            return cv2.flip(pixels, 0)
        case 5:
            return cv2.transpose(pixels)
        case 6:
            return cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            return cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180)
        case 8:
            return cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return pixels


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) in pixels after ``upright``."""
    return (height, width) if orientation >= 5 else (width, height)


def from_pillow(image: Image.Image) -> np.ndarray:
    """Pillow's L, RGB or RGBA pixels as our grey, BGR or BGRA array (uint8)."""
    if image.mode not in {"L", "RGB", "RGBA"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = np.array(image)
    if image.mode == "RGB":
        cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels)
    elif image.mode == "RGBA":
        cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA, dst=pixels)
    return pixels


def to_pillow(frame: np.ndarray) -> Image.Image:
    """Our uint8 grey, BGR or BGRA array as Pillow's L, RGB or RGBA."""
    if frame.ndim == 2:
        return Image.fromarray(frame)
    code = cv2.COLOR_BGR2RGB if frame.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return Image.fromarray(cv2.cvtColor(frame, code))


def on_white(frame: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """What :class:`Picture` gives, as (H, W, 3) uint8 BGR on white."""
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    if frame.ndim == 2:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR), np.uint8)
    if frame.shape[2] == 3:
        return frame
    alpha = frame[..., 3:].astype(np.uint16)
    return ((frame[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)


def changed_box(before: np.ndarray | None, after: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box (x1, y1, x2, y2), half-open, outside which two frames are equal.

    All of ``after`` when there is no ``before``; one pixel when nothing changed, because
    every animated format wants some pixels in every frame.
    """
    height, width = after.shape[:2]
    if before is None:
        return 0, 0, width, height
    changed = before != after
    if changed.ndim == 3:
        changed = changed.any(axis=2)
    rows = np.flatnonzero(changed.any(axis=1))
    if not rows.size:
        return 0, 0, 1, 1
    columns = np.flatnonzero(changed.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
