"""What a pod holds, before and after: its processes, their memory and descriptors."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from deploy.local.pod import Pod
from gateway.settings import MIB
from loadtest.vitals import floor_slope
from tests.service.helpers import Api, Family, becomes, eventually, live

STAYING = ("gateway", "torchserve", "redis", "s3")
"""Programs whose processes no request may end; renderers and work-horses may die for it."""
COUNTED = ("gateway", "renderer", "worker")
GROUPS = 8  # of looks, of each of which the lowest counts
SETTLED = 5.0  # seconds; what TorchServe starts to read its host's load is younger


@dataclass(frozen=True)
class Holdings:
    """What the pod holds at one moment.

    staying: the processes that no request may end. count: how many each program has.
    files: open files of each process of the gateway, without sockets, of which pools keep some.
    descriptors: of the process of each program that has most, sockets and all.
    memory: MiB per program, without what its processes share.
    """

    staying: frozenset[int]
    count: dict[str, int]
    files: dict[int, int]
    descriptors: dict[str, int] = field(compare=False)
    memory: dict[str, float] = field(compare=False)


class Watch:
    """Looks at a pod's processes."""

    def __init__(self, pod: Pod, api: Api) -> None:
        self._api = api
        self._families = {name: Family(pod, name) for name in {*STAYING, *COUNTED}}

    def at_rest(self) -> Holdings:
        """What it holds once no job lives and nothing comes or goes."""
        becomes(lambda: live(self._api), 0, "jobs that live", 120)
        seen = [self.now()]

        def same() -> Holdings | None:
            time.sleep(0.5)
            seen.append(self.now())
            return seen[-1] if seen[-1] == seen[-2] else None

        found = eventually(same, "the same processes twice in a row")
        assert isinstance(found, Holdings)
        return found

    def now(self) -> Holdings:
        """What it holds at this moment."""
        found = {name: family.processes() for name, family in self._families.items()}
        staying = [process for name in STAYING for process in found[name]]
        return Holdings(
            frozenset(process.pid for process in staying if _age(process) > SETTLED),
            {name: len(found[name]) for name in COUNTED},
            {process.pid: _files(process.pid) for process in found["gateway"]},
            {name: max(map(_descriptors, found[name]), default=0) for name in COUNTED},
            {name: round(_memory(found[name]), 1) for name in COUNTED},
        )


def _age(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return time.time() - process.create_time()
    return 0.0


def growth(files: Sequence[float], values: Sequence[float]) -> float:
    """By how much the floor of ``values`` rises while a thousand files come in.

    files: how many had come in at each of the values.
    """
    return 1000 * floor_slope(files, values, np.arange(len(values)) * GROUPS // len(values))


def _descriptors(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.num_fds())
    return 0


def _files(pid: int) -> int:
    count = 0
    with contextlib.suppress(FileNotFoundError):
        for link in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                count += str(Path(link.path).readlink()).startswith("/")
    return count


def _memory(processes: Sequence[psutil.Process]) -> float:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().uss
    return total / MIB
