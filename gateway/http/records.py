"""How gateway and renderer hand each other drawings: records of a JSON head and a body.

On the wire a record is the head's length (4 bytes, big-endian), the head, whose ``size``
is the body's length in bytes, and the body.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO

from gateway.http.turns import give_way

_LENGTH = struct.Struct(">I")
_LONGEST_HEAD = 1024 * 1024
_PIECE = 256 * 1024


class BadRecord(ValueError):
    """The stream ended amid a record, or is none of records."""


def head_of(head: dict[str, Any], size: int) -> bytes:
    """All of a record that comes before its body of ``size`` bytes."""
    text = json.dumps({**head, "size": size}, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text


def record(head: dict[str, Any], body: bytes = b"") -> bytes:
    """A whole record."""
    return head_of(head, len(body)) + body


def append(out: IO[bytes], head: dict[str, Any], body: BinaryIO) -> None:
    """Write a record whose body is a file, read from its start."""
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    out.write(head_of(head, size))
    while piece := body.read(_PIECE):
        out.write(piece)
        give_way()


def _head(text: bytes) -> dict[str, Any]:
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecord("a head is no JSON") from error
    size = head.get("size") if isinstance(head, dict) else None
    if not isinstance(size, int) or size < 0:
        raise BadRecord("a head does not tell its body's size")
    return head


class Records:
    """Reads records one after the other; ``read(n)`` gives at most n bytes, none at the end.

    Raises:
        BadRecord: from every method, where the stream is not what it should be.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._left = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The heads; a body that nobody takes is skipped."""
        while True:
            for _ in self.body_pieces():
                pass
            prefix = self._exactly(_LENGTH.size, or_end=True)
            if not prefix:
                return
            (length,) = _LENGTH.unpack(prefix)
            if length > _LONGEST_HEAD:
                raise BadRecord("a head is too long")
            head = _head(self._exactly(length))
            self._left = head["size"]
            yield head

    def body(self) -> bytes:
        """The body of the record whose head came last."""
        return b"".join(self.body_pieces())

    def body_pieces(self) -> Iterator[bytes]:
        """The same, piece by piece."""
        while self._left:
            piece = self._read(min(_PIECE, self._left))
            if not piece:
                raise BadRecord("a body ends too early")
            self._left -= len(piece)
            yield piece

    def _exactly(self, count: int, *, or_end: bool = False) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._read(count - len(data))
            if not piece:
                if or_end and not data:
                    return b""
                raise BadRecord("the stream ends too early")
            data += piece
        return data
