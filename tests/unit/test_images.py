"""Photos in and out: pixels, orientation, and what each format keeps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
import pytest
from image_samples import (
    LIMITS,
    SECRET,
    STILLS,
    difference,
    exif,
    heif,
    only,
    photo,
    reopen,
    rgb,
    save,
)
from PIL import Image
from test_icc import cmyk, to_srgb

from gateway.media.image_base import changed_box, exif_orientation, upright
from gateway.media.images import encode, open_picture


@pytest.mark.parametrize("name", STILLS)
def test_round_trip(name: str) -> None:
    make, content_type, kind, tolerance = STILLS[name]
    source = photo(97, 61)  # odd sizes stay
    picture = open_picture(make(source), LIMITS)
    assert (picture.width, picture.height, picture.frame_count) == (97, 61, 1)
    assert picture.format == (kind or "jpeg")
    frame = only(picture)
    assert frame.dtype == np.uint8 and frame.flags.c_contiguous and frame.flags.writeable
    assert difference(rgb(frame), source) <= tolerance
    encoded = encode(picture, [frame])
    assert encoded.content_type == content_type
    assert encoded.extension == content_type.rpartition("/")[2].replace("jpeg", "jpg")
    again = only(reopen(encoded))
    assert difference(rgb(again), source) <= tolerance + 1
    with pytest.raises(ValueError):
        encode(picture, [])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    source = photo()
    # What the picture looks like upright, by numpy alone.
    turn: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda p: p,
        lambda p: p[:, ::-1],
        lambda p: p[::-1, ::-1],
        lambda p: p[::-1],
        lambda p: p.transpose(1, 0, 2),
        lambda p: p[::-1].transpose(1, 0, 2),
        lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        lambda p: p[:, ::-1].transpose(1, 0, 2),
    ]
    expected = turn[orientation - 1](source)
    block = exif(orientation)
    if kind == "HEIF":
        # As phones write it: turned by a box of the container, and told again in the Exif.
        data = heif(source, exif=block.tobytes())
        told = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00"
        data = data.replace(told + b"\1", told + bytes([orientation]))
        assert told + bytes([orientation]) in data
    else:
        data = save(source, kind, exif=block, quality=95)
    picture = open_picture(data, LIMITS)
    assert (picture.height, picture.width) == expected.shape[:2]
    assert difference(rgb(only(picture)), expected) < 8
    again = reopen(encode(picture, picture.frames()))
    assert difference(rgb(only(again)), expected) < 9
    assert SECRET.encode() not in encode(picture, picture.frames()).body


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_detector_reads_what_we_read(orientation: int, mode: str) -> None:
    image = Image.fromarray(photo()).convert(mode)
    data = save(image, "JPEG", exif=exif(orientation), subsampling="4:2:0")
    data += save(photo(50, 50, seed=9), "JPEG")  # trailing pictures are not the picture
    picture = open_picture(data, LIMITS)
    assert picture.detector_bytes is not None
    assert SECRET.encode() not in picture.detector_bytes
    seen = cv2.imdecode(np.frombuffer(picture.detector_bytes, np.uint8), cv2.IMREAD_COLOR)
    ours = only(picture)
    if ours.ndim == 2:
        ours = cv2.cvtColor(ours, cv2.COLOR_GRAY2BGR)
    assert seen.shape == ours.shape
    assert np.abs(seen.astype(int) - ours).max() <= 1
    original = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(original.astype(int) - ours).max() <= 1


def test_only_plain_jpeg_has_detector_bytes() -> None:
    for name in ("png", "webp", "gif", "heif", "avif"):
        assert open_picture(STILLS[name][0](photo()), LIMITS).detector_bytes is None
    inks = save(Image.fromarray(photo()).convert("CMYK"), "JPEG")
    assert open_picture(inks, LIMITS).detector_bytes is None


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [78, 85, 92])
def test_jpeg_keeps_subsampling_and_quality(subsampling: str, quality: int) -> None:
    data = save(photo(320, 240), "JPEG", quality=quality, subsampling=subsampling)
    picture = open_picture(data, LIMITS)
    coded = encode(picture, picture.frames()).body
    before, after = Image.open(BytesIO(data)), Image.open(BytesIO(coded))
    assert after.layer == before.layer  # type: ignore[attr-defined]
    assert after.quantization == before.quantization  # type: ignore[attr-defined]
    assert abs(len(coded) - len(data)) < 0.05 * len(data) + 100


@pytest.mark.parametrize(("quality", "expected"), [(20, 75), (100, 95)])
def test_jpeg_quality_has_floor_and_ceiling(quality: int, expected: int) -> None:
    picture = open_picture(save(photo(), "JPEG", quality=quality), LIMITS)
    coded = encode(picture, picture.frames()).body
    reference = Image.open(BytesIO(save(photo(), "JPEG", quality=expected)))
    assert Image.open(BytesIO(coded)).quantization == reference.quantization  # type: ignore[attr-defined]


def test_turned_422_turns_its_subsampling() -> None:
    data = save(photo(), "JPEG", subsampling="4:2:2", exif=exif(6))
    picture = open_picture(data, LIMITS)
    coded = Image.open(BytesIO(encode(picture, picture.frames()).body))
    assert [layer[1:3] for layer in coded.layer] == [(1, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]


def test_grey_jpeg_stays_grey() -> None:
    picture = open_picture(save(Image.fromarray(photo()).convert("L"), "JPEG"), LIMITS)
    assert only(picture).shape == (64, 96)
    coded = encode(picture, picture.frames()).body
    assert Image.open(BytesIO(coded)).mode == "L"


def test_rgb_jpeg_without_colour_transform() -> None:
    data = save(photo(), "JPEG", keep_rgb=True, quality=95)
    assert difference(rgb(only(open_picture(data, LIMITS))), photo()) < 2


def test_cmyk_jpeg_by_formula_and_by_profile() -> None:
    inks = np.random.default_rng(2).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    inks = cv2.resize(inks, (96, 300), interpolation=cv2.INTER_LINEAR)
    image = Image.fromarray(inks, "CMYK")
    plain = open_picture(save(image, "JPEG", quality=98, subsampling=0), LIMITS)
    c = 255 - inks.astype(float)
    assert difference(rgb(only(plain)), c[:, :, :3] * c[:, :, 3:] / 255) < 2
    managed = save(image, "JPEG", quality=98, subsampling=0, icc_profile=cmyk())
    picture = open_picture(managed, LIMITS)
    assert difference(rgb(only(picture)), to_srgb(cmyk(), inks, "CMYK")) < 4
    coded = Image.open(BytesIO(encode(picture, picture.frames()).body))
    assert coded.mode == "RGB" and "icc_profile" not in coded.info
    broken = save(image, "JPEG", quality=98, subsampling=0, icc_profile=cmyk()[:300])
    assert np.array_equal(only(open_picture(broken, LIMITS)), only(plain))


def test_mpo_and_motion_photo_leave_one_picture() -> None:
    first, second = Image.fromarray(photo()), Image.fromarray(photo(seed=8))
    data = save(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(BytesIO(data)).n_frames == 2  # type: ignore[attr-defined]
    picture = open_picture(data + b"\0\0\0\x18ftypmp42" + SECRET.encode(), LIMITS)
    coded = encode(picture, picture.frames()).body
    assert coded.count(b"\xff\xd8\xff") == 1 and coded.endswith(b"\xff\xd9")
    assert SECRET.encode() not in coded and b"MPF" not in coded
    assert picture.detector_bytes is not None and picture.detector_bytes.count(b"\xff\xd8\xff") == 1


def test_exif_orientation_of_odd_blocks() -> None:
    assert exif_orientation(b"") == 1
    assert exif_orientation(b"Exif\0\0MM\0*") == 1
    assert exif_orientation(b"II*\0\xff\xff\xff\xff") == 1
    for order in ("<", ">"):
        head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
        for value, expected in ((0, 1), (6, 6), (9, 1)):
            entry = struct.pack(order + "HHHIHH", 1, 0x0112, 3, 1, value, 0)
            assert exif_orientation(head + entry) == expected


def test_upright_is_contiguous_for_all_dtypes() -> None:
    for dtype in (np.uint8, np.uint16):
        for shape in ((3, 5), (3, 5, 3), (3, 5, 4)):
            for orientation in range(1, 9):
                turned = upright(np.ones(shape, dtype), orientation)
                assert turned.flags.c_contiguous and turned.dtype == dtype
                assert turned.shape[:2] == ((5, 3) if orientation > 4 else (3, 5))


def test_changed_box() -> None:
    before = np.zeros((6, 8, 3), np.uint8)
    after = before.copy()
    assert changed_box(None, after) == (0, 0, 8, 6)
    assert changed_box(before, after) == (0, 0, 1, 1)
    after[2, 3, 1] = after[4, 6, 2] = 1
    assert changed_box(before, after) == (3, 2, 7, 5)
