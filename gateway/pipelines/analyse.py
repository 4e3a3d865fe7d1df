"""Watch a moving picture once and answer the track of every face in it.

frame → shrink → cut? → look? → detector (in the background) → tracker → timeline.
The detector works on several frames at a time while the next are decoded; the
tracker takes frames in order as their answers come in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from gateway import carry
from gateway.faces.boxes import F32, Detections, joined
from gateway.faces.cuts import CutDetector
from gateway.faces.flow import Grey, shrink
from gateway.faces.looks import STILL_STRETCH, Look, Looks
from gateway.faces.timeline import Timeline
from gateway.faces.tracks import Tracker, TrackerOptions

U8 = npt.NDArray[np.uint8]

IN_FLIGHT = 4
WEAK = 0.5
MAX_GAP_SECONDS = 1.5
MAX_RATE = 60.0
"""Frames/s that are counted at most: whatever a file says, looks are not further apart."""


class Detector(Protocol):
    """What an analysis needs of :class:`gateway.models.FaceDetector`."""

    def detect_frames(self, frames: U8, threshold: float) -> list[Detections]:
        """See :meth:`gateway.models.FaceDetector.detect_frames`."""
        ...

    def detect_encoded(self, data: bytes, threshold: float) -> Detections:
        """See :meth:`gateway.models.FaceDetector.detect_encoded`."""
        ...


@dataclass(frozen=True)
class _Item:
    index: int
    grey: Grey
    scale: float
    look: Look | None
    found: Future[Detections] | None


@dataclass(frozen=True)
class _ShotEnd:
    """Between two frames: a scene cut, or the end."""


class Analysis:
    """Feeds frames to the detector and the tracker; a context manager that owns its threads."""

    def __init__(
        self,
        detector: Detector,
        *,
        threshold: float,
        rate: float,
        interval: float,
        interlaced: bool = False,
    ) -> None:
        """threshold: see BlurOptions. interval: seconds between full looks.

        rate: frames/s as the file has it; the looks follow the frames' own times.
        interlaced: each field is looked at, too, as players show them one after the other;
        not alone, for what is called interlaced may be progressive, of twice the rows.
        """
        self.timeline = Timeline()
        self.looks_taken = {"full": 0, "half": 0}
        self._detector = detector
        self._interlaced = interlaced
        self._weak = threshold * WEAK
        frames, gap = spans(rate, interval)
        self._looks = Looks(frames, interval)
        self._cuts = CutDetector()
        self._tracker = Tracker(
            TrackerOptions(threshold, max_gap=gap, extend=frames, reach=STILL_STRETCH * frames)
        )
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="detect")
        self._waiting: deque[_Item | _ShotEnd] = deque()
        self._in_flight = 0
        self._last: tuple[U8, U8, U8] | None = None

    def __enter__(self) -> Analysis:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def feed(self, index: int, planes: tuple[U8, U8, U8], time: float) -> None:
        """Take the next frame: Y, U, V planes (chroma full or half size), shown at ``time`` (s).

        They must stay as they are until the next call.
        """
        grey, scale = shrink(planes[0])
        if self._cuts.is_cut(grey):
            self._end_shot()
        look = self._looks.decide(grey, time)
        self._waiting.append(_Item(index, grey, scale, look, self._start(planes, look)))
        self._last = planes
        self._drain(keep=IN_FLIGHT)

    def refresh(self) -> None:
        """Look closely at the next frame, whatever it shows.

        From there on, what is seen does not depend on what was watched before.
        """
        self._looks.refresh()

    def settle(self, planes: tuple[U8, U8, U8]) -> None:
        """Take a frame before the first: only to know how much usually changes."""
        self._cuts.is_cut(shrink(planes[0])[0])

    def carry(self, boxes: F32) -> None:
        """Faces (N, 4) known to be in the first frame, 0, from what was watched before it."""
        self._tracker.carry(boxes)

    def finish(self) -> Timeline:
        """All frames are fed: wait for the detector and close every track."""
        self._end_shot()
        self._drain(keep=0)
        return self.timeline

    def _end_shot(self) -> None:
        """Look at the last frame before the cut, so that both sides of it are known."""
        if self._waiting and self._last is not None and self._looks.before_cut():
            item = self._waiting[-1]
            if isinstance(item, _Item) and item.found is None:
                found = self._start(self._last, "full")
                self._waiting[-1] = replace(item, look="full", found=found)
        self._waiting.append(_ShotEnd())
        self._looks.restart()

    def _start(self, planes: tuple[U8, U8, U8], look: Look | None) -> Future[Detections] | None:
        if look is None:
            return None
        self._in_flight += 1
        self.looks_taken[look] += 1
        return self._pool.submit(carry.along(self._detect), pack(planes), look)

    def _detect(self, packed: U8, look: Look) -> Detections:
        seen = [packed, *fields(packed)] if self._interlaced else [packed]
        if look == "half":
            seen = [halved(each) for each in seen]
        found = joined(self._detector.detect_frames(np.stack(seen), self._weak))
        return found if look == "full" else found.scaled(2.0)

    def _drain(self, keep: int) -> None:
        """Hand frames on until at most ``keep`` looks are still out."""
        while self._waiting and (self._in_flight > keep or self._is_known(self._waiting[0])):
            item = self._waiting.popleft()
            if isinstance(item, _ShotEnd):
                self.timeline.add(self._tracker.cut())
                continue
            found = None
            if item.found is not None:
                found = item.found.result()
                self._in_flight -= 1
            full = item.look == "full"
            self.timeline.add(
                self._tracker.feed(item.index, item.grey, item.scale, found, full=full)
            )

    def _is_known(self, item: _Item | _ShotEnd) -> bool:
        if isinstance(item, _ShotEnd):
            return True
        if item.found is None:
            # The newest frame may yet be the last of its shot, and get a look.
            return len(self._waiting) > 1
        return item.found.done()


def spans(rate: float, interval: float) -> tuple[int, int]:
    """Frames between full looks, and the longest that a track goes on unseen.

    rate: frames/s, of which ``MAX_RATE`` count. interval: seconds between full looks.
    """
    rate = min(rate, MAX_RATE)
    frames = max(1, round(rate * interval))
    # A track must outlive the longest time without a look.
    return frames, max(round(rate * MAX_GAP_SECONDS), (STILL_STRETCH + 1) * frames)


def watch(
    frames: Iterable[tuple[int, tuple[U8, U8, U8], float]],
    analysis: Analysis,
    progress: Callable[[int], None],
) -> int:
    """Feed all (index, planes, time) to an analysis; answers how many there were."""
    count = 0
    for index, planes, time in frames:
        analysis.feed(index, planes, time)
        count += 1
        progress(count)
    return count


def pack(planes: tuple[U8, U8, U8]) -> U8:
    """I420 in one array (H·3/2, W), a copy; odd sizes are padded by repeating the border."""
    luma, *chroma = planes
    height, width = luma.shape[0] + luma.shape[0] % 2, luma.shape[1] + luma.shape[1] % 2
    packed = np.empty((height * 3 // 2, width), np.uint8)
    _fit(luma, packed[:height])
    quarter = (height // 2, width // 2)
    for number, plane in enumerate(chroma):
        flat = packed[height:].reshape(2, *quarter)[number]
        if plane.shape[0] > quarter[0] or plane.shape[1] > quarter[1]:
            plane = cv2.resize(plane, quarter[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        _fit(plane, flat)
    return packed


def _fit(plane: U8, target: U8) -> None:
    height, width = plane.shape
    target[:height, :width] = plane
    target[height:, :width] = plane[-1:]
    target[:, width:] = target[:, width - 1 : width]


def fields(packed: U8) -> list[U8]:
    """I420 of each of two interlaced fields alone, its rows doubled to the size of both."""
    height = packed.shape[0] * 2 // 3
    chroma = packed[height:].reshape(2, height // 2, -1)
    alone = []
    for first in (0, 1):
        field = np.empty_like(packed)
        field[:height] = packed[:height][_rows(height, first)]
        field[height:] = chroma[:, _rows(height // 2, first)].reshape(height // 2, -1)
        alone.append(field)
    return alone


def _rows(count: int, first: int) -> npt.NDArray[np.intp]:
    """For each row of a picture the one of a field that stands for it."""
    return np.minimum(np.arange(count) // 2 * 2 + first, count - 1)


def halved(packed: U8) -> U8:
    """I420 of half the width and height, 2 at least."""
    width = packed.shape[1]
    height = packed.shape[0] * 2 // 3
    half = (max(2, width // 4 * 2), max(2, height // 4 * 2))
    out = np.empty((half[1] * 3 // 2, half[0]), np.uint8)
    out[: half[1]] = cv2.resize(packed[:height], half, interpolation=cv2.INTER_AREA)
    planes = packed[height:].reshape(2, height // 2, width // 2)
    small = out[half[1] :].reshape(2, half[1] // 2, half[0] // 2)
    for source, target in zip(planes, small, strict=True):
        target[...] = cv2.resize(source, (half[0] // 2, half[1] // 2), interpolation=cv2.INTER_AREA)
    return out
