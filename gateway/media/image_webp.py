"""WebP, still and animated, lossy and lossless.

The RIFF chunks are walked here for size, frames and timing; libwebp decodes and
composites. Animations are written frame by frame here, so that one is in memory at a time.
Source: Google's WebP container specification (RFC 9649).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from gateway.errors import BadMedia
from gateway.media import icc
from gateway.media.image_base import (
    Encoded,
    ImageLimits,
    Picture,
    changed_box,
    check_frames,
    check_size,
    exif_orientation,
    from_pillow,
    to_pillow,
    truncated,
    upright,
    upright_size,
)

QUALITY = 90
"""Lossy quality; the file does not tell its own."""

MAX_CHUNKS = 50_000
"""One a frame is usual."""

_PIXELS = {b"VP8 ", b"VP8L"}
_KEEP_AS_IS, _OVERWRITE = 0, 2  # ANMF's flags: disposal none, no blending
_ALPHA, _ANIMATION, _PROFILE = 0x10, 0x02, 0x20  # VP8X's flags


@dataclass
class _File:
    width: int = 0
    height: int = 0
    lossless: bool = False
    loops: int = 1
    delays: list[int] = field(default_factory=list)
    profile: bytes | None = None
    orientation: int = 1


def open_webp(data: bytes, limits: ImageLimits) -> Picture:
    """Open a WebP; delays are in milliseconds.

    Raises:
        BadMedia, TooLarge: see ``gateway.media.images.open_picture``.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < end:
        raise truncated("webp", f"{end - len(data)} bytes early")
    file = _File()
    for kind, body in _chunks(memoryview(data)[12:end]):
        _note(file, kind, body, limits)
    if not file.width:
        raise BadMedia("this WebP file has no picture in it")
    width, height = upright_size(file.width, file.height, file.orientation)
    frames = max(len(file.delays), 1)
    read = partial(_read if file.delays else _read_still, data[:end], file.orientation)
    if frames == 1:
        write = partial(_write, file)
    else:
        write = partial(
            write_animation,
            delays=file.delays,
            loops=file.loops,
            lossless=file.lossless,
            profile=file.profile,
        )
    return Picture("webp", width, height, frames, read=read, write=write)


