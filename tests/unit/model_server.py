"""A small real server that plays TorchServe to its clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FACE = {"boxes": [[1, 2, 3, 4]], "scores": [0.9], "landmarks": [[[2, 3]] * 5]}
NOBODY: dict[str, Any] = {"boxes": [], "scores": [], "landmarks": []}
TOKEN_ERROR = {"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."}
READY = [{"modelName": "face_detector", "workers": [{"id": "9000", "status": "READY"}]}]

Answer = tuple[int, Any]


@dataclass
class Served:
    """TorchServe, as the client sees it. ``predict`` and ``describe`` may be replaced."""

    key_file: Path
    url: str = ""
    key: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    predict: Callable[[bytes], Answer] = lambda body: (200, {"images": [FACE]})
    describe: Callable[[], Answer] = lambda: (200, READY)

    def new_keys(self, name: str) -> None:
        """What a restart does."""
        self.key = name
        kinds = ("management", "inference", "API")
        self.key_file.write_text(
            json.dumps({k: {"key": f"{name}-{k}", "expiration time": "2031"} for k in kinds})
        )

    def allows(self, kind: str, header: str | None) -> bool:
        return not self.key or header == f"Bearer {self.key}-{kind}"


@contextmanager
def model_server(folder: Path) -> Iterator[Served]:
    """A server on a free loopback port; its key file, once there is one, lies in ``folder``."""
    state = Served(folder / "key_file.json")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.seen.append({"path": self.path, "headers": self.headers, "body": body})
            allowed = state.allows("inference", self.headers["Authorization"])
            self.answer(*(state.predict(body) if allowed else (400, TOKEN_ERROR)))

        def do_GET(self) -> None:
            allowed = state.allows("management", self.headers["Authorization"])
            self.answer(*(state.describe() if allowed else (400, TOKEN_ERROR)))

        def answer(self, status: int, content: Any) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that gave up is part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
