"""Tracks of a video that was watched in segments: the same face gets one number.

Neighbouring segments watch some frames twice, around the seam between them. Two tracks
that lie on each other there are one. A track that only weak detections have carried up to
the seam is known to the segment before it alone, as weak ones begin no track: it is lost
in the other, unless that is told of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from gateway.faces.boxes import F32, iou

MIN_IOU = 0.5


@dataclass(frozen=True)
class Watched:
    """One segment as it was watched.

    frames: how many are its own, numbered from 0. faces: by frame number, negative before
    the segment and from ``frames`` on behind it, the numbers (n) and boxes (n, 4) of tracks.
    """

    frames: int
    faces: Mapping[int, tuple[Sequence[int], F32]]


def reconcile(segments: Sequence[Watched]) -> list[dict[int, int]]:
    """For each segment, the number in the whole video by the track's number in the segment.

    Numbers count from 0, in the order in which tracks first appear among the segments' own
    frames; a face that no segment has there has none.
    """
    faces: list[dict[int, int]] = [{} for _ in segments]
    total = 0
    for index, segment in enumerate(segments):
        same = _same(segments[index - 1], segment) if index else {}
        for numbers, _ in segment.faces.values():
            for number in numbers:
                if number not in faces[index]:
                    if number in same:
                        faces[index][number] = faces[index - 1][same[number]]
                    else:
                        faces[index][number] = total
                        total += 1
    order: dict[int, int] = {}
    for names, segment in zip(faces, segments, strict=True):
        for frame in sorted(segment.faces):
            if 0 <= frame < segment.frames:
                for number in segment.faces[frame][0]:
                    order.setdefault(names[number], len(order))
    return [{n: order[face] for n, face in names.items() if face in order} for names in faces]


def lost(before: Watched, after: Watched, frame: int) -> F32:
    """Boxes (N, 4), at a frame of ``after``, of the faces lost at the seam between the two."""
    known = {*_same(before, after).values()}
    alive, _ = before.faces.get(before.frames, ((), None))
    numbers, boxes = before.faces.get(before.frames + frame, ((), None))
    chosen = [place for place, n in enumerate(numbers) if n in alive and n not in known]
    return np.zeros((0, 4), np.float32) if boxes is None else boxes[chosen]


def _same(before: Watched, after: Watched) -> dict[int, int]:
    """Tracks of ``before`` by those of ``after`` that are the same faces."""
    overlaps: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for frame in before.faces.keys() & {n + before.frames for n in after.faces}:
        olds, old_boxes = before.faces[frame]
        news, new_boxes = after.faces[frame - before.frames]
        shared = iou(old_boxes, new_boxes)
        for i, old in enumerate(olds):
            for j, new in enumerate(news):
                overlaps[old, new].append(float(shared[i, j]))
    if not overlaps:
        return {}
    rows = sorted({old for old, _ in overlaps})
    columns = sorted({new for _, new in overlaps})
    gain = np.zeros((len(rows), len(columns)))
    for (old, new), values in overlaps.items():
        if np.mean(values) >= MIN_IOU:
            gain[rows.index(old), columns.index(new)] = sum(values)
    pairs = zip(*linear_sum_assignment(-gain), strict=True)
    return {columns[j]: rows[i] for i, j in pairs if gain[i, j] > 0}
