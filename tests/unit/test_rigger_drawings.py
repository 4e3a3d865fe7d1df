"""Made-up drawings: what is said of them is what is in the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.rigger import clutter, objects, photo, shapes, things
from model_store.rigger.body import JOINTS, MIRRORED, make_body
from model_store.rigger.figure import draw_figure
from model_store.rigger.scene import make_scene
from model_store.rigger.sheet import Pen, Sheet

SIZE = (300, 260)
BLACK = Pen((0, 0, 0), 4.0, wobble=0.0)


def drawn(seed: int) -> tuple[Sheet, object]:
    rng = np.random.default_rng(seed)
    sheet = Sheet(rng, *SIZE)
    return sheet, draw_figure(sheet, np.array([130.0, 150.0]), 170.0, 0.0)


@pytest.mark.parametrize("seed", range(12))
def test_a_figures_mask_holds_its_ink_and_little_else(seed: int) -> None:
    sheet, truth = drawn(seed)
    ink = sheet.alpha > 60
    assert ink.any()
    assert (ink & (truth.mask == 0)).sum() <= 0.03 * ink.sum()
    x1, y1, x2, y2 = (int(v) for v in truth.box)
    outside = truth.mask.copy()
    outside[y1:y2, x1:x2] = 0
    assert not outside.any()


def test_joints_lie_on_the_figure() -> None:
    on = []
    for seed in range(25):
        _, truth = drawn(seed)
        wide = cv2.dilate(truth.mask, np.ones((9, 9), np.uint8))
        for x, y in truth.joints:
            if 0 <= x < SIZE[1] and 0 <= y < SIZE[0]:
                on.append(wide[int(y), int(x)] > 0)
    assert np.mean(on) > 0.97


def test_right_is_at_the_pictures_left_as_a_rule() -> None:
    right = [JOINTS.index(f"right_{part}") for part in ("shoulder", "hip")]
    for seed in range(20):
        _, truth = drawn(seed)
        for i in right:
            assert truth.joints[i, 0] <= truth.joints[MIRRORED[i], 0] + 1


def test_a_seed_gives_the_same_scene_again() -> None:
    first, again = (make_scene(np.random.default_rng(5)) for _ in range(2))
    assert (first.image == again.image).all()
    assert len(first.figures) == len(again.figures)


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_scenes_are_whole(seed: int) -> None:
    scene = make_scene(np.random.default_rng(seed))
    height, width = scene.image.shape[:2]
    assert scene.image.dtype == np.uint8
    assert scene.image.std() > 1
    for figure in scene.figures:
        assert figure.mask.shape == (height, width)
        assert set(np.unique(figure.mask)) <= {0, 255}
        assert figure.joints.shape == (len(JOINTS), 2)
        x, y, w, h = cv2.boundingRect(figure.mask)
        assert figure.box == (x, y, x + w, y + h)
        assert np.isfinite(figure.joints).all()


def test_pages_with_none_one_and_several_figures_occur() -> None:
    counts = {len(make_scene(np.random.default_rng(seed)).figures) for seed in range(40)}
    assert {0, 1, 2} <= counts


@pytest.mark.parametrize("kind", sorted({k.__name__: k for k in objects.KINDS}.items()))
def test_every_object_leaves_ink_and_marks_nothing(kind: tuple[str, things.Thing]) -> None:
    sheet = Sheet(np.random.default_rng(3), 200, 200)
    sheet.place = np.array([[70.0, 0, 100], [0, 70.0, 100]])
    kind[1](sheet, BLACK)
    assert (sheet.alpha > 0).sum() > 50
    assert sheet.mask is None


@pytest.mark.parametrize("thing", clutter.LYING)
def test_what_lies_on_the_table_is_seen(thing: clutter.Thing) -> None:
    image = np.full((200, 200, 3), 128, np.uint8)
    thing(np.random.default_rng(0), image, np.array([100.0, 100.0]), 80.0)
    assert (image != 128).any(2).sum() > 50


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_any_body_has_finite_joints_on_both_sides(seed: int) -> None:
    body = make_body(np.random.default_rng(seed))
    joints = np.stack(list(body.joints.values()))
    assert joints.shape == (12, 2)
    assert np.isfinite(joints).all()


# Shapes


def test_a_stroke_covers_its_line_and_the_mask_exceeds_it_by_a_pixel() -> None:
    sheet = Sheet(np.random.default_rng(0), 60, 100)
    sheet.mask = np.zeros_like(sheet.alpha)
    sheet.line(np.array([[10.0, 30], [90, 30]]), BLACK)
    rows = np.flatnonzero(sheet.alpha[:, 50] > 127)
    marked = np.flatnonzero(sheet.mask[:, 50])
    assert len(rows) in (4, 5)
    assert rows.min() - marked.min() in (0, 1, 2)
    assert marked.max() - rows.max() in (0, 1, 2)


def test_what_is_knocked_out_shows_no_older_ink() -> None:
    sheet = Sheet(np.random.default_rng(0), 60, 60)
    sheet.line(np.array([[0.0, 30], [60, 30]]), BLACK)
    sheet.knock_out(shapes.ellipse(30, 30, 10, 10))
    assert sheet.alpha[30, 30] == 0
    assert sheet.alpha[30, 5] > 0


@given(st.floats(0, 360), st.floats(5, 200), st.floats(0.5, 4))
def test_a_tube_keeps_its_width(angle: float, length: float, half: float) -> None:
    a = np.radians(angle)
    way = np.array([np.cos(a), np.sin(a)])
    right, left = shapes.tube(np.stack([0 * way, way * length / 2, way * length]), (half, half))
    assert np.hypot(*(right - left).T) == pytest.approx(2 * half, rel=1e-6)


def test_a_spline_passes_through_its_points() -> None:
    controls = np.array([[0.0, 0], [3, 5], [9, 2], [4, -6]])
    for closed in (False, True):
        curve = shapes.spline(controls, closed)
        for point in controls:
            assert np.hypot(*(curve - point).T).min() < 1e-9


def test_a_photo_of_a_page_keeps_page_and_joints_together() -> None:
    rng = np.random.default_rng(2)
    page = np.full((200, 150, 3), 250, np.uint8)
    cv2.circle(page, (75, 100), 6, (0, 0, 0), -1)
    homography = photo.camera_pose(rng, 200, 150, (220, 200))
    seen = photo.lay(rng, page, homography, (220, 200))
    x, y = cv2.perspectiveTransform(np.array([[[75.0, 100.0]]]), homography)[0, 0]
    assert seen[round(y), round(x)].max() < 40
