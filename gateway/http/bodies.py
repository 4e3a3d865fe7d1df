"""A request's body as it comes in: counted by the byte, and given up when it comes too slowly."""

from __future__ import annotations

import time
from typing import Any

from flask import Request

from gateway.admission import Held
from gateway.deadline import at_most
from gateway.errors import BadRequest
from gateway.http.turns import TurnTaking

BEHIND = 10.0  # seconds that a body may be late


class Pace:
    """Holds a body to a rate: it may be late by some seconds, at its beginning or anywhere else."""

    def __init__(self, rate: int, behind: float) -> None:
        """rate: bytes a second at least, 0 for any. behind: seconds that it may be late."""
        self._rate, self._behind = rate, behind
        self._spare = behind

    def allowed(self, count: int) -> float:
        """Seconds that the next ``count`` bytes may take; 0 for as long as they like."""
        return self._spare + count / self._rate if self._rate and count >= 0 else 0.0

    def came(self, count: int, seconds: float) -> None:
        """So many bytes took so long.

        Raises:
            TimeoutError: that is too late.
        """
        if self._rate:
            self._spare = min(self._behind, self._spare + count / self._rate - seconds)
            if self._spare < 0:
                raise TimeoutError


class Body(TurnTaking):
    """The stream of one; ``slow``: it was given up, and the rest may never come."""

    def __init__(self, stream: Any, held: Held, pace: Pace) -> None:
        super().__init__(stream)
        self._held, self._pace = held, pace
        self.slow = False

    def let_go(self) -> None:
        """What was spooled of it is gone."""
        self._held.release()

    def _read(self, size: int) -> bytes:
        begun = time.monotonic()
        try:
            with at_most(self._pace.allowed(size)):
                data = super()._read(size)
            self._pace.came(len(data), time.monotonic() - begun)
        except TimeoutError:  # the socket's, too
            self.slow = True
            raise BadRequest(
                "the body came too slowly, or stopped; send it again, a large file"
                " through POST /v1/uploads"
            ) from None
        self._held.grow(len(data))
        return data


def let_go(request: Request) -> None:
    """Close what was spooled of a request, which may go on without it."""
    request.close()
    body = request.environ["wsgi.input"]
    if isinstance(body, Body):
        body.let_go()
