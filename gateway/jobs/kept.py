"""A long video that stays on a worker's disk from one of its segments to the next.

Every work-horse is a process of its own, so the file is the worker's: opened before it forks,
without a name, gone with the worker however that ends. Only one is kept, and only while
segments of the same video follow each other.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO

_MARK = 4096  # bytes of the second file, which says that the first is whole


class Kept:
    """The file of one worker, shared with the work-horses that it forks."""

    def __init__(self) -> None:
        self._owner = ""
        self._files: tuple[IO[bytes], IO[bytes]] | None = None

    def turn_to(self, owner: str) -> None:
        """In the worker, before it forks: whose the file is to be from now on; '' for nobody's."""
        if owner == self._owner:
            return
        for file in self._files or ():
            file.close()
        self._files = (_unnamed(), _unnamed()) if owner else None
        self._owner = owner

    @contextlib.contextmanager
    def file(
        self, owner: str, fetch: Callable[[IO[bytes]], str]
    ) -> Iterator[tuple[IO[bytes], str]]:
        """In a work-horse: the owner's file and its version, fetched if it is not there yet.

        ``fetch`` writes it and answers the version. Where no file is kept for this owner, a
        temporary one is used.
        """
        if self._files is None or owner != self._owner:
            with _unnamed() as spool:
                yield spool, fetch(spool)
            return
        file, mark = self._files
        version = os.pread(mark.fileno(), _MARK, 0).decode()
        if not version:
            os.ftruncate(file.fileno(), 0)  # what one that was killed amid fetching has left
            file.seek(0)
            version = fetch(file)
            os.pwrite(mark.fileno(), version.encode(), 0)
        yield file, version


def _unnamed() -> IO[bytes]:
    return tempfile.TemporaryFile()
