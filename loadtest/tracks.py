"""Detections of every frame linked into tracks: the reference that flicker is judged by.

Offline and plain, so that it shares no fault with the pod's own tracker. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.faces.boxes import iou

Boxes = npt.NDArray[np.float32]

MIN_IOU = 0.3
MAX_GAP = 5
MIN_HITS = 10


@dataclass(frozen=True)
class Track:
    """One face: its box (4,) in each frame from its first to its last detection."""

    boxes: dict[int, Boxes]


def link(found: Mapping[int, Boxes]) -> list[Track]:
    """Link the boxes (N, 4) of consecutive frames, best overlap first.

    Gaps of up to ``MAX_GAP`` frames are filled linearly; tracks of fewer than
    ``MIN_HITS`` detections are left out.
    """
    live: list[dict[int, Boxes]] = []
    ended: list[dict[int, Boxes]] = []
    for frame in sorted(found):
        boxes = found[frame]
        gone = [hits for hits in live if frame - max(hits) > MAX_GAP + 1]
        ended += gone
        live = [hits for hits in live if frame - max(hits) <= MAX_GAP + 1]
        free = set(range(len(boxes)))
        if live and len(boxes):
            last = np.array([hits[max(hits)] for hits in live], np.float32)
            overlap = iou(last, np.asarray(boxes, np.float32))
            for flat in np.argsort(-overlap, axis=None):
                row, column = divmod(int(flat), len(boxes))
                if overlap[row, column] < MIN_IOU:
                    break
                if column in free and frame not in live[row]:
                    live[row][frame] = boxes[column]
                    free.discard(column)
        live += [{frame: boxes[column]} for column in sorted(free)]
    return [Track(_filled(hits)) for hits in (*ended, *live) if len(hits) >= MIN_HITS]


def _filled(hits: dict[int, Boxes]) -> dict[int, Boxes]:
    frames = sorted(hits)
    every = range(frames[0], frames[-1] + 1)
    known = np.array([hits[frame] for frame in frames], np.float32)
    columns = [np.interp(every, frames, known[:, i]) for i in range(4)]
    return dict(zip(every, np.stack(columns, 1).astype(np.float32), strict=True))
