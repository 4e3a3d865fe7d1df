"""Who may come in: for each kind of work so many at once, and no more than can be answered soon.

Renderer processes take work in the order in which it comes. How long a newcomer would wait
there follows from what is there already and from how long such work has been taking: who would
wait longer than anybody's patience, or than its own deadline, is told at once when to come
back. What is refused costs next to nothing, so that a pod under twice its load still does all
that it can.

What is being fetched or stored keeps no renderer process busy, so nobody waits for it; that is
why there is also a limit to all that is in, wherever it is.

All processes of a gateway count together, in memory that they share: their limits are those of
the pod, however unevenly the connections are spread over them.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import time
from collections.abc import Iterator
from dataclasses import dataclass

from gateway import deadline, metrics
from gateway.errors import Busy, ClientGone
from gateway.media.dimensions import is_large
from gateway.settings import Settings, processes

_ROWS = 256  # processes of a gateway, at most
COLUMNS = 16
"""Numbers that each process keeps: the gates' from the first on, the last that of bodies."""
_NEWEST = 0.2  # weight of the newest measurement in the mean


class Board:
    """Whole numbers that a master shares with all the processes that it forks.

    Each writes its own row only, so none needs a lock; a dead one's row is wiped by the master.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * _ROWS * (COLUMNS + 1))).cast("q")
        self._row = 0

    def sit(self, row: int) -> None:
        """This process writes this row from now on."""
        self._row = row

    def wipe(self, row: int) -> None:
        """Forget what a dead process had written."""
        for column in range(COLUMNS):
            self._cells[column * _ROWS + row] = 0

    def add(self, column: int, count: int) -> None:
        """Add to one's own count."""
        self._cells[column * _ROWS + self._row] += count

    def total(self, column: int) -> int:
        """The sum over all processes."""
        return sum(self._cells[column * _ROWS : (column + 1) * _ROWS])

    def mean(self, column: int) -> float:
        """Seconds, a mean that all keep together; 0 where nothing was measured yet."""
        return self._cells[COLUMNS * _ROWS + column] / 1e6

    def learn(self, column: int, seconds: float) -> None:
        """Take a measurement into it; of two that come at once one is lost, which is no harm."""
        cell = COLUMNS * _ROWS + column
        mean, newest = self._cells[cell], max(1, round(1e6 * seconds))
        self._cells[cell] = round(mean + _NEWEST * (newest - mean)) if mean else newest


SHARED = Board()
"""That of a real gateway: the master has imported it before it forks."""


class Places:
    """So many of one kind at once, wherever they are: being fetched, rendered or stored."""

    def __init__(self, what: str, board: Board, column: int, *, most: int, seconds: float) -> None:
        """See :class:`Admission`.

        Args:
            what: how its work is called in messages and metrics, in the plural.
            column: of the board, for what is in.
            most: how many may be in.
            seconds: how long one stays, for as long as none was seen.
        """
        self.what, self.most = what, most
        self._board, self._column = board, column
        self._guess = seconds

    @property
    def inside(self) -> int:
        """How many are in, in all processes."""
        return self._board.total(self._column)

    def is_open(self) -> bool:
        """Whether one could enter, whatever its deadline."""
        return self._lacking(1) <= 0

    def check(self, count: int = 1) -> None:
        """Raise what entering would.

        Raises:
            Busy: there is no place.
            DeadlineExceeded: its time is over already.
        """
        deadline.check()
        lacking = self._lacking(count)
        if lacking > 0:
            stay = self._board.mean(self._column) or self._guess
            raise self._refusal(stay * lacking / self.inside)

    @contextlib.contextmanager
    def entered(self, count: int = 1) -> Iterator[None]:
        """Be in for the length of the block; raises as :meth:`check` does."""
        self.check(count)
        self._board.add(self._column, count)
        begun = time.monotonic()
        try:
            yield
        finally:
            self._board.add(self._column, -count)
            self._board.learn(self._column, time.monotonic() - begun)

    def _lacking(self, count: int) -> int:
        """How many would have to leave first: none where nobody is in, however many come."""
        inside = self.inside
        return min(inside, inside + count - self.most)

    def _refusal(self, seconds: float) -> Busy:
        metrics.refused(self.what)
        wait = max(1, math.ceil(seconds))
        return Busy(f"too many {self.what} at once; try again in {wait} s", retry_after=wait)


