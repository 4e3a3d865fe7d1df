"""A proxy between a service and an HTTP server that it needs, which spoils what passes.

Bytes pass unchanged but for ``Connection: close``: a connection carries one request, so that
each can meet its own fate. The signature of a request to S3 stays right, since the client
signs the proxy's address, and the server is asked under that.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

_PIECE = 65536
_TICKS = 20  # times a second that something passes when the pace is slow
_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
)


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    status: answered with it (and S3's error ``code``) instead of being passed on.
    share: of its answer that passes before the connection ends, 0 to 1; None: all.
    reset: whether that end is a reset.
    pace: bytes a second that pass, either way.
    silent: it is taken in and never answered.
    """

    status: int = 0
    code: str = "InternalError"
    share: float | None = None
    reset: bool = False
    pace: int = 0
    silent: bool = False


class Proxy:
    """Listens on loopback while entered; passes all on to ``upstream`` until told otherwise."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._fault: Fault | None = None
        self._methods: Collection[str] = ()
        self._left = 0.0
        self._lock = threading.Lock()
        self._slow: set[socket.socket] = set()
        self.spoiled = 0
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, block_on_close, request_queue_size = True, False, 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def spoiling(
        self, fault: Fault, methods: Collection[str] = (), times: float = float("inf")
    ) -> Iterator[None]:
        """What meets the requests that come meanwhile: those of some ``methods`` (all when
        empty), the first so many ``times``. ``spoiled`` counts them. What is still passing
        slowly at the end is cut.
        """
        with self._lock:
            self._fault, self._methods, self._left = fault, methods, times
        try:
            yield
        finally:
            with self._lock:
                self._fault = None
                for server in self._slow:
                    with contextlib.suppress(OSError):  # it has ended by itself
                        server.shutdown(socket.SHUT_RDWR)
                self._slow.clear()

    def _fate(self, method: str) -> Fault:
        with self._lock:
            meant = not self._methods or method in self._methods
            if self._fault is None or not meant or self._left < 1:
                return Fault()
            self._left -= 1
            self.spoiled += 1
            return self._fault

    def _serve(self, client: socket.socket) -> None:
        head, rest = _read_head(client)
        if not head:
            return
        fault = self._fate(head.split(b" ", 1)[0].decode())
        if fault.status:
            _drain(client, head, rest)
            client.sendall(_refusal(fault))
        elif fault.silent:
            while client.recv(_PIECE):
                pass
        else:
            self._pass_on(client, head, rest, fault)

    def _pass_on(self, client: socket.socket, head: bytes, rest: bytes, fault: Fault) -> None:
        with socket.create_connection(self._upstream) as server:
            if fault.pace:
                with self._lock:
                    self._slow.add(server)
            server.sendall(_closing(head) + rest)
            up = threading.Thread(target=_copy, args=(client.recv, server, fault.pace), daemon=True)
            up.start()
            answer, body = _read_head(server)
            if answer.startswith(b"HTTP/1.1 100"):
                client.sendall(answer + body)
                answer, body = _read_head(server)
            whole = len(answer) + _length(answer)
            most = sys.maxsize if fault.share is None else int(fault.share * whole)
            _copy(_reader(answer + body, server, most), client, fault.pace)
            # Whoever reads from the client would keep the connection open.
            client.shutdown(socket.SHUT_RD if fault.reset else socket.SHUT_RDWR)
            up.join(1)
            if fault.reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()


def _read_head(source: socket.socket) -> tuple[bytes, bytes]:
    """A message's head with the empty line, and what came along with it; b"" at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = source.recv(_PIECE)
        if not piece:
            return b"", b""
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    return head + b"\r\n\r\n", rest


def _closing(head: bytes) -> bytes:
    first, rest = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head).split(b"\r\n", 1)
    return first + b"\r\nConnection: close\r\n" + rest


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


def _drain(client: socket.socket, head: bytes, rest: bytes) -> None:
    """Read a body that is sent in any case, or the answer would be lost in a reset."""
    if b"100-continue" in head.lower():
        return
    left = _length(head) - len(rest)
    while left > 0 and (piece := client.recv(_PIECE)):
        left -= len(piece)


def _refusal(fault: Fault) -> bytes:
    body = _ERROR.format(code=fault.code).encode()
    head = f"HTTP/1.1 {fault.status} As The Test Wants\r\nContent-Type: application/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _reader(begun: bytes, source: socket.socket, most: int) -> Callable[[int], bytes]:
    """Reads ``begun`` and then the source, ``most`` bytes in all."""
    ready, left = begun, most

    def read(count: int) -> bytes:
        nonlocal ready, left
        piece, ready = ready[: min(count, left)], ready[count:]
        if not piece and left:
            piece = source.recv(min(count, left))
        left -= len(piece)
        return piece

    return read


def _copy(read: Callable[[int], bytes], sink: socket.socket, pace: int) -> None:
    count = max(1, pace // _TICKS) if pace else _PIECE
    with contextlib.suppress(OSError):  # either side has gone
        while piece := read(count):
            sink.sendall(piece)
            if pace:
                time.sleep(len(piece) / pace)
