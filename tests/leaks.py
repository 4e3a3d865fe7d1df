"""What must not be found once a test is over, and how it is looked for.

Uploads of the tests carry canaries: words in their metadata and in their file names. They,
and pieces of the uploads themselves, are looked for in every way in which a careless line
might write them: plain, as base64 at any offset, in hexadecimal, escaped, compressed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
from PIL import Image
from redis import Redis

SECRET = "KLARA-4711"  # in EXIF, comments, titles: nowhere
PLACE = "+47.1100+008.0000"  # where a video was taken: nowhere
NAME = "OLGA-0815 am Meer"  # in the name of an uploaded file: nowhere
ENTRY = "WANDA-2342"
"""In the names of a batch's inputs. They are the owner's own keys: the results are called
after them, and the job's record says which of them failed. Logs say nothing of them."""

_WINDOW = 24  # bytes of an upload; a multiple of 3, for base64
_OVERLAP = 256  # bytes that are looked at again where a file grew: more than any form has
_HEAD = np.dtype("<u8")  # the first bytes of a piece
_LEAST = 64  # bytes that an upload must have to be told from other things
_QUITE = 12  # different bytes that make a piece of an upload unmistakable
_TECHNICAL = {"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time"}
_TECHNICAL |= {"language", "handler_name", "vendor_id", "ENCODER", "DURATION"}
_PERSONAL = {"exif", "xmp", "XML:com.adobe.xmp", "comment", "photoshop", "Comment", "Description"}


@dataclass(frozen=True)
class Leak:
    """``what`` was found ``where``."""

    what: str
    where: str


def forms(text: bytes) -> set[bytes]:
    """The ways in which bytes may have been written down."""
    escaped = repr(text)[2:-1].encode()
    found = {text, text.hex().encode(), text.hex().upper().encode(), escaped}
    found.add(escaped.replace(b"\\", b"\\\\"))  # and that in JSON
    found.add(quote(text).encode())
    with contextlib.suppress(UnicodeDecodeError):
        found |= {text.decode().encode(kind) for kind in ("utf-16-le", "utf-16-be")}
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + text)
        # without the characters that neighbours have a part in
        found.add(coded[(0, 2, 3)[shift] : len(coded) - (0, 4, 4)[(shift + len(text)) % 3]])
    return found


def pieces(body: bytes) -> Iterator[bytes]:
    """A few pieces of an upload that nothing else contains."""
    for share in (0.25, 0.5, 0.75):
        start = int(len(body) * share) // 3 * 3
        piece = body[start : start + _WINDOW]
        if len(set(piece)) >= _QUITE:
            yield piece


class Sent:
    """What was uploaded, known by its digest and some pieces.

    There are thousands of pieces in the end, so they are looked for all at once: by their
    first bytes, as numbers.
    """

    def __init__(self) -> None:
        self.digests: set[str] = set()
        self._pieces: dict[int, set[bytes]] = {}
        self._heads = np.empty(0, _HEAD)
        self._lock = threading.Lock()

    def note(self, body: bytes) -> None:
        """This is uploaded now."""
        if len(body) < _LEAST:
            return
        digest = hashlib.sha256(body).hexdigest()
        with self._lock:
            if digest in self.digests:
                return
            self.digests.add(digest)
            for form in set().union(*map(forms, pieces(body))):
                head = int(np.frombuffer(form, _HEAD, 1)[0])
                self._pieces.setdefault(head, set()).add(form)
            self._heads = np.fromiter(sorted(self._pieces), _HEAD)

    def piece_in(self, data: bytes) -> bool:
        """Whether the data holds a piece of an upload, in any form."""
        with self._lock:
            heads, width = self._heads, _HEAD.itemsize
            if not len(heads) or len(data) < width:
                return False
            for start in range(min(width, len(data) - width + 1)):
                here = np.frombuffer(data, _HEAD, (len(data) - start) // width, start)
                near = heads[np.searchsorted(heads[:-1], here)]
                for head in set(here[near == here].tolist()):
                    if any(piece in data for piece in self._pieces[head]):
                        return True
            return False


class Needles:
    """What is looked for: some canaries and, in text, pieces of uploads."""

    def __init__(self, sent: Sent, words: Collection[str] = (SECRET, PLACE, NAME)) -> None:
        self._words = {word: forms(word.encode()) for word in words}
        self._sent = sent

    def in_text(self, data: bytes, where: str) -> Iterator[Leak]:
        """Of a log, a record, anything that is no picture."""
        yield from self.in_object(data, where)
        if self._sent.piece_in(data):
            yield Leak("a piece of an upload", where)

    def in_object(self, data: bytes, where: str) -> Iterator[Leak]:
        """Of a result, which may have the sound of what was uploaded, bit for bit."""
        for word, ways in self._words.items():
            if any(way in data for way in ways):
                yield Leak(word, where)
        if hashlib.sha256(data).hexdigest() in self._sent.digests:
            yield Leak("an upload", where)


class Folder:
    """What is new in a folder since the last look: whole files, and what was added to others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[tuple[int, str], tuple[int, int]] = {}

    def new(self) -> Iterator[tuple[str, bytes]]:
        """Names below the folder, and bytes."""
        for path in self._path.rglob("*"):
            with contextlib.suppress(OSError):  # it went meanwhile
                if path.is_symlink() or not path.is_file():
                    continue
                now = path.stat()
                key, seen = (now.st_ino, str(path)), (now.st_size, now.st_mtime_ns)
                size, _ = old = self._seen.get(key, (0, 0))
                if seen == old:
                    continue
                with path.open("rb") as file:
                    file.seek(max(0, size - _OVERLAP) if now.st_size > size else 0)
                    data = file.read()
                self._seen[key] = seen
                yield str(path.relative_to(self._path)), data


def in_redis(redis: Redis, needles: Needles) -> Iterator[Leak]:
    """In keys and values, also those that RQ compresses."""
    for key in redis.scan_iter(count=1000):
        for value in (key, *_values(redis, key)):
            yield from needles.in_text(value, f"Redis: {key.decode()}")
            with contextlib.suppress(zlib.error):
                yield from needles.in_text(zlib.decompress(value), f"Redis: {key.decode()}")


def _values(redis: Any, key: bytes) -> Iterable[bytes]:
    kind = redis.type(key).decode()
    if kind == "string":
        return [redis.get(key) or b""]
    if kind == "hash":
        return [part for pair in redis.hgetall(key).items() for part in pair]
    if kind == "list":
        return redis.lrange(key, 0, -1)
    if kind == "set":
        return redis.smembers(key)
    if kind == "zset":
        return redis.zrange(key, 0, -1)
    return [str(redis.xrange(key)).encode()] if kind == "stream" else []


def metadata(body: bytes) -> Mapping[str, object]:
    """What a picture or video says about anything but its pixels and its coding."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            told: dict[str, object] = {
                name: value for name, value in image.info.items() if name in _PERSONAL and value
            }
            return told | dict(image.getexif())
    except OSError:
        pass
    try:
        with av.open(io.BytesIO(body)) as file:
            tags = [file.metadata, *(stream.metadata for stream in file.streams)]
            return {k: v for some in tags for k, v in some.items() if k not in _TECHNICAL}
    except av.FFmpegError:
        return {}
