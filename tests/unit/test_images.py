"""Photos in and out: pixels, orientation, colour, animation, privacy, hostile bytes."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageSequence, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational
from test_icc import cmyk, to_srgb, wide_gamut

from gateway.errors import BadMedia, EmptyUpload, MasqueradeError, TooLarge, UnsupportedMedia
from gateway.media.image_base import changed_box, exif_orientation, upright
from gateway.media.images import Encoded, ImageLimits, Picture, encode, open_picture

LIMITS = ImageLimits(bytes=8 << 20, pixels=4_000_000, frames=50)
SECRET = "KLARA-4711"


def photo(width: int = 96, height: int = 64, seed: int = 3) -> np.ndarray:
    """A smooth (H, W, 3) RGB picture without any symmetry."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels[: height // 4, : width // 4] = (250, 20, 20)
    return pixels


def save(pixels: np.ndarray | Image.Image, kind: str, **settings: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def heif(pixels: np.ndarray | Image.Image, **settings: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=-1, **settings)
    return out.getvalue()


def only(picture: Picture) -> np.ndarray:
    (frame,) = picture.frames()
    return frame


def reopen(encoded: Encoded) -> Picture:
    return open_picture(encoded.body, LIMITS)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def rgb(frame: np.ndarray) -> np.ndarray:
    return frame[:, :, 2::-1]


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = SECRET
    block[0x9286] = SECRET
    block.get_ifd(0x8825)[1] = "N"
    block.get_ifd(0x8825)[2] = (IFDRational(47), IFDRational(11), IFDRational(8))
    return block


# --- stills ---------------------------------------------------------------------------

STILLS: dict[str, tuple[Callable[[np.ndarray], bytes], str, str, float]] = {
    "jpeg": (lambda p: save(p, "JPEG", quality=95, subsampling=0), "image/jpeg", "jpeg", 3),
    "progressive": (lambda p: save(p, "JPEG", progressive=True, quality=95), "image/jpeg", "", 5),
    "png": (lambda p: save(p, "PNG"), "image/png", "png", 0),
    "webp": (lambda p: save(p, "WEBP", quality=95), "image/webp", "webp", 6),
    "webp-lossless": (lambda p: save(p, "WEBP", lossless=True), "image/webp", "webp", 0),
    "gif": (lambda p: save(Image.fromarray(p).quantize(200), "GIF"), "image/gif", "gif", 9),
    "heif": (heif, "image/jpeg", "heif", 5),
    "avif": (lambda p: save(p, "AVIF", quality=95), "image/avif", "avif", 5),
}


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


# --- PNG in all its kinds ----------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: list[bytes], depth: int, colour: int, width: int, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


GREY16 = np.array([[0, 258, 40_000], [65_535, 1, 2]], np.uint16)
RGBA16 = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4) * 2_500 + 7


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


# --- privacy and colour ------------------------------------------------------------------


def jpeg_with_everything() -> bytes:
    thumbnail = save(photo(32, 32), "JPEG")
    data = save(photo(), "JPEG", exif=exif(1), comment=SECRET, icc_profile=wide_gamut())
    marks = [
        (0xE0, b"JFXX\0\x10" + thumbnail),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + SECRET.encode()),
        (0xED, b"Photoshop 3.0\0008BIM\x04\x04" + SECRET.encode()),
        (0xEB, SECRET.encode()),
    ]
    segments = [b"\xff" + bytes([m]) + struct.pack(">H", len(b) + 2) + b for m, b in marks]
    return data[:2] + b"".join(segments) + data[2:] + SECRET.encode()


def png_with_everything() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", SECRET)
    notes.add_itxt("XML:com.adobe.xmp", SECRET, zip=False)
    notes.add(b"prVt", SECRET.encode())
    data = save(photo(), "PNG", pnginfo=notes, exif=exif(1), icc_profile=wide_gamut())
    return data + SECRET.encode()


