"""Which faces an output hides, judged by its pixels alone.

An output is compared with its *baseline*: the same file through the same encoder with
nothing hidden. A pixel counts as changed where the fine detail around it (finer than a
tenth of the face) no longer correlates with the baseline's. Plain differences would not
do: a dark face differs by less than an encoder's noise beside a bright edge, and a
smooth cheek looks the same blurred. Where the baseline has no detail there is nothing
to judge by. Pictures are luma, (H, W) uint8.

How well that works, by boxes of known truth in three clips: 96–100% of hidden ones are
called hidden, 0–6% of untouched ones of 24 px and more (smaller ones on dark, flat
ground up to 20%: codecs remove their detail by themselves).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from gateway.media.video import VideoLimits, probe, read_frames

U8 = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

ENOUGH = 0.5
CLASSES = (("< 24 px", 0, 24), ("24–64 px", 24, 64), ("> 64 px", 64, 1 << 30))

FACE_SIDE = 40.0  # larger faces are looked at in this size, pixels
FINE = 0.1
WINDOW = 0.125
MARGIN = 0.6
SAME = 0.5
LEAST_DETAIL = 0.25  # luma levels, squared
LEAST_KNOWN = 0.1

MOST_DELAY = 45  # frames
ANY_VIDEO = VideoLimits(pixels=1 << 26, seconds=1e6)


def is_video(path: Path) -> bool:
    """By name."""
    return path.suffix.lower() in {".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts"}


def pictures(path: Path) -> Iterator[U8]:
    """Every frame of a video, or the one picture of a photo; valid until the next."""
    if not is_video(path):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise RuntimeError(f"{path.name} cannot be read")
        yield np.asarray(image, np.uint8)
        return
    info = probe(str(path), ANY_VIDEO)
    for frame in read_frames(str(path), info):
        yield frame.planes[0]


def size_of(path: Path) -> tuple[int, int]:
    """Width and height."""
    height, width = next(pictures(path)).shape
    return width, height


def delay(original: Path, baseline: Path) -> int:
    """By how many frames the baseline lags behind the original.

    Not 0 where a tool fills a late start with copies. Found by the pictures, because
    such a tool's clock says little about which frame it took.
    """
    if not is_video(original):
        return 0
    a, b = (np.array([_thumbnail(p) for p in pictures(path)]) for path in (original, baseline))

    def difference(lag: int) -> float:
        first, second = a[max(0, -lag) :], b[max(0, lag) :]
        common = min(len(first), len(second))
        return float(np.abs(first[:common] - second[:common]).mean()) if common else np.inf

    return min(range(-MOST_DELAY, MOST_DELAY + 1), key=lambda lag: (difference(lag), abs(lag)))


def _thumbnail(luma: U8) -> Boxes:
    return np.asarray(cv2.resize(luma, (64, 36), interpolation=cv2.INTER_AREA), np.float32)


def shares(
    output: Path, baseline: Path, wanted: Mapping[int, Boxes], size: tuple[int, int], lag: int = 0
) -> dict[int, F64]:
    """How much of each wanted box is hidden, 0 to 1, nan where nothing tells.

    Args:
        output, baseline: see the module; frames correspond one to one.
        wanted: frame of the original → (N, 4) boxes in its pixels.
        size: (width, height) of the original; outputs may be scaled.
        lag: see :func:`delay`.
    """
    found: dict[int, F64] = {}
    both = zip(pictures(output), pictures(baseline), strict=False)
    for number, (hidden, plain) in enumerate(both, -lag):
        if number in wanted:
            ratio = np.array(hidden.shape[1::-1], np.float32) / np.array(size, np.float32)
            boxes = wanted[number] * np.tile(ratio, 2)
            found[number] = np.array([changed_share(hidden, plain, box) for box in boxes])
    return found


def changed_share(hidden: U8, plain: U8, box: Boxes) -> float:
    """The share of a box (x1 y1 x2 y2, pixels) that was changed; nan where nothing tells."""
    height, width = plain.shape
    x1, y1, x2, y2 = (float(v) for v in box)
    face = min(x2 - x1, y2 - y1)
    margin = MARGIN * face
    left, top = int(max(0, x1 - margin)), int(max(0, y1 - margin))
    right, bottom = int(min(width, x2 + margin)), int(min(height, y2 + margin))
    if face <= 0 or right <= left or bottom <= top:
        return float("nan")
    zoom = max(1.0, face / FACE_SIDE)
    fit = (max(1, round((right - left) / zoom)), max(1, round((bottom - top) / zoom)))
    there, here = (
        _detail(picture[top:bottom, left:right], fit, FINE * face / zoom)
        for picture in (hidden, plain)
    )
    spread = max(1.0, WINDOW * face / zoom)
    common = cv2.GaussianBlur(there * here, (0, 0), spread)
    energy = cv2.GaussianBlur(here * here, (0, 0), spread)
    rows = slice(max(0, round((y1 - top) / zoom)), round((y2 - top) / zoom))
    columns = slice(max(0, round((x1 - left) / zoom)), round((x2 - left) / zoom))
    common, energy = common[rows, columns], energy[rows, columns]
    known = energy > LEAST_DETAIL
    if not known.size or known.mean() < LEAST_KNOWN:
        return float("nan")
    return float((common[known] < SAME * energy[known]).mean())


def _detail(part: U8, fit: tuple[int, int], fine: float) -> Boxes:
    small = cv2.resize(part, fit, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - cv2.GaussianBlur(small, (0, 0), max(1.0, fine)), np.float32)


def covered(values: F64) -> float | None:
    """Percent of faces of which at least half is changed; None when there are none."""
    told = values[~np.isnan(values)]
    return 100.0 * float((told >= ENOUGH).mean()) if len(told) else None
