"""The chunks of a PNG file, walked and checked without inflating any pixels.

Source: W3C PNG specification, third edition (with acTL, fcTL, fdAT and cICP).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from gateway.errors import BadMedia
from gateway.media import icc
from gateway.media.image_base import (
    ImageLimits,
    check_frames,
    check_size,
    exif_orientation,
    truncated,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000
"""A 64 MiB file in chunks of the usual 8 KiB has 8,000."""

BACKGROUND, PREVIOUS = 1, 2  # fcTL's disposal
OVER = 1  # fcTL's blending

_COLOUR_SIZES = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_CHECKED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}


@dataclass(frozen=True)
class Frame:
    """One frame: its place on the canvas, its timing as written, its compressed pixels."""

    width: int
    height: int
    x: int = 0
    y: int = 0
    delay: tuple[int, int] = (0, 0)
    disposal: int = 0
    blending: int = 0
    parts: list[memoryview] = field(default_factory=list)


@dataclass
class File:
    """What the walk found; chunk bodies as they stand in the file. ``loops``: None for a still."""

    header: bytes = b""
    palette: bytes | None = None
    transparency: bytes | None = None
    colour: list[bytes] = field(default_factory=list)
    profile: bytes | None = None
    orientation: int = 1
    loops: int | None = None
    announced: int = 0
    frames: list[Frame] = field(default_factory=list)
    still: Frame | None = None
    still_is_frame: bool = False

    @property
    def animated(self) -> bool:
        """Whether viewers play it: a control chunk and at least one frame."""
        return self.loops is not None and bool(self.frames)

    @property
    def hidden_still(self) -> bool:
        """Whether the picture shown by viewers without animation is not a frame of it."""
        return self.animated and not self.still_is_frame

    @property
    def sequence(self) -> list[Frame]:
        """Every picture in the file: the hidden still first, then the frames."""
        stills = [self.still] if self.still and (self.hidden_still or not self.animated) else []
        return stills + (self.frames if self.animated else [])

    @property
    def opaque(self) -> bool:
        """Whether no pixel of any composited frame can be transparent."""
        size = struct.unpack_from(">II", self.header)
        first = self.frames[0]
        return (
            self.header[9] in {0, 2, 3}
            and self.transparency is None
            and (first.width, first.height) == size
            and all(frame.disposal != BACKGROUND for frame in self.frames)
            and first.disposal != PREVIOUS
        )


def walk(data: bytes, limits: ImageLimits) -> File:
    """Read all chunks up to IEND, checking size, checksums and frames on the way.

    Raises:
        BadMedia, TooLarge: see ``gateway.media.images.open_picture``.
    """
    file, view, at, kind = File(), memoryview(data), len(SIGNATURE), b""
    count = 0
    while kind != b"IEND":
        count += 1
        if count > MAX_CHUNKS:
            raise BadMedia(f"this PNG file has more than {MAX_CHUNKS} chunks")
        if at + 12 > len(data):
            raise truncated("png", "before its end marker")
        size, kind = struct.unpack_from(">I4s", data, at)
        body = view[at + 8 : at + 8 + size]
        if not file.header and (kind != b"IHDR" or size != 13):
            raise BadMedia("this PNG file does not begin with a header")
        if not file.header:
            width, height = struct.unpack_from(">II", data, at + 8)
            check_size("png", width, height, limits)
        at += 12 + size
        if at > len(data):
            raise truncated("png", "inside its pixels" if file.still else "inside its header")
        if kind in _CHECKED and zlib.crc32(view[at - size - 8 : at - 4]) != int.from_bytes(
            view[at - 4 : at], "big"
        ):
            raise BadMedia("this PNG file is damaged: a checksum does not match its data")
        _note(file, kind, body, limits)
    if file.still is None:
        raise BadMedia("this PNG file has no pixels in it")
    if file.animated and len(file.frames) != file.announced:
        raise BadMedia(
            f"this PNG says that it has {file.announced} frames and has {len(file.frames)}"
        )
    if any(not frame.parts for frame in file.sequence):
        raise BadMedia("this animated PNG has a frame without pixels")
    return file


def _note(file: File, kind: bytes, body: memoryview, limits: ImageLimits) -> None:
    match kind:
        case b"IHDR" if not file.header:
            file.header = bytes(body)
        case b"PLTE":
            file.palette = bytes(body)
        case b"tRNS":
            file.transparency = bytes(body)
        case b"IDAT":
            _note_still(file, body)
        case b"acTL" if file.still is None and len(body) == 8:
            file.announced, file.loops = struct.unpack(">II", body)
        case b"fcTL" if file.loops is not None:
            _note_frame(file, body, limits)
        case b"fdAT" if file.loops is not None and file.frames and len(body) >= 4:
            file.frames[-1].parts.append(body[4:])
        case b"eXIf":
            file.orientation = exif_orientation(bytes(body))
        case b"iCCP":
            file.profile = _inflate_profile(body)
        case _ if _COLOUR_SIZES.get(kind) == len(body) and file.still is None:
            file.colour.append(chunk(kind, body))


def _note_still(file: File, body: memoryview) -> None:
    if file.still is None:
        # A control chunk before the first IDAT makes the still the first frame as well.
        file.still_is_frame = bool(file.frames)
        size = struct.unpack_from(">II", file.header)
        file.still = file.frames[0] if file.still_is_frame else Frame(*size)
    file.still.parts.append(body)


def _note_frame(file: File, body: memoryview, limits: ImageLimits) -> None:
    if len(body) != 26:
        raise BadMedia("this animated PNG has a malformed frame")
    width, height, x, y, *delay, disposal, blending = struct.unpack(">4xIIIIHHBB", body)
    across, down = struct.unpack_from(">II", file.header)
    outside = x + width > across or y + height > down or not width or not height
    if outside or (file.still is None and (width, height) != (across, down)):
        raise BadMedia("this animated PNG has a frame outside its canvas")
    file.frames.append(Frame(width, height, x, y, (delay[0], delay[1]), disposal, blending))
    check_frames(across, down, len(file.frames), limits)


def _inflate_profile(body: memoryview) -> bytes | None:
    name, _, rest = bytes(body[:80]).partition(b"\0")
    start = len(name) + 2
    if not rest or rest[0] != 0:
        return None
    try:
        return zlib.decompressobj().decompress(body[start:], icc.MAX_BYTES["RGB "] + 1)
    except zlib.error:
        return None


def chunk(kind: bytes, *parts: bytes | memoryview) -> bytes:
    """A chunk with length and checksum."""
    body = b"".join([kind, *parts])
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
