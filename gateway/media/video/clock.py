"""Timestamps: kept where they are good, repaired where they are not."""

from __future__ import annotations

from fractions import Fraction

JUMP = 10  # seconds: a larger step in a transport stream's clock is a splice, not a gap


class FrameClock:
    """Strictly increasing presentation times for the frames of one video.

    All values are ticks of the video's time base; ``step`` is the usual distance
    between frames.
    """

    def __init__(self, step: int) -> None:
        self._step = max(1, step)
        self._last: int | None = None
        self._repaired = False

    def place(self, pts: int | None, dts: int | None) -> int:
        """The time of the next frame in presentation order.

        A missing or backward time is replaced: once by half a step, so that the
        next good one still fits, then by whole steps.
        """
        candidates = [t for t in (pts, dts) if t is not None]
        if self._last is None:
            self._last = candidates[0] if candidates else 0
            return self._last
        last = self._last
        good = next((t for t in candidates if t > last), None)
        if good is not None:
            self._last, self._repaired = good, False
        elif pts is None or self._repaired:
            self._last = last + self._step
        else:
            self._last, self._repaired = last + max(1, self._step // 2), True
        return self._last


class Splices:
    """Joins the pieces of a transport stream whose clock jumps.

    Recordings cut and joined, and broadcasts, restart their clock; one offset for
    all streams keeps picture and sound together (as ffmpeg's command line does).
    """

    def __init__(self) -> None:
        self.found = False
        self._offset = Fraction(0)
        self._last: dict[int, Fraction] = {}

    def shift(self, stream: int, dts: int, time_base: Fraction, duration: int) -> int:
        """Ticks to add to this packet's times."""
        time = dts * time_base + self._offset
        last = self._last.get(stream)
        if last is not None and abs(time - last) > JUMP:
            self._offset += last - time
            self.found = True
            time = last
        self._last[stream] = time + duration * time_base
        return round(self._offset / time_base)
