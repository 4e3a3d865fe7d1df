"""No metadata survives in a picture; the effect of its colour profile does."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from image_samples import (
    LIMITS,
    SECRET,
    difference,
    exif,
    gif_with_everything,
    heif,
    jpeg_with_everything,
    only,
    photo,
    png_with_everything,
    reopen,
    rgb,
    save,
)
from PIL import Image
from test_icc import cmyk, to_srgb, wide_gamut

from gateway.media.images import encode, open_picture

WITH_EVERYTHING: dict[str, Callable[[], bytes]] = {
    "jpeg": jpeg_with_everything,
    "png": png_with_everything,
    "gif": gif_with_everything,
    "webp": lambda: save(
        photo(), "WEBP", exif=exif(1), xmp=SECRET.encode(), icc_profile=wide_gamut()
    ),
    "heif": lambda: heif(
        photo(), exif=exif(1).tobytes(), xmp=SECRET.encode(), icc_profile=wide_gamut()
    ),
    "avif": lambda: save(
        photo(), "AVIF", exif=exif(1), xmp=SECRET.encode(), icc_profile=wide_gamut()
    ),
}


@pytest.mark.parametrize("kind", WITH_EVERYTHING)
def test_no_metadata_survives_and_the_profile_does(kind: str) -> None:
    data = WITH_EVERYTHING[kind]()
    assert SECRET.encode() in data
    picture = open_picture(data, LIMITS)
    coded = encode(picture, picture.frames()).body
    image = Image.open(BytesIO(coded))
    image.load()
    for trace in (SECRET.encode(), b"Exif", b"xmp", b"Photoshop", b"Author", b"JFXX", b"prVt"):
        assert trace not in coded
    assert not set(image.info) & {"exif", "xmp", "comment", "photoshop", "Author"}
    if kind == "gif":
        return
    profile = image.info["icc_profile"]
    assert b"Jane" not in profile and b"4711" not in profile
    assert np.array_equal(to_srgb(profile, photo()), to_srgb(wide_gamut(), photo()))


@pytest.mark.parametrize("profile", [b"garbage", wide_gamut()[:400], cmyk()])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_useless_profiles_are_dropped(kind: str, profile: bytes) -> None:
    picture = open_picture(save(photo(), kind, icc_profile=profile), LIMITS)
    coded = encode(picture, picture.frames()).body
    assert "icc_profile" not in Image.open(BytesIO(coded)).info


def test_profile_in_several_jpeg_segments() -> None:
    curve = b"curv" + bytes(4) + struct.pack(">I", 16_000)
    curve += (np.linspace(0, 1, 16_000) ** 1.8 * 65535).astype(">u2").tobytes()
    red = curve[:12] + (np.linspace(0, 1, 16_000) ** 2 * 65535).astype(">u2").tobytes()
    green = curve[:12] + (np.linspace(0, 1, 16_000) ** 2.2 * 65535).astype(">u2").tobytes()
    original = wide_gamut(curve=curve, rTRC=red, gTRC=green)
    picture = open_picture(save(photo(), "JPEG", icc_profile=original), LIMITS)
    coded = encode(picture, picture.frames()).body
    assert coded.count(b"ICC_PROFILE\0") == 2
    profile = Image.open(BytesIO(coded)).info["icc_profile"]
    assert np.array_equal(to_srgb(profile, photo()), to_srgb(original, photo()))


def test_heif_with_transparency_becomes_png() -> None:
    pixels = np.dstack([photo(), np.full((64, 96), 255, np.uint8)])
    pixels[:, 50:, 3] = 0
    picture = open_picture(heif(pixels), LIMITS)
    encoded = encode(picture, picture.frames())
    assert encoded.content_type == "image/png"
    assert np.array_equal(only(reopen(encoded))[:, :, 3], pixels[:, :, 3])


def test_heif_with_two_pictures_gives_the_primary_one() -> None:
    file = pillow_heif.from_pillow(Image.fromarray(photo(seed=8)))
    file.add_from_pillow(Image.fromarray(photo()))
    out = BytesIO()
    file.save(out, quality=-1, primary_index=1)
    picture = open_picture(out.getvalue(), LIMITS)
    assert difference(rgb(only(picture)), photo()) < 5
