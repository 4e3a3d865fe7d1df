"""What processes take: memory of a tree while it works, time of a command."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from deploy.local.pod import Pod

MB = 1e6


class Programs:
    """The processes of a pod's programs, as they are when asked for."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._roots: dict[str, int] = {}

    def __call__(self, program: str) -> list[psutil.Process]:
        """A program and its descendants.

        Raises:
            RuntimeError: it does not run.
        """
        found = tree(self._roots[program]) if program in self._roots else []
        if not found:
            pids = self._pod.pids(program)
            if not pids:
                raise RuntimeError(f"{program} does not run; see {self._pod.logs}")
            self._roots[program] = pids[0]
            found = tree(pids[0])
        return found


class PeakMemory:
    """Samples resident memory, in MB, of some processes while the ``with`` block runs.

    ``total``: the highest sum over all of them (pages they share count once each).
    ``single``: the highest of any one process, by the kernel's own mark (VmHWM), which
    no sampling misses; it holds since that process's start.
    """

    def __init__(self, processes: Callable[[], Iterable[psutil.Process]], every: float) -> None:
        self.total = self.single = 0.0
        self._processes = processes
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._processes()  # what cannot be found fails here, not in the thread
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            total = 0.0
            for process in self._processes():
                now, high = _resident(process.pid)
                total += now
                self.single = max(self.single, high)
            self.total = max(self.total, total)
            if self._over.wait(self._every):
                return


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; none when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(pid: int) -> tuple[float, float]:
    """Resident memory now and at its highest, MB; zeros when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    kib = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return tuple(int(kib.get(name, "0").split()[0]) * 1024 / MB for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


@dataclass(frozen=True)
class Ran:
    """A finished command: wall seconds, and MB at the peak of its process tree."""

    seconds: float
    peak_mb: float


def run(command: list[str]) -> Ran:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the text holds what it said last.
    """
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        with PeakMemory(lambda: tree(process.pid), every=0.2) as memory:
            code = process.wait()
            seconds = time.perf_counter() - begun
        if code:
            said.seek(0)
            tail = said.read().decode(errors="replace")[-800:]
            raise RuntimeError(f"{Path(command[0]).name} ended with {code}: {tail}")
    return Ran(seconds, memory.total)