class AnimationWriter:
    """An animation that is encoded frame by frame, one of which is in memory at a time.

    loops: how often it plays, 0 for ever. profile: ICC, rebuilt before it is written.
    """

    def __init__(
        self, *, loops: int = 0, lossless: bool = False, profile: bytes | None = None
    ) -> None:
        self._loops = loops
        self._lossless = lossless
        self._profile = icc.rebuild(profile, "RGB ")
        self._before: np.ndarray | None = None
        self._chunks: list[bytes] = []

    def add(self, frame: np.ndarray, delay: int) -> None:
        """Append a BGR or BGRA frame, shown for ``delay`` milliseconds.

        Only the box in which it differs from the frame before is encoded. The frame stays
        the caller's to change.
        """
        x1, y1, x2, y2 = changed_box(self._before, frame)
        x1, y1 = x1 & ~1, y1 & ~1  # the container counts positions in twos
        coded = _compress(frame[y1:y2, x1:x2], self._lossless)
        pixels = [
            _chunk(kind, body)
            for kind, body in _chunks(memoryview(coded)[12:])
            if kind in _PIXELS or kind == b"ALPH"
        ]
        place = b"".join(
            _u24(value) for value in (x1 // 2, y1 // 2, x2 - x1 - 1, y2 - y1 - 1, delay)
        )
        if self._before is None:
            self._chunks += _head(frame, self._loops, self._profile)
        self._chunks.append(_chunk(b"ANMF", place, bytes([_OVERWRITE | _KEEP_AS_IS]), *pixels))
        self._before = frame.copy()

    def finish(self) -> Encoded:
        """The file."""
        body = b"".join([b"WEBP", *self._chunks])
        return Encoded(b"RIFF" + struct.pack("<I", len(body)) + body, "image/webp", "webp")


def write_animation(
    frames: Iterable[np.ndarray],
    *,
    delays: list[int],
    loops: int = 0,
    lossless: bool = False,
    profile: bytes | None = None,
) -> Encoded:
    """All frames through an :class:`AnimationWriter`; delays in ms, one for each frame."""
    writer = AnimationWriter(loops=loops, lossless=lossless, profile=profile)
    for delay, frame in zip(delays, frames, strict=True):
        writer.add(frame, delay)
    return writer.finish()


def _head(frame: np.ndarray, loops: int, profile: bytes | None) -> list[bytes]:
    height, width = frame.shape[:2]
    flags = _ANIMATION | (_ALPHA if frame.shape[2:] == (4,) else 0) | (_PROFILE if profile else 0)
    chunks = [_chunk(b"VP8X", struct.pack("<I", flags), _u24(width - 1), _u24(height - 1))]
    if profile:
        chunks.append(_chunk(b"ICCP", profile))
    return [*chunks, _chunk(b"ANIM", bytes(4), struct.pack("<H", loops))]


def _note(file: _File, kind: bytes, body: memoryview, limits: ImageLimits) -> None:
    match kind:
        case b"VP8X" if not file.width and len(body) >= 10:
            _note_size(file, _read_u24(body, 4) + 1, _read_u24(body, 7) + 1, limits)
        case b"VP8 " | b"VP8L":
            file.lossless = kind == b"VP8L"
            if not file.width:
                _note_size(file, *_bitstream_size(kind, body), limits)
        case b"ANIM" if len(body) >= 6:
            (file.loops,) = struct.unpack_from("<H", body, 4)
        case b"ANMF" if len(body) > 16:
            file.delays.append(_read_u24(body, 12))
            check_frames(file.width, file.height, len(file.delays), limits)
            if len(file.delays) == 1:
                file.lossless = any(name == b"VP8L" for name, _ in _chunks(body[16:]))
        case b"ICCP" if len(body) <= icc.MAX_BYTES["RGB "]:
            file.profile = bytes(body)
        case b"EXIF":
            file.orientation = exif_orientation(bytes(body))


def _note_size(file: _File, width: int, height: int, limits: ImageLimits) -> None:
    check_size("webp", width, height, limits)
    file.width, file.height = width, height


def _bitstream_size(kind: bytes, body: memoryview) -> tuple[int, int]:
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise BadMedia("this WebP file has a malformed header")


def _read_still(data: bytes, orientation: int) -> Iterator[np.ndarray]:
    # A third of the time and half of the memory that the animation decoder takes.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadMedia("the pixels of this WebP file are damaged or cut short")
    yield upright(pixels, orientation)


def _read(data: bytes, orientation: int) -> Iterator[np.ndarray]:
    with Image.open(BytesIO(data), formats=["WEBP"]) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            yield upright(from_pillow(image), orientation)


def _write(file: _File, frames: Iterable[np.ndarray]) -> Encoded:
    (frame,) = frames
    return Encoded(_compress(frame, file.lossless, file.profile), "image/webp", "webp")


def _compress(frame: np.ndarray, lossless: bool, profile: bytes | None = None) -> bytes:
    # Method 2 takes half of the default's time for 4% more bytes on a photo; lossless,
    # "quality" is the effort.
    settings: dict[str, int] = {"lossless": True, "quality": 20, "method": 0}
    if not lossless:
        settings = {"quality": QUALITY, "method": 2}
    out = BytesIO()
    clean = icc.rebuild(profile, "RGB ") or b""
    to_pillow(frame).save(out, "WEBP", icc_profile=clean, **settings)
    return out.getvalue()


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(view):
            return
        kind, size = struct.unpack_from("<4sI", view, at)
        if at + 8 + size > len(view):
            raise truncated("webp", "inside a chunk")
        yield kind, view[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    raise BadMedia(f"this WebP file has more than {MAX_CHUNKS} chunks")


def _chunk(kind: bytes, *parts: bytes | memoryview) -> bytes:
    body = b"".join(parts)
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _read_u24(view: memoryview, at: int) -> int:
    return int.from_bytes(view[at : at + 3], "little")
