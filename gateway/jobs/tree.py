"""What a batch needs of the place it reads from or writes to.

A tree of relative names with slashes. A result is put whole or not at all, together with a
note of what it was made from, so that a later batch can tell what it need not do again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from gateway.storage import Link

Note = Mapping[str, str]
Copied = Callable[[int], None]


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
        """Raises Forbidden where nothing can be written.

        Leaves nothing, but for an empty object in a bucket where the service may not delete.
        """
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

    def tidy(self, before: datetime) -> int:
        """Remove what writers that died before a moment (UTC) left half-written; how much."""
        ...
