"""Face boxes as arrays: x1 y1 x2 y2 in pixels, float32, last axis of length 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """N faces in one image: boxes (N, 4), scores (N,), landmarks (N, 5, 2), float32, pixels."""

    boxes: F32
    scores: F32
    landmarks: F32

    @classmethod
    def of(cls, boxes: Any, scores: Any, landmarks: Any) -> Detections:
        """From nested lists; none at all gives arrays of length 0."""
        return cls(
            np.asarray(boxes, np.float32).reshape(-1, 4),
            np.asarray(scores, np.float32).reshape(-1),
            np.asarray(landmarks, np.float32).reshape(-1, 5, 2),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def scaled(self, factor: float) -> Detections:
        """The same faces in an image ``factor`` times as large."""
        return Detections(self.boxes * factor, self.scores, self.landmarks * factor)

    def above(self, threshold: float) -> Detections:
        """The faces whose score reaches ``threshold``."""
        keep = self.scores >= threshold
        return Detections(self.boxes[keep], self.scores[keep], self.landmarks[keep])


SAME = 0.5
"""Two boxes of this overlap (:func:`iou`) are one face; what hides the one hides the other."""


def joined(looks: Sequence[Detections]) -> Detections:
    """The faces of several looks at one picture, each once, as its surest look has it."""
    if len(looks) == 1:
        return looks[0]
    boxes = np.concatenate([look.boxes for look in looks])
    scores = np.concatenate([look.scores for look in looks])
    landmarks = np.concatenate([look.landmarks for look in looks])
    kept = distinct(boxes, np.argsort(-scores, kind="stable"))
    return Detections(boxes[kept], scores[kept], landmarks[kept])


def distinct(boxes: F32, order: Sequence[int] | npt.NDArray[np.intp]) -> list[int]:
    """Those of ``boxes`` (N, 4), taken in ``order``, that are no face taken before."""
    left, kept = np.asarray(order, np.intp), []
    while len(left):
        best, left = left[:1], left[1:]
        kept += best.tolist()
        left = left[iou(boxes[best], boxes[left])[0] < SAME]
    return kept


def iou(a: F32, b: F32) -> F32:
    """Intersection over union of every pair: (N, 4) and (M, 4) → (N, M); 0 for empty boxes."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    union = area(a)[:, None] + area(b)[None] - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0).astype(np.float32)


def area(boxes: F32) -> F32:
    """Areas (N,) of boxes (N, 4); 0 where a box is inside out."""
    extent = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(extent[:, 0] * extent[:, 1], np.float32)


def centres(boxes: F32) -> F32:
    """Centres (…, 2) of boxes (…, 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / np.float32(2)


def sizes(boxes: F32) -> F32:
    """Widths and heights (…, 2) of boxes (…, 4)."""
    return boxes[..., 2:] - boxes[..., :2]


def grown(boxes: F32, scale: float) -> F32:
    """Boxes (…, 4) enlarged ``scale`` times about their centres."""
    half = sizes(boxes) * np.float32(scale / 2)
    middle = centres(boxes)
    return np.concatenate([middle - half, middle + half], axis=-1)
