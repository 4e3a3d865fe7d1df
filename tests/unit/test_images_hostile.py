"""Limits of pictures, and hostile bytes: refused early, by our own errors only."""

from __future__ import annotations

import struct
import time
import tracemalloc

import numpy as np
import pytest
from image_samples import (
    ANIMATIONS,
    LIMITS,
    RGBA16,
    SECRET,
    STILLS,
    chunk,
    heif,
    jpeg_with_everything,
    only,
    photo,
    png,
    png_with_everything,
    save,
)
from PIL import Image
from test_icc import cmyk

from gateway.errors import BadMedia, EmptyUpload, MasqueradeError, TooLarge, UnsupportedMedia
from gateway.media.images import ImageLimits, encode, open_picture


def huge_headers() -> dict[str, bytes]:
    side = struct.pack(">I", 60_000)
    jpeg = save(photo(), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    webp = b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2
    gif = save(Image.fromarray(photo()).quantize(), "GIF")
    size = b"ispe" + bytes(4)
    small, large = size + struct.pack(">II", 96, 64), size + struct.pack(">II", 16_000, 16_000)
    return {
        "png": png([b"\0"], 8, 6, 1).replace(struct.pack(">II", 1, 1), side * 2),
        "jpeg": jpeg[:frame] + b"\xea\x60\xea\x60" + jpeg[frame + 4 :],
        "webp": b"RIFF" + struct.pack("<I", len(webp)) + webp,
        "gif": gif[:6] + b"\x60\xea\x60\xea" + gif[10:],
        "avif": STILLS["avif"][0](photo()).replace(small, large),
        "heif": heif(photo()).replace(small, large),
    }


@pytest.mark.parametrize("kind", huge_headers())
def test_bombs_are_refused_before_decoding(kind: str) -> None:
    data = huge_headers()[kind]
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(TooLarge, match=r"pixels|too large"):
        open_picture(data, LIMITS)
    assert time.perf_counter() - start < 0.5
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ANIMATIONS)
def test_frame_limit(name: str) -> None:
    data, _, _ = ANIMATIONS[name]
    with pytest.raises(TooLarge, match="frames"):
        open_picture(data, ImageLimits(1 << 20, 4_000_000, 4))
    with pytest.raises(TooLarge):  # 6 × 4,800 pixels are more than 16 stills of 1,500
        open_picture(data, ImageLimits(1 << 20, 1_500, 50))


def test_byte_limit() -> None:
    data = save(photo(), "PNG")
    with pytest.raises(TooLarge, match="bytes"):
        open_picture(data, ImageLimits(len(data) - 1, 4_000_000, 50))
    open_picture(data, ImageLimits(len(data), 96 * 64, 1))
    with pytest.raises(TooLarge, match="megapixels"):
        open_picture(data, ImageLimits(len(data), 96 * 64 - 1, 1))


def test_empty_and_unknown() -> None:
    with pytest.raises(EmptyUpload):
        open_picture(b"", LIMITS)
    for data in (b"hello", b"%PDF-1.7", b"BM" + bytes(60), b"\0\0\0\x18ftypisom" + bytes(20)):
        with pytest.raises(UnsupportedMedia):
            open_picture(data, LIMITS)


def test_heif_sequence_is_refused_clearly() -> None:
    data = heif(photo())
    with pytest.raises(UnsupportedMedia, match="video"):
        open_picture(data[:8] + b"hevc" + data[12:], LIMITS)


SAMPLES: dict[str, bytes] = {name: make(photo()) for name, (make, *_) in STILLS.items()}
SAMPLES |= {f"animated-{name}": data for name, (data, *_) in ANIMATIONS.items()}
SAMPLES |= {
    "cmyk": save(Image.fromarray(photo()).convert("CMYK"), "JPEG", icc_profile=cmyk()),
    "jpeg-everything": jpeg_with_everything(),
    "png-everything": png_with_everything(),
    "png16": png([r.astype(">u2").tobytes() for r in RGBA16], 16, 6, 3),
}


def swallow(data: bytes) -> str:
    """Open, decode and encode; the name of our error, or "read"."""
    try:
        picture = open_picture(data, LIMITS)
        encode(picture, picture.frames())
    except MasqueradeError as error:
        assert str(error)
        return type(error).__name__
    return "read"


