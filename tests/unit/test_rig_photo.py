"""Bodies to photos: reduced where that is enough, sizes always those of the photo as sent."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from handlers.rig_photo import ENOUGH, jpeg_size, read_photos
from handlers.runtime import BadInput


def jpeg(width: int, height: int, orientation: int = 1) -> bytes:
    """A picture that is dark at its left, 40 % of it."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[:, : width * 2 // 5] = 0
    out = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(pixels).save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [(640, 480, 1), (ENOUGH, 700, 1), (2 * ENOUGH, 1501, 2), (4032, 3024, 4), (3001, 4003, 4)],
)
def test_a_large_jpeg_is_decoded_small(width: int, height: int, factor: int) -> None:
    (photo,) = read_photos(jpeg(width, height))
    assert (photo.width, photo.height) == (width, height)
    assert photo.pixels.shape[1] == -(-width // factor)
    assert photo.scale == pytest.approx((factor, factor), rel=0.01)


@pytest.mark.parametrize("size", [(300, 200), (4000, 3000), (4001, 3999)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photo_stands_upright(size: tuple[int, int], orientation: int) -> None:
    (photo,) = read_photos(jpeg(*size, orientation))
    turned = orientation in (6, 8)
    assert (photo.width, photo.height) == (size[::-1] if turned else size)
    dark = photo.pixels[..., 0] < 128
    sides = {1: dark[:, 0], 3: dark[:, -1], 6: dark[0], 8: dark[-1]}
    assert sides[orientation].all()
    assert dark.mean() == pytest.approx(0.4, abs=0.01)


def test_frames_and_other_formats_are_read_whole() -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.zeros((2, 40, 60, 3), np.uint8), version=(1, 0))
    assert [p.pixels.shape for p in read_photos(out.getvalue())] == [(40, 60, 3)] * 2
    png = cv2.imencode(".png", np.zeros((40, 60), np.uint8))[1].tobytes()
    (photo,) = read_photos(png)
    assert (photo.width, photo.height, photo.scale) == (60, 40, (1.0, 1.0))


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        list(read_photos(body))


def test_a_large_jpeg_cut_short_is_refused_or_read() -> None:
    whole = jpeg(4000, 3000)
    for share in (0.01, 0.3, 0.9):
        try:
            (photo,) = read_photos(whole[: int(len(whole) * share)])
        except BadInput:
            continue
        assert (photo.width, photo.height) == (4000, 3000)


@given(st.binary(max_size=400))
def test_no_header_breaks_the_parser(tail: bytes) -> None:
    size = jpeg_size(b"\xff\xd8" + tail)
    assert size is None or min(size) > 0


@given(st.binary(min_size=20, max_size=300), st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_header_is_no_crash(tail: bytes, at: int, value: int) -> None:
    data = bytearray(jpeg(64, 48))
    data[min(at, len(data) - 1)] = value
    try:
        photos = list(read_photos(bytes(data)))
    except BadInput:
        return
    assert all(photo.pixels.size for photo in photos)


def test_the_module_needs_nothing_of_the_gateway() -> None:
    for file in Path("handlers").glob("rig*.py"):
        assert "gateway" not in file.read_text().replace("the gateway", "")
