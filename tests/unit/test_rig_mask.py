"""Masks: ink sharpens the network's guess, ruled lines do not, gaps stay gaps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.rig_mask import bones_of, ink_of
from handlers.rig_mask import refine as refined

SIDE = 320
PAPER = (225, 230, 235)


JOINTS = {
    "neck": (160, 60), "torso": (160, 110), "hip": (160, 200), "right_shoulder": (120, 145),
    "right_elbow": (85, 115), "right_hand": (50, 80), "left_shoulder": (200, 145),
    "left_elbow": (235, 115), "left_hand": (270, 80), "right_hip": (140, 205),
    "right_knee": (135, 250), "right_foot": (130, 300), "left_hip": (180, 205),
    "left_knee": (185, 250), "left_foot": (190, 300),
}  # fmt: skip
BONES = bones_of(JOINTS, (SIDE, SIDE))


def refine(image: np.ndarray, chance: np.ndarray, bones: np.ndarray = BONES) -> np.ndarray:
    return refined(image, chance, bones)


def sheet() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), PAPER, np.uint8)


def guess(mask: np.ndarray, blur: float = 6.0) -> np.ndarray:
    """What a coarse network makes of a mask."""
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(wide, (0, 0), blur) * 1.15, 0, 1)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def person() -> tuple[np.ndarray, np.ndarray]:
    """A picture of an outlined figure with stick limbs, and its mask."""
    image, mask = sheet(), np.zeros((SIDE, SIDE), np.uint8)
    for canvas, colour, thick in ((image, (60, 40, 40), 4), (mask, 255, 8)):
        for fill in (thick, -1)[: 1 + (canvas is mask)]:
            cv2.ellipse(canvas, (160, 150), (45, 60), 0, 0, 360, colour, fill)
            cv2.circle(canvas, (160, 60), 30, colour, fill)
        for a, b in (((115, 150), (50, 80)), ((205, 150), (270, 80))):
            cv2.line(canvas, a, b, colour, thick)
        for a, b in (((140, 205), (130, 300)), ((180, 205), (190, 300))):
            cv2.line(canvas, a, b, colour, thick)
    return image, mask > 0


def test_thin_strokes_and_outlines_come_out_sharp() -> None:
    image, mask = person()
    rough = guess(mask)
    assert iou(rough > 0.5, mask) < 0.85
    assert iou(refine(image, rough), mask) > 0.93


def test_ruled_lines_are_no_part_of_the_figure() -> None:
    image, mask = person()
    for y in range(10, SIDE, 22):
        image[y : y + 2] = np.minimum(image[y : y + 2], (215, 180, 150))
    assert iou(refine(image, guess(mask, 4.0)), mask) > 0.85


def test_a_hard_shadow_is_no_part_of_the_figure() -> None:
    image, mask = person()
    image[:, 210:] = (image[:, 210:] * 0.6).astype(np.uint8)
    assert iou(refine(image, guess(mask, 4.0)), mask) > 0.88


def test_the_web_between_an_arm_and_the_head_is_cut_out() -> None:
    image, mask = person()
    rough = guess(mask)
    web = np.zeros_like(mask, np.uint8)
    cv2.fillPoly(web, [np.array([(70, 100), (130, 60), (118, 145)])], 1)
    rough = np.maximum(rough, web * np.float32(0.95))
    assert refine(image, rough)[100, 105] == mask[100, 105] == False  # noqa: E712


def test_paper_between_two_limbs_stays_a_hole() -> None:
    image, mask = sheet(), np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(image, (160, 160), (100, 90), 0, 0, 360, (40, 40, 40), 14)
    cv2.ellipse(mask, (160, 160), (100, 90), 0, 0, 360, 1, 16)
    found = refine(image, guess(mask > 0, 4), np.zeros((SIDE, SIDE), bool))
    assert not found[160, 160]
    assert iou(found, mask > 0) > 0.9


def test_an_open_outline_does_not_drain_the_body() -> None:
    image, mask = person()
    cv2.rectangle(image, (196, 135), (210, 175), PAPER, -1)
    found = refine(image, guess(mask))
    assert found[150, 160]
    assert iou(found, mask) > 0.9


def test_a_large_filled_area_without_bones_is_kept() -> None:
    image, mask = person()
    for canvas, colour in ((image, (70, 60, 140)), (full := mask.astype(np.uint8), 1)):
        cv2.ellipse(canvas, (160, 45), (75, 40), 0, 180, 360, colour, -1)
    rough = guess(full > 0) * np.float32(0.9)
    assert iou(refine(image, rough), full > 0) > 0.93


def test_nothing_likely_is_an_empty_mask() -> None:
    assert not refine(sheet(), np.full((SIDE, SIDE), 0.2, np.float32)).any()
    assert not ink_of(sheet(), np.zeros((SIDE, SIDE), bool)).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(0, 2**31))
def test_any_picture_and_any_guess_give_a_mask(width: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    chance = rng.random((height, width)).astype(np.float32)
    found = refine(image, chance, rng.random((height, width)) < 0.2)
    assert found.shape == (height, width)
    assert found.dtype == bool


def test_a_blank_sheet_has_no_ink() -> None:
    assert ink_of(sheet(), np.ones((SIDE, SIDE), bool)).mean() == pytest.approx(0)
