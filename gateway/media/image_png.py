"""PNG and animated PNG, 8 and 16 bits.

The chunks are walked and checked here; each frame is then handed to libpng as a plain
PNG of its own that holds nothing but pixels. Animation is composited and written here,
so that 16-bit frames survive and one frame is in memory at a time.
Source: W3C PNG specification, third edition (with acTL, fcTL, fdAT and cICP).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import partial

import cv2
import numpy as np

from gateway.errors import BadMedia
from gateway.media import icc
from gateway.media.image_base import (
    Encoded,
    ImageLimits,
    Picture,
    changed_box,
    upright,
    upright_size,
)
from gateway.media.image_png_chunks import (
    BACKGROUND,
    OVER,
    PREVIOUS,
    SIGNATURE,
    File,
    Frame,
    chunk,
    walk,
)

COMPRESSION = 1
"""zlib level; 3 is 8% smaller on photos and takes 60% longer, 6 takes three times as long."""


def open_png(data: bytes, limits: ImageLimits) -> Picture:
    """Open a PNG; every frame of an animation counts, and a hidden still is frame 0.

    Raises:
        BadMedia, TooLarge: see ``gateway.media.images.open_picture``.
    """
    file = walk(data, limits)
    width, height = struct.unpack_from(">II", file.header)
    width, height = upright_size(width, height, file.orientation)
    write = partial(_write_animation, file) if len(file.sequence) > 1 else partial(_write, file)
    return Picture("png", width, height, len(file.sequence), read=partial(_read, file), write=write)


def encode_png(
    frame: np.ndarray, *, profile: bytes | None = None, colour: Iterable[bytes] = ()
) -> Encoded:
    """Encode a grey, BGR or BGRA frame, uint8 or uint16; ``profile`` is rebuilt first.

    colour: complete chunks (sRGB, gAMA, …) to put in as they are.
    """
    header, pixels = _compress(frame)
    chunks = [chunk(b"IHDR", header), *_profile_chunk(profile, frame), *colour]
    body = b"".join([SIGNATURE, *chunks, chunk(b"IDAT", pixels), chunk(b"IEND")])
    return Encoded(body, "image/png", "png")


def _read(file: File) -> Iterator[np.ndarray]:
    if not file.animated:
        yield upright(_decode(file, file.sequence[0]), file.orientation)
        return
    if file.hidden_still and file.still:
        still = _with_alpha(_decode(file, file.still))
        yield upright(_settle(still, file.opaque), file.orientation)
    for canvas in _composite(file):
        yield upright(_settle(canvas, file.opaque), file.orientation)


def _composite(file: File) -> Iterator[np.ndarray]:
    """The canvas, (H, W, 4) BGRA, as each frame shows it; the same array every time."""
    width, height = struct.unpack_from(">II", file.header)
    canvas: np.ndarray | None = None
    for frame in file.frames:
        pixels = _with_alpha(_decode(file, frame))
        if canvas is None:
            canvas = np.zeros((height, width, 4), pixels.dtype)
        area = canvas[frame.y : frame.y + frame.height, frame.x : frame.x + frame.width]
        saved = area.copy() if frame.disposal == PREVIOUS else None
        area[:] = _over(area, pixels) if frame.blending == OVER else pixels
        yield canvas
        if saved is not None:
            area[:] = saved
        elif frame.disposal == BACKGROUND:
            area[:] = 0


def _over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """``above`` over ``below``, straight alpha, same dtype (Porter and Duff)."""
    alpha = above[:, :, 3:]
    top = np.iinfo(above.dtype).max
    if ((alpha == 0) | (alpha == top)).all():
        return np.where(alpha == 0, below, above)
    a = alpha.astype(np.float32) / top
    b = below[:, :, 3:].astype(np.float32) / top * (1 - a)
    total = a + b
    colour = (above[:, :, :3] * a + below[:, :, :3] * b) / np.maximum(total, 1e-9)
    return np.rint(np.concatenate([colour, total * top], axis=2)).astype(above.dtype)


def _decode(file: File, frame: Frame) -> np.ndarray:
    """One frame's own pixels: grey, BGR or BGRA, as a plain PNG of its size."""
    header = struct.pack(">II", frame.width, frame.height) + file.header[8:]
    chunks = [chunk(b"IHDR", header)]
    if file.palette is not None:
        chunks.append(chunk(b"PLTE", file.palette))
    if file.transparency is not None:
        chunks.append(chunk(b"tRNS", file.transparency))
    coded = b"".join([SIGNATURE, *chunks, chunk(b"IDAT", *frame.parts), chunk(b"IEND")])
    pixels = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BadMedia("the pixels of this PNG file are damaged or cut short")
    if pixels.ndim == 2 and file.transparency is not None and len(file.transparency) == 2:
        depth = file.header[8]  # OpenCV leaves a grey picture's transparent shade opaque
        shade = int.from_bytes(file.transparency, "big")
        shade = shade * 255 // (2**depth - 1) if depth < 8 else shade
        clear = pixels == shade
        pixels = _with_alpha(pixels)
        pixels[clear, 3] = 0
    return pixels


