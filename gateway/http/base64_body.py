"""``{"file": "<base64>", …}`` taken apart without parsing the file as JSON.

A JSON parser would hold the event loop for as long as a photo is large. Here the one
long string is found with two byte searches, the little rest is parsed, and the string
is decoded in pieces with a chance for other requests between them.
"""

from __future__ import annotations

import binascii
import json
import mmap
import re
import secrets
from collections.abc import Callable
from typing import Any, BinaryIO

from gateway.errors import BadRequest, TooLarge
from gateway.http.turns import give_way

_KEY = re.compile(rb'"file"[ \t\r\n]*:[ \t\r\n]*"')
_LIST_KEY = re.compile(rb'"files"[ \t\r\n]*:[ \t\r\n]*\[(?=[ \t\r\n]*")')
_QUOTE = re.compile(rb'[ \t\r\n]*"')
_COMMA = re.compile(rb"[ \t\r\n]*,")
_DATA_URL = re.compile(rb"data:[ !#-+\--\[\]-~]{0,200}?;base64,")
LETTERS = bytes.maketrans(b"-_", b"+/")
"""From the URL-safe alphabet to the standard one."""
_NOT_A_STRING = "'file' must be one base64 string at the top of the JSON object"
_TOO_LONG = "the JSON body is too long, apart from its 'file'"
_NOT_A_LIST = "'files' must be a list of base64 strings, without a 'file' beside it"
_PIECE = 256 * 1024  # characters decoded at a time
_LONGEST_REST = 64 * 1024  # bytes of everything but the file, hence also before it
_LONGEST_GAP = 1024  # bytes of white space between two files

Body = bytes | mmap.mmap


def take_apart(body: Body, out: BinaryIO) -> dict[str, Any]:
    """Decode ``file`` into ``out`` and return the other members.

    Without a top-level string ``file`` nothing is written and all members are returned.

    Raises:
        BadRequest: not a JSON object, or not base64.
    """
    key = _KEY.search(body, 0, _LONGEST_REST)
    end = body.find(b'"', key.end()) if key else -1
    if key is None or end < 0:
        whole = _object(body[: _LONGEST_REST + 1])
        if "file" in whole:
            raise BadRequest(_NOT_A_STRING)
        return whole
    # Another string stands in for the file, so the rest is checked as it was sent. Nobody can
    # guess it: one further in, or a second 'file', is not taken for it.
    stand_in = secrets.token_hex(8)
    rest = _rest(body, key.end(), end, stand_in.encode())
    if rest.get("file") != stand_in:
        raise BadRequest(_NOT_A_STRING)
    del rest["file"]
    _decode(body, key.end(), end, out)
    return rest


def take_all_apart(
    body: Body, new_file: Callable[[], BinaryIO], most: int
) -> tuple[list[BinaryIO], dict[str, Any]]:
    """As :func:`take_apart`, for ``{"file": …}`` or ``{"files": ["<base64>", …]}``.

    Answers the files, each made by ``new_file``, and the other members; of ``files`` an
    empty list stays among them.

    Raises:
        BadRequest: not a JSON object, or not base64. TooLarge: more than ``most`` files.
    """
    key = _LIST_KEY.search(body, 0, _LONGEST_REST)
    if key is None:
        file = new_file()
        rest = take_apart(body, file)
        if rest.get("files", []) != []:
            raise BadRequest(_NOT_A_LIST)
        return ([file] if file.tell() else []), rest
    spans, end = _strings(body, key.end(), most)
    # Another list stands in for the files, as above.
    stand_in = secrets.token_hex(8)
    rest = _rest(body, key.end(), end, f'"{stand_in}"'.encode())
    if rest.get("files") != [stand_in] or "file" in rest:
        raise BadRequest(_NOT_A_LIST)
    rest["files"] = []
    files = []
    for start, stop in spans:
        files.append(new_file())
        _decode(body, start, stop, files[-1])
    return files, rest


def _strings(body: Body, at: int, most: int) -> tuple[list[tuple[int, int]], int]:
    """Where the strings of a JSON list are, after its bracket, and where the list ends."""
    spans: list[tuple[int, int]] = []
    while start := _QUOTE.match(body, at, at + _LONGEST_GAP):
        stop = body.find(b'"', start.end())
        if stop < 0:
            break
        if len(spans) == most:  # a body may hold millions of short ones
            raise TooLarge(f"send at most {most} files at once")
        spans.append((start.end(), stop))
        comma = _COMMA.match(body, stop + 1, stop + 1 + _LONGEST_GAP)
        if comma is None:
            return spans, stop + 1
        at = comma.end()
    raise BadRequest(_NOT_A_LIST)


def _rest(body: Body, start: int, end: int, stand_in: bytes) -> dict[str, Any]:
    """The object with something else between ``start`` and ``end``, where the files are."""
    if len(body) - (end - start) > _LONGEST_REST:  # told before so much is copied
        raise BadRequest(_TOO_LONG)
    return _object(body[:start] + stand_in + body[end:])


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > _LONGEST_REST:
        raise BadRequest(_TOO_LONG)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not valid JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def _decode(body: Body, at: int, end: int, out: BinaryIO) -> None:
    prefix = _DATA_URL.match(body, at, end)
    if prefix:
        at = prefix.end()
    kept = b""
    while at < end:
        stop = min(at + _PIECE, end)
        if body[stop - 1 : stop] == b"\\" and stop < end:
            stop += 1  # do not cut an escape in two
        text = kept + _letters(body[at:stop])
        at = stop
        # whole groups of four, and the end of the string always in one piece
        cut = len(text) if at == end else max(0, len(text) - 1) // 4 * 4
        out.write(_bytes(text[:cut], last=at == end))
        kept = text[cut:]
        give_way()


def _letters(text: bytes) -> bytes:
    """Without what JSON encoders escape or wrap, in the standard alphabet."""
    if b"\\" in text:
        text = text.replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"")
    return text.translate(LETTERS, b" \t\r\n")


def _bytes(text: bytes, *, last: bool) -> bytes:
    if last:
        text += b"=" * (-len(text) % 4)  # some encoders leave the padding out
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise BadRequest("'file' is not valid base64") from None
