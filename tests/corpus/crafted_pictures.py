"""Pictures that claim, hide or unfold more than they hold."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

from tests.corpus.mangle import repaired_png
from tests.corpus.samples import sample

SIDES = (0, 1, 3, 40_000, 65_535, 1 << 31, (1 << 32) - 1)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return SIGNATURE + b"".join([png_chunk(b"IHDR", head), *chunks, png_chunk(b"IEND", b"")])


@cache
def zeros(megabytes: int) -> bytes:
    """So many million bytes of nothing, compressed a thousand times."""
    squeeze, out = zlib.compressobj(9), b""
    for _ in range(megabytes):
        out += squeeze.compress(bytes(1_000_000))
    return out + squeeze.flush()


def png_bomb(rng: Random) -> bytes:
    """Pixels that unfold to far more than the picture has."""
    side = rng.choice((1, 64, 3900))
    return png(side, side, png_chunk(b"IDAT", zeros(rng.choice((1, 40)))))


def png_text_bomb(rng: Random) -> bytes:
    kind = rng.choice((b"zTXt", b"iCCP", b"iTXt"))
    head = b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0"
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(4 * 13)))
    return png(4, 4, png_chunk(kind, head + zeros(20)), pixels)


def png_size(rng: Random) -> bytes:
    width, height = rng.choice(SIDES), rng.choice(SIDES)
    bits, colour = rng.choice((1, 2, 4, 8, 16, 32, 0)), rng.choice((0, 2, 3, 4, 6, 7))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(2000)))
    return png(width, height, pixels, depth=bits, colour=colour)


def png_palette(rng: Random) -> bytes:
    """Indices for which there is no colour, or no palette at all, or a transparent nothing."""
    colours = rng.choice((0, 1, 2, 255, 300))
    extra = [png_chunk(b"PLTE", bytes(3 * colours + rng.choice((0, 0, 1))))] * bool(colours)
    extra += [png_chunk(b"tRNS", rng.randbytes(rng.choice((0, 2, 6, 300))))]
    rows = b"".join(b"\0" + rng.randbytes(8) for _ in range(8))
    return png(8, 8, *extra, png_chunk(b"IDAT", zlib.compress(rows)), colour=3)


def png_animation(rng: Random) -> bytes:
    """Frame counts, places and delays beside the truth."""
    count = rng.choice((0, 1, 5, 700, (1 << 32) - 1))
    control = png_chunk(b"acTL", struct.pack(">II", count, rng.choice((0, 1 << 31))))
    place = [rng.choice((0, 1, 8, 8, 9, 1 << 31)) for _ in range(4)]
    delay = rng.choice((0, 1, 65_535)), rng.choice((0, 1, 65_535))
    frame = struct.pack(">IIIIIHHBB", 0, *place, *delay, rng.randrange(5), rng.randrange(3))
    pixels = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8)))
    rest = [png_chunk(b"fcTL", frame), png_chunk(b"fdAT", bytes(4) + pixels)] * min(count, 700)
    return png(8, 8, control, png_chunk(b"fcTL", frame), png_chunk(b"IDAT", pixels), *rest)


def jpeg_size(rng: Random) -> bytes:
    body = bytearray(sample("jpeg"))
    at = body.index(b"\xff\xc0")
    height, width = rng.choice(SIDES) & 0xFFFF, rng.choice(SIDES) & 0xFFFF
    body[at + 5 : at + 9] = struct.pack(">HH", height, width)
    body[at + 9] = rng.choice((0, 1, 3, 3, 4, 255))
    body[at + 11] = rng.choice((0x00, 0x11, 0x22, 0x44, 0xFF))
    return bytes(body)


def jpeg_scans(rng: Random) -> bytes:
    """The same scan again and again."""
    body = sample("jpeg")
    at = body.index(b"\xff\xda")
    return body[:at] + body[at:-2] * rng.choice((2, 150, 400)) + b"\xff\xd9"


def jpeg_segments(rng: Random) -> bytes:
    body = sample("jpeg")
    piece = rng.choice((b"\xff\xfe\0\2", b"\xff\xe1\0\x08Exif\0\0", b"\xff\xdd\0\4\0\1", b"\xff"))
    return body[:2] + piece * rng.choice((1000, 30_000)) + body[2:]


def exif(rng: Random) -> bytes:
    """Directories that lead to themselves, count without end or point outside."""
    count = rng.choice((1, 50, 65_535))
    kinds = (0x0112, 0x8769, 0x8825, 0x0201, 0xA005)
    entry = b"".join(
        struct.pack(">HHII", rng.choice(kinds), rng.choice((3, 4, 12, 99)), rng.choice(SIDES), 8)
        for _ in range(min(count, 50))
    )
    tiff = b"MM\0*" + struct.pack(">IH", 8, count) + entry + struct.pack(">I", 8)
    block = b"Exif\0\0" + tiff
    if rng.random() < 0.5:
        body = sample("jpeg")
        return body[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + body[2:]
    body = sample("png")
    return repaired_png(body[:33] + png_chunk(b"eXIf", tiff) + body[33:])


def colour_profile(rng: Random) -> bytes:
    """A profile of many tags, each of which lies elsewhere or nowhere."""
    names = (b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ", b"A2B0", b"chad")
    count = rng.choice((6, 8, 100, 1 << 31))
    tags = b"".join(
        struct.pack(">4sII", rng.choice(names), rng.choice((132, 228, *SIDES)), rng.choice(SIDES))
        for _ in range(min(count, 100))
    )
    head = struct.pack(">I4x4s4s4s4s", 4000, b"\4\0\0\0", b"mntr", b"RGB ", b"XYZ ")
    profile = head.ljust(36, b"\0") + b"acsp" + bytes(88) + struct.pack(">I", count) + tags
    profile = (profile + b"para\0\0\0\0\0\3\0\0" * 400)[:4000]
    mark = b"ICC_PROFILE\0" + bytes([rng.choice((0, 1, 1, 2)), rng.choice((0, 1, 1, 255))])
    body = sample("jpeg")
    return body[:2] + b"\xff\xe2" + struct.pack(">H", len(profile) + 16) + mark + profile + body[2:]


def webp_size(rng: Random) -> bytes:
    width, height = ((rng.choice(SIDES) & 0xFFFFFF).to_bytes(3, "little") for _ in range(2))
    head = b"VP8X\x0a\0\0\0" + bytes([rng.randrange(64), 0, 0, 0]) + width + height
    frame = b"ANMF" + struct.pack("<I", 24) + rng.randbytes(16) + b"VP8L\0\0\0\0"
    chunks = b"WEBP" + head + frame * rng.choice((0, 1, 700)) + sample("webp")[12:]
    size = rng.choice((len(chunks), len(chunks), 0, 8, (1 << 32) - 1))
    return b"RIFF" + struct.pack("<I", size) + chunks


def gif_frames(rng: Random) -> bytes:
    """Very many frames, or frames far outside, or blocks that never end."""
    width, height = (rng.choice(SIDES) & 0xFFFF for _ in range(2))
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, rng.choice((0, 0x80, 0xF7)), 0, 0)
    head += bytes(6) * (rng.random() < 0.7)
    place = [rng.choice((0, 0, 1, 2, 65_535)) for _ in range(4)]
    frame = b"\x2c" + struct.pack("<HHHHB", *place, rng.choice((0, 0x40, 0x87)))
    data = rng.choice((b"\2\2\x4c\1\0", b"\x0c\xff" + bytes(255) + b"\0", b"\x0b\0", b"\2\1"))
    return head + (b"\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0" + frame + data) * rng.choice((1, 3, 5000))


def heif_boxes(rng: Random) -> bytes:
    """Sizes beside the truth, boxes in boxes, items that refer to themselves."""
    kind = rng.choice(("heif", "avif"))
    body = bytearray(sample(kind))
    for name in rng.sample((b"ispe", b"iloc", b"ipma", b"iinf", b"pitm", b"irot", b"hvcC"), 2):
        at = body.find(name)
        if at > 0:
            offset, width = rng.choice(((-4, 4), (8, 4), (12, 4), (4, 2), (9, 1)))
            value = rng.choice(SIDES) % (1 << (8 * width))
            body[at + offset : at + offset + width] = value.to_bytes(width, "big")
    if rng.random() < 0.3:
        body[24:24] = nested(rng.choice((b"meta", b"iprp", b"dinf")), rng.choice((50, 3000)))
    return bytes(body)


def nested(name: bytes, depth: int) -> bytes:
    """Boxes in boxes."""
    sizes = range(8 * depth, 0, -8)
    return b"".join(struct.pack(">I4s", size, name) for size in sizes)


CRAFTED: dict[str, tuple[Callable[[Random], bytes], ...]] = {
    "jpeg": (jpeg_size, jpeg_scans, jpeg_segments, exif, colour_profile),
    "png": (png_bomb, png_text_bomb, png_size, png_palette, exif),
    "apng": (png_animation,),
    "webp": (webp_size,),
    "gif": (gif_frames,),
    "heif": (heif_boxes,),
    "avif": (heif_boxes,),
    "drawing": (jpeg_size, png_bomb, png_size),
    "mask": (png_bomb, png_size, png_palette),
}
