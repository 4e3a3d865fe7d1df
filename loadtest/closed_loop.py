"""Clients that wait for each answer before they ask again: overhead, and the most that goes."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from loadtest.targets import Target


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

    def __init__(self, target: Target) -> None:
        self._target = target
        self._headers = {name: ", ".join(values) for name, values in target.header.items()}
        parts = urlsplit(target.url)
        self._path = parts.path
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=60)

    def fire(self) -> str:
        """Send one request; empty when the answer is 200, else what went wrong."""
        try:
            method, body = self._target.method, self._target.body
            self._connection.request(method, self._path, body, self._headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return type(error).__name__
        return "" if answer.status == 200 else str(answer.status)


def one_by_one(target: Target, count: int) -> Hits:
    """Sequential requests on one connection, the first of them not counted."""
    gun, hits = _Gun(target), Hits()
    for number in range(count + 1):
        begun = time.perf_counter()
        fault = gun.fire()
        if number:
            _note(hits, fault, begun)
    hits.seconds = sum(hits.times) / 1000
    return hits


def saturated(target: Target, clients: int, seconds: float) -> Hits:
    """So many clients, each with its next request as soon as it has its answer."""

    def client(gun: _Gun, hits: Hits, until: float) -> None:
        while (begun := time.perf_counter()) < until:
            _note(hits, gun.fire(), begun)

    until = time.perf_counter() + seconds
    return _together(target, clients, lambda gun, hits: client(gun, hits, until))


def _together(target: Target, clients: int, work: Callable[[_Gun, Hits], None]) -> Hits:
    each = [Hits() for _ in range(clients)]
    threads = [threading.Thread(target=work, args=(_Gun(target), hits)) for hits in each]
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
