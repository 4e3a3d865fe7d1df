"""When to look: which frames of a shot the detector sees, and how closely.

A full look finds small faces and costs as much as tens of frames of tracking; a half
look (half the width and height) costs a quarter and finds new faces of some size
sooner. A picture that does not change needs neither for ``STILL_STRETCH`` intervals, the
longest time between full looks; one that changes fast, as in a pan, brings new faces in
from its border and gets both sooner.
"""

from __future__ import annotations

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
    """Decides frame by frame; ``interval`` is frames between full looks."""

    def __init__(self, interval: int) -> None:
        self.interval = max(1, interval)
        self._thumbnail: npt.NDArray[np.int16] | None = None
        self._reference: npt.NDArray[np.int16] | None = None
        self._since_full = 0
        self._since_any = 0
        self._change = 0.0
        self._asked = False

    def restart(self) -> None:
        """A new shot begins with the next frame."""
        self._reference = None

    def refresh(self) -> None:
        """The next frame gets a full look, and the count begins again."""
        self._asked = True

    def decide(self, grey: npt.NDArray[np.uint8]) -> Look | None:
        """The look that the next frame, (H, W) uint8 luma of any size, gets."""
        small = cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.int16)
        if self._reference is None or self._asked:
            return self._take("full", small)
        self._since_full += 1
        self._since_any += 1
        if self._thumbnail is not None:
            self._change += float(np.abs(small - self._thumbnail).mean())
        self._thumbnail = small
        still = float(np.abs(small - self._reference).max()) < STILL
        if still and self.interval > 1 and self._since_full < STILL_STRETCH * self.interval:
            return None
        if self._since_full >= self.interval:
            return self._take("full", small)
        restless = self._change > RESTLESS and self._since_any >= max(2, self.interval // 4)
        if restless and self._since_full >= HASTE * self.interval:
            return self._take("full", small)
        if restless or self._since_any >= max(2, -(-self.interval // 2)):
            return self._take("half", small)
        return None

    def before_cut(self) -> bool:
        """Whether the shot's last frame deserves a full look: the last one is not just past."""
        return self._reference is not None and self._since_any >= max(1, self.interval // 5)

    def _take(self, look: Look, small: npt.NDArray[np.int16]) -> Look:
        self._thumbnail, self._since_any, self._change = small, 0, 0.0
        if look == "full":
            self._reference, self._since_full, self._asked = small, 0, False
        return look
