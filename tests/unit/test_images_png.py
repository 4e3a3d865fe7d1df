"""PNG in all its kinds: depths, colour types, transparency, colour chunks."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from image_samples import LIMITS, RGBA16, SECRET, chunk, exif, only, photo, png, reopen, save

from gateway.media.images import encode, open_picture

GREY16 = np.array([[0, 258, 40_000], [65_535, 1, 2]], np.uint16)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png([r.astype(">u2").tobytes() for r in GREY16], 16, 0, 3), GREY16),
        (
            png([r[:, :3].astype(">u2").tobytes() for r in RGBA16], 16, 2, 3),
            RGBA16[:, :, 2::-1],
        ),
        (
            png([r.astype(">u2").tobytes() for r in RGBA16], 16, 6, 3),
            RGBA16[:, :, [2, 1, 0, 3]],
        ),
        (png([b"\xa0", b"\x40"], 1, 0, 3), np.array([[255, 0, 255], [0, 255, 0]], np.uint8)),
        (png([b"\x1b"], 2, 0, 4), np.array([[0, 85, 170, 255]], np.uint8)),
        (
            png([b"\x1b"], 2, 0, 4, chunk(b"tRNS", b"\0\2")),
            np.array([[[0] * 3 + [255], [85] * 3 + [255], [0] * 4, [255] * 4]], np.uint8),
        ),
        (
            png([b"\5\xff\x09\x80"], 8, 4, 2),
            np.array([[[5, 5, 5, 255], [9, 9, 9, 128]]], np.uint8),
        ),
        (
            png([b"\0\1"], 8, 3, 2, chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))),
            np.array([[[3, 2, 1], [6, 5, 4]]], np.uint8),
        ),
        (
            png([b"\0\1"], 8, 3, 2, chunk(b"PLTE", bytes(range(6))), chunk(b"tRNS", b"\0\x80")),
            np.array([[[0, 0, 0, 0], [5, 4, 3, 128]]], np.uint8),
        ),
        (
            png([bytes([1, 2, 3, 7, 8, 9])], 8, 2, 2, chunk(b"tRNS", b"\0\1\0\2\0\3")),
            np.array([[[0, 0, 0, 0], [9, 8, 7, 255]]], np.uint8),
        ),
    ],
    ids=[
        "grey16",
        "rgb16",
        "rgba16",
        "grey1",
        "grey2",
        "grey2-key",
        "la",
        "palette",
        "palette-alpha",
        "key",
    ],
)
def test_png_kinds_are_exact(data: bytes, expected: np.ndarray) -> None:
    picture = open_picture(data, LIMITS)
    frame = only(picture)
    assert frame.dtype == expected.dtype and np.array_equal(frame, expected)
    again = only(reopen(encode(picture, [frame])))
    assert again.dtype == expected.dtype and np.array_equal(again, expected)


def test_16_bit_png_is_turned_too() -> None:
    rows = [r.astype(">u2").tobytes() for r in RGBA16]
    data = png(rows, 16, 6, 3, chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0")))
    picture = open_picture(data, LIMITS)
    assert (picture.width, picture.height) == (2, 3)
    expected = RGBA16[::-1, :, [2, 1, 0, 3]].transpose(1, 0, 2)
    assert np.array_equal(only(picture), expected)


def test_png_colour_chunks_stay() -> None:
    extra = [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cICP", bytes([12, 16, 0, 1]))]
    data = png([b"\1\2\3"], 8, 2, 1, *extra, chunk(b"gAMA", b"too long: " + SECRET.encode()))
    picture = open_picture(data, LIMITS)
    coded = encode(picture, picture.frames()).body
    assert all(part in coded for part in extra) and SECRET.encode() not in coded


def test_colour_under_transparency_is_wiped() -> None:
    pixels = np.dstack([photo(), np.full((64, 96), 255, np.uint8)])
    pixels[10:30, 10:30, 3] = 0
    for kind in ("PNG", "WEBP"):
        data = save(pixels, kind, lossless=True, exact=True)
        frame = only(open_picture(data, LIMITS))
        assert not frame[10:30, 10:30].any() and frame[40:, 40:].all(axis=2).any()
