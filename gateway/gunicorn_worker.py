"""gunicorn's gevent worker, with an end that does not wait for those who are silent.

gunicorn's own counts a kept-alive connection as work in progress until it times out, so
that a browser's open tab held a stopping gateway up for half a minute.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from gunicorn.workers.ggevent import GeventWorker

from gateway import stopping


class PromptWorker(GeventWorker):
    """Once told to stop, closes every connection on which no request is being answered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._silent: set[socket.socket] = set()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve one connection."""
        self._silent.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._silent.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> Any:
        """Answer one request on it."""
        self._silent.discard(sock)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self._silent.add(sock)

    def notify(self) -> None:
        """gunicorn calls this once a second, also while it stops."""
        super().notify()
        if self.alive:
            return
        stopping.begin()
        for connection in tuple(self._silent):
            with contextlib.suppress(OSError):  # its client was faster
                connection.shutdown(socket.SHUT_RD)
