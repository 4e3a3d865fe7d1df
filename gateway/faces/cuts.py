"""Scene cuts: the borders no track may cross."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

THUMBNAIL = (48, 27)
MIN_CHANGE = 14.0
PEAK = 3.0
MEMORY = 8
BINS = 32
MIN_HISTOGRAM_CHANGE = 0.25


class CutDetector:
    """Says of each frame whether a new shot begins with it.

    A cut is a change of the picture that stands out from the changes just before it
    (so a fast pan is none), and that moves pixels as well as brightness levels. A
    false cut only costs two extra looks; a missed one is caught by the flow check.
    """

    def __init__(self) -> None:
        self._last: npt.NDArray[np.uint8] | None = None
        self._changes: deque[float] = deque(maxlen=MEMORY)

    def is_cut(self, grey: npt.NDArray[np.uint8]) -> bool:
        """Feed the next frame, (H, W) uint8 luma of any size."""
        small = np.asarray(cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        last, self._last = self._last, small
        if last is None:
            return False
        change = float(np.abs(small.astype(np.int16) - last).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        self._changes.append(change)
        stands_out = change > MIN_CHANGE and change > PEAK * usual
        if stands_out and histogram_change(last, small) > MIN_HISTOGRAM_CHANGE:
            self._changes.clear()
            return True
        return False


def histogram_change(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Share of pixels (0 to 1) that changed their brightness class, per quarter, the mean."""
    half_y, half_x = a.shape[0] // 2, a.shape[1] // 2
    total = 0.0
    for rows in (slice(None, half_y), slice(half_y, None)):
        for cols in (slice(None, half_x), slice(half_x, None)):
            p, q = a[rows, cols], b[rows, cols]
            counts = [np.bincount(x.ravel() // (256 // BINS), minlength=BINS) for x in (p, q)]
            total += np.abs(counts[0] - counts[1]).sum() / 2 / p.size
    return total / 4