class Lane:
    """Renderer processes that take work in the order in which it comes."""

    def __init__(self, name: str, places: int) -> None:
        self.name, self.places = name, places
        self.gates: list[Gate] = []

    @property
    def inside(self) -> int:
        """How many are at work or wait."""
        return sum(gate.working for gate in self.gates)

    def work(self) -> float:
        """Seconds of work that is in."""
        return sum(gate.working * gate.seconds for gate in self.gates)

    def wait(self) -> float:
        """Seconds that a newcomer would wait."""
        inside = self.inside
        before_it = inside + 1 - self.places
        return before_it * self.work() / inside / self.places if before_it > 0 else 0.0


@dataclass
class Work:
    """What a renderer process is busy with; ``seconds``: what it took of it, once that is known."""

    seconds: float | None = None


class Gate(Places):
    """Places for one kind of work that goes through a lane."""

    def __init__(
        self,
        what: str,
        lane: Lane,
        board: Board,
        column: int,
        *,
        most: int,
        patience: float,
        seconds: float,
    ) -> None:
        """As for :class:`Places`, and:

        Args:
            column: and the next one, for what is in its lane.
            patience: seconds within which an answer is of use.
            seconds: what one takes, for as long as none was measured.
        """
        super().__init__(what, board, column, most=most, seconds=seconds)
        self._lane, self._patience = lane, patience
        lane.gates.append(self)

    @property
    def working(self) -> int:
        """How many are at the renderer, at work or waiting for it, in all processes."""
        return self._board.total(self._column + 1)

    @property
    def seconds(self) -> float:
        """What one takes of a renderer process, in the mean."""
        return self._board.mean(self._column + 1) or self._guess

    def took(self, seconds: float) -> None:
        """One has taken so long of a renderer process."""
        self._board.learn(self._column + 1, seconds)

    def is_open(self) -> bool:
        """Whether one could enter, whatever its deadline."""
        return super().is_open() and not self._is_late(self._lane.wait())

    def check(self, count: int = 1) -> None:
        """Raise what entering would.

        Raises:
            Busy: there is no place, or it would not be answered in time.
            DeadlineExceeded: its time is over already.
        """
        super().check(count)
        wait = self._lane.wait()
        hopeless = wait > 0 and wait + self.seconds > deadline.left()
        if self._is_late(wait) or hopeless:
            raise self._refusal(self._lane.work() / self._lane.places)

    def _is_late(self, wait: float) -> bool:
        """Whether its answer would come too late to be of use.

        As many as are at work may wait in any case: no process shall ever run dry.
        """
        crowded = self._lane.inside >= 2 * self._lane.places
        return crowded and wait + self.seconds > self._patience

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Work]:
        """Of one that has entered: be at the renderer for the length of the block.

        What fails tells how long such work takes at least; when its client has gone, nobody
        knows what it would have taken.
        """
        work, wait, begun = Work(), self._lane.wait(), time.monotonic()
        self._board.add(self._column + 1, 1)
        try:
            yield work
        except ClientGone:
            raise
        except BaseException:
            lasted = time.monotonic() - begun - wait
            if lasted > self.seconds:
                self.took(lasted)
            raise
        else:
            if work.seconds is not None:
                self.took(work.seconds)
        finally:
            self._board.add(self._column + 1, -1)


class Admission:
    """All gates of a pod, sized from its settings and its cores.

    Small work has renderer processes of its own where there is an address for large work.
    """

    def __init__(self, settings: Settings, board: Board) -> None:
        places = processes()
        apart = bool(settings.renderer_large_url)
        small = Lane("small" if apart else "all", places)
        large = Lane("large", places) if apart else small
        self.lanes = (small, large) if apart else (small,)
        soon, later = settings.photo_patience, settings.drawing_patience
        columns = itertools.count(step=2)  # two for each, of which gates use both

        def gate(what: str, lane: Lane, most: int, patience: float, seconds: float) -> Gate:
            return Gate(
                *(what, lane, board, next(columns)), most=most, patience=patience, seconds=seconds
            )

        images = settings.max_classify_in_flight or 64 * places
        self.photos = gate("photos", small, settings.max_photos_in_flight or 8 * places, soon, 0.3)
        self.classifications = gate("classifications", small, images, soon, 0.03)
        self.probes = gate("videos", small, 16 * places, later, 0.1)
        self.large_photos = gate(
            "large photos", large, settings.max_large_photos_in_flight or 4 * places, later, 3.0
        )
        self.drawings = gate(
            "drawings", large, settings.max_drawings_in_flight or 8 * places, later, 2.0
        )
        self.fetches = Places("fetched images", board, next(columns), most=images, seconds=1.0)

    def of_photo(self, head: bytes, size: int) -> Gate:
        """The gate of a picture of ``size`` bytes that begins with ``head``."""
        return self.large_photos if is_large(head, size) else self.photos
