"""Until when the answer to the present request is of use to anybody.

A client says so in a header: ``X-Request-Timeout`` in seconds, or, written by an Envoy in
front, ``x-envoy-expected-rq-timeout-ms``. Everything that is waited for is bounded by what is
left, and work that cannot end in time is not begun.

Time limits of sockets only see silence, not a server that sends a byte a second, say. In the
gateway, where waiting is gevent's, a whole call can be given up; elsewhere a job's own deadline
kills its process.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

from gateway.errors import BadRequest, DeadlineExceeded

REQUEST_TIMEOUT = "X-Request-Timeout"
ENVOY_TIMEOUT = "X-Envoy-Expected-Rq-Timeout-Ms"

EARLY = 0.05
"""Seconds by which a wait that was bounded by a deadline may end before it: a busy event loop's
timers do."""

_until: ContextVar[float] = ContextVar("deadline", default=math.inf)


def asked(headers: Mapping[str, str]) -> float:
    """Seconds that a request's headers give it; infinite where they say nothing.

    Raises:
        BadRequest: what the client says is no number above 0.
    """
    seconds = math.inf
    for name, unit in ((REQUEST_TIMEOUT, 1.0), (ENVOY_TIMEOUT, 1e-3)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            value = float(text) * unit
        except ValueError:
            value = math.nan
        if not value > 0:
            raise BadRequest(f"{name} must be a number above 0, not {text[:20]!r}")
        seconds = min(seconds, value)
    return seconds


def start(seconds: float) -> None:
    """The present request has so long from now on; infinite for as long as it takes."""
    _until.set(time.monotonic() + seconds)


def left() -> float:
    """Seconds left to the present request; negative when its time is over."""
    return _until.get() - time.monotonic()


def check(early: float = 0.0) -> None:
    """Raise DeadlineExceeded when nobody waits for the answer any more, or will ``early`` seconds
    from now on."""
    if left() <= early:
        raise DeadlineExceeded("the time that the request gave for its answer is over")


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError out of a block that waits for sockets for longer than that.

    0 and infinity wait for ever, and so does a process without gevent's sockets.
    """
    monkey = sys.modules.get("gevent.monkey")
    if seconds in (0, math.inf) or monkey is None or not monkey.is_module_patched("socket"):
        yield
        return
    from gevent import Timeout

    timeout = Timeout(seconds)
    try:
        with timeout:
            yield
    except Timeout as over:
        if over is not timeout:
            raise
        raise TimeoutError(f"not within {seconds:g} s") from None


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """As :func:`at_most`; DeadlineExceeded when the present request has less time than that."""
    limit = min(seconds or math.inf, left())
    check()
    try:
        with at_most(limit):
            yield
    except TimeoutError:
        check()
        raise
