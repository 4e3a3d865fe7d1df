"""A pod under load: the requests to play on it, its processes, and where results go."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psutil
from prometheus_client.samples import Sample

from deploy.local.pod import Pod
from loadtest import prometheus
from loadtest.attack import attack
from loadtest.lab import own_pod
from loadtest.pace import Step, constant
from loadtest.processes import Programs
from loadtest.results import Results
from loadtest.scenarios import Scenarios, gathered

PROGRAMS = ("gateway", "renderer", "torchserve", "worker", "s3", "redis")

_JOBS_END = 300.0  # seconds until all videos must be done


@contextmanager
def own_bench(
    out: Path,
    media: Path | None = None,
    drawings: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Bench]:
    """A bench with a pod of its own, whose logs are kept in ``out`` when something fails.

    Args:
        env: more settings of the pod.

    Raises:
        PodError: the pod does not start.
    """
    with tempfile.TemporaryDirectory(prefix="masquerade-load-") as folder:
        work = Path(folder)
        print("starting a pod …", flush=True)
        with own_pod(work / "pod", env) as pod:
            try:
                yield Bench(pod, gathered(pod.url, work / "media", media, drawings), out)
            except BaseException:
                shutil.copytree(pod.logs, out / "logs", dirs_exist_ok=True)
                raise


class Bench:
    """One pod; ``out`` gets the results of all runs, ``out/targets`` what was played."""

    def __init__(self, pod: Pod, scenarios: Scenarios, out: Path) -> None:
        self.pod = pod
        self.scenarios = scenarios
        self.out = out
        out.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, Path] = {}

    def play(self, scenario: str, steps: list[Step], name: str) -> Results:
        """Play a scenario; see :func:`loadtest.attack.attack`."""
        if scenario not in self._files:
            self._files[scenario] = self.scenarios.file(scenario, self.out / "targets")
        return attack(self._files[scenario], steps, self.out, name)

    def constant(self, scenario: str, rate: float, seconds: float, name: str) -> Results:
        """Play a scenario at a constant rate."""
        return self.play(scenario, constant(rate, seconds), name)

    @cached_property
    def processes(self) -> Programs:
        """The pod's processes by program."""
        return Programs(self.pod)

    def samples(self) -> list[Sample]:
        """The pod's metrics."""
        return prometheus.samples(self.pod.url)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each of the pod's programs so far."""
        found = dict.fromkeys(PROGRAMS, 0.0)
        for program in PROGRAMS:
            for process in self.processes(program):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found[program] += sum(process.cpu_times()[:4])  # with its ended children's
        return found

    def jobs_done(self) -> int:
        """Wait until no job is queued or at work; how many have failed since the pod's start.

        Raises:
            TimeoutError: they do not end.
        """
        until = time.monotonic() + _JOBS_END
        while prometheus.value(found := self.samples(), "masquerade_jobs_live"):
            if time.monotonic() > until:
                raise TimeoutError("the videos do not end")
            time.sleep(0.5)
        return round(prometheus.value(found, "masquerade_jobs_total", status="failed"))
