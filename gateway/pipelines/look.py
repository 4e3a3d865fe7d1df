"""Look for faces in all that a viewer might see of a still picture.

views → detect in each → where what is found is unsure, again: coarser, turned → join.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from gateway.faces.blur import Pixels
from gateway.faces.boxes import Detections, joined
from gateway.faces.views import COLOURS, TURNS, U8, Turn, planes, views, within
from gateway.pipelines.analyse import Detector, pack
from gateway.pipelines.options import THRESHOLD

# Beyond this a raw frame is more than the model server takes; it goes as a JPEG.
MAX_RAW_PIXELS = 40_000_000
JPEG_QUALITY = 95

# The detector knows upright faces without grain. Others it finds now and then, but unsurely:
# the median score of the faces in most photos is above CLEAR. Below that small looks tell
# whether a coarser one, or one another way up, shows more: faces of SURE or better are
# evidence that pictures without any hardly have.
CLEAR = 0.8
SURE = 0.5
SMALLEST_LOOK, LARGEST_LOOK = 320, 640


def look(
    detector: Detector,
    picture: Pixels,
    threshold: float,
    first: Callable[[U8], Detections],
    check: Callable[[], None] = lambda: None,
) -> Detections:
    """Faces in any view of a picture as :class:`Picture` gives it.

    first: finds what the colours alone show, upright. check: see ``blur_image``.
    """
    found = []
    for name, view in views(picture):
        check()
        upright = first(view) if name == COLOURS else detect(detector, view, threshold)
        found += [upright, *_again(detector, view, threshold, upright, check)]
    return joined(found)


def _again(
    detector: Detector,
    view: U8,
    threshold: float,
    upright: Detections,
    check: Callable[[], None],
) -> list[Detections]:
    """Faces as they are found the way up that shows the most, if any shows more."""
    scores = upright.above(THRESHOLD).scores
    if len(scores) and np.median(scores) >= CLEAR:
        return []
    height, width = view.shape[:2]
    side = min(max(max(height, width) // 2, SMALLEST_LOOK), LARGEST_LOOK)
    small = within(view, side)
    shown: dict[Turn, Detections] = {}
    for turns in TURNS:
        check()
        frames = np.stack([pack(planes(turn.picture(small))) for turn in turns])
        shown.update(zip(turns, detector.detect_frames(frames, threshold), strict=True))
    best = max(shown, key=lambda turn: _evidence(shown[turn]))
    if _evidence(shown[best]) <= _evidence(upright):
        return []
    coarse = best.back(shown[best], small.shape[1], small.shape[0])
    looks = [coarse.scaled(width / small.shape[1])]
    if best.quarters:
        check()
        looks.append(best.back(detect(detector, best.picture(view), threshold), width, height))
    return looks


def _evidence(found: Detections) -> float:
    return float(found.above(SURE).scores.sum())


def detect(detector: Detector, view: U8, threshold: float) -> Detections:
    """Faces in (H, W, 3) uint8 BGR of any size."""
    if view.shape[0] * view.shape[1] > MAX_RAW_PIXELS:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _, encoded = cv2.imencode(".jpg", view, parameters)
        return detector.detect_encoded(encoded.tobytes(), threshold)
    return detector.detect_frames(pack(planes(view))[None], threshold)[0]
