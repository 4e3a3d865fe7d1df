"""Requests at a constant rate, whether or not the service keeps up, and the highest it stands."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

TIMEOUT = 30.0  # seconds after which a request counts as failed
CLOSE = 1.05  # the search ends when the rate that failed is at most so far above


@dataclass(frozen=True)
class Run:
    """``rate`` requests a second for ``seconds``; percentiles in s, of the successful ones."""

    rate: float
    seconds: float
    requests: int
    failed: int
    p50: float
    p99: float

    @property
    def success(self) -> float:
        """Share of the requests that were answered with 200."""
        return 1 - self.failed / self.requests


def run(url: str, body: bytes, content_type: str, rate: float, seconds: float) -> Run:
    """POST the same body again and again, each request on a connection and thread of its own.

    A request's time counts from the moment at which it was due, so that a service that
    holds everything up pays for all that waits.
    """
    address, path = urlsplit(url).netloc, urlsplit(url).path
    taken: list[float] = []
    failed: list[int] = []

    def ask(due: float) -> None:
        try:
            connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
            connection.request("POST", path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            status = answer.status
        except (OSError, http.client.HTTPException):
            status = 0
        if status == 200:
            taken.append(time.monotonic() - due)
        else:
            failed.append(status)

    begun = time.monotonic()
    threads = []
    for number in range(max(1, round(rate * seconds))):
        due = begun + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        threads.append(threading.Thread(target=ask, args=[due]))
        threads[-1].start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(taken, [50, 99]) if taken else (float("inf"), float("inf"))
    return Run(rate, seconds, len(threads), len(failed), float(p50), float(p99))


def highest(stands: Callable[[float], bool], start: float, close: float = CLOSE) -> float:
    """The highest rate that the service stands: by doubling, then by halving the interval.

    ``stands`` is asked with a rate above 0; 0 is answered when none above ``start`` / 64 passes.
    """
    low, high = 0.0, start
    while not low and high > start / 64:
        if stands(high):
            low = high
        else:
            high /= 2
    if not low:
        return 0.0
    if low == start:
        while stands(high := 2 * low):
            low = high
    else:
        high = 2 * low
    while high / low > close:
        middle = (low * high) ** 0.5
        if stands(middle):
            low = middle
        else:
            high = middle
    return low
