"""Geometry of boxes: intersection over union, growth, selection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gateway.faces.boxes import Detections, area, centres, grown, iou, joined, sizes

number = st.floats(-2000, 2000, width=32)
any_boxes = st.integers(0, 6).flatmap(lambda n: arrays(np.float32, (n, 4), elements=number))


@st.composite
def real_boxes(draw: st.DrawFn) -> np.ndarray:
    """Boxes the right way round, at least a pixel wide and high."""
    n = draw(st.integers(1, 6))
    corner = draw(arrays(np.float32, (n, 2), elements=number))
    extent = draw(arrays(np.float32, (n, 2), elements=st.floats(1, 1000, width=32)))
    return np.concatenate([corner, corner + extent], axis=1)


@settings(deadline=None)
@given(any_boxes, any_boxes)
def test_iou_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    overlap = iou(a, b)
    assert overlap.shape == (len(a), len(b))
    assert overlap.dtype == np.float32
    assert (overlap >= 0).all()
    assert (overlap <= 1 + 1e-3).all()
    assert np.allclose(overlap, iou(b, a).T, atol=1e-4)


@settings(deadline=None)
@given(real_boxes())
def test_a_box_overlaps_itself_fully(boxes: np.ndarray) -> None:
    assert np.allclose(np.diag(iou(boxes, boxes)), 1, atol=1e-3)


@settings(deadline=None)
@given(any_boxes)
def test_empty_boxes_overlap_nothing(boxes: np.ndarray) -> None:
    point = np.array([[5, 5, 5, 5], [9, 9, 3, 3]], np.float32)
    assert (iou(point, boxes) == 0).all()


def test_iou_agrees_with_counting_pixels() -> None:
    rng = np.random.default_rng(1)
    corner = rng.integers(0, 12, (20, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 9, (20, 2))], 1).astype(np.float32)
    masks = np.zeros((20, 24, 24), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    both = (masks[:, None] & masks[None]).sum((2, 3))
    either = (masks[:, None] | masks[None]).sum((2, 3))
    assert np.allclose(iou(boxes, boxes), both / either, atol=1e-6)


@settings(deadline=None)
@given(real_boxes(), st.floats(0.5, 3))
def test_grown_keeps_centres_and_multiplies_sizes(boxes: np.ndarray, scale: float) -> None:
    larger = grown(boxes, scale)
    assert np.allclose(centres(larger), centres(boxes), atol=0.01)
    assert np.allclose(sizes(larger), sizes(boxes) * scale, rtol=1e-3, atol=0.01)
    assert np.allclose(area(larger), area(boxes) * scale**2, rtol=0.01, atol=1)


@settings(deadline=None)
@given(real_boxes())
def test_grown_takes_one_box_as_well_as_many(boxes: np.ndarray) -> None:
    assert np.array_equal(grown(boxes[0], 1.5), grown(boxes, 1.5)[0])


def test_detections_of_nothing_have_their_shapes() -> None:
    none = Detections.of([], [], [])
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    assert none.landmarks.shape == (0, 5, 2)
    assert len(none.above(0.5)) == 0
    assert len(none.scaled(2)) == 0


def test_detections_of_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        Detections.of([[1, 2, 3]], [0.5], [])


def test_detections_scale_and_select_all_their_parts() -> None:
    found = Detections.of(
        [[0, 0, 4, 4], [10, 10, 20, 30]], [0.3, 0.6], [[[1, 1]] * 5, [[15, 20]] * 5]
    )
    doubled = found.scaled(2)
    assert doubled.boxes.tolist() == [[0, 0, 8, 8], [20, 20, 40, 60]]
    assert doubled.landmarks[1].tolist() == [[30, 40]] * 5
    assert doubled.scores.tolist() == found.scores.tolist()
    kept = found.above(0.6)
    assert kept.boxes.tolist() == [[10, 10, 20, 30]]
    assert kept.landmarks.tolist() == [[[15, 20]] * 5]
    assert kept.scores.dtype == np.float32


def test_joined_keeps_the_surest_look_at_each_face() -> None:
    points = [[[0, 0]] * 5] * 2
    one = Detections.of([[0, 0, 10, 10], [50, 50, 60, 60]], [0.5, 0.9], points)
    other = Detections.of([[1, 0, 11, 10], [6, 0, 16, 10]], [0.7, 0.6], points)
    both = joined([one, other])
    assert both.boxes.tolist() == [[50, 50, 60, 60], [1, 0, 11, 10], [6, 0, 16, 10]]
    assert both.scores == pytest.approx([0.9, 0.7, 0.6])
    assert both.landmarks.shape == (3, 5, 2)
    assert joined([one]) is one
    assert len(joined([Detections.of([], [], [])] * 2)) == 0
