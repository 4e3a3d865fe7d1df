"""Tracks, asked by frame: which boxes to hide, and how each came about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from gateway.faces.boxes import F32, distinct
from gateway.faces.tracks import Track


@dataclass(frozen=True)
class Spot:
    """One face in one frame: box (4,) in pixels, and whether the detector saw it there."""

    track: int
    box: F32
    detected: bool


@dataclass(frozen=True)
class _Path:
    number: int
    first: int
    boxes: F32
    detected: frozenset[int]


class Timeline:
    """All tracks of a video."""

    def __init__(self) -> None:
        self._paths: list[_Path] = []

    def add(self, tracks: Iterable[Track]) -> None:
        """Take finished tracks, in any order."""
        for t in tracks:
            boxes = np.stack(t.boxes).astype(np.float32)
            self._paths.append(_Path(t.number, t.first, boxes, frozenset(t.detected)))

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self) -> Iterator[list[Spot]]:
        """The spots of frame 0, 1, 2 …, without end (a frame without faces is empty)."""
        waiting = sorted(self._paths, key=lambda p: p.first, reverse=True)
        active: list[_Path] = []
        frame = 0
        while True:
            while waiting and waiting[-1].first <= frame:
                active.append(waiting.pop())
            active = [p for p in active if frame < p.first + len(p.boxes)]
            yield [Spot(p.number, p.boxes[frame - p.first], frame in p.detected) for p in active]
            frame += 1

    def counts(self, frames: int) -> tuple[int, int]:
        """Boxes detected and boxes filled in the first ``frames`` frames."""
        seen = sum(len([f for f in p.detected if f < frames]) for p in self._paths)
        total = sum(max(0, min(len(p.boxes), frames - p.first)) for p in self._paths)
        return seen, total - seen


def together(timelines: Sequence[Timeline]) -> Iterator[list[Spot]]:
    """The spots of frame 0, 1, 2 … of several views of one picture, each face once."""
    if len(timelines) == 1:
        yield from timelines[0].frames()
    for seen in zip(*(timeline.frames() for timeline in timelines), strict=True):
        spots = sorted(chain(*seen), key=lambda spot: not spot.detected)
        yield [spots[n] for n in distinct(stacked(spots), range(len(spots)))]


def stacked(spots: list[Spot]) -> F32:
    """The spots' boxes as one array (N, 4)."""
    return np.stack([s.box for s in spots]) if spots else np.zeros((0, 4), np.float32)
