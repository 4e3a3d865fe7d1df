"""The figure without its rim of paper."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.drawings.matte import cut_out

PAPER, INK, WHITE = (226, 232, 235), (40, 30, 25), (255, 255, 255)
CENTRE, RADIUS, PEN = (150, 150), 100, 8


def ring(paper=PAPER, ink=INK, fill=None, rim=4, noise=0.0):
    """A drawn circle on paper (BGRA) and a mask that is ``rim`` pixels too wide."""
    picture = np.full((300, 300, 3), paper, np.uint8)
    if fill is not None:
        cv2.circle(picture, CENTRE, RADIUS, fill, -1, cv2.LINE_AA)
    cv2.circle(picture, CENTRE, RADIUS, ink, PEN, cv2.LINE_AA)
    grain = np.random.default_rng(1).normal(0, noise, picture.shape)
    picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.circle(mask, CENTRE, RADIUS + PEN // 2 + rim, 255, -1)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA), mask > 0


def away():
    y, x = np.mgrid[:300, :300]
    return np.hypot(x - CENTRE[0], y - CENTRE[1])


def test_the_rim_goes_and_the_ink_stays():
    texture, mask = ring()
    alpha = cut_out(texture, mask)[..., 3]
    distance = away()
    assert alpha[distance > RADIUS + PEN / 2 + 1.5].max() < 30
    assert alpha[distance < RADIUS + PEN / 2 - 1.5].min() == 255


def test_what_a_line_encloses_is_kept_though_it_is_paper():
    texture, mask = ring(fill=PAPER)
    alpha = cut_out(texture, mask)[..., 3]
    assert alpha[away() < RADIUS].min() == 255


def test_laid_over_its_own_paper_nothing_changes():
    texture, mask = ring(fill=(90, 160, 240))
    cut = cut_out(texture, mask).astype(float)
    laid = cut[..., :3] + np.array(PAPER) * (1 - cut[..., 3:] / 255)
    assert np.abs(laid - texture[..., :3]).max() <= 3


def test_faint_pencil_and_grain_survive():
    texture, mask = ring(ink=(195, 200, 203), noise=3)
    alpha = cut_out(texture, mask)[..., 3]
    distance = away()
    stroke = np.abs(distance - RADIUS) < PEN / 2 - 1.5
    assert alpha[stroke].mean() > 240
    assert alpha[distance > RADIUS + PEN / 2 + 2.5].mean() < 90


def test_without_ink_at_the_edge_all_is_kept():
    texture, mask = ring(ink=PAPER)
    assert np.array_equal(cut_out(texture, mask)[..., 3] > 0, mask)


def test_a_texture_that_is_cut_out_already_is_kept():
    texture, mask = ring(fill=WHITE)
    texture[~mask, 3] = 0
    cut = cut_out(texture, mask)
    assert np.array_equal(cut[mask], texture[mask])
    assert not cut[~mask].any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_any_picture_gives_premultiplied_pixels_inside_the_mask(seed, height, width):
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    mask = rng.random((height, width)) < rng.random()
    cut = cut_out(texture, mask)
    assert not cut[~mask].any()
    assert (cut[..., :3] <= cut[..., 3:]).all()
