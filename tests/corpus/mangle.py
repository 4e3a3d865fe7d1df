"""Damage that any file can take. Every function is handed its own source of randomness."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random

HEAD = 256  # bytes in which most of what a parser decides upon stands
EXTREMES = (0, 1, -1, -2, 1 << 7, 1 << 15, (1 << 15) - 1, 1 << 31, (1 << 31) - 1, 1 << 63)
WRAPPINGS: tuple[bytes, ...] = (
    b"PK\x03\x04\x14\0\0\0\0\0",
    b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
    b"<!doctype html><script>alert(1)</script>",
    b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n",
    b"\x7fELF\x02\x01\x01",
    b"GIF89a\x01\0\x01\0\0\0\0;",
    b"\xff\xd8\xff\xd9",
    b"ffconcat version 1.0\nfile /etc/hostname\n",
)


def place(rng: Random, size: int) -> int:
    """Somewhere in ``size`` bytes, in half of the cases near the start."""
    reach = min(HEAD, size) if rng.random() < 0.5 else size
    return rng.randrange(max(1, reach))


def truncate(rng: Random, body: bytes) -> bytes:
    if rng.random() < 0.3:
        return body[: place(rng, len(body))]
    return body[: -rng.randrange(1, max(2, len(body)))]


def flip(rng: Random, body: bytes) -> bytes:
    out = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        out[place(rng, len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def absurd(rng: Random, body: bytes) -> bytes:
    """Some numbers become the least or the largest that there are."""
    out = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 4))):
        width = rng.choice((1, 2, 4, 8))
        number = rng.choice(EXTREMES) % (1 << (8 * width))
        at = place(rng, len(out))
        out[at : at + width] = number.to_bytes(width, rng.choice(("big", "little")))[
            : len(out) - at
        ]
    return bytes(out)


def cut_out(rng: Random, body: bytes) -> bytes:
    at = place(rng, len(body))
    return body[:at] + body[at + rng.choice((1, 4, 40, 4000)) :]


def repeat(rng: Random, body: bytes) -> bytes:
    """A piece over and over again, so that lists grow and structures meet themselves."""
    at = place(rng, len(body))
    piece = body[at : at + rng.choice((1, 8, 64, 1024))]
    return body[:at] + piece * rng.choice((2, 3, 200)) + body[at:]


def shuffle(rng: Random, body: bytes) -> bytes:
    """Two pieces change places."""
    first, second, third = sorted(place(rng, len(body)) for _ in range(3))
    return body[:first] + body[second:third] + body[first:second] + body[third:]


def grow(rng: Random, body: bytes) -> bytes:
    """Behind the end, much of nothing."""
    return body + rng.choice((b"\0", b"\xff", b"\xff\xd8", b" ")) * rng.choice((1, 5000, 400_000))


DAMAGES: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(truncate, truncate, flip, flip, flip, absurd, absurd),
    *(cut_out, repeat, shuffle, grow),
)


def damaged(rng: Random, body: bytes) -> bytes:
    """One or two kinds of damage."""
    for _ in range(rng.choice((1, 1, 2))):
        body = rng.choice(DAMAGES)(rng, body) or b"\0"
    return body


def splice(rng: Random, head: bytes, tail: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return head[: place(rng, len(head)) + 1] + tail[place(rng, len(tail)) :]


def polyglot(rng: Random, body: bytes, other: bytes) -> bytes:
    """A file that is two things at once."""
    wrap = rng.choice((*WRAPPINGS, other))
    return rng.choice((wrap + body, body + wrap, body[:64] + wrap + body[64:]))


def repaired_png(body: bytes) -> bytes:
    """With its checksums right again, so that what was damaged gets past them."""
    out, at = body[:8], 8
    while at + 12 <= len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        piece = body[at + 4 : at + 8 + size]
        out += len(piece[4:]).to_bytes(4, "big") + piece + zlib.crc32(piece).to_bytes(4, "big")
        at += 12 + size
    return out
