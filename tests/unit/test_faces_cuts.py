"""Scene cuts: found where shots change, not where cameras and people move."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import cv2
import numpy as np
import pytest
import skimage.data
from faces_fakes import astronaut
from test_faces_flow import moved, texture

from gateway.faces.cuts import CutDetector, histogram_change


def luma(picture: np.ndarray) -> np.ndarray:
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (384, 216), interpolation=cv2.INTER_AREA)


PORTRAIT = luma(astronaut())
CAMERAMAN = luma(skimage.data.camera())
COFFEE = luma(skimage.data.coffee())


def cuts(frames: Iterable[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [number for number, frame in enumerate(frames) if detector.is_cut(frame)]


def held(picture: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    """A still shot with the noise of a sensor."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 4, (count, *picture.shape))
    return [(picture + n).clip(0, 255).astype(np.uint8) for n in noise]


def test_a_hard_cut_is_found_at_its_first_frame_only() -> None:
    assert cuts(held(PORTRAIT, 12) + held(CAMERAMAN, 12) + held(COFFEE, 12)) == [12, 24]


def test_every_one_of_a_quick_succession_of_shots_is_found() -> None:
    shots = [PORTRAIT, CAMERAMAN, COFFEE] * 3
    assert cuts(f for shot in shots for f in held(shot, 4)) == list(range(4, 36, 4))


def test_a_cut_out_of_a_moving_shot_is_found() -> None:
    pan = [moved(PORTRAIT, 3.0 * n, 0) for n in range(15)]
    assert cuts(pan + held(CAMERAMAN, 5)) == [15]


@pytest.mark.parametrize("speed", [2, 6, 12])
def test_a_pan_is_no_cut(speed: int) -> None:
    wide = np.hstack([PORTRAIT, CAMERAMAN, COFFEE])
    steps = range(0, wide.shape[1] - 384, speed)
    assert cuts(wide[:, x : x + 384] for x in steps) == []


def test_a_pan_that_gathers_speed_is_no_cut_however_fast() -> None:
    """In the end every frame differs from the one before as much as across a cut."""
    shots = [np.roll(p, 90 * n, 1) for n in range(3) for p in (PORTRAIT, CAMERAMAN, COFFEE)]
    wide = np.hstack(shots)
    places = np.cumsum(np.linspace(4, 120, 48)).astype(int)
    frames = [wide[:, x : x + 384] for x in places if x + 384 <= wide.shape[1]]
    assert len(frames) > 45
    for before, after in pairwise(frames[-5:]):
        assert cuts(held(before, 6) + held(after, 2)) == [6]
    assert cuts(frames) == []


def test_a_fade_is_no_cut() -> None:
    mixes = np.linspace(0, 1, 30)
    frames = [((1 - m) * PORTRAIT + m * CAMERAMAN).astype(np.uint8) for m in mixes]
    assert cuts(frames) == []


def test_someone_walking_past_is_no_cut() -> None:
    frames = []
    for n in range(30):
        frame = texture(216, 384).copy()
        frame[40:, 10 * n : 10 * n + 80] = 30
        frames.append(frame)
    assert cuts(frames) == []


def test_frames_of_one_pixel_are_survived() -> None:
    assert cuts([np.zeros((1, 1), np.uint8)] * 3) == []


def test_histogram_change_is_a_share() -> None:
    black, white = np.zeros((27, 48), np.uint8), np.full((27, 48), 255, np.uint8)
    assert histogram_change(black, black) == 0
    assert histogram_change(black, white) == pytest.approx(1)
    half = black.copy()
    half[:, ::2] = 255
    assert 0.4 < histogram_change(black, half) < 0.6
