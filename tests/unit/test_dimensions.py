"""A picture's pixels out of its first bytes, against what Pillow makes of the whole."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from gateway.media.dimensions import pixels
from gateway.media.sniff import HEAD_BYTES
from tests.corpus.samples import sample
from tests.unit.image_samples import exif, heif, jpeg_with_everything


def saved(kind, **settings):
    out = io.BytesIO()
    Image.new("RGB", (130, 70), "red").save(out, kind, **settings)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        saved("PNG"),
        saved("GIF"),
        saved("JPEG"),
        saved("JPEG", progressive=True, exif=exif(6)),
        saved("WEBP"),
        saved("WEBP", lossless=True),
        saved("WEBP", exif=exif(6)),
        saved("AVIF"),
        heif(Image.new("RGB", (130, 70), "red")),
    ],
)
def test_every_format(data):
    assert pixels(data[:HEAD_BYTES]) == 130 * 70


@pytest.mark.parametrize("data", [jpeg_with_everything(), sample("jpeg"), sample("webp")])
def test_what_stands_before_the_size_is_skipped(data):
    with Image.open(io.BytesIO(data)) as picture:
        assert pixels(data) == picture.width * picture.height


def test_tiles_do_not_count_as_the_picture():
    whole, tile = b"ispe" + bytes(4) + b"\0\0\x20\0\0\0\x10\0", b"ispe" + bytes(4) + b"\0\0\2\0" * 2
    assert pixels(b"\0\0\0\x10ftypheic" + bytes(8) + tile + whole + tile) == 0x2000 * 0x1000


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG", "WEBP", "AVIF"])
def test_where_it_is_not_in_sight_it_is_unknown(kind):
    data = saved(kind)
    for size in range(len(data)):
        assert pixels(data[:size]) in (None, 130 * 70)
    assert pixels(data[:9]) is None


def test_other_files_have_none():
    assert pixels(b"") is None
    assert pixels(b"%PDF-1.7" + bytes(100)) is None
