"""The segments of a JPEG file, walked without decoding, and those that we write.

Source: ITU-T T.81 annex B, JFIF 1.02, CIPA DC-008 (Exif), ICC.1 annex B.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from gateway.errors import BadMedia, UnsupportedMedia
from gateway.media.image_base import ImageLimits, check_size, exif_orientation, truncated

MAX_SCANS = 200
"""A progressive file of a few bytes a scan can otherwise keep a decoder busy for hours."""

MAX_SEGMENTS = 20_000
"""Photos have tens, depth maps and profiles add hundreds."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_ICC_HEAD = b"ICC_PROFILE\0"
_ICC_PART = 65_519


@dataclass
class Scan:
    """What the walk found. ``plain`` is the picture without metadata, as spans of the file."""

    width: int = 0
    height: int = 0
    sampling: list[tuple[int, int]] = field(default_factory=list)
    table_ids: list[int] = field(default_factory=list)
    tables: dict[int, np.ndarray] = field(default_factory=dict)
    orientation: int | None = None
    profile: list[bytes] = field(default_factory=list)
    scans: int = 0
    head: bytes = b""
    plain: list[memoryview] = field(default_factory=list)


def walk(data: bytes, limits: ImageLimits) -> Scan:
    """Read all segments up to the first end marker; the size is checked as soon as it is seen.

    Raises:
        BadMedia, TooLarge, UnsupportedMedia: see ``gateway.media.images.open_picture``.
    """
    found, view, at = Scan(), memoryview(data), 2
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(data, at)
        if match is None:
            raise truncated("jpeg", "before its end marker")
        at = match.start()
        marker = data[at + 1]
        if marker == 0xD9:
            break
        if marker in {0x01, *range(0xD0, 0xD9)}:  # no length follows
            at += 2
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2 or at + 2 + size > len(data):
            raise truncated("jpeg", "inside its header")
        end = at + 2 + size
        payload = data[at + 4 : end] if marker != 0xDA else b""
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            _note(found, marker, payload)
            at = end
            continue
        if marker == 0xDA:
            found.scans += 1
            after = _AFTER_SCAN.search(data, end)
            if after is None:
                raise truncated("jpeg", "inside its pixels")
            end = after.start()
        elif marker == 0xDB:
            _note_tables(found, payload)
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            _note_frame(found, marker, payload, limits)
        found.plain.append(view[at:end])
        at = end
    else:
        raise BadMedia(f"this JPEG file has more than {MAX_SEGMENTS} segments")
    if not found.width or not found.scans:
        raise BadMedia("this JPEG file has no picture in it")
    if found.scans > MAX_SCANS:
        raise BadMedia(f"this JPEG file has {found.scans} scans; at most {MAX_SCANS} are read")
    return found


def _note(found: Scan, marker: int, payload: bytes) -> None:
    """Take from an application segment what changes the pixels or how they are shown."""
    if marker == 0xE0 and payload[:5] == b"JFIF\0" and not found.head:
        found.head = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00" + found.head
    elif marker == 0xE1 and payload[:6] == b"Exif\0\0" and found.orientation is None:
        found.orientation = exif_orientation(payload)
    elif marker == 0xE2 and payload[:12] == _ICC_HEAD:
        found.profile.append(payload[12:])
    elif marker == 0xEE and payload[:5] == b"Adobe" and len(payload) >= 12:
        found.head += b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + payload[11:12]


def _note_tables(found: Scan, payload: bytes) -> None:
    at = 0
    while at < len(payload):
        wide, name = payload[at] >> 4, payload[at] & 15
        size = 128 if wide else 64
        values = payload[at + 1 : at + 1 + size]
        if wide > 1 or len(values) < size:
            raise BadMedia("this JPEG file has a malformed quantisation table")
        found.tables[name] = np.frombuffer(values, ">u2" if wide else np.uint8)
        at += 1 + size


def _note_frame(found: Scan, marker: int, payload: bytes, limits: ImageLimits) -> None:
    if marker not in {0xC0, 0xC1, 0xC2, 0xC9, 0xCA} or payload[:1] != b"\x08":
        raise UnsupportedMedia(
            "this JPEG is lossless, hierarchical or has more than 8 bits a channel; "
            "save it as an ordinary JPEG or as PNG"
        )
    if found.width:
        raise BadMedia("this JPEG file has two frame headers")
    count = payload[5] if len(payload) > 5 else 0
    if count not in {1, 3, 4} or len(payload) < 6 + 3 * count:
        raise BadMedia(f"this JPEG file says that it has {count} colour channels")
    found.height, found.width = (int.from_bytes(payload[i : i + 2], "big") for i in (1, 3))
    check_size("jpeg", found.width, found.height, limits)
    for _, factors, table in (payload[6 + 3 * i : 9 + 3 * i] for i in range(count)):
        found.sampling.append((factors >> 4, factors & 15))
        found.table_ids.append(table)


def orientation_segment(orientation: int) -> bytes:
    """An Exif segment that says ``orientation`` (1 to 8) and nothing else."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00" + bytes([orientation]) + b"\x00\x00"
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01" + entry + bytes(4)
    return b"\xff\xe1\x00\x22Exif\0\0" + tiff


def join_profile(parts: list[bytes]) -> bytes | None:
    """Join the numbered parts of an ICC profile; None when they do not make a whole."""
    numbered = {part[0]: part[2:] for part in parts if len(part) > 2}
    if not parts or sorted(numbered) != list(range(1, parts[0][1] + 1 if parts[0][1:] else 1)):
        return None
    return b"".join(numbered[number] for number in sorted(numbered))


def profile_segments(profile: bytes | None) -> list[bytes]:
    """An ICC profile as numbered segments; none without a profile."""
    profile = profile or b""
    parts = [profile[at : at + _ICC_PART] for at in range(0, len(profile), _ICC_PART)]
    return [
        b"\xff\xe2"
        + (len(part) + 16).to_bytes(2, "big")
        + _ICC_HEAD
        + bytes([number, len(parts)])
        + part
        for number, part in enumerate(parts, 1)
    ]
