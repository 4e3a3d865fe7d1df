"""GIF, still and animated: same frames, delays and loop count.

The blocks are walked here; each frame's LZW data is decoded by Pillow as a GIF of its
own and composited here as browsers do it. Writing keeps exact colours wherever the
256 places of a frame's own palette allow: only changed pixels are stored, the most used
colours are kept as they are and the rest (mostly new colours of a blur) is quantised.
Source: CompuServe GIF89a specification; NETSCAPE2.0 loop extension.
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

from gateway.errors import BadMedia, TooLarge
from gateway.media.image_base import (
    Encoded,
    ImageLimits,
    Picture,
    changed_box,
    check_frames,
    check_size,
    truncated,
)

MAX_BLOCKS = 50_000
"""Two or three a frame are usual."""

_CLEAR, _RESTORE = 2, 3  # disposal
_KEEP = 1
_EXACT = 192
"""How many of a frame's 255 colours are kept exactly when there are more than 255."""


@dataclass(frozen=True)
class _Frame:
    """One frame: where it goes, how it is shown, and its blocks as they stand in the file."""

    x: int
    y: int
    width: int
    height: int
    interlaced: bool
    palette: bytes
    delay: int
    disposal: int
    transparent: int | None
    coded: memoryview


@dataclass
class _File:
    width: int = 0
    height: int = 0
    loops: int | None = None
    frames: list[_Frame] = field(default_factory=list)

    @property
    def opaque(self) -> bool:
        """Whether every composited pixel of every frame has a colour."""
        first = self.frames[0]
        return (first.x, first.y, first.width, first.height) == (
            *(0, 0),
            *(self.width, self.height),
        ) and all(f.transparent is None and f.disposal != _CLEAR for f in self.frames)


def open_gif(data: bytes, limits: ImageLimits) -> Picture:
    """Open a GIF; frames are BGR, or BGRA (alpha 0 or 255) when any pixel is transparent.

    Raises:
        BadMedia, TooLarge: see ``gateway.media.images.open_picture``.
    """
    file = _walk(data, limits)
    return Picture(
        "gif",
        file.width,
        file.height,
        len(file.frames),
        read=partial(_read, file),
        write=partial(_write, file),
    )


def _walk(data: bytes, limits: ImageLimits) -> _File:
    if len(data) < 13:
        raise truncated("gif", "inside its header")
    width, height, packed = struct.unpack_from("<HHB", data, 6)
    file, view, at = _File(width, height), memoryview(data), 13
    shared, at = _palette(data, at, packed)
    control = bytes(4)
    for _ in range(MAX_BLOCKS):
        kind = data[at : at + 1]
        if not kind:
            raise truncated("gif", "before its end marker")
        if kind == b"\x3b":
            break
        if kind == b"\x21":
            end = _sub_blocks(data, at + 2)
            if data[at + 1] == 0xF9 and data[at + 2] == 4:
                control = data[at + 3 : at + 7]
            elif data[at + 3 : at + 14] == b"NETSCAPE2.0" and data[at + 14 : at + 16] == b"\3\1":
                (file.loops,) = struct.unpack_from("<H", data, at + 16)
            at = end
        elif kind == b"\x2c":
            if at + 10 > len(data):
                raise truncated("gif", "inside a frame's header")
            x, y, width, height, packed = struct.unpack_from("<HHHHB", data, at + 1)
            own, start = _palette(data, at + 10, packed)
            at = _sub_blocks(data, start + 1)
            flags, delay, index = struct.unpack("<BHB", control)
            frame = _Frame(
                *(x, y, width, height),
                interlaced=bool(packed & 0x40),
                palette=own or shared,
                delay=delay,
                disposal=flags >> 2 & 7,
                transparent=index if flags & 1 else None,
                coded=view[start:at],
            )
            _add(file, frame, limits)
            control = bytes(4)
        else:
            raise BadMedia("this GIF file is damaged: an unknown block where a frame should begin")
    else:
        raise BadMedia(f"this GIF file has more than {MAX_BLOCKS} blocks")
    if not file.frames:
        raise BadMedia("this GIF file has no frame in it")
    return file


