"""Pictures of every kind for the tests of photos."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pillow_heif
from PIL import Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational
from test_icc import wide_gamut

from gateway.media.images import Encoded, ImageLimits, Picture, open_picture

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


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: list[bytes], depth: int, colour: int, width: int, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


RGBA16 = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4) * 2_500 + 7


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
