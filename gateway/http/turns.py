"""Long copying in the gateway, without keeping the event loop from everybody else."""

from __future__ import annotations

import time
from typing import Any

PIECE = 64 * 1024  # bytes that are copied before others get a turn


def give_way() -> None:
    """Let others run, in the gateway, where this is gevent's sleep.

    Not one of 0 seconds: fifty of those are gone through before a socket or a timer is looked at.
    """
    time.sleep(1e-6)


class TurnTaking:
    """A stream that lets others run once in a while as it is read, for one that never waits
    would keep the event loop to itself. ``count``: bytes taken so far.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._since = 0
        self._seen = b""
        self.count = 0

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, or all that there are; they stay to be read."""
        self._seen += self._take(size - len(self._seen))
        return self._seen[:size]

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most so many; fewer after a look ahead."""
        if not self._seen:
            return self._take(size)
        whole = size < 0 or size > len(self._seen)
        data, self._seen = (self._seen, b"") if whole else (self._seen[:size], self._seen[size:])
        return data + self._take(-1) if size < 0 else data

    def _take(self, size: int) -> bytes:
        data = self._read(size)
        self.count += len(data)
        self._since += len(data)
        if self._since >= PIECE:
            self._since = 0
            give_way()
        return data

    def _read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        return data
