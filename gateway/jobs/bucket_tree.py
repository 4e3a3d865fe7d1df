"""A prefix of a bucket, as a batch reads or writes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import BinaryIO

from gateway.errors import EmptyInput, Forbidden, NotFound, StorageUnavailable
from gateway.jobs.tree import Copied, Entry, Note
from gateway.storage import Link, Storage, was_denied

S3 = "s3://"
_PROBE = ".masquerade-probe"


class BucketTree:
    """A prefix of a bucket. A note is an object's metadata."""

    def __init__(self, storage: Storage, bucket: str, prefix: str) -> None:
        self._storage, self._bucket, self._prefix = storage, bucket, prefix
        self.url = f"{S3}{bucket}/{prefix}"

    def check(self) -> None:
        """See :class:`Tree`."""
        with self._may("read from the bucket"):
            first = next(self._storage.list(self._prefix, page=1), None)
        if first is None:
            raise EmptyInput(f"nothing lies under {self.url}")

    def probe(self) -> None:
        """See :class:`Tree`."""
        with self._may("write to the bucket"):
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
        with self._may("read this object of the bucket"):
            return self._storage.head(self._prefix + name, count)

    def stat(self, name: str) -> Entry:
        """See :class:`Tree`."""
        with self._may("read this object of the bucket"):
            seen = self._storage.look(self._prefix + name)
        return Entry(name, seen.size, seen.etag)

    def fetch(self, name: str, out: BinaryIO, progress: Copied) -> str:
        """See :class:`Tree`."""
        with self._may("read this object of the bucket"):
            return self._storage.fetch(self._prefix + name, out, progress)

    def note(self, name: str) -> Note | None:
        """See :class:`Tree`."""
        try:
            return self._storage.look(self._prefix + name).note or None
        except NotFound:
            return None
        except StorageUnavailable as error:
            if was_denied(error):  # also said of what is not there, to those who may not list
                return None
            raise

    def put(self, name: str, body: BinaryIO, content_type: str, note: Note) -> None:
        """See :class:`Tree`."""
        with self._may("write to the bucket"):
            self._storage.put(self._prefix + name, body, content_type, note=note)

    def link(self, name: str) -> Link | None:
        """See :class:`Tree`."""
        return self._storage.link(self._prefix + name)

    def tidy(self, before: datetime) -> int:
        """See :class:`Tree`: uploads in parts."""
        return self._storage.abort_unfinished(before, self._prefix)

    @contextlib.contextmanager
    def _may(self, act: str) -> Iterator[None]:
        """A refusal, which trying again would not change, becomes Forbidden."""
        try:
            yield
        except NotFound as error:
            raise NotFound("the file is gone") from error  # the store speaks of an upload
        except StorageUnavailable as error:
            if not was_denied(error):
                raise
            raise Forbidden(
                f"the service may not {act} {self._bucket!r}, or there is no such bucket"
            ) from error
