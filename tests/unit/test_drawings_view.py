"""The camera: the figure never leaves the frame, whatever it does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drawings.view import MARGIN, fit

BODY = np.array([[0, 0], [40, 0], [40, 100], [0, 100], [20, 50]], np.float32)


def _moving(way: np.ndarray) -> np.ndarray:
    return (BODY[None] + way[:, None]).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nothing_ever_leaves_the_frame(data: st.DataObject):
    count = data.draw(st.integers(1, 80))
    step = data.draw(st.floats(0, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    way = np.cumsum(rng.normal(data.draw(st.floats(-20, 20)), step, (count, 2)), axis=0)
    size = data.draw(st.sampled_from([64, 500, (500, 500), (300, 400)]))
    view = fit(_moving(way), size, 1 / 30)
    placed = view.apply(_moving(way))
    assert (placed >= -0.05).all() and (placed <= np.array([view.width, view.height]) + 0.05).all()


def test_the_figure_is_as_large_as_it_can_be():
    view = fit(_moving(np.zeros((3, 2))), 500, 1 / 30)
    placed = view.apply(_moving(np.zeros((3, 2))))
    free = 500 * (1 - 2 * MARGIN)
    assert np.ptp(placed[..., 1]) == pytest.approx(free, abs=1)
    assert view.height == 500 and 200 < view.width <= 270


def test_a_jump_is_seen_by_a_camera_that_stands_still():
    way = np.zeros((30, 2))
    way[:, 1] = -40 * np.sin(np.linspace(0, np.pi, 30))
    view = fit(_moving(way), 500, 1 / 30)
    assert np.ptp(view.offsets, axis=0) == pytest.approx([0, 0])
    tops = view.apply(_moving(way))[..., 1].min(axis=1)
    assert tops[15] < tops[0] - 100


def test_a_long_walk_is_followed_smoothly():
    way = np.zeros((300, 2))
    way[:, 0] = 5 * np.arange(300)
    view = fit(_moving(way), 500, 1 / 30)
    still = fit(_moving(np.zeros((300, 2))), 500, 1 / 30)
    assert view.scale == pytest.approx(still.scale, rel=0.02)
    assert np.abs(np.diff(view.offsets[:, 0], n=2)).max() < 0.5


@pytest.mark.parametrize("size", [500, 331, (320, 240)])
def test_sizes_are_even_and_as_asked(size: int | tuple[int, int]):
    view = fit(_moving(np.zeros((2, 2))), size, 1 / 30)
    if isinstance(size, tuple):
        assert (view.width, view.height) == size
    else:
        assert view.width % 2 == view.height % 2 == 0
        assert size - 1 <= max(view.width, view.height) <= size + 1
