"""From a request to a file and options, with every limit checked on the way in.

Three ways in: a multipart form with ``file``, JSON with a base64 ``file``, and either
of them with the ``upload_id`` of a file that already lies in the bucket, or, where it is
taken, the ``rig_id`` of a drawing that was rigged before. Files are spooled into
temporary files that have no name, so nothing stays behind, however the request or the
process ends.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.errors import BadOption, BadRequest, EmptyUpload, TooLarge, UnsupportedMedia
from gateway.http.base64_body import Body, take_apart
from gateway.http.receiving import let_go
from gateway.http.turns import PIECE
from gateway.settings import MIB, Settings

_FORM = "multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"
_JSON = "application/json"
_FRAME = MIB  # bytes around the file: part headers, option fields
_MOST_VALUES = 10_000  # in a small body of JSON
NOT_OPTIONS = ("wait",)
HEAD = 128 * 1024
"""Bytes that are looked at of a file: cameras put a smaller picture before a photo's size."""


@dataclass(frozen=True)
class Incoming:
    """What was asked: a spooled ``file`` of ``size`` bytes, or an id; raw options."""

    options: dict[str, Any]
    file: BinaryIO | None = None
    size: int = 0
    upload_id: str | None = None
    rig_id: str | None = None

    def head(self) -> bytes:
        """The file's first bytes, which tell its kind and mostly its pixels."""
        assert self.file is not None
        self.file.seek(0)
        return self.file.read(HEAD)


class SpoolingRequest(Request):
    """A request whose form files become unlinked temporary files, never named ones."""

    # More than the 64 KiB that the parser reads at a time: it keeps up to a boundary's
    # length of the piece before, and this limit is on both together.
    max_form_memory_size = 256 * 1024
    max_form_parts = 20

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return tempfile.TemporaryFile()


@contextlib.contextmanager
def receive(
    request: Request, settings: Settings, ids: tuple[str, ...] = ("upload_id",)
) -> Iterator[Incoming]:
    """Read the body of a request; its file lives as long as the ``with`` block.

    Args:
        ids: names of the ids that may stand for the file.

    Raises:
        UnsupportedMedia, BadRequest, EmptyUpload, TooLarge: what is wrong with it.
    """
    query = {name: value for name, value in request.args.items() if name not in NOT_OPTIONS}
    kind = request.mimetype
    try:
        if kind in (_FORM, _URLENCODED):
            yield _from_form(request, settings, query, ids)
        elif kind == _JSON:
            with tempfile.TemporaryFile() as file:
                yield _from_json(request, settings, query, ids, file)
        else:
            named = kind[:60] or "a body without a type"
            raise UnsupportedMedia(f"send {_FORM} with a 'file', or {_JSON}; not {named!r}")
    finally:
        let_go(request)


def check_declared_length(request: Request, settings: Settings) -> None:
    """Refuse a body by its declared length, before a byte of it is read.

    Raises:
        TooLarge: over the limit of its content type.
    """
    declared = request.content_length or 0
    limit = settings.max_upload_bytes + _FRAME
    if request.mimetype == _JSON:
        limit = _json_limit(settings)
    if declared > limit:
        raise too_large(request, settings)


def too_large(request: Request, settings: Settings) -> TooLarge:
    """The refusal of a body that is over its limit, with what to do instead."""
    if request.mimetype == _JSON:
        return TooLarge(
            f"a file in JSON may have {settings.max_image_bytes // MIB} MiB;"
            " send larger ones as a form or through POST /v1/uploads"
        )
    return TooLarge(f"the largest upload is {settings.max_upload_bytes // MIB} MiB")


def read_json(request: Request, most: int, what: str) -> object:
    """The JSON of a small body, whatever its declared type; None where it is none.

    Args:
        most: bytes it may have.
        what: what the body is, for the refusal.

    Raises:
        TooLarge: it has more, declared or not, or more values than any that makes sense.
    """
    try:
        with mapped_body(request, most) as body:
            text = body[:]
        if text.count(b",") > _MOST_VALUES:  # parsing millions would hold up the event loop
            raise TooLarge(f"{what} may have {_MOST_VALUES} values")
        return json.loads(text)
    except RequestEntityTooLarge:
        limit = f"{most // MIB} MiB" if most >= MIB else f"{most // 1024} KiB"
        raise TooLarge(f"{what} may have {limit}") from None
    except (ValueError, RecursionError):  # the latter: brackets in brackets in brackets
        return None


