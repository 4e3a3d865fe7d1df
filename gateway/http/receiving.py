"""A request's body as it comes in: counted by the byte, refused where there is no room for it, and
given up when it comes too slowly.
"""

from __future__ import annotations

import math
import time
from typing import Any, Self

from flask import Request
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkSize, ParseException

from gateway import metrics
from gateway.admission import COLUMNS, Board
from gateway.deadline import at_most
from gateway.errors import BadRequest, Busy
from gateway.http.turns import TurnTaking
from gateway.settings import MIB, Settings

BEHIND = 10.0  # seconds that a body may be late
_LITTLE = MIB  # bytes of a body up to which it is small
_ROOM = 8  # of all bytes of bodies, one of so many is for small ones only
_STAY = 5.0  # seconds that a large body is here, for as long as none was seen
_COLUMN = COLUMNS - 1


class Receiving:
    """Bytes of bodies that are coming in or lie spooled, counted as they come.

    Large ones leave some room to the others, however many they are.
    """

    def __init__(self, settings: Settings, board: Board) -> None:
        """See the setting ``max_receiving_bytes``."""
        self._board = board
        self._most = settings.max_receiving_bytes or 4 * settings.max_upload_bytes

    @property
    def inside(self) -> int:
        """How many bytes are here, in all processes."""
        return self._board.total(_COLUMN)

    def take_in(self, size: int | None) -> Held:
        """A body that says it has ``size`` bytes, None when it does not say.

        Raises:
            Busy: with it, too many bytes would be here.
        """
        if size != 0:
            self.check(size or 1)
        return Held(self)

    def check(self, more: int, own: int = 0) -> None:
        """Raise Busy when ``more`` bytes do not fit, of a body with ``own`` bytes here already;
        alone it may have as many as it likes.
        """
        there = self.inside
        size = own + more
        most = self._most - (self._most // _ROOM if size > _LITTLE else 0)
        if there > own and there + more > most:
            metrics.refused("uploads")
            stay = self._board.mean(_COLUMN) or _STAY
            wait = max(1, math.ceil(stay * min(1.0, (there + more - most) / there)))
            raise Busy(
                f"too many files are coming in at once; try again in {wait} s", retry_after=wait
            )

    def count(self, more: int) -> None:
        """So many more bytes are here, or fewer."""
        self._board.add(_COLUMN, more)

    def stayed(self, seconds: float) -> None:
        """A large body has been here for so long."""
        self._board.learn(_COLUMN, seconds)


class Held:
    """What is here of one body: for the length of the block, or until it is released."""

    def __init__(self, receiving: Receiving) -> None:
        self._receiving = receiving
        self._size, self._begun = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def grow(self, count: int) -> None:
        """So many more bytes came.

        Raises:
            Busy: there is no room for them.
        """
        self._receiving.check(count, self._size)
        self._receiving.count(count)
        self._size += count

    def release(self) -> None:
        """All of it is gone."""
        self._receiving.count(-self._size)
        if self._size > _LITTLE:
            self._receiving.stayed(time.monotonic() - self._begun)
        self._size = 0


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


class ReceivedBody(TurnTaking):
    """A body's stream; ``slow``: it was given up, and the rest may never come."""

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
        except (InvalidChunkSize, ChunkMissingTerminator, ParseException):
            raise BadRequest("the body's chunks, or what follows them, are malformed") from None
        self._held.grow(len(data))
        return data


def let_go(request: Request) -> None:
    """Close what was spooled of a request, which may go on without it."""
    request.close()
    body = request.environ["wsgi.input"]
    if isinstance(body, ReceivedBody):
        body.let_go()
