"""Detections at key frames → tracks through every frame.

Key frames are looked at by the detector; between them boxes follow the picture
(:mod:`gateway.faces.flow`). A track that is seen again has the drift of its path
spread over the frames since it was last seen, so paths meet every detection exactly
and a face missed in between stays hidden. Association is in two rounds, strong
detections first (Zhang et al. 2022, "ByteTrack"): weak ones continue tracks, only
strong ones begin them. Tracks are extended before their first and after their last
detection, as far as no full look denies that the face was there, and never cross a
scene cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from gateway.faces.boxes import F32, Detections, centres, iou, sizes
from gateway.faces.flow import Grey, Motion, follow

MIN_IOU = 0.15
MAX_OFFSET = 0.6
MAX_SIZE_RATIO = 2.0
NEAR = 2
Follow = Callable[[Grey, Grey, F32], Motion]


@dataclass(frozen=True)
class TrackerOptions:
    """Frames, not seconds: the caller knows the rate.

    threshold: smallest score that begins a track. max_gap: longest stretch without a
    detection that is filled. extend: frames added at either end, at least. reach: and at
    most, where no full look was taken; the longest time between two.
    """

    threshold: float = 0.2
    max_gap: int = 45
    extend: int = 10
    reach: int = 0


@dataclass
class Track:
    """One face through one shot: boxes (n, 4) for frames ``first`` … ``first + n - 1``."""

    number: int
    first: int
    boxes: list[F32]
    detected: set[int] = field(default_factory=set)
    score: float = 0.0
    last_seen: int = 0
    missed: int | None = None  # the first full look since, which did not find it
    drifted: bool = False

    @property
    def last(self) -> int:
        """The last frame with a box."""
        return self.first + len(self.boxes) - 1

    def see(self, frame: int, box: F32, score: float, inside: F32) -> None:
        """Pin the path to a detection at its last frame, ``frame``.

        inside: box (4,); an edge of a face on or beyond it is cut by the picture's border.
        """
        gap = frame - self.last_seen
        start = self.last_seen - self.first
        box = uncut(box, self.boxes[-1], inside)
        anchor = uncut(self.boxes[start], box, inside)
        grown, drift = anchor - self.boxes[start], box - self.boxes[-1]
        self.boxes[start] = anchor
        for step in range(1, gap):
            part = step / gap
            if self.drifted:
                self.boxes[start + step] = anchor + (box - anchor) * part
            else:
                path = self.boxes[start + step]
                self.boxes[start + step] = path + grown * (1 - part) + drift * part
        self.boxes[-1] = box
        self.detected.add(frame)
        self.last_seen, self.missed, self.drifted = frame, None, False
        self.score = max(self.score, score)

    def end_after(self, frame: int) -> None:
        """Drop the boxes after ``frame``."""
        del self.boxes[max(1, frame - self.first + 1) :]


class Tracker:
    """Feeds on frames in order, with detections at some; answers finished tracks."""

    def __init__(self, options: TrackerOptions, follow: Follow = follow) -> None:
        self.options = options
        self._follow = follow
        self._greys: deque[tuple[int, Grey]] = deque(maxlen=max(options.extend, options.reach) + 1)
        self._full: int | None = None
        self._active: list[Track] = []
        self._count = 0

    def carry(self, boxes: F32) -> None:
        """Faces (N, 4) known to be in the frame fed first, 0, however weakly they show."""
        for box in boxes:
            self._active.append(Track(self._count, 0, [box]))
            self._count += 1

    def feed(
        self,
        frame: int,
        grey: Grey,
        scale: float,
        found: Detections | None,
        *,
        full: bool = True,
    ) -> list[Track]:
        """Take frame number ``frame``.

        Args:
            frame: consecutive numbers.
            grey: small luma of the frame.
            scale: frame pixels per pixel of ``grey``.
            found: the detector's answer (frame pixels) where it looked, else None.
            full: whether a face that it did not find is none, however small.

        Returns:
            Tracks that ended.
        """
        if self._greys and self._active:
            boxes = np.stack([t.boxes[-1] for t in self._active]) / scale
            motion = self._follow(self._greys[-1][1], grey, boxes.astype(np.float32))
            for track, box, reliable in zip(
                self._active, motion.boxes * scale, motion.reliable, strict=True
            ):
                track.boxes.append(box)
                track.drifted |= not reliable
        self._greys.append((frame, grey))
        ended = self._retire(frame)
        if found is not None:
            self._match(frame, scale, found)
            if full:
                self._note(frame)
        return ended

    def _note(self, frame: int) -> None:
        """A full look was taken at ``frame``: whom it did not find may be gone by then."""
        self._full = frame
        for track in self._active:
            if track.missed is None and track.last_seen < frame:
                track.missed = frame

    def cut(self) -> list[Track]:
        """A shot ended with the frame fed last: end and answer all its tracks."""
        ended = [self._finish(track) for track in self._active]
        self._active = []
        self._greys.clear()
        self._full = None
        return ended

    def _retire(self, frame: int) -> list[Track]:
        old = [t for t in self._active if frame - t.last_seen > self.options.max_gap]
        self._active = [t for t in self._active if frame - t.last_seen <= self.options.max_gap]
        return [self._finish(track) for track in old]

    def _finish(self, track: Track) -> Track:
        track.end_after(track.last_seen + self._extent(track.last_seen, track.missed))
        return track

    def _extent(self, seen: int, look: int | None) -> int:
        """Frames beyond a sight that the face may be there: up to the full look next to it."""
        until = self.options.reach if look is None else abs(look - seen) - 1
        return max(self.options.extend, min(until, self.options.reach))

    def _match(self, frame: int, scale: float, found: Detections) -> None:
        strong = np.flatnonzero(found.scores >= self.options.threshold)
        weak = np.flatnonzero(found.scores < self.options.threshold)
        free = list(self._active)
        used: set[int] = set()
        height, width = self._greys[-1][1].shape
        inside = scale * np.array([NEAR, NEAR, width - NEAR, height - NEAR], np.float32)
        for group in (strong, weak):
            pairs = associate([t.boxes[-1] for t in free], found.boxes[group])
            for i, j in pairs:
                index = int(group[j])
                free[i].see(frame, found.boxes[index], float(found.scores[index]), inside)
                used.add(index)
            free = [t for n, t in enumerate(free) if n not in {i for i, _ in pairs}]
        for index in set(strong.tolist()) - used:
            self._begin(frame, scale, found.boxes[index], float(found.scores[index]))

    def _begin(self, frame: int, scale: float, box: F32, score: float) -> None:
        """Start a track, and follow it backwards to before it was first detected."""
        path = [box]
        greys = list(self._greys)[-1 - self._extent(frame, self._full) :]
        for (_, later), (_, earlier) in zip(greys[::-1], greys[-2::-1], strict=False):
            motion = self._follow(later, earlier, (path[-1][None] / scale).astype(np.float32))
            path.append(motion.boxes[0] * scale)
        path.reverse()
        self._active.append(
            Track(self._count, frame - len(path) + 1, path, {frame}, score, last_seen=frame)
        )
        self._count += 1


def uncut(box: F32, like: F32, inside: F32) -> F32:
    """A face's box (4,), continued beyond the picture's border to the size of ``like``.

    A detector's box ends where the picture does. Taken for a smaller face, it would pull
    the path between it and the whole face off the face.
    """
    low, high = box[:2], box[2:]
    cut_low, cut_high = low <= inside[:2], high >= inside[2:]
    size = np.maximum(sizes(like), high - low)
    return np.concatenate(
        [np.where(cut_low, high - size, low), np.where(cut_high, low + size, high)]
    ).astype(np.float32)


def associate(predicted: list[F32], boxes: F32) -> list[tuple[int, int]]:
    """Pairs (i, j) of predicted and detected boxes that are the same face.

    Cost is 1 − IoU, plus distance for boxes that moved out of each other; a pair needs
    some overlap, or a centre within ``MAX_OFFSET`` of the face's size, and similar sizes.
    """
    if not predicted or not len(boxes):
        return []
    before = np.stack(predicted)
    overlap = iou(before, boxes)
    side_a = np.sqrt(np.maximum(np.prod(sizes(before), axis=1), 1))
    side_b = np.sqrt(np.maximum(np.prod(sizes(boxes), axis=1), 1))
    larger = np.maximum(side_a[:, None], side_b[None])
    distance = np.linalg.norm(centres(before)[:, None] - centres(boxes)[None], axis=2) / larger
    ratio = larger / np.minimum(side_a[:, None], side_b[None])
    possible = ((overlap >= MIN_IOU) | (distance < MAX_OFFSET)) & (ratio < MAX_SIZE_RATIO)
    cost = np.where(possible, 1 - overlap + distance, 1e6)
    rows, cols = linear_sum_assignment(cost)
    return [(int(i), int(j)) for i, j in zip(rows, cols, strict=True) if possible[i, j]]
