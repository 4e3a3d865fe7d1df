"""Magic bytes: every format we read, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.sniff import HEAD_BYTES, image_format, is_moving, sniff


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + b"\0\0\0\x08mdat"


TS = b"".join(b"\x47" + bytes(187) for _ in range(8))
M2TS = b"".join(bytes(4) + b"\x47" + bytes(187) for _ in range(8))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n\0\0", "png"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (ftyp(b"heic", b"mif1", b"heic"), "heif"),
        (ftyp(b"mif1", b"mif1", b"heic"), "heif"),
        (ftyp(b"mif1", b"mif1", b"avif"), "avif"),
        (ftyp(b"avif", b"mif1"), "avif"),
        (ftyp(b"avis", b"avif"), "avif"),
        (ftyp(b"MiHB", b"mif1", b"heic"), "heif"),
        (ftyp(b"isom", b"mp41", b"mif1"), None),
        (ftyp(b"mp42", b"heic"), None),
    ],
)
def test_picture_formats(head: bytes, kind: str | None) -> None:
    assert image_format(head) == kind
    assert sniff(head) == ("image" if kind else "video")


@pytest.mark.parametrize(
    "head",
    [
        ftyp(b"isom", b"avc1"),
        ftyp(b"qt  "),
        ftyp(b"M4V "),
        ftyp(b"3gp5"),
        b"\0\0\0\x08wide\0\0\0\0mdat",
        b"\0\0\1\0moov",
        b"\x1a\x45\xdf\xa3\x01",
        b"RIFF\0\0\0\0AVI LIST",
        TS,
        M2TS,
    ],
)
def test_videos(head: bytes) -> None:
    assert sniff(head) == "video"
    assert image_format(head) is None


@pytest.mark.parametrize(
    "head",
    [b"", b"\xff", b"\x47", b"RIFF", b"RIFF\0\0\0\0WAVE", b"%PDF-1.7", b"PK\3\4", b"<svg", b"BM"],
)
def test_other_files(head: bytes) -> None:
    assert sniff(head) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(head: bytes) -> None:
    assert sniff(head) in {"image", "video", None}
    assert sniff(b"\0\0\0\x18ftyp" + head) in {"image", "video"}


def test_only_the_first_bytes_are_looked_at() -> None:
    png = b"\x89PNG\r\n\x1a\n"
    assert is_moving(png + b"acTL")
    assert not is_moving(png + bytes(HEAD_BYTES) + b"acTL")
    packets = TS[:188] * (HEAD_BYTES // 188 + 1)
    assert sniff(packets + b"what is no packet") == "video"