def gif_with_everything() -> bytes:
    data = save(Image.fromarray(photo()).quantize(), "GIF", comment=SECRET.encode())
    return data[:-1] + b"\x21\xff\x0bXMP DataXMP" + b"\x0a" + SECRET.encode() + b"\0;" + b"tail"


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


# --- animation ---------------------------------------------------------------------------

DELAYS = [40, 50, 60, 70, 80, 90]


def clip(alpha: bool = False) -> list[Image.Image]:
    """Six frames: a square moves over a background; with alpha, a hole grows."""
    frames = []
    for index in range(6):
        pixels = photo(80, 60)
        pixels[20:40, 5 + 9 * index : 25 + 9 * index] = (0, 200, 40 * index)
        if alpha:
            pixels = np.dstack([pixels, np.full((60, 80), 255, np.uint8)])
            pixels[: 5 + 4 * index, :30, 3] = 0
        # Few colours, so that GIF is exact.
        pixels[:, :, :3] &= 0xC0
        frames.append(Image.fromarray(pixels))
    return frames


def animate(kind: str, alpha: bool = False, **settings: Any) -> bytes:
    first, *rest = clip(alpha)
    delays = DELAYS[1:] if settings.get("default_image") else DELAYS
    options = {"save_all": True, "append_images": rest, "duration": delays, "loop": 3}
    return save(first, kind, **(options | settings))


def four(frame: np.ndarray) -> np.ndarray:
    """BGRA with no colour under transparency, to compare."""
    frame = frame.copy() if frame.shape[2] == 4 else cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA)
    frame[frame[:, :, 3] == 0] = 0
    return frame


def as_pillow_sees(data: bytes) -> list[np.ndarray]:
    frames = ImageSequence.Iterator(Image.open(BytesIO(data)))
    return [four(np.array(f.convert("RGBA"))[:, :, [2, 1, 0, 3]]) for f in frames]


ANIMATIONS: dict[str, tuple[bytes, str, float]] = {
    "gif": (animate("GIF"), "image/gif", 0),
    "gif-alpha": (animate("GIF", alpha=True, disposal=2), "image/gif", 0),
    "apng": (animate("PNG"), "image/apng", 0),
    "apng-alpha": (animate("PNG", alpha=True, disposal=1), "image/apng", 0),
    "apng-over": (animate("PNG", blend=1), "image/apng", 0),
    "apng-previous": (animate("PNG", alpha=True, disposal=2), "image/apng", 0),
    "apng-hidden": (animate("PNG", default_image=True), "image/apng", 0),
    "webp": (animate("WEBP", quality=90), "image/webp", 6),
    "webp-lossless": (animate("WEBP", alpha=True, lossless=True), "image/webp", 0),
    "avif": (animate("AVIF", quality=90), "image/webp", 8),
}


@pytest.mark.parametrize("name", ANIMATIONS)
def test_animation_keeps_frames_delays_and_loop(name: str) -> None:
    data, content_type, tolerance = ANIMATIONS[name]
    picture = open_picture(data, LIMITS)
    frames = list(picture.frames())
    expected = as_pillow_sees(data)
    assert picture.frame_count == len(frames) == len(expected) == 6
    for ours, theirs in zip(frames, expected, strict=True):
        assert np.array_equal(four(ours), theirs)
    encoded = encode(picture, iter(frames))
    assert encoded.content_type == content_type
    shown = as_pillow_sees(encoded.body)
    assert len(shown) == 6
    for ours, theirs in zip(frames, shown, strict=True):
        assert difference(four(ours), theirs) <= tolerance
    image: Any = Image.open(BytesIO(encoded.body))
    delays = []
    for index in range(6):
        image.seek(index)
        image.load()
        delays.append(image.info.get("duration"))
    assert delays[1:] == DELAYS[1:]
    assert delays[0] == (None if name == "apng-hidden" else DELAYS[0])
    assert image.info["loop"] == (0 if name == "avif" else 3)
    if name == "apng-hidden":
        assert image.default_image


