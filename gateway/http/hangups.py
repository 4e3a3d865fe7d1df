"""Clients that hang up: what they wait for is given up, wherever it is.

The gateway looks at the client's connection while it waits for others, and closes its own to them;
the renderer looks at that one before it begins and between its steps.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import select
import termios
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from gateway.errors import ClientGone

connection: ContextVar[Any] = ContextVar("connection", default=None)
"""The socket of the client that the present request came from; None where there is none."""


class _HungUp(BaseException):
    """Not an Exception, which libraries would take for one of their own."""


@contextlib.contextmanager
def giving_up() -> Iterator[None]:
    """Raise ClientGone out of the block, wherever it waits, as soon as the client hangs up.

    As gevent's own time-outs do: only what runs in greenlets can be interrupted so. Blocks must
    not be nested: what the inner one does to end in good order would be interrupted once more.
    """
    client = connection.get()
    if client is None:
        yield
        return
    import gevent

    waiting = gevent.getcurrent()
    watcher = gevent.get_hub().loop.io(client.fileno(), 1)

    def look() -> None:
        watcher.stop()  # what a client sends meanwhile is its next request
        if not _unread(client.fileno()):
            waiting.throw(_HungUp())

    watcher.start(look)
    try:
        yield
    except _HungUp:
        raise ClientGone("the client has closed its connection") from None
    finally:
        watcher.close()


def has_hung_up(descriptor: int) -> bool:
    """Whether the other side of a connection has closed it, read to its end or not."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))


def _unread(descriptor: int) -> int:
    """Bytes that can be read of a readable connection; none of one that was closed."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]
