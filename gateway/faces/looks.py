"""When to look: which frames of a shot the detector sees, and how closely.

A full look finds small faces and costs as much as tens of frames of tracking; a half
look (half the width and height) costs a quarter and finds new faces of some size
sooner. A picture that does not change needs neither for ``STILL_STRETCH`` intervals, the
longest time between full looks; one that changes fast, as in a pan, brings new faces in
from its border and gets both sooner.

Time is counted both in frames and by their clock, and what comes first decides: a rate
that a file claims may be wrong, and need not be that of all its parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Look = Literal["full", "half"]

THUMBNAIL = (64, 36)
STILL = 1.5
STILL_STRETCH = 2
RESTLESS = 24.0
HASTE = 0.6


class Looks:
    """Decides frame by frame; ``interval`` is frames, ``seconds`` time between full looks."""

    def __init__(self, interval: int, seconds: float = math.inf) -> None:
        self.interval = max(1, interval)
        self._rate = self.interval / seconds
        self._thumbnail: npt.NDArray[np.int16] | None = None
        self._reference: npt.NDArray[np.int16] | None = None
        self._full = _Age()
        self._any = _Age()
        self._change = 0.0
        self._time = 0.0
        self._asked = False

    def restart(self) -> None:
        """A new shot begins with the next frame."""
        self._reference = None

    def refresh(self) -> None:
        """The next frame gets a full look, and the count begins again."""
        self._asked = True

    def decide(self, grey: npt.NDArray[np.uint8], time: float = 0.0) -> Look | None:
        """The look that the next frame, (H, W) uint8 luma of any size, gets.

        time: when it is shown, seconds.
        """
        small = cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.int16)
        self._time = time
        if self._reference is None or self._asked:
            return self._take("full", small)
        since_full = self._full.grow(time, self._rate)
        since_any = self._any.grow(time, self._rate)
        if self._thumbnail is not None:
            self._change += float(np.abs(small - self._thumbnail).mean())
        self._thumbnail = small
        still = float(np.abs(small - self._reference).max()) < STILL
        if still and self.interval > 1 and since_full < STILL_STRETCH * self.interval:
            return None
        if since_full >= self.interval:
            return self._take("full", small)
        restless = self._change > RESTLESS and since_any >= max(2, self.interval // 4)
        if restless and since_full >= HASTE * self.interval:
            return self._take("full", small)
        if restless or since_any >= max(2, -(-self.interval // 2)):
            return self._take("half", small)
        return None

    def before_cut(self) -> bool:
        """Whether the shot's last frame deserves a full look: the last one is not just past."""
        return self._reference is not None and self._any.count >= max(1, self.interval // 5)

    def _take(self, look: Look, small: npt.NDArray[np.int16]) -> Look:
        self._thumbnail, self._any, self._change = small, _Age(self._time), 0.0
        if look == "full":
            self._reference, self._full, self._asked = small, _Age(self._time), False
        return look


@dataclass
class _Age:
    """Frames since a look that was taken at ``begun`` (seconds), or the time of so many."""

    begun: float = 0.0
    frames: int = 0
    count: float = 0.0

    def grow(self, time: float, rate: float) -> float:
        """One more frame, shown at ``time``; the count, with ``rate`` frames a second."""
        self.frames += 1
        self.count = max(self.frames, (time - self.begun) * rate)
        return self.count