def _add(file: _File, frame: _Frame, limits: ImageLimits) -> None:
    check_size("gif", frame.width, frame.height, limits)
    if not file.frames:  # browsers enlarge a canvas that is too small for the first frame
        file.width = max(file.width, frame.x + frame.width)
        file.height = max(file.height, frame.y + frame.height)
        check_size("gif", file.width, file.height, limits)
    file.frames.append(frame)
    check_frames(file.width, file.height, len(file.frames), limits)
    if frame.width * frame.height > 4 * file.width * file.height:
        raise TooLarge("this GIF has a frame far larger than its canvas")


def _palette(data: bytes, at: int, packed: int) -> tuple[bytes, int]:
    """The palette that ``packed`` announces at ``at`` (empty when none), and where it ends."""
    size = 3 << ((packed & 7) + 1) if packed & 0x80 else 0
    if at + size > len(data):
        raise truncated("gif", "inside its palette")
    return data[at : at + size], at + size


def _sub_blocks(data: bytes, at: int) -> int:
    """Where a chain of length-prefixed blocks that starts at ``at`` ends."""
    while True:
        if at >= len(data):
            raise truncated("gif", "inside a frame")
        if not data[at]:
            return at + 1
        at += 1 + data[at]


def _read(file: _File) -> Iterator[np.ndarray]:
    canvas = np.zeros((file.height, file.width, 4), np.uint8)
    opaque = file.opaque
    for frame in file.frames:
        area = canvas[frame.y : frame.y + frame.height, frame.x : frame.x + frame.width]
        saved = area.copy() if frame.disposal == _RESTORE else None
        pixels = _decode(frame)[: area.shape[0], : area.shape[1]]
        area[:] = np.where(pixels[:, :, 3:], pixels, area)
        yield cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR) if opaque else canvas.copy()
        if saved is not None:
            area[:] = saved
        elif frame.disposal == _CLEAR:
            area[:] = 0


def _decode(frame: _Frame) -> np.ndarray:
    """A frame's own pixels, (H, W, 4) BGRA."""
    size = struct.pack("<HH", frame.width, frame.height)
    descriptor = b"\x2c" + bytes(4) + size + bytes([0x40 if frame.interlaced else 0])
    head = b"GIF89a" + size + b"\xf7\0\0" + _GREYS  # greys, so that Pillow gives the indices
    single = b"".join([head, descriptor, frame.coded, b"\x3b"])
    with Image.open(BytesIO(single), formats=["GIF"]) as image:
        index = np.asarray(image)
    colours = np.zeros((256, 4), np.uint8)
    table = np.frombuffer(frame.palette or _GREYS, np.uint8).reshape(-1, 3)
    colours[: len(table), :3] = table[:, ::-1]
    colours[:, 3] = 255
    if frame.transparent is not None:
        colours[frame.transparent] = 0
    return colours[index]


_GREYS = bytes(value for grey in range(256) for value in (grey,) * 3)


def _write(file: _File, frames: Iterable[np.ndarray]) -> Encoded:
    """Write each frame once the next is known: only that tells how it must be cleared."""
    blocks = [b"GIF89a", struct.pack("<HHBBB", file.width, file.height, 0x70, 0, 0)]
    if file.loops is not None:
        blocks.append(b"\x21\xff\x0bNETSCAPE2.0\3\1" + struct.pack("<H", file.loops) + b"\0")
    before: np.ndarray | None = None  # what is on the canvas when ``pending`` is drawn
    pending: tuple[np.ndarray, int] | None = None
    for source, pixels in zip(file.frames, frames, strict=True):
        frame = _opaque_or_clear(pixels)
        if pending is not None:
            shown, delay = pending
            clears = bool(((shown[:, :, 3] != 0) & (frame[:, :, 3] == 0)).any())
            blocks.append(_frame_blocks(before, shown, delay, clears))
            before = None if clears else shown
        pending = frame, source.delay
    if pending is not None:
        blocks.append(_frame_blocks(before, *pending, clears=False))
    return Encoded(b"".join([*blocks, b"\x3b"]), "image/gif", "gif")


