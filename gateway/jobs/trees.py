"""Where a batch reads and writes: a prefix of a bucket, or a folder below an allowed root.

Both are trees of relative names with slashes. A result is put whole or not at all, together
with a note of what it was made from, so that a later batch can tell what it need not do again.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from gateway.errors import (
    BadOption,
    EmptyInput,
    Forbidden,
    NotFound,
    StorageUnavailable,
    is_disk_full,
)
from gateway.replacing import replacing
from gateway.settings import MIB, Settings
from gateway.storage import OURS, Link, Storage, Stored, was_denied

Note = Mapping[str, str]
Copied = Callable[[int], None]

_NOTES = ".masquerade"
_PROBE = ".masquerade-probe"
_NOT_UTF_8 = "its name is not UTF-8; rename it"
_S3 = "s3://"


@dataclass(frozen=True)
class Entry:
    """A file of a tree. ``size`` in bytes; ``version`` changes with the content.

    fault: why it cannot be read, mostly ''. A folder that cannot be is an entry, too, whose
    name ends in a slash.
    """

    name: str
    size: int = 0
    version: str = ""
    fault: str = ""


class Tree(Protocol):
    """What a batch needs of the place it reads from or writes to."""

    @property
    def url(self) -> str:
        """Its canonical name, ending in a slash."""
        ...

    def check(self) -> None:
        """Raises Forbidden, NotFound or EmptyInput where nothing can be read."""
        ...

    def probe(self) -> None:
        """Raises Forbidden where nothing can be written; leaves nothing."""
        ...

    def entries(self, after: str = "") -> Iterator[Entry]:
        """Every file, in an order that stays, from the one after the name ``after`` on."""
        ...

    def beside(self, name: str) -> list[str]:
        """Names of the same folder that differ from this one in their ending only."""
        ...

    def peek(self, name: str, count: int) -> bytes:
        """A file's first bytes; NotFound when there is none."""
        ...

    def stat(self, name: str) -> Entry:
        """A file as it is now; NotFound when there is none."""
        ...

    def fetch(self, name: str, out: BinaryIO, progress: Copied) -> str:
        """Copy a file; ``progress`` hears of bytes done. Returns the version copied."""
        ...

    def note(self, name: str) -> Note | None:
        """What a file here was made from; None when there is no file, or nobody's note."""
        ...

    def put(self, name: str, body: BinaryIO, content_type: str, note: Note) -> None:
        """Write a file whole or not at all."""
        ...

    def link(self, name: str) -> Link | None:
        """A presigned GET, where the tree has such."""
        ...


def open_tree(url: str, settings: Settings, storage: Storage) -> Tree:
    """The tree behind ``s3://bucket/prefix/`` or the absolute path of a folder.

    Raises:
        BadOption: it is neither. Forbidden: not one of those the settings allow.
    """
    if url.startswith(_S3):
        bucket, _, prefix = url.removeprefix(_S3).partition("/")
        return _bucket_tree(bucket, prefix, settings, storage)
    if not url.startswith("/") or "\0" in url:
        raise BadOption(
            f"{url[:80]!r} is neither s3://bucket/prefix/ nor the absolute path of a folder"
        )
    roots = [Path(root) for root in settings.batch_roots.split(":") if root]
    real = Path(url).resolve()
    for root in roots:
        if real.is_relative_to(root.resolve()):
            return FolderTree(real, root.resolve())
    raise Forbidden(
        "this folder is not below one that the service may read"
        " (setting MASQUERADE_BATCH_ROOTS); use s3://, or ask the operator"
    )


def _bucket_tree(bucket: str, prefix: str, settings: Settings, storage: Storage) -> Tree:
    named = {name.strip() for name in settings.batch_buckets.split(",")} - {""}
    if bucket not in {settings.s3_bucket, *named}:
        raise Forbidden(
            f"the bucket {bucket[:64]!r} is not one that batches may use"
            " (setting MASQUERADE_BATCH_BUCKETS)"
        )
    prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
    own = bucket == settings.s3_bucket
    if own and (not prefix or prefix.startswith(OURS)):
        raise Forbidden(f"in the service's own bucket name a prefix other than {', '.join(OURS)}")
    return BucketTree(storage.at(bucket), bucket, prefix)


