"""A queue's life at speed: real workers, queue, leases and outputs; only the pipeline sleeps.

Workers are processes forked from one that has loaded everything, and are killed (SIGKILL) at
random; each that dies is replaced. ``python -m loadtest.jobs_simulation FOLDER COUNT`` is the
pool of them that a simulation starts for itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from deploy.local.pod import redis_server
from gateway.jobs.batches import Batch
from gateway.jobs.queue import JobQueue
from gateway.jobs.spec import parse
from gateway.pipelines.blur_image import BlurredImage
from gateway.settings import PREFIX, Settings
from gateway.storage import Storage

ROOT = Path(__file__).parents[1]
JPEG = b"\xff\xd8\xff\xe0"
BEAT, LEASE, GLANCE = 4, 15, 0.5  # seconds


@dataclass(frozen=True)
class Setup:
    """What is simulated. seconds: of sleep per item, at random up to twice that."""

    items: int
    workers: int
    seconds: float
    killed_per_minute: float = 0.05
    restart_redis: bool = False


@dataclass(frozen=True)
class Seen:
    """What came of it.

    done: counted by the batch; its skipped ones are those that a killed worker had put into
    the output but not yet counted. outputs: files in the output. begun, ended: attempts at items.
    killed: workers. seconds: from submission to the end.
    """

    done: int
    failed: int
    outputs: int
    begun: int
    ended: int
    killed: int
    seconds: float

    @property
    def repeated(self) -> float:
        """Share of work that was done again though nobody who did it was killed."""
        return (self.ended - self.outputs) / max(self.outputs, 1)


def simulate(setup: Setup) -> Seen:
    """Run a batch under fire to its end, on a Redis with an append-only file of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in ("in", "redis"):
            (folder / place).mkdir()
        for number in range(setup.items):
            (folder / "in" / f"{number % 100:02}").mkdir(exist_ok=True)
            item = folder / "in" / f"{number % 100:02}" / f"{number:06}.jpg"
            script = {"seconds": random.uniform(0, 2 * setup.seconds)}
            item.write_bytes(JPEG + json.dumps(script).encode())
        port = _free_port()
        settings = Settings(
            redis_url=f"redis://127.0.0.1:{port}/0",
            s3_endpoint="http://127.0.0.1:9",
            batch_roots=str(folder),
            result_ttl=0,
        )
        with _redis(folder / "redis", port) as redis:
            queue = JobQueue(settings)
            wish = {"pipeline": "blur", "input": f"{folder}/in", "output": f"{folder}/out"}
            begun = time.monotonic()
            batch, _ = queue.batches.submit(parse(wish, settings, Storage(settings)))
            with _pool(folder, setup.workers, settings) as pool:
                killed = _under_fire(setup, queue, batch, pool, redis)
            seconds = time.monotonic() - begun
            now = queue.batches.get(batch.id)
        log = Counter((folder / "log").read_text().split())
        outputs = sum(1 for _ in folder.glob("out/*/*.jpg"))
        return Seen(
            now.counters["done"] + now.counters["skipped"],
            now.counters["failed"],
            outputs,
            log["begun"],
            log["ended"],
            killed,
            seconds,
        )


def _under_fire(setup: Setup, queue: JobQueue, batch: Batch, pool: Path, redis: _Redis) -> int:
    """Kill workers at random until the batch is over; returns how many."""
    killed, restarted, told = 0, not setup.restart_redis, time.monotonic()
    rate = setup.workers * setup.killed_per_minute / 60
    due = time.monotonic() + random.expovariate(rate) if rate else float("inf")
    while True:
        time.sleep(GLANCE)
        now = queue.batches.get(batch.id)
        if not now.live:
            return killed
        done = now.counters["done"]
        if not restarted and done > setup.items / 2:
            restarted = True
            redis.restart()
        while time.monotonic() > due:
            due += random.expovariate(rate)
            pids = [int(pid) for pid in pool.read_text().split()]
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(random.choice(pids), signal.SIGKILL)
                killed += 1
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"    {done} of {setup.items}, {killed} workers killed", flush=True)


# the pool of workers


@contextlib.contextmanager
def _pool(folder: Path, count: int, settings: Settings) -> Iterator[Path]:
    """Runs workers; yields the file with their process ids."""
    env = {PREFIX + f.name.upper(): str(getattr(settings, f.name)) for f in fields(settings)}
    keys = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    command = [sys.executable, "-m", "loadtest.jobs_simulation", str(folder), str(count)]
    pids = folder / "pids"
    with (folder / "pool.log").open("w") as log:
        pool = subprocess.Popen(
            command, env={**os.environ, **env, **keys}, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        while not pids.exists():
            if pool.poll() is not None:
                raise RuntimeError((folder / "pool.log").read_text()[-2000:])
            time.sleep(0.1)
        yield pids
    finally:
        pool.terminate()
        pool.wait()


def pool(folder: Path, count: int) -> None:
    """Keep that many workers alive until SIGTERM; then take them along."""
    from gateway.jobs import attempts, worker

    worker.preload()
    _play(folder / "log")
    logging.disable(logging.ERROR)
    worker._BEAT, worker._LEASE = BEAT, LEASE
    attempts.BACKOFF = (0.5, 2)
    alive: set[int] = set()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    while not stopping:
        while len(alive) < count and not stopping:
            alive.add(_fork())
        listed = folder / "pids.new"
        listed.write_text(" ".join(map(str, alive)))
        listed.replace(folder / "pids")
        time.sleep(0.1)
        while gone := _reaped():
            alive.discard(gone)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _fork() -> int:
    parent, pid = os.getpid(), os.fork()
    if pid:
        return pid
    from gateway.jobs.attempts import die_with_parent
    from gateway.jobs.worker import JobWorker

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent)
    random.seed()
    code = 1
    try:
        JobWorker(Settings.from_env()).work(logging_level="CRITICAL")
        code = 0
    finally:
        os._exit(code)


def _reaped() -> int:
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0


def _play(log: Path) -> None:
    """In place of a photo's blur: sleep as long as the file says, and leave a trace."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def blur_image(data: bytes, *_: object) -> BlurredImage:
        os.write(file, b"begun\n")
        time.sleep(json.loads(data[len(JPEG) :])["seconds"])
        os.write(file, b"ended\n")
        return BlurredImage(data, "image/jpeg", "jpg", 1, 1, 1, [], {}, {})

    played = types.ModuleType("gateway.pipelines.blur_image")
    played.blur_image = blur_image  # type: ignore[attr-defined]
    sys.modules[played.__name__] = played


# Redis


class _Redis:
    """A server with an append-only file."""

    def __init__(self, folder: Path, port: int) -> None:
        self._command = [str(redis_server()), "--port", str(port), "--bind", "127.0.0.1"]
        self._command += ["--save", "", "--appendonly", "yes", "--dir", str(folder)]
        self._client = Redis.from_url(f"redis://127.0.0.1:{port}/0", retry=None)
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        while True:
            with contextlib.suppress(RedisError):
                self._client.ping()
                return
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it: nothing is saved on the way out."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Kill it, and start it anew three seconds later."""
        self.stop()
        time.sleep(3)
        self.start()


@contextlib.contextmanager
def _redis(folder: Path, port: int) -> Iterator[_Redis]:
    server = _Redis(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    pool(Path(sys.argv[1]), int(sys.argv[2]))