def _opaque_or_clear(pixels: np.ndarray) -> np.ndarray:
    """A copy as BGRA with alpha 0 or 255, and no colour where it is 0."""
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)
    frame = pixels.copy()
    frame[:, :, 3] = np.where(frame[:, :, 3] < 128, 0, 255)
    frame[frame[:, :, 3] == 0] = 0
    return frame


def _frame_blocks(before: np.ndarray | None, frame: np.ndarray, delay: int, clears: bool) -> bytes:
    """One frame: control, descriptor, palette, data. ``clears``: wipe the canvas after it."""
    x1, y1, x2, y2 = changed_box(None if clears else before, frame)
    part = frame[y1:y2, x1:x2]
    packed = part.view(np.uint32)[:, :, 0] if part.flags.c_contiguous else _pack(part)
    drawn = part[:, :, 3] != 0
    if before is not None:
        drawn &= packed != _pack(before[y1:y2, x1:x2])
    index, palette = _quantise(packed, drawn)
    depth = max(1, (len(palette) // 3).bit_length())  # one place more, for transparency
    clear = len(palette) // 3
    index[~drawn] = clear
    palette = palette.ljust(3 << depth, b"\0")
    flags = (_CLEAR if clears else _KEEP) << 2 | 1
    return b"".join(
        [
            b"\x21\xf9\x04" + struct.pack("<BHB", flags, delay, clear) + b"\0",
            b"\x2c" + struct.pack("<HHHHB", x1, y1, x2 - x1, y2 - y1, 0x80 | (depth - 1)),
            palette,
            _lzw(index),
        ]
    )


def _pack(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 as (H, W) uint32."""
    return np.ascontiguousarray(pixels).view(np.uint32)[:, :, 0]


def _quantise(packed: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Index (H, W) uint8 into a palette (RGB bytes) of at most 255 colours.

    Exact while the drawn pixels have at most 255; else the most used stay exact and
    the others share what is left, by median cut and nearest colour.
    """
    colours, inverse, counts = np.unique(packed[drawn], return_inverse=True, return_counts=True)
    bgr = np.ascontiguousarray(colours).view(np.uint8).reshape(-1, 4)[:, :3]
    lookup = np.arange(len(bgr))
    if len(bgr) > 255:
        order = np.argsort(-counts, kind="stable")
        exact, rest = order[:_EXACT], order[_EXACT:]
        sample = np.repeat(bgr[rest], np.minimum(counts[rest], 64), axis=0)
        reduced = Image.fromarray(sample[np.newaxis]).quantize(
            255 - _EXACT, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        extra = np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)
        table = np.concatenate([bgr[exact], extra])[:255]
        lookup[exact] = np.arange(_EXACT)
        lookup[rest] = _nearest(bgr[rest], table)
        bgr = table
    index = np.zeros(packed.shape, np.uint8)
    index[drawn] = lookup[inverse]
    return index, bgr[:, ::-1].tobytes()


def _nearest(colours: np.ndarray, table: np.ndarray) -> np.ndarray:
    """For each of (N, 3) colours the row of (M, 3) ``table`` that is nearest; in slices."""
    points = table.astype(np.float32)
    norms = (points**2).sum(axis=1)
    found = np.empty(len(colours), np.int64)
    for start in range(0, len(colours), 16_384):
        part = colours[start : start + 16_384].astype(np.float32)
        found[start : start + 16_384] = (norms - 2 * part @ points.T).argmin(axis=1)
    return found


def _lzw(index: np.ndarray) -> bytes:
    """Compressed blocks of (H, W) indices, taken out of a GIF that Pillow writes."""
    out = BytesIO()
    Image.fromarray(index).save(out, "GIF", interlace=False, optimize=False)
    coded = out.getvalue()
    _, at = _palette(coded, 13, coded[10])
    while coded[at] == 0x21:
        at = _sub_blocks(coded, at + 2)
    _, start = _palette(coded, at + 10, coded[at + 9])
    return coded[start : _sub_blocks(coded, start + 1)]