class BucketTree:
    """A prefix of a bucket. A note is an object's metadata."""

    def __init__(self, storage: Storage, bucket: str, prefix: str) -> None:
        self._storage, self._prefix = storage, prefix
        self.url = f"{_S3}{bucket}/{prefix}"

    def check(self) -> None:
        """See :class:`Tree`."""
        with self._may("read"):
            first = next(self._storage.list(self._prefix, page=1), None)
        if first is None:
            raise EmptyInput(f"nothing lies under {self.url}")

    def probe(self) -> None:
        """See :class:`Tree`."""
        with self._may("write"):
            self._storage.put(self._prefix + _PROBE, io.BytesIO(), "text/plain")
        with contextlib.suppress(StorageUnavailable):  # not everybody who writes may delete
            self._storage.delete([self._prefix + _PROBE])

    def entries(self, after: str = "") -> Iterator[Entry]:
        """See :class:`Tree`."""
        for item in self._storage.list(self._prefix, self._prefix + after if after else ""):
            yield Entry(item.key.removeprefix(self._prefix), item.size, item.etag)

    def beside(self, name: str) -> list[str]:
        """See :class:`Tree`."""
        stem = self._prefix + name.removesuffix(PurePosixPath(name).suffix) + "."
        found = (item.key for item in self._storage.list(stem))
        return [key.removeprefix(self._prefix) for key in found if "/" not in key[len(stem) :]]

    def peek(self, name: str, count: int) -> bytes:
        """See :class:`Tree`."""
        with self._may("read", name):
            return self._storage.head(self._prefix + name, count)

    def stat(self, name: str) -> Entry:
        """See :class:`Tree`."""
        with self._may("read", name):
            seen = self._look(name)
        return Entry(name, seen.size, seen.etag)

    def fetch(self, name: str, out: BinaryIO, progress: Copied) -> str:
        """See :class:`Tree`."""
        with self._may("read", name):
            return self._storage.fetch(self._prefix + name, out, progress)

    def note(self, name: str) -> Note | None:
        """See :class:`Tree`."""
        try:
            return self._look(name).note or None
        except NotFound:
            return None
        except StorageUnavailable as error:
            if was_denied(error):  # also said of what is not there, to those who may not list
                return None
            raise

    def put(self, name: str, body: BinaryIO, content_type: str, note: Note) -> None:
        """See :class:`Tree`."""
        with self._may("write", name):
            self._storage.put(self._prefix + name, body, content_type, note=note)

    def link(self, name: str) -> Link | None:
        """See :class:`Tree`."""
        return self._storage.link(self._prefix + name)

    def _look(self, name: str) -> Stored:
        key = self._prefix + name
        try:
            return self._storage.look(key)
        except StorageUnavailable as error:
            if was_denied(error):
                self._storage.head(key, 1)  # says why: credentials that have expired will pass
            raise

    @contextlib.contextmanager
    def _may(self, verb: str, name: str = "") -> Iterator[None]:
        """A refusal, which trying again would not change, becomes Forbidden."""
        try:
            yield
        except StorageUnavailable as error:
            if not was_denied(error):
                raise
            raise Forbidden(
                f"the service may not {verb} {self.url}{name}, or there is no such bucket"
            ) from error


