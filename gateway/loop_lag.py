"""How late the event loop is, and how long its turns keep it: measured in each gateway process.

Late: a greenlet that wakes up often sees by how much it did so later than due, for whatever
reason; that is what clients feel on a busy machine. Blocked: the longest turn, from when the loop
has heard what happened until it listens again, without the time in which its thread waited for
a core. That is our own doing, be it computing, a disk or a lock that is waited for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import gevent

from gateway import metrics

log = logging.getLogger(__name__)

_PERIOD = 0.01  # seconds between two wake-ups
_WINDOW = 60.0  # seconds after which a largest lag is forgotten, or twice that
_BLOCKED = 0.05  # seconds that the loop must not be blocked for
_SHORT = 0.005  # seconds of a turn into which nobody looks any further
_FRESH = 0.002  # seconds for which a reading of the wait for cores is good enough
_TRIES = 3


class Peak:
    """The largest value of the last one or two windows."""

    def __init__(self) -> None:
        self._now = self._before = 0.0

    def take(self, value: float) -> float:
        """See a value; answers the largest."""
        self._now = max(self._now, value)
        return max(self._now, self._before)

    def turn(self) -> None:
        """A window is over."""
        self._now, self._before = 0.0, self._now


class Turns:
    """The longest turn of an event loop, in seconds, without the wait for a core.

    waited: seconds that the loop's thread has waited for one so far.
    """

    def __init__(self, loop: Any, waited: Callable[[], float]) -> None:
        self._waited = waited
        self._longest = 0.0
        self._begun = self._read = time.perf_counter()
        self._wait = waited()
        # Before and after all others: where there are priorities (libev) they say so.
        self._heard = loop.check(ref=False, priority=loop.MAXPRI)
        self._listens = loop.prepare(ref=False, priority=loop.MINPRI)
        self._heard.start(self._begin)
        self._listens.start(self._end)

    def take(self) -> float:
        """The longest since this was last asked."""
        longest, self._longest = self._longest, 0.0
        return longest

    def close(self) -> None:
        """Look no more."""
        self._heard.close()
        self._listens.close()

    def _begin(self) -> None:
        self._begun = time.perf_counter()
        if self._begun - self._read > _FRESH:
            self._begun, self._wait = self._now()
            self._read = self._begun

    def _end(self) -> None:
        spent = time.perf_counter() - self._begun
        if spent > _SHORT:
            now, wait = self._now()
            spent = now - self._begun - (wait - self._wait)
        self._longest = max(self._longest, spent)

    def _now(self) -> tuple[float, float]:
        """The time and the wait so far, of one moment: a core may be lost between the two."""
        for _ in range(_TRIES):
            before, wait, after = time.perf_counter(), self._waited(), time.perf_counter()
            if after - before < _FRESH:
                break
        return after, wait


def wait_for_cores() -> Callable[[], float]:
    """Tells for how many seconds the calling thread was ready and had no core. Where the kernel
    does not say it, all that it did not compute counts.
    """
    with contextlib.suppress(OSError):
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        return lambda: int(os.pread(file, 96, 0).split()[1]) / 1e9
    return lambda: time.perf_counter() - time.thread_time()


def start() -> gevent.Greenlet:
    """Measure from now on, for as long as the process lives."""
    return gevent.spawn(_measure)


def _measure() -> None:
    turns = Turns(gevent.get_hub().loop, wait_for_cores())
    lags, blocks = Peak(), Peak()
    over = time.monotonic() + _WINDOW
    while True:
        begun = time.monotonic()
        gevent.sleep(_PERIOD)
        now = time.monotonic()
        lag, blocked = max(0.0, now - begun - _PERIOD), turns.take()
        metrics.LOOP_LAG.observe(lag)
        metrics.LOOP_BLOCKED.observe(blocked)
        metrics.LOOP_LAG_MAX.set(lags.take(lag))
        metrics.LOOP_BLOCKED_MAX.set(blocks.take(blocked))
        if blocked > _BLOCKED:
            log.warning("the event loop was blocked", extra={"ms": round(1000 * blocked, 1)})
        if now > over:
            lags.turn()
            blocks.turn()
            over = now + _WINDOW
