"""ICC colour profiles: keep what they do to colours, drop everything else they carry.

A profile can name a camera, a person, a device serial number or a date. Only the
tags that define the colour transform are copied, element by element and cut to their
true length, into a new profile with a zeroed header and neutral texts.
Source: ICC.1:2022 (profile version 4.4) and ICC.1:2001-04 (version 2.4).
"""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np

Space = Literal["RGB ", "GRAY", "CMYK"]

MAX_BYTES: dict[Space, int] = {"RGB ": 1 << 20, "GRAY": 1 << 18, "CMYK": 4 << 20}
"""Larger profiles are dropped; a press profile with fine tables has 0.5 to 3 MB."""

_XYZ = {b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt", b"bkpt", b"lumi"}
_CURVES = {b"rTRC", b"gTRC", b"bTRC", b"kTRC"}
_TABLES = {b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2"}
_TYPES: dict[bytes, tuple[bytes, ...]] = {
    **dict.fromkeys(_XYZ, (b"XYZ ",)),
    **dict.fromkeys(_CURVES, (b"curv", b"para")),
    **dict.fromkeys(_TABLES, (b"mft1", b"mft2", b"mAB ", b"mBA ")),
    b"chad": (b"sf32",),
    b"cicp": (b"cicp",),
}
_MATRIX = {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"}
_PARA_COUNT = (1, 3, 4, 5, 7)

_SRGB_PRIMARIES = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}


def rebuild(profile: bytes | None, space: Space) -> bytes | None:
    """A profile with the same effect and nothing personal, for pixels of ``space``.

    None when there is none to keep: absent, malformed, oversized, for another colour
    space, or plain sRGB, which is what a picture without a profile is taken for.
    Never raises.
    """
    if not profile or len(profile) > MAX_BYTES[space]:
        return None
    try:
        tags = _colour_tags(profile, space)
    except (struct.error, IndexError, ValueError):
        return None
    needed = {"RGB ": _MATRIX, "GRAY": {b"kTRC"}, "CMYK": {b"A2B0"}}[space]
    if not (needed <= tags.keys() or b"A2B0" in tags) or _is_srgb(tags):
        return None
    return _assemble(profile, tags)


def _colour_tags(profile: bytes, space: Space) -> dict[bytes, bytes]:
    """The elements to keep, by tag signature."""
    size, device_class, colours = struct.unpack_from(">I8x4s4s", profile)
    if size > len(profile) or profile[36:40] != b"acsp" or colours != space.encode():
        raise ValueError("not a profile of this colour space")
    if device_class not in {b"mntr", b"scnr", b"prtr", b"spac"}:
        raise ValueError("not a device profile")
    if profile[20:24] not in {b"XYZ ", b"Lab "} or profile[8] not in {2, 4}:
        raise ValueError("unknown connection space or version")
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 100:
        raise ValueError("too many tags")
    tags = {}
    for index in range(count):
        name, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name not in _TYPES:
            continue
        element = profile[start : start + length]
        if len(element) != length or element[:4] not in _TYPES[name]:
            raise ValueError("a tag lies outside the file or has a wrong type")
        tags[name] = _exact(element)
    return tags


def _exact(element: bytes) -> bytes:
    """The element cut to the length its own header implies: no room for anything else."""
    kind = element[:4]
    if kind == b"XYZ ":
        length = 20
    elif kind == b"sf32":
        length = 8 + 9 * 4
    elif kind == b"cicp":
        length = 12
    elif kind == b"curv":
        length = 12 + 2 * int.from_bytes(element[8:12], "big")
    elif kind == b"para":
        length = 12 + 4 * _PARA_COUNT[int.from_bytes(element[8:10], "big")]
    elif kind in {b"mft1", b"mft2"}:
        inputs, outputs, grid = element[8:11]
        if inputs > 4:
            raise ValueError("too many channels")
        if kind == b"mft1":
            length = 48 + 256 * (inputs + outputs) + grid**inputs * outputs
        else:
            before, after = struct.unpack_from(">HH", element, 48)
            length = 52 + 2 * (inputs * before + grid**inputs * outputs + outputs * after)
    else:  # mAB and mBA point at their own parts; they are taken whole
        length = len(element)
    if length > len(element) or length < 12:
        raise ValueError("a tag is shorter than it says")
    return element[:4] + bytes(4) + element[8:length]


def _assemble(profile: bytes, tags: dict[bytes, bytes]) -> bytes:
    texts = {b"desc": "Colour profile", b"cprt": "None"}
    version = profile[8]
    elements = {name: _text(name, text, version) for name, text in texts.items()} | tags
    offset = 128 + 4 + 12 * len(elements)
    directory, body, placed = [], [], dict[bytes, int]()
    for name, element in elements.items():
        if element not in placed:  # the three curves are usually one
            padded = element + bytes(-len(element) % 4)
            placed[element] = offset
            body.append(padded)
            offset += len(padded)
        directory.append(struct.pack(">4sII", name, placed[element], len(element)))
    # Kept: version, class, spaces, signature, rendering intent, illuminant. Zero: the
    # preferred module, date, platform, flags, maker, model, attributes, creator and id.
    header = struct.pack(
        ">I4x4s12s12x4s24xI12s48x",
        offset,
        bytes([version, profile[9], 0, 0]),
        profile[12:24],
        b"acsp",
        int.from_bytes(profile[64:68], "big") & 3,
        profile[68:80],
    )
    return b"".join([header, struct.pack(">I", len(elements)), *directory, *body])


def _text(name: bytes, text: str, version: int) -> bytes:
    """A description or copyright element in the type that the version asks for."""
    if version >= 4:
        encoded = text.encode("utf-16-be")
        head = struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(encoded), 28)
        return head + encoded
    ascii_text = text.encode("ascii") + b"\0"
    if name == b"cprt":
        return b"text" + bytes(4) + ascii_text
    return b"desc" + bytes(4) + struct.pack(">I", len(ascii_text)) + ascii_text + bytes(78)


def _is_srgb(tags: dict[bytes, bytes]) -> bool:
    """Whether matrix and curves equal sRGB's (IEC 61966-2-1), adapted to D50, within noise."""
    if not tags.keys() >= _MATRIX or tags.keys() & (_TABLES | {b"cicp"}):
        return False
    for name, expected in _SRGB_PRIMARIES.items():
        found = np.frombuffer(tags[name], ">i4", 3, 8) / 65536
        if np.abs(found - expected).max() > 0.002:
            return False
    signal = np.linspace(0, 1, 33)
    srgb = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    curves = {tags[name] for name in (b"rTRC", b"gTRC", b"bTRC")}
    with np.errstate(all="ignore"):  # hostile curves overflow; NaN and infinity are not sRGB
        return all(np.abs(_evaluate(curve, signal) - srgb).max() <= 0.003 for curve in curves)


def _evaluate(curve: bytes, signal: np.ndarray) -> np.ndarray:
    """Linear light of ``signal`` (0 to 1); infinite for parametric kinds that sRGB never uses."""
    if curve[:4] == b"curv":
        table = np.frombuffer(curve, ">u2", offset=12)
        if len(table) < 2:
            return signal ** (table[0] / 256 if len(table) else 1.0)
        return np.interp(signal, np.linspace(0, 1, len(table)), table / 65535)
    kind = int.from_bytes(curve[8:10], "big")
    values = [float(v) / 65536 for v in np.frombuffer(curve, ">i4", offset=12)]
    if kind == 0:
        return signal ** values[0]
    if kind < 3:
        return np.full_like(signal, np.inf)
    g, a, b, c, d, e, f = (*values, 0.0, 0.0)[:7]
    power = np.maximum(a * signal + b, 0) ** g + e
    return np.where(signal >= d, power, c * signal + f)
