"""Load on one URL: how much it takes at most, and how it answers at a constant rate.

At a constant rate a request's time counts from the moment at which it was due, so that a
slow answer does not excuse the requests that it held up.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True)
class Shot:
    """One kind of request."""

    url: str
    body: bytes
    headers: Mapping[str, str]


@dataclass
class Hits:
    """What came of many requests: milliseconds of each that got 200, seconds in all, the rest."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.times) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.times, share)) if self.times else float("nan")


class _Gun:
    """A connection that is kept open; for one thread."""

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        parts = urlsplit(shot.url)
        self._path = parts.path
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=60)

    def fire(self) -> str:
        """Send one request; empty when the answer is 200, else what went wrong."""
        try:
            self._connection.request("POST", self._path, self._shot.body, dict(self._shot.headers))
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return type(error).__name__
        return "" if answer.status == 200 else str(answer.status)


def one_by_one(shot: Shot, count: int) -> Hits:
    """Sequential requests on one connection, the first of them not counted."""
    gun, hits = _Gun(shot), Hits()
    for number in range(count + 1):
        begun = time.perf_counter()
        fault = gun.fire()
        if number:
            _note(hits, fault, begun)
    hits.seconds = sum(hits.times) / 1000
    return hits


def saturated(shot: Shot, clients: int, seconds: float) -> Hits:
    """So many clients, each with its next request as soon as it has its answer."""

    def client(gun: _Gun, hits: Hits, until: float) -> None:
        while (begun := time.perf_counter()) < until:
            _note(hits, gun.fire(), begun)

    until = time.perf_counter() + seconds
    return _together(shot, clients, lambda gun, hits: client(gun, hits, until))


def constant(shot: Shot, rate: float, seconds: float, clients: int = 64) -> Hits:
    """Requests that are due at a constant rate, whatever the answers do."""
    due: queue.SimpleQueue[float | None] = queue.SimpleQueue()

    def client(gun: _Gun, hits: Hits) -> None:
        while (moment := due.get()) is not None:
            _note(hits, gun.fire(), moment)

    def clock() -> None:
        begun = time.perf_counter()
        for number in range(round(rate * seconds)):
            moment = begun + number / rate
            time.sleep(max(0.0, moment - time.perf_counter()))
            due.put(moment)
        for _ in range(clients):
            due.put(None)

    threading.Thread(target=clock, daemon=True).start()
    return _together(shot, clients, client)


def _together(shot: Shot, clients: int, work: Callable[[_Gun, Hits], None]) -> Hits:
    each = [Hits() for _ in range(clients)]
    threads = [threading.Thread(target=work, args=(_Gun(shot), hits)) for hits in each]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Hits(time.perf_counter() - begun)
    for hits in each:
        whole.times += hits.times
        whole.failed += hits.failed
    return whole


def _note(hits: Hits, fault: str, since: float) -> None:
    if fault:
        hits.failed.append(fault)
    else:
        hits.times.append(1000 * (time.perf_counter() - since))
