"""The rigger's geometry: boxes, crops and joints go there and back; the better box wins."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.rig_look import (
    ANSWERED,
    CELL,
    MARGIN,
    MIRRORED,
    all_joints,
    cut,
    different,
    distinct,
    page,
    peaks,
    place_joints,
    window,
)
from model_store.rigger import body

side = st.floats(5, 3000)
place = st.floats(-500, 3000)


def test_the_handler_and_the_training_name_the_joints_alike() -> None:
    assert ANSWERED == body.JOINTS
    assert MIRRORED == body.MIRRORED


def test_a_mirror_swaps_every_right_with_its_left() -> None:
    for i, j in enumerate(MIRRORED):
        swapped = ANSWERED[i].replace("right", "?").replace("left", "right").replace("?", "left")
        assert ANSWERED[j] == swapped


@given(place, place, side, side)
def test_a_window_holds_its_box_with_the_margin(x: float, y: float, w: float, h: float) -> None:
    box = np.array([x, y, x + w, y + h], np.float32)
    matrix = window(box, 192).astype(np.float64)
    corners = np.array([[x, y], [x + w, y + h]]) @ matrix[:, :2].T + matrix[:, 2]
    longer = (corners[1] - corners[0]).max()
    assert longer == pytest.approx(192 / (1 + 2 * MARGIN), rel=1e-3)
    assert corners.mean(0) == pytest.approx([96, 96], abs=0.5)


@given(st.integers(60, 400), st.integers(60, 400), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_what_a_crop_shows_lies_where_its_place_says(
    width: int, height: int, fx: float, fy: float
) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    x, y = round(fx * width), round(fy * height)
    cv2.circle(image, (x, y), 12, (255, 255, 255), -1)
    matrix = window(np.array([0, 0, width, height], np.float32), 128)
    bright = cut(image, matrix, 128)[..., 0].astype(float)
    rows, columns = np.indices(bright.shape)
    weight = bright * (bright > 127)
    if 14 < x < width - 14 and 14 < y < height - 14:
        found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        # Centres of pixels: half a pixel of either scale is the sampling's.
        assert found == pytest.approx(matrix[:, :2] @ (x, y) + matrix[:, 2], abs=1.0)


@given(st.integers(0, 12), st.floats(2.5, 45), st.floats(2.5, 45))
def test_a_bump_of_heat_is_placed_to_a_fraction_of_a_cell(k: int, x: float, y: float) -> None:
    rows, columns = np.indices((48, 48)) + 0.5
    heat = np.full((13, 48, 48), -9, np.float32)
    heat[k] = 9 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    joint = place_joints(heat)[k]
    assert joint[:2] == pytest.approx([x * CELL, y * CELL], abs=0.3 * CELL)
    assert 0.5 < joint[2] <= 1


def test_heat_without_a_peak_scores_low() -> None:
    assert place_joints(np.zeros((13, 48, 48), np.float32))[:, 2].max() < 0.02


def test_midpoints_complete_the_joints() -> None:
    joints = np.arange(39, dtype=np.float32).reshape(13, 3)
    named = all_joints(joints)
    assert len(named) == 16
    assert named["root"] == named["hip"]
    middle = (np.array(named["right_hip"]) + named["left_hip"]) / 2
    assert named["hip"] == pytest.approx(tuple(middle))
    middle = (np.array(named["right_shoulder"]) + named["left_shoulder"]) / 2
    assert named["torso"] == pytest.approx(tuple(middle))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_page_is_padded_to_the_stride(width: int, height: int) -> None:
    tiny = np.zeros((max(1, height // 10), max(1, width // 10), 3), np.uint8)
    pixels, scale = page(tiny, 256)
    assert pixels.shape[0] % 32 == pixels.shape[1] % 32 == 0
    assert max(pixels.shape[:2]) == 256
    assert scale == 256 / max(tiny.shape[:2])


def test_a_peak_of_the_centre_map_becomes_a_box_in_the_images_pixels() -> None:
    centre = np.full((1, 48, 64), -9, np.float32)
    centre[0, 20, 30], centre[0, 20, 31] = 4, 3
    box = np.zeros((4, 48, 64), np.float32)
    box[:, 20, 30] = 0.1, 0.2, 0.3, 0.25
    heads = (np.zeros(0), np.zeros(0), centre, box, np.zeros(1))
    boxes, scores = peaks(heads, scale=0.5)  # type: ignore[arg-type]
    x, y = 30.5 * 4, 20.5 * 4
    expected = [x - 12.8, y - 25.6, x + 38.4, y + 32]
    assert boxes.tolist() == [pytest.approx([2 * v for v in expected], rel=1e-4)]
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-4)


def test_of_two_boxes_on_one_figure_the_larger_stays_unless_it_is_far_less_likely() -> None:
    boxes = np.array([[0, 0, 100, 200], [10, 10, 95, 100], [200, 0, 300, 200]], np.float32)
    assert distinct(boxes, np.array([0.7, 0.9, 0.4], np.float32)) == [0, 2]
    assert distinct(boxes, np.array([0.3, 0.9, 0.4], np.float32)) == [1, 2]
    assert distinct(boxes[:0], np.zeros(0, np.float32)) == []


def test_a_part_is_another_guess_but_a_near_copy_is_none() -> None:
    boxes = np.array([[0, 0, 100, 200], [5, 5, 100, 195], [0, 0, 100, 60]], np.float32)
    assert different(boxes, np.array([0.5, 0.9, 0.4], np.float32)) == [1, 2]
