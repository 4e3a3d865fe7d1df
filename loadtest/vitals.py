"""Memory, descriptors and threads of the pod's processes over time, and whether they grow."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
import psutil
from numpy.typing import ArrayLike

from loadtest.processes import MB

WINDOW = 60.0
"""Seconds of whose values the lowest counts."""

Processes = Callable[[str], list[psutil.Process]]


def floor_slope(at: ArrayLike, values: ArrayLike, groups: ArrayLike) -> float:
    """By how much the floor of ``values`` rises per unit of ``at``: the slope of a line through
    the lowest of each group, by least squares. Work in hand comes on top; a leak lifts the floor.

    groups: the group that each of the values is of.
    """
    at, values, groups = (np.asarray(each) for each in (at, values, groups))
    order = np.lexsort((values, groups))
    lowest = order[np.unique(groups[order], return_index=True)[1]]
    return float(np.polyfit(at[lowest], values[lowest], 1)[0])


@dataclass
class Life:
    """One process: seconds since the start of the watch, MB resident and MB of its own (USS),
    open descriptors, threads.
    """

    program: str
    pid: int
    at: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    uss: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Program and process id."""
        return f"{self.program} {self.pid}"

    def growth(
        self, values: Sequence[float], since: float, window: float = WINDOW, least: int = 4
    ) -> float | None:
        """By how much the floor of ``values`` rises a minute, from ``since`` seconds on or from
        the process's own second window on; None when it lived for less than ``least`` windows.
        """
        since = max(since, self.at[0] + window if self.at[0] > window else 0.0)
        at = np.array(self.at)
        warm = at >= since
        windows = (at[warm] - since) // window
        if len(np.unique(windows)) < least:
            return None
        return 60 * floor_slope(at[warm], np.asarray(values)[warm], windows)


class Vitals:
    """Samples some programs' processes while the ``with`` block runs."""

    def __init__(self, processes: Processes, programs: Sequence[str], every: float) -> None:
        self._processes = processes
        self._programs = programs
        self._every = every
        self._lives: dict[tuple[int, float], Life] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Vitals:
        self._begun = time.monotonic()
        self._sample()  # what cannot be found fails here, not in the thread
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def lives(self) -> list[Life]:
        """Every process that was seen."""
        return list(self._lives.values())

    def by_program(self) -> dict[str, list[Life]]:
        """The same, by program."""
        found: dict[str, list[Life]] = defaultdict(list)
        for life in self.lives:
            found[life.program].append(life)
        return dict(found)

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self._sample()

    def _sample(self) -> None:
        at = time.monotonic() - self._begun
        for program in self._programs:
            for process in self._processes(program):
                try:
                    with process.oneshot():
                        key = (process.pid, process.create_time())
                        memory = process.memory_full_info()
                        seen = (process.num_fds(), process.num_threads())
                except psutil.Error:
                    continue  # it has just ended
                life = self._lives.setdefault(key, Life(program, process.pid))
                life.at.append(at)
                life.rss.append(memory.rss / MB)
                life.uss.append(memory.uss / MB)
                life.descriptors.append(seen[0])
                life.threads.append(seen[1])