class FolderTree:
    """A folder below an allowed root. Notes lie in its sub-folder ``.masquerade``.

    Links to folders are not followed; a link to a file counts as that file, and is refused
    where it leads out of the root.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root
        self.url = str(folder).rstrip("/") + "/"

    def check(self) -> None:
        """See :class:`Tree`."""
        if not any(True for _ in self.entries()):
            raise EmptyInput(f"no file lies in {self._folder}")

    def probe(self) -> None:
        """See :class:`Tree`."""
        with self._may("write"):
            above = next(p for p in (self._folder, *self._folder.parents) if p.exists())
            tempfile.TemporaryFile(dir=above).close()

    def entries(self, after: str = "") -> Iterator[Entry]:
        """See :class:`Tree`."""
        done = tuple(after.split("/")) if after else ()
        try:
            if not self._folder.is_dir():
                raise NotFound(f"there is no folder {self._folder}")
            found = os.scandir(self._folder)
        except OSError as error:
            raise Forbidden(f"the service may not read {self._folder}") from error
        for entry in _walk(found):
            parts = tuple(entry.name.rstrip("/").split("/"))
            if parts > done and not entry.fault:
                yield entry
            # Told again rather than forgotten: it may have been readable until the cursor.
            elif parts >= done[: len(parts)] and entry.fault:
                # An escaped name sorts before the name itself, so as a cursor it skips nothing.
                plain = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
                yield replace(entry, name=plain)

    def beside(self, name: str) -> list[str]:
        """See :class:`Tree`."""
        path = self._folder / name
        names = (other.name for other in os.scandir(path.parent))
        start = path.stem + "."
        return [
            str(PurePosixPath(name).with_name(other)) for other in names if other.startswith(start)
        ]

    def peek(self, name: str, count: int) -> bytes:
        """See :class:`Tree`."""
        with self._open(name) as file:
            return file.read(count)

    def stat(self, name: str) -> Entry:
        """See :class:`Tree`."""
        with self._open(name) as file:
            seen = os.fstat(file.fileno())
            return Entry(name, seen.st_size, _version(seen))

    def fetch(self, name: str, out: BinaryIO, progress: Copied) -> str:
        """See :class:`Tree`."""
        done = 0
        with self._open(name) as file:
            while piece := file.read(MIB):
                out.write(piece)
                done += len(piece)
                progress(done)
            out.flush()
            return _version(os.fstat(file.fileno()))

    def note(self, name: str) -> Note | None:
        """See :class:`Tree`."""
        try:
            if not (self._folder / name).is_file():
                return None
            return dict(json.loads((self._folder / _NOTES / f"{name}.json").read_text()))
        except (OSError, ValueError):
            return None

    def put(self, name: str, body: BinaryIO, content_type: str, note: Note) -> None:  # noqa: ARG002
        """See :class:`Tree`. The old note goes first, the new one comes last."""
        body.seek(0)
        if {"", ".", ".."} & {*name.split("/")}:
            raise Forbidden("a key with '//', '/./' or '..' in it cannot become a file")
        told = self._folder / _NOTES / f"{name}.json"
        target = self._folder / name
        with self._may("write", name):
            for place in (told, target):
                if not place.parent.resolve().is_relative_to(self._root):
                    raise Forbidden("a link in the output folder leads out of the allowed one")
            told.unlink(missing_ok=True)
            with replacing(target) as file:
                shutil.copyfileobj(body, file, MIB)
            with replacing(told) as file:
                file.write(json.dumps(dict(note)).encode())

    def link(self, name: str) -> Link | None:  # noqa: ARG002
        """See :class:`Tree`."""
        return None

    @contextlib.contextmanager
    def _may(self, verb: str, name: str = "") -> Iterator[None]:
        """What the system refuses becomes Forbidden; a full disk does not."""
        try:
            yield
        except OSError as error:
            if is_disk_full(error):
                raise
            raise Forbidden(
                f"the service may not {verb} {self.url}{name} ({error.strerror})"
            ) from error

    def _open(self, name: str) -> BinaryIO:
        """The file behind a name, unless it lies outside, whatever links say meanwhile."""
        try:
            file = (self._folder / name).open("rb")
        except FileNotFoundError as error:
            raise NotFound("the file is gone") from error
        except PermissionError as error:
            raise Forbidden("the service may not read this file") from error
        if not Path(f"/proc/self/fd/{file.fileno()}").readlink().is_relative_to(self._root):
            file.close()
            raise Forbidden("a link leads out of the allowed folder")
        return file


def _walk(found: Iterable[os.DirEntry[str]], above: str = "") -> Iterator[Entry]:
    """Files below the folder ``above`` whose entries these are, sorted by the parts of their
    names, and folders that cannot be read.
    """
    for entry in sorted(found, key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        name, fault = above + entry.name, _NOT_UTF_8 if _is_odd(entry.name) else ""
        try:
            if entry.is_dir(follow_symlinks=False):
                name += "/"
                inside = [] if fault else list(os.scandir(entry.path))
            elif entry.is_file():
                stat = entry.stat()
            else:
                continue
        except FileNotFoundError:
            continue  # gone since
        except OSError as error:
            fault = f"the service may not read this ({error.strerror})"
        if fault:
            yield Entry(name, fault=fault)
        elif name.endswith("/"):
            yield from _walk(inside, name)
        else:
            yield Entry(name, stat.st_size, _version(stat))


def _is_odd(name: str) -> bool:
    """Whether a file's name is not UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in name)


def _version(stat: os.stat_result) -> str:
    return f"{stat.st_size}-{stat.st_mtime_ns}"