@pytest.mark.parametrize("name", SAMPLES)
def test_truncated_files_are_refused(name: str) -> None:
    data = SAMPLES[name]
    if "everything" in name:  # these have harmless bytes behind the end
        data = data[: -len(SECRET)]
    cuts = {len(data) * part // 20 for part in range(1, 20)} | {len(data) - 1, 20, 40}
    for cut in sorted(cuts):
        outcome = swallow(data[:cut])
        assert outcome in {"BadMedia", "UnsupportedMedia"}, f"{cut} of {len(data)}: {outcome}"


def test_jpeg_cut_and_closed_again_is_refused() -> None:
    for progressive in (False, True):
        data = save(photo(400, 300), "JPEG", quality=90, progressive=progressive)
        with pytest.raises(BadMedia, match="truncated"):
            only(open_picture(data[: len(data) * 3 // 5] + b"\xff\xd9", LIMITS))


@pytest.mark.parametrize("name", ["jpeg", "progressive", "png", "gif", "webp", "cmyk"])
def test_bytes_behind_the_end_are_harmless(name: str) -> None:
    for tail in (b"\0", b"\xff", b"junk" * 500, b"\xff\xd8\xff"):
        assert swallow(SAMPLES[name] + tail) == "read"


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_files_raise_only_our_errors(name: str) -> None:
    original = SAMPLES[name]
    rng = np.random.default_rng(len(name))
    for _ in range(60):
        data = bytearray(original)
        # Headers are where the trouble is: half of the changes go to the first 200 bytes.
        for _ in range(rng.integers(1, 5)):
            reach = min(200, len(data)) if rng.random() < 0.5 else len(data)
            at = int(rng.integers(0, reach))
            action = rng.integers(0, 4)
            if action == 0:
                data[at] = rng.integers(0, 256)
            elif action == 1:
                data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"])
            elif action == 2:
                del data[at : at + int(rng.integers(1, 40))]
            else:
                data[at:at] = data[at : at + int(rng.integers(1, 40))]
        swallow(bytes(data))


def repaired(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that mutations get past them."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        out += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + size])
        at += 12 + size
    return out


@pytest.mark.parametrize("name", [name for name in SAMPLES if "png" in name])
def test_mutated_png_with_right_checksums(name: str) -> None:
    rng = np.random.default_rng(len(name))
    for _ in range(60):
        data = bytearray(SAMPLES[name])
        data[int(rng.integers(8, len(data)))] = rng.integers(0, 256)
        swallow(repaired(bytes(data)))


def test_scan_bomb_is_refused() -> None:
    data = save(photo(), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    with pytest.raises(BadMedia, match="scans"):
        open_picture(data[:start] + data[start:-2] * 60 + b"\xff\xd9", LIMITS)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x01", b"\xff\xfe\0\2", b"\xff\0"])
def test_segment_floods_are_refused_fast(filler: bytes) -> None:
    data = SAMPLES["jpeg"]
    flood = filler * (2_000_000 // len(filler))
    for at in (2, len(data) - 20):
        start = time.perf_counter()
        swallow(data[:at] + flood + data[at:])
        swallow(data[:at] + flood)
        assert time.perf_counter() - start < 2


def test_chunk_flood_is_refused() -> None:
    data = SAMPLES["png"]
    with pytest.raises(BadMedia, match="chunks"):
        open_picture(data[:-12] + chunk(b"teSt", b"") * 100_001, LIMITS)


FLOODS = {
    "gif": b"GIF89a\2\0\2\0\0\0\0" + b"\x21\xf9\0" * 400_000,
    "webp": b"RIFF\0\0\x40\0WEBP" + b"JUNK\0\0\0\0" * 600_000,
    "heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08free" * 400_000,
    "avif": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0\0\0\x08free" * 400_000,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_block_floods_are_refused_fast(kind: str) -> None:
    start = time.perf_counter()
    with pytest.raises(BadMedia, match="more than 50000"):
        open_picture(FLOODS[kind], LIMITS)
    assert time.perf_counter() - start < 1


def test_messages_name_what_is_wrong() -> None:
    data = SAMPLES["jpeg"]
    with pytest.raises(BadMedia, match="JPEG file is truncated"):
        open_picture(data[:-40], LIMITS)
    damaged = bytearray(SAMPLES["png"])
    damaged[-30] ^= 1
    with pytest.raises(BadMedia, match="checksum"):
        open_picture(bytes(damaged), LIMITS)
    with pytest.raises(UnsupportedMedia, match="lossless"):
        open_picture(data.replace(b"\xff\xc0", b"\xff\xc3"), LIMITS)
