"""Following boxes through synthetic motion that is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.faces.boxes import centres, iou, sizes
from gateway.faces.flow import follow, shrink

BOXES = np.array([[60, 40, 110, 100], [150, 80, 175, 110]], np.float32)


def texture(height: int = 180, width: int = 260, seed: int = 0) -> np.ndarray:
    """A smooth random texture, (H, W) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 5, width // 5), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def moved(picture: np.ndarray, x: float, y: float, zoom: float = 1.0) -> np.ndarray:
    """The picture zoomed about its middle, then shifted."""
    height, width = picture.shape
    matrix = np.array(
        [[zoom, 0, x + width / 2 * (1 - zoom)], [0, zoom, y + height / 2 * (1 - zoom)]]
    )
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


@settings(max_examples=25, deadline=None)
@given(st.floats(-9, 9), st.floats(-9, 9), st.integers(0, 5))
def test_a_shift_is_followed_to_a_fraction_of_a_pixel(x: float, y: float, seed: int) -> None:
    before = texture(seed=seed)
    motion = follow(before, moved(before, x, y), BOXES)
    assert motion.reliable.all()
    assert np.abs(motion.boxes - (BOXES + np.array([x, y, x, y]))).max() < 0.7
    assert np.abs(motion.scene - [x, y]).max() < 0.3


@pytest.mark.parametrize("zoom", [0.96, 1.03, 1.05])
def test_a_zoom_changes_sizes(zoom: float) -> None:
    before = texture()
    motion = follow(before, moved(before, 0, 0, zoom), BOXES)
    assert motion.reliable.all()
    assert np.allclose(sizes(motion.boxes), sizes(BOXES) * zoom, rtol=0.01)


def test_a_box_that_moves_against_the_scene_keeps_its_own_way() -> None:
    scene, face = texture(seed=1), texture(60, 50, seed=2)
    before, after = scene.copy(), moved(scene, 4, 0)
    before[40:100, 60:110] = face
    after[43:103, 55:105] = face
    motion = follow(before, after, BOXES[:1])
    assert motion.reliable.all()
    assert np.abs(centres(motion.boxes) - centres(BOXES[:1]) - [-5, 3]).max() < 1
    assert np.abs(motion.scene - [4, 0]).max() < 0.5


def test_what_cannot_be_followed_says_so() -> None:
    motion = follow(texture(seed=3), texture(seed=4), BOXES)
    assert not motion.reliable.any()
    blank = np.full((180, 260), 90, np.uint8)
    assert not follow(blank, texture(), BOXES).reliable.any()


def test_an_unreliable_box_goes_with_the_scene() -> None:
    before = texture()
    after = moved(before, 6, -3)
    after[30:115, 45:130] = texture(85, 85, seed=9)
    motion = follow(before, after, BOXES)
    assert motion.reliable.tolist() == [False, True]
    assert np.abs(motion.boxes[0] - (BOXES[0] + np.array([6, -3, 6, -3]))).max() < 1


def test_no_boxes_and_boxes_outside_are_survived() -> None:
    before = texture()
    assert follow(before, moved(before, 2, 2), np.zeros((0, 4), np.float32)).boxes.shape == (0, 4)
    wild = np.array([[-80, -90, -20, -10], [250, 170, 400, 300], [5, 5, 5, 5]], np.float32)
    motion = follow(before, moved(before, 2, 2), wild)
    assert np.isfinite(motion.boxes).all()


def test_following_there_and_back_returns() -> None:
    before = texture()
    after = moved(before, 5.5, 2.5)
    there = follow(before, after, BOXES).boxes
    assert np.diag(iou(follow(after, before, there).boxes, BOXES)).min() > 0.95


@pytest.mark.parametrize(
    ("height", "width"), [(1080, 1920), (2176, 4096), (480, 640), (1920, 1080), (64, 96), (1, 3)]
)
def test_shrink_keeps_positions(height: int, width: int) -> None:
    luma = np.zeros((height, width), np.uint8)
    luma[height // 2 :, width // 2 :] = 255
    grey, scale = shrink(luma)
    assert max(grey.shape) <= 720
    assert grey.dtype == np.uint8
    if min(height, width) >= 16:
        rows, columns = np.nonzero(grey > 127)
        assert abs(rows.min() * scale - height // 2) <= scale
        assert abs(columns.min() * scale - width // 2) <= scale
