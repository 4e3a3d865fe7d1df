"""What tests of faces share: the real network, painted faces, and a detector that sees them.

A painted face is a checkered patch of a colour that occurs nowhere else, so a fake
detector finds it exactly, in any picture, at full and at half size, and a test can
tell whether any of it is left.
"""

from __future__ import annotations

import functools
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from gateway.faces.boxes import Detections
from handlers.centerface import detect
from handlers.runtime import OpenVinoNetwork, read_images

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "model_store" / "face_detector.mar"
FACE_BOX = (181.5, 58.2, 269.9, 177.8)
"""The astronaut's face as CenterFace sees it, x1 y1 x2 y2."""

BGR = ((230, 60, 200), (150, 0, 120))
"""The two colours of a painted face, both of one hue."""


@functools.cache
def astronaut() -> np.ndarray:
    """NASA's portrait of Eileen Collins, (512, 512, 3) uint8 BGR."""
    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@functools.cache
def network_file() -> str:
    """The detector's ONNX file, out of the archive that ``make setup`` built."""
    assert ARCHIVE.exists(), f"{ARCHIVE} is missing: run python -m model_store.build"
    with zipfile.ZipFile(ARCHIVE) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".onnx")]
        return archive.extract(name, _scratch().name)


@functools.cache
def network() -> OpenVinoNetwork:
    """The real face network, loaded once."""
    return OpenVinoNetwork(network_file())


def paint(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Paint a face into a (H, W, 3) BGR picture, in place; parts outside are cut."""
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    x1, y1, x2, y2 = box
    inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    dark = ((x - x1) // 4 + (y - y1) // 4) % 2 == 1
    picture[inside & ~dark], picture[inside & dark] = BGR
    return picture


def wallpaper(height: int, width: int, seed: int = 0, *, contrast: int = 60) -> np.ndarray:
    """A smooth, textured grey-green background, (H, W, 3) uint8 BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, contrast, (height // 6 + 2, width // 6 + 2), dtype=np.uint8)
    grey = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.dstack([grey + 60, grey + 90, grey + 60])


def painted_faces(picture: np.ndarray) -> Detections:
    """The painted faces left in a (H, W, 3) BGR picture, largest first."""
    _, cr, cb = (c.astype(int) for c in cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2YCrCb)))
    mask = ((cr > 145) & (cb > 145)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    boxes = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:] if min(w, h) > 2 and area > 12]
    boxes.sort(key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))
    landmarks = [[[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2]] * 5 for b in boxes]
    return Detections.of(boxes, [0.9] * len(boxes), landmarks)


class PaintDetector:
    """Finds painted faces; stands in for :class:`gateway.models.FaceDetector`.

    ``misses(call)`` says whether call number ``call`` finds nothing. ``calls`` keeps
    (kind, shape of the picture, threshold).
    """

    def __init__(self, misses: Callable[[int], bool] = lambda call: False) -> None:
        self.calls: list[tuple[str, tuple[int, ...], float]] = []
        self._misses = misses
        self._lock = threading.Lock()

    def detect_frames(self, frames: np.ndarray, threshold: float) -> list[Detections]:
        planar = frames.ndim == 3
        pictures = [cv2.cvtColor(f, cv2.COLOR_YUV2BGR_I420) if planar else f for f in frames]
        return [self._find("frames", picture, threshold) for picture in pictures]

    def detect_encoded(self, data: bytes, threshold: float) -> Detections:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return self._find("encoded", picture, threshold)

    def _find(self, kind: str, picture: np.ndarray, threshold: float) -> Detections:
        with self._lock:
            number = len(self.calls)
            self.calls.append((kind, picture.shape, threshold))
        if self._misses(number):
            return Detections.of([], [], [])
        return painted_faces(picture)


class RealDetector:
    """The real network without TorchServe, one call at a time."""

    _lock = threading.Lock()

    def detect_encoded(self, data: bytes, threshold: float) -> Detections:
        return self._faces(list(read_images(data)), threshold)[0]

    def detect_frames(self, frames: np.ndarray, threshold: float) -> list[Detections]:
        pictures = [cv2.cvtColor(f, cv2.COLOR_YUV2BGR_I420) for f in frames]
        return self._faces(pictures, threshold)

    def _faces(self, pictures: list[np.ndarray], threshold: float) -> list[Detections]:
        with self._lock:
            found = detect(network(), pictures, [threshold] * len(pictures))
        return [Detections(f.boxes, f.scores, f.landmarks) for f in found]
