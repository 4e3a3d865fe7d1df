"""How much work a picture is, as far as its first bytes say; nothing is decoded or believed.

Pure Python and a bounded number of steps, because it runs on the gateway's event loop. Whoever
decodes checks for itself: this only tells large work from small.
"""

from __future__ import annotations

from gateway.media.sniff import image_format, is_moving

# From so many bytes or pixels on a photo is large: it takes many times a small one's time.
_LARGE = 1024 * 1024
_LARGE_PIXELS = 4_000_000
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's frame headers among its markers
_BARE = {0x01, *range(0xD0, 0xD9)}  # its markers without a length
_MOST = 200  # segments or boxes that are looked at


def is_large(head: bytes, size: int) -> bool:
    """Whether a picture of ``size`` bytes that begins with ``head`` is much work; the more of it,
    the likelier are its pixels in sight."""
    return size > _LARGE or (pixels(head) or 0) > _LARGE_PIXELS or is_moving(head)


def pixels(head: bytes) -> int | None:
    """Width × height of the picture that begins with ``head``; None where it is not in sight."""
    kind = image_format(head)
    size: tuple[int, int] | None = None
    if kind == "png" and len(head) >= 24:
        size = _big(head, 16, 4), _big(head, 20, 4)
    elif kind == "gif" and len(head) >= 10:
        size = _little(head, 6, 2), _little(head, 8, 2)
    elif kind == "webp" and len(head) >= 30:
        size = _webp(head)
    elif kind == "jpeg":
        size = _jpeg(head)
    elif kind in ("heif", "avif"):
        size = _heif(head)
    return size[0] * size[1] if size else None


def _big(head: bytes, at: int, count: int) -> int:
    return int.from_bytes(head[at : at + count], "big")


def _little(head: bytes, at: int, count: int) -> int:
    return int.from_bytes(head[at : at + count], "little")


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + _little(head, 24, 3), 1 + _little(head, 27, 3)
    if kind == b"VP8L":
        bits = _little(head, 21, 4)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_MOST):
        marker = head[at + 1 : at + 2]
        if head[at : at + 1] != b"\xff" or at + 9 > len(head):
            break
        if marker[0] in _FRAMES:
            return _big(head, at + 7, 2), _big(head, at + 5, 2)
        if marker == b"\xff":  # filling
            at += 1
        else:
            at += 2 if marker[0] in _BARE else 2 + max(2, _big(head, at + 2, 2))
    return None


def _heif(head: bytes) -> tuple[int, int] | None:
    """The largest of its boxes ``ispe``: of a picture in tiles each tile has one, too."""
    sizes: list[tuple[int, int]] = []
    at = head.find(b"ispe")
    while 0 <= at <= len(head) - 16 and len(sizes) < _MOST:
        sizes.append((_big(head, at + 8, 4), _big(head, at + 12, 4)))
        at = head.find(b"ispe", at + 4)
    return max(sizes, key=lambda size: size[0] * size[1], default=None)