@contextlib.contextmanager
def mapped_body(request: Request, most: int) -> Iterator[Body]:
    """The body of a request: a small one in memory, so that it needs no disk; any other in a
    mapped file: to put a large one together in memory would hold the event loop for a tenth of
    a second.

    Raises:
        RequestEntityTooLarge: it has more than ``most`` bytes, declared or not.
    """
    request.max_content_length = most + 1  # a body of undeclared length is cut there
    head = b""
    while len(head) < PIECE and (piece := request.stream.read(PIECE - len(head))):
        head += piece
    if len(head) < PIECE:
        if len(head) > most:
            raise RequestEntityTooLarge
        yield head
        return
    with tempfile.TemporaryFile() as file:
        file.write(head)
        while piece := request.stream.read(PIECE):
            file.write(piece)
        if file.tell() > most:
            raise RequestEntityTooLarge
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            yield body


def _from_form(
    request: Request, settings: Settings, query: dict[str, Any], ids: tuple[str, ...]
) -> Incoming:
    request.max_content_length = settings.max_upload_bytes + _FRAME
    options = {**query, **request.form.to_dict()}
    given = _taken(options, ids)
    parts = request.files.getlist("file")
    if len(parts) > 1:
        raise BadRequest("send one 'file' a request")
    if bool(parts) + len(given) != 1:
        raise BadRequest(f"send either a 'file' part or an {_named(ids)}")
    if given:
        return Incoming(options, **given)
    file: BinaryIO = parts[0].stream  # type: ignore[assignment]
    return Incoming(options, file, _checked_size(file, settings))


def _from_json(
    request: Request,
    settings: Settings,
    query: dict[str, Any],
    ids: tuple[str, ...],
    file: BinaryIO,
) -> Incoming:
    with mapped_body(request, _json_limit(settings)) as body:
        options = {**query, **take_apart(body, file)}
    given = _taken(options, ids)
    has_file = file.tell() > 0
    if not given and not has_file:
        raise EmptyUpload(f"send a base64 'file' that is not empty, or an {_named(ids)}")
    if has_file + len(given) != 1 or not all(isinstance(v, str) for v in given.values()):
        raise BadRequest(f"send either a 'file' or an {_named(ids)} (text)")
    if given:
        return Incoming(options, **given)
    return Incoming(options, file, _checked_size(file, settings))


def _taken(options: dict[str, Any], ids: tuple[str, ...]) -> dict[str, Any]:
    """The ids that were given, taken out of the options with all that is none."""
    for name in NOT_OPTIONS:
        options.pop(name, None)
    found = {name: options.pop(name, None) for name in ids}
    return {name: value for name, value in found.items() if value not in (None, "")}


def _named(ids: tuple[str, ...]) -> str:
    return " or ".join(f"'{name}'" for name in ids)


def _checked_size(file: BinaryIO, settings: Settings) -> int:
    size = file.seek(0, os.SEEK_END)
    check_size(size, None, settings)
    return size


def check_size(size: int, kind: str | None, settings: Settings) -> None:
    """Raises EmptyUpload or TooLarge; ``kind`` is image, video or None while unknown."""
    if not size:
        raise EmptyUpload("the file is empty")
    limit = settings.max_image_bytes if kind == "image" else settings.max_upload_bytes
    if size > limit:
        raise TooLarge(f"the largest {kind or 'upload'} is {limit // MIB} MiB")


def length_of(file: BinaryIO) -> int:
    """A spooled file's size in bytes."""
    return file.seek(0, os.SEEK_END)


def body_limits(settings: Settings) -> dict[str, int]:
    """The content types that are taken, with the most bytes of a body of each."""
    form = settings.max_upload_bytes + _FRAME
    return {_FORM: form, _URLENCODED: form, _JSON: _json_limit(settings)}


def wait_seconds(request: Request, settings: Settings) -> float:
    """``?wait=`` in seconds, at most the server's own limit.

    Raises:
        BadOption: not a number from 0 on.
    """
    text = request.args.get("wait", "0")
    try:
        wait = float(text)
    except ValueError:
        wait = -1.0
    if not wait >= 0:
        raise BadOption(f"wait must be a number of seconds from 0 on, not {text[:40]!r}")
    return min(wait, settings.max_wait)


def _json_limit(settings: Settings) -> int:
    return settings.max_image_bytes * 4 // 3 + _FRAME
