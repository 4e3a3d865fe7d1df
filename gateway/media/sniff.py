"""What kind of file is this, from its first bytes: magic numbers only.

Pure Python and constant time, because it runs on the gateway's event loop before
anything is decoded. File names and declared content types are never trusted.
"""

from __future__ import annotations

from typing import Literal

ImageFormat = Literal["jpeg", "png", "webp", "gif", "heif", "avif"]

HEAD_BYTES = 4096
"""How much of a file is enough for these functions, which look at no more."""

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_QUICKTIME_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def image_format(head: bytes) -> ImageFormat | None:
    """The picture format that ``head`` (a file's first bytes) announces, else None."""
    head = head[:HEAD_BYTES]
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return _bmff_image(head)


def sniff(head: bytes) -> Literal["image", "video"] | None:
    """Whether ``head`` (a file's first bytes) begins a picture or a video we read."""
    head = head[:HEAD_BYTES]
    if image_format(head):
        return "image"
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # EBML: Matroska and WebM
        return "video"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "video"
    if head[4:8] == b"ftyp" or head[4:8] in _QUICKTIME_BOXES:
        return "video"
    # MPEG-TS: a sync byte every 188 bytes, or 192 with the time stamp that cameras put in front
    if _syncs(head, 0, 188) or _syncs(head, 4, 192):
        return "video"
    return None


def is_moving(head: bytes) -> bool:
    """Whether ``head`` begins a picture that may have many frames."""
    head = head[:HEAD_BYTES]
    if head[8:12] == b"WEBP":
        return head[12:16] == b"VP8X" and bool(head[20:21]) and bool(head[20] & 2)
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head
    return head.startswith(b"GIF8") or head[8:12] in (b"avis", b"msf1", b"hevc", b"hevx")


def _bmff_image(head: bytes) -> Literal["heif", "avif"] | None:
    """HEIF and AVIF share MP4's boxes; the major brand decides, then the compatible ones.

    A video may list an image brand as compatible (for its cover), so those count
    only when the major brand is not a known one, such as a camera maker's.
    """
    if head[4:8] != b"ftyp" or len(head) < 16:
        return None
    end = min(max(int.from_bytes(head[:4], "big"), 16), len(head))
    compatible = {head[at : at + 4] for at in range(16, end - 3, 4)}
    major = head[8:12]
    if major in _AVIF_BRANDS:
        return "avif"
    if major in _HEIF_BRANDS:
        return "avif" if major in {b"mif1", b"msf1"} and compatible & _AVIF_BRANDS else "heif"
    if major.isalnum() and not major.startswith((b"iso", b"mp4", b"M4", b"3g", b"avc", b"dash")):
        if compatible & _AVIF_BRANDS:
            return "avif"
        if compatible & _HEIF_BRANDS:
            return "heif"
    return None


def _syncs(head: bytes, first: int, step: int) -> bool:
    marks = head[first::step]
    return len(marks) >= 3 and marks == b"\x47" * len(marks)
