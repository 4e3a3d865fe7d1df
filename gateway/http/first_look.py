"""What a body begins with, looked at before the rest of it is read.

A photo that there is no place for is refused by its first bytes; a video in the same call goes
on to its queue.
"""

from __future__ import annotations

import binascii
import re

from flask import Request

from gateway.admission import Admission
from gateway.http.base64_body import LETTERS
from gateway.media.sniff import sniff

_LOOK = 8 * 1024  # bytes of the body
_PART = re.compile(rb'name="?file"?[;\r\n]')
_MEMBER = re.compile(rb'"file"\s*:\s*"(?:data:[^,"]{0,200},)?([A-Za-z0-9+/_\\-]{16,})')


def turn_away(request: Request, gates: Admission) -> None:
    """Refuse a photo for which there is no place, before its body is read.

    Raises:
        Busy: there is none.
    """
    if gates.photos.is_open() and gates.large_photos.is_open():
        return
    size = request.content_length or 0
    head = _file_in(request.environ["wsgi.input"].peek(min(_LOOK, size)))
    if request.is_json:
        size = size * 3 // 4
    if sniff(head) == "image":
        gates.of_photo(head, size).check()


def _file_in(body: bytes) -> bytes:
    """The first bytes of the file in a form or in JSON, as far as they are in sight."""
    part = _PART.search(body)
    # Searched apart: a pattern for both would try each name with all that follows it.
    end = body.find(b"\r\n\r\n", part.end() - 1) if part else -1
    if end >= 0:
        return body[end + 4 :]
    if member := _MEMBER.search(body):
        text = member[1].translate(LETTERS, b"\\")
        return binascii.a2b_base64(text[: len(text) // 4 * 4])
    return b""
