"""An HTTP server on loopback that misbehaves in every way an image source can, by path."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

OK = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{}\r\n"


@dataclass
class Hostile:
    """A running one; ``seen`` are the request heads that came, ``image`` what it hands out,
    ``to_tls`` what it says to a TLS handshake, if anything."""

    port: int
    image: bytes
    to_tls: bytes = b""
    seen: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(20)
            if client.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS begins
                client.sendall(self.to_tls)
                self.over.wait(0 if self.to_tls else 20)
                return
            head = client.makefile("rb")
            lines = []
            while (line := head.readline()) not in (b"\r\n", b""):
                lines.append(line.decode("latin-1").strip())
            self.seen.append("\n".join(lines))
            path = lines[0].split()[1].lstrip("/").split("?")[0] if lines else ""
            name, _, rest = path.partition("/")
            act: Callable[[socket.socket, str], None] | None = getattr(self, f"_{name}", None)
            if act is None:
                client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone")
            else:
                act(client, rest)

    def _image(self, client: socket.socket, rest: str) -> None:
        self._send(client, self.image, f"Content-Length: {len(self.image)}\r\n")

    def _lying(self, client: socket.socket, rest: str) -> None:
        """An image that is called a page."""
        client.sendall(OK.format("text/html", "").encode() + self.image)

    def _chunked(self, client: socket.socket, rest: str) -> None:
        body = b"%x\r\n" % len(self.image) + self.image + b"\r\n0\r\n\r\n"
        self._send(client, body, "Transfer-Encoding: chunked\r\n")

    def _page(self, client: socket.socket, rest: str) -> None:
        """A page that is called an image."""
        self._send(client, b"<!doctype html><title>no image</title>" * 200, "")

    def _gzip(self, client: socket.socket, rest: str) -> None:
        """What was not asked for: a bomb, 2 MB in 20 kB."""
        body = gzip.compress(self.image + bytes(2_000_000))
        self._send(client, body, "Content-Encoding: gzip\r\n")

    def _nothing(self, client: socket.socket, rest: str) -> None:
        self._send(client, b"", "Content-Length: 0\r\n")

    def _status(self, client: socket.socket, rest: str) -> None:
        client.sendall(f"HTTP/1.1 {rest} So\r\nContent-Length: 0\r\n\r\n".encode())

    def _endless(self, client: socket.socket, rest: str) -> None:
        self._send(client, self.image, "")
        while not self.over.is_set():
            client.sendall(bytes(65536))

    def _huge(self, client: socket.socket, rest: str) -> None:
        self._send(client, self.image, f"Content-Length: {10**12}\r\n")

    def _short(self, client: socket.socket, rest: str) -> None:
        self._send(client, self.image[:-10], f"Content-Length: {len(self.image)}\r\n")

    def _silent(self, client: socket.socket, rest: str) -> None:
        self.over.wait(20)

    def _drip(self, client: socket.socket, rest: str) -> None:
        """One byte at a time, in the ``head``, the ``body`` or the ``redirect``."""
        data = OK.format("image/png", "").encode() + self.image
        if rest == "body":
            client.sendall(data[:-500])
            data = data[-500:]
        elif rest == "headers":
            client.sendall(b"HTTP/1.1 200 OK\r\n")
            data = b"X: y\r\n" * 1000
        for byte in data:
            if self.over.is_set():
                return
            client.sendall(bytes([byte]))
            time.sleep(0.1)

    def _interim(self, client: socket.socket, rest: str) -> None:
        while not self.over.is_set():
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _headers(self, client: socket.socket, rest: str) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 5000 + b"\r\n")

    def _garbage(self, client: socket.socket, rest: str) -> None:
        client.sendall(b"220 mail.example.org ESMTP\r\n")

    def _hangup(self, client: socket.socket, rest: str) -> None:
        pass

    def _to(self, client: socket.socket, rest: str) -> None:
        """A redirect to what the rest of the path says (``%`` for a colon and two slashes)."""
        location = rest.replace("%3A", ":").replace("%2F", "/").replace("%40", "@")
        client.sendall(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())

    def _nowhere(self, client: socket.socket, rest: str) -> None:
        client.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")

    def _loop(self, client: socket.socket, rest: str) -> None:
        client.sendall(b"HTTP/1.1 301 Moved\r\nLocation: /loop\r\n\r\n")

    def _longer(self, client: socket.socket, rest: str) -> None:
        client.sendall(f"HTTP/1.1 307 On\r\nLocation: /longer/{rest}x\r\n\r\n".encode())

    def _hops(self, client: socket.socket, rest: str) -> None:
        """So many redirects, then the image."""
        on = f"/hops/{int(rest) - 1}" if int(rest) > 1 else "/image"
        client.sendall(f"HTTP/1.1 308 On\r\nLocation: {on}\r\n\r\n".encode())

    def _send(self, client: socket.socket, body: bytes, length: str) -> None:
        client.sendall(OK.format("image/png", length).encode() + body)


@contextlib.contextmanager
def hostile_server(image: bytes) -> Iterator[Hostile]:
    """The server, on a free port of 127.0.0.1, while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Hostile(listening.getsockname()[1], image)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while not server.over.is_set():
                    client, _ = listening.accept()
                    threading.Thread(target=server.answer, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server
        server.over.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