@pytest.mark.parametrize("name", ANIMATIONS)
def test_every_frame_of_an_animation_is_replaced(name: str) -> None:
    data, _, _ = ANIMATIONS[name]
    picture = open_picture(data, LIMITS)
    shade = [np.full_like(f, 255) // 4 * 3 for f in picture.frames()]
    for frame in as_pillow_sees(encode(picture, iter(shade)).body):
        solid = frame[:, :, :3][frame[:, :, 3] > 0].astype(int)
        assert np.abs(solid - 189).max(initial=0) <= 4, "no pixel of the original is left"


@pytest.mark.parametrize("name", ANIMATIONS)
def test_frames_are_decoded_one_at_a_time(name: str) -> None:
    data, _, _ = ANIMATIONS[name]
    picture = open_picture(data, LIMITS)
    log: list[str] = []

    def feed() -> Iterator[np.ndarray]:
        for index, frame in enumerate(picture.frames()):
            log.append(f"decoded {index}")
            yield frame
            log.append(f"taken {index}")
            frame[:] = 7  # the encoder must have kept no view of it

    body = encode(picture, feed()).body
    assert log[:4] == ["decoded 0", "taken 0", "decoded 1", "taken 1"]
    untouched = encode(picture, picture.frames()).body
    assert body == untouched


def test_still_of_one_animation_frame_is_a_plain_file() -> None:
    one = save(clip()[0], "PNG", save_all=True, append_images=[], duration=40)
    picture = open_picture(one, LIMITS)
    assert encode(picture, picture.frames()).content_type == "image/png"


def test_gif_blur_keeps_untouched_pixels_exact() -> None:
    source = Image.fromarray(photo(200, 150)).quantize(150, dither=Image.Dither.NONE)
    picture = open_picture(save(source, "GIF"), LIMITS)
    frame = only(picture)
    before = frame.copy()
    frame[50:100, 60:120] = cv2.GaussianBlur(photo(60, 50, seed=6), (0, 0), 9)
    assert len(np.unique(frame.reshape(-1, frame.shape[2]), axis=0)) > 1_000
    after = only(reopen(encode(picture, [frame])))
    outside = np.ones(frame.shape[:2], bool)
    outside[50:100, 60:120] = False
    same = (after[:, :, :3] == before[:, :, :3]).all(axis=2)
    assert same[outside].mean() > 0.97
    assert difference(after[outside][:, :3], before[outside][:, :3]) < 0.2
    assert difference(after[50:100, 60:120, :3], frame[50:100, 60:120, :3]) < 5


def test_gif_interlaced_local_palette_and_offset_frame() -> None:
    first = save(Image.fromarray(photo(32, 32)).quantize(16), "GIF", interlace=True)
    expected = as_pillow_sees(first)[0]
    assert np.array_equal(four(only(open_picture(first, LIMITS))), expected)
    # A second 16×16 frame at (20, 20), with its own palette, hangs over the edge.
    second = save(Image.fromarray(photo(16, 16, seed=5)).quantize(8), "GIF", interlace=False)
    colours = 3 << ((second[10] & 7) + 1)
    at = second.index(b"\x2c", 13 + colours)
    part = second[at : at + 10]
    place = struct.pack("<HH", 20, 20) + part[5:9] + bytes([0x80 | second[10] & 7])
    data = first[:-1] + b"\x2c" + place + second[13 : 13 + colours] + second[at + 10 :]
    frames = list(open_picture(data, LIMITS).frames())
    assert len(frames) == 2 and frames[1].shape[:2] == (32, 32)
    assert np.array_equal(four(frames[1])[:20], expected[:20])
    assert np.array_equal(four(frames[1])[20:, 20:], as_pillow_sees(second)[0][:12, :12])


# --- limits ------------------------------------------------------------------------------


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


# --- hostile bytes -----------------------------------------------------------------------

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


# --- small parts -------------------------------------------------------------------------


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
