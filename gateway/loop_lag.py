"""How late the event loop is: measured in each gateway process by a greenlet that wakes up often.

What a late wake-up cost is told twice: as a whole, which is what clients feel on a busy machine,
and the part in which this process computed instead of taking turns, which is our own doing.
"""

from __future__ import annotations

import logging
import time

import gevent

from gateway import metrics

log = logging.getLogger(__name__)

_PERIOD = 0.02  # seconds between two wake-ups
_WINDOW = 60.0  # seconds after which a largest lag is forgotten, or twice that
_BLOCKED = 0.05  # seconds that the loop must not be blocked for


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


def start() -> gevent.Greenlet:
    """Measure from now on, for as long as the process lives."""
    return gevent.spawn(_measure)


def _measure() -> None:
    lags, blocks = Peak(), Peak()
    over = time.monotonic() + _WINDOW
    while True:
        begun, used = time.monotonic(), time.thread_time()
        gevent.sleep(_PERIOD)
        now = time.monotonic()
        lag = max(0.0, now - begun - _PERIOD)
        blocked = min(lag, time.thread_time() - used)
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
