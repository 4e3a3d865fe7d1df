"""ICC profiles: the effect survives, everything else goes."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from gateway.media import icc

SECRET = b"Jane Doe's camera 4711"


def build(
    tags: dict[bytes, bytes], space: bytes = b"RGB ", version: int = 2, pcs: bytes = b"XYZ "
) -> bytes:
    """A profile with a header full of things that must not survive."""
    directory, body, at = b"", b"", 132 + 12 * len(tags)
    for name, element in tags.items():
        directory += struct.pack(">4sII", name, at, len(element))
        body += element + bytes(-len(element) % 4)
        at += len(element) + -len(element) % 4
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sI4s4sQI3I4s",
        *(at, b"JANE", version << 24, b"mntr", space, pcs),
        *(2019, 3, 14, 15, 9, 26),
        *(b"acsp", b"APPL", 0, b"CANN", b"EOS5", 0, 1, 0xF6D6, 0x10000, 0xD32D, b"DOEJ"),
    ).ljust(128, b"\x77")
    return header + struct.pack(">I", len(tags)) + directory + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def wide_gamut(version: int = 2, curve: bytes | None = None, **tags: bytes) -> bytes:
    """Adobe-RGB-like primaries, with personal texts; ``tags`` replace some."""
    curve = curve or gamma(2.2)
    return build(
        {
            b"desc": b"desc" + bytes(4) + struct.pack(">I", 40) + SECRET.ljust(120, b"\0"),
            b"cprt": b"text" + bytes(4) + SECRET,
            b"dmnd": b"text" + bytes(4) + SECRET,
            b"wtpt": xyz(0.9642, 1, 0.8249) + SECRET,
            b"rXYZ": xyz(0.6097, 0.3111, 0.0195),
            b"gXYZ": xyz(0.2053, 0.6257, 0.0609),
            b"bXYZ": xyz(0.1492, 0.0632, 0.7446),
            **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve + SECRET),
            **{name.encode(): element for name, element in tags.items()},
        },
        version=version,
    )


def cmyk() -> bytes:
    """A press profile with a 2-point table: Lab from CMYK, ink only darkens."""
    points = []
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        light = 0 if k else 255 - 60 * (c + m + y)
        points += [light, 128 + 40 * (m - c), 128 + 40 * (y - c)]
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(points) + ramp * 3
    )
    tags = {b"A2B0": table, b"wtpt": xyz(0.9642, 1, 0.8249)}
    return build(tags, b"CMYK", pcs=b"Lab ")


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def to_srgb(profile: bytes, pixels: np.ndarray, mode: str = "RGB") -> np.ndarray:
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
    )
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels, mode), transform))


COLOURS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("version", [2, 4])
def test_effect_is_kept_and_nothing_personal(version: int) -> None:
    original = wide_gamut(version)
    rebuilt = icc.rebuild(original, "RGB ")
    assert rebuilt is not None
    for trace in (b"Jane", b"Doe", b"4711", b"JANE", b"APPL", b"CANN", b"EOS5", b"DOEJ", b"www"):
        assert trace not in rebuilt
    assert rebuilt[24:36] == bytes(12), "creation date"
    assert rebuilt[80:128] == bytes(48), "creator, id and reserved"
    assert int.from_bytes(rebuilt[:4], "big") == len(rebuilt)
    before, after = to_srgb(original, COLOURS), to_srgb(rebuilt, COLOURS)
    assert np.abs(before.astype(int) - COLOURS).max() > 10, "the profile does something"
    assert np.array_equal(before, after)
    described = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(rebuilt)))
    assert described.strip() == "Colour profile"


def test_rebuilding_twice_changes_nothing() -> None:
    once = icc.rebuild(wide_gamut(4), "RGB ")
    assert once and icc.rebuild(once, "RGB ") == once


@pytest.mark.parametrize("text", [b"Jane Doe", b"\0" * 500])
def test_plain_srgb_is_dropped(text: bytes) -> None:
    assert icc.rebuild(srgb() + text, "RGB ") is None


def test_srgb_primaries_with_another_curve_are_kept() -> None:
    tags = {name: xyz(*values) for name, values in icc._SRGB_PRIMARIES.items()}
    for exponent in (1.0, 1.8):
        curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(exponent))
        assert icc.rebuild(build({**tags, **curves}), "RGB ") is not None


def test_table_and_parametric_srgb_curves_are_recognised() -> None:
    tags = {name: xyz(*values) for name, values in icc._SRGB_PRIMARIES.items()}
    signal = np.linspace(0, 1, 1024)
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    values = np.rint(linear * 65535).astype(">u2").tobytes()
    table = b"curv" + bytes(4) + struct.pack(">I", 1024) + values
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    formula = b"para" + bytes(4) + struct.pack(">HH", 3, 0)
    formula += b"".join(struct.pack(">i", round(v * 65536)) for v in numbers)
    for curve in (table, formula):
        profile = build({**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})
        assert icc.rebuild(profile, "RGB ") is None


def test_grey_profile() -> None:
    profile = build({b"kTRC": gamma(1.8), b"wtpt": xyz(0.9642, 1, 0.8249)}, b"GRAY")
    rebuilt = icc.rebuild(profile, "GRAY")
    assert rebuilt is not None
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_srgb(profile, grey, "L"), to_srgb(rebuilt, grey, "L"))
    assert icc.rebuild(profile, "RGB ") is None
    assert icc.rebuild(wide_gamut(), "GRAY") is None


def test_cmyk_tables_survive() -> None:
    rebuilt = icc.rebuild(cmyk(), "CMYK")
    assert rebuilt is not None
    inks = np.random.default_rng(1).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    assert np.array_equal(to_srgb(cmyk(), inks, "CMYK"), to_srgb(rebuilt, inks, "CMYK"))


def test_malformed_and_oversized_are_dropped() -> None:
    good = wide_gamut()
    assert icc.rebuild(None, "RGB ") is None
    assert icc.rebuild(b"", "RGB ") is None
    assert icc.rebuild(good[:200], "RGB ") is None
    assert icc.rebuild(good + bytes(icc.MAX_BYTES["RGB "]), "RGB ") is None
    assert icc.rebuild(good.replace(b"acsp", b"abcd"), "RGB ") is None
    assert icc.rebuild(good.replace(b"rTRC", b"xTRC"), "RGB ") is None
    table = b"curv" + bytes(4) + struct.pack(">I", 1 << 30)
    assert icc.rebuild(wide_gamut(curve=table), "RGB ") is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_give_a_profile_or_none(data: st.DataObject) -> None:
    profile = bytearray(data.draw(st.sampled_from([wide_gamut(), wide_gamut(4), cmyk(), srgb()])))
    for _ in range(data.draw(st.integers(1, 6))):
        profile[data.draw(st.integers(0, len(profile) - 1))] = data.draw(st.integers(0, 255))
    for space in ("RGB ", "GRAY", "CMYK"):
        rebuilt = icc.rebuild(bytes(profile), space)  # type: ignore[arg-type]
        assert rebuilt is None or len(rebuilt) <= len(profile) + 400
