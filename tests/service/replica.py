"""A further gateway with a renderer of its own, beside the pod's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import requests

from deploy.local.pod import ROOT, Pod
from tests.servers import free_port
from tests.service.helpers import eventually

PROGRAMS = {
    "renderer": ["gunicorn", "-c", "python:gateway.gunicorn_renderer"],
    "gateway": ["gunicorn", "-c", "python:gateway.gunicorn_gateway"],
    "worker": ["gateway.jobs.worker"],
}


class Replica:
    """Real processes; the model server, the bucket and Redis are the pod's.

    ``settings``: what else is set than for the pod. Logs lie in a folder among the pod's, where
    they are searched for what they must not hold, one file a program. ``off``: seconds that its
    clock is ahead.
    """

    def __init__(
        self,
        pod: Pod,
        settings: Mapping[str, str],
        worker: bool = False,
        off: float = 0.0,
    ) -> None:
        self._prefix = ["tests.off_clock", str(off)] if off else []
        self.logs = Path(tempfile.mkdtemp(prefix="replica-", dir=pod.logs))
        gateway, renderer, large = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.url = f"http://{gateway}"
        self._names = [name for name in PROGRAMS if worker or name != "worker"]
        self._env = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **pod.environment(),
            **settings,
            "GATEWAY_BIND": gateway,
            "MASQUERADE_RENDERER_URL": f"http://{renderer}",
            "MASQUERADE_RENDERER_LARGE_URL": f"http://{large}",
            "WEB_CONCURRENCY": "1",
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in self._names:
            with (self.logs / f"{name}.log").open("ab") as out:
                self._running[name] = subprocess.Popen(
                    [sys.executable, "-m", *self._prefix, *PROGRAMS[name]],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=self._env,
                    cwd=ROOT,
                    start_new_session=True,
                )
        try:
            eventually(self.ready, "the replica is ready")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> float:
        """As a cluster stops a pod: the gateway, then what it needs. Answers the gateway's s."""
        begun = time.monotonic()
        self._end("gateway")
        seconds = time.monotonic() - begun
        for name in list(self._running):
            self._end(name)
        return seconds

    def terminate(self) -> subprocess.Popen[bytes]:
        """Send the gateway one SIGTERM; answers its process."""
        self._running["gateway"].send_signal(signal.SIGTERM)
        return self._running["gateway"]

    def ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False

    def pids(self, program: str) -> list[int]:
        """A program and the processes that it started; like :meth:`Pod.pids`."""
        process = psutil.Process(self._running[program].pid)
        return [process.pid, *(child.pid for child in process.children(recursive=True))]

    def environment(self) -> dict[str, str]:
        """With what its programs run."""
        return self._env

    def kill(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _end(self, name: str) -> None:
        process = self._running[name]
        process.send_signal(signal.SIGTERM)
        log = self.logs / f"{name}.log"
        assert process.wait(timeout=60) == 0, log.read_text()[-2000:]
        del self._running[name]
