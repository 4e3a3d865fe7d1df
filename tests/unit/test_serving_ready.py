"""Readiness of the model server: every model has a worker that says READY."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving import ready
from tests.servers import free_port


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key_file.json"
    file.write_text(json.dumps({"management": {"key": "m"}, "inference": {"key": "i"}}))
    return file


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, list[str]]]]:
    """A management API; states of each model's workers by its name."""
    models: dict[str, list[str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/models").strip("/")
            body: Any = {"models": [{"modelName": name, "modelUrl": "x.mar"} for name in models]}
            if name:
                body = [{"workers": [{"status": state} for state in models[name]]}]
            allowed = self.headers["Authorization"] == "Bearer m"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    api = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{api.server_address[1]}", models
    api.shutdown()
    api.server_close()


@pytest.mark.parametrize(
    ("models", "missing"),
    [
        ({}, "a first model"),
        ({"faces": ["READY"], "rigger": ["READY", "UNLOADING"]}, ""),
        ({"faces": ["READY"], "rigger": ["UNLOADING"], "other": []}, "rigger, other"),
    ],
)
def test_what_is_missing_is_named(
    server: tuple[str, dict[str, list[str]]],
    key_file: Path,
    models: dict[str, list[str]],
    missing: str,
) -> None:
    url, served = server
    served.update(models)
    assert ready.waiting(url, key_file) == missing


def test_no_server_no_key_or_a_wrong_key_is_not_ready(
    server: tuple[str, dict[str, list[str]]], key_file: Path
) -> None:
    url, served = server
    served["faces"] = ["READY"]
    assert "to answer" in ready.waiting(f"http://127.0.0.1:{free_port()}", key_file)
    assert "to answer" in ready.waiting(url, key_file.with_name("none"))
    key_file.write_text(json.dumps({"management": {"key": "old"}}))
    assert "to answer" in ready.waiting(url, key_file)


def test_the_exit_status_is_for_a_probe(
    server: tuple[str, dict[str, list[str]]],
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, served = server
    monkeypatch.setenv("TS_MANAGEMENT_ADDRESS", url)
    monkeypatch.chdir(key_file.parent)
    assert ready.main() == 1
    assert capsys.readouterr().out == "waiting for a first model\n"
    served["faces"] = ["READY"]
    assert ready.main() == 0