def _with_alpha(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGRA)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA) if pixels.shape[2] == 3 else pixels


def _settle(canvas: np.ndarray, opaque: bool) -> np.ndarray:
    """A copy that the caller may change, without alpha when there is none."""
    return cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR) if opaque else canvas.copy()


def _write(file: File, frames: Iterable[np.ndarray]) -> Encoded:
    (frame,) = frames
    return encode_png(frame, profile=file.profile, colour=file.colour)


def _write_animation(file: File, frames: Iterable[np.ndarray]) -> Encoded:
    """Every frame as the box in which it differs from the one before it."""
    chunks: list[bytes] = []
    number = 0
    before: np.ndarray | None = None
    timings = [None] * file.hidden_still + [frame.delay for frame in file.frames]
    for delay, frame in zip(timings, frames, strict=True):
        x1, y1, x2, y2 = changed_box(before, frame)
        header, pixels = _compress(frame[y1:y2, x1:x2])
        if not chunks:
            control = struct.pack(">II", len(file.frames), file.loops or 0)
            chunks = [chunk(b"IHDR", header), *_profile_chunk(file.profile, frame)]
            chunks += [*file.colour, chunk(b"acTL", control)]
        if delay is None:
            chunks.append(chunk(b"IDAT", pixels))
            continue
        place = struct.pack(">IIIII", number, x2 - x1, y2 - y1, x1, y1)
        chunks.append(chunk(b"fcTL", place, struct.pack(">HHBB", *delay, 0, 0)))
        number += 1
        if before is None and not file.hidden_still:
            chunks.append(chunk(b"IDAT", pixels))
        else:
            chunks.append(chunk(b"fdAT", struct.pack(">I", number), pixels))
            number += 1
        before = frame.copy()
    return Encoded(b"".join([SIGNATURE, *chunks, chunk(b"IEND")]), "image/apng", "png")


def _compress(frame: np.ndarray) -> tuple[bytes, bytes]:
    """A frame's header (IHDR's body) and compressed pixels."""
    settings = [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION]
    _, coded = cv2.imencode(".png", frame, settings)
    view, at, parts = coded.data, len(SIGNATURE), []
    while at < len(view):
        size, kind = struct.unpack_from(">I4s", view, at)
        if kind == b"IDAT":
            parts.append(view[at + 8 : at + 8 + size])
        at += 12 + size
    return bytes(view[16:29]), b"".join(parts)


def _profile_chunk(profile: bytes | None, frame: np.ndarray) -> list[bytes]:
    clean = icc.rebuild(profile, "GRAY" if frame.ndim == 2 else "RGB ")
    return [chunk(b"iCCP", b"ICC\0\0", zlib.compress(clean))] if clean else []
