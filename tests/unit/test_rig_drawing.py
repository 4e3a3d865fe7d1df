"""Rigging a drawing: what goes to the model, what is cut out, what is refused; PNGs and back."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.drawings.character import PARENTS
from gateway.errors import BadDrawing, BadMedia, NoFigure, TooLarge, UnsupportedMedia
from gateway.media.images import ImageLimits
from gateway.models import FoundFigure
from gateway.pipelines import rig_drawing as rigging
from gateway.pipelines.rig_drawing import MODEL_SIDE, TEXTURE_SIDE, rig_drawing
from gateway.pipelines.rig_pictures import PICTURES, picture, read_figure
from tests.unit.drawings_figures import INK, JOINTS, PAPER, man
from tests.unit.http_fakes import PAGE, PLACES, FakeRigger, page

LIMITS = ImageLimits(bytes=2**24, pixels=20_000_000, frames=10)


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def alike(a, b):
    """Intersection over union of two masks."""
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


# cutting out


@pytest.mark.parametrize("side", [480, 1280, 1600, 3000])
def test_a_figure_is_cut_out_with_joints_that_fit_at_any_size(side):
    rigger = FakeRigger()
    rigged = rig_drawing(page(1, side), rigger, LIMITS)
    assert (rigged.width, rigged.height) == (side, round(side * PAGE[0] / PAGE[1]))
    assert max(rigger.seen[0]) == min(side, MODEL_SIDE)
    (found,) = rigged.figures
    figure = found.character
    assert max(figure.mask.shape) <= TEXTURE_SIDE + 1
    assert list(figure.joints) == list(PARENTS)
    scale = np.ptp([x for x, _ in figure.joints.values()]) / np.ptp([x for x, _ in JOINTS.values()])
    assert scale == pytest.approx(min(side / 480, TEXTURE_SIDE / 250), rel=0.12)
    for x, y in figure.joints.values():
        assert figure.mask[int(y), int(x)]
    # the mask lies on the ink, and the paper around it is kept
    ink = np.abs(figure.texture[..., :3].astype(int) - INK).max(axis=2) < 90
    assert alike(figure.mask, ink) > 0.95
    assert np.abs(figure.texture[0, 0, :3].astype(int) - PAPER).max() < 5
    box = np.array(found.box) * 480 / side
    assert box == pytest.approx([PLACES[0][0], PLACES[0][1], 240, 280], abs=2)


def test_several_figures_keep_their_places_in_one_scale():
    rigged = rig_drawing(page(2, 2400), FakeRigger(2), LIMITS, figures=4)
    a, b = rigged.figures
    moved = np.subtract(b.place, a.place)
    scale = np.ptp([x for x, _ in a.character.joints.values()]) / 156
    assert moved / scale == pytest.approx(np.subtract(PLACES[1], PLACES[0]), abs=2)
    width = b.place[0] + b.character.mask.shape[1] - a.place[0]
    assert width <= TEXTURE_SIDE + 2


def test_no_more_figures_than_asked_for():
    assert len(rig_drawing(page(2), FakeRigger(2), LIMITS).figures) == 1


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(0, 300), st.integers(0, 200)),
    st.tuples(st.integers(10, 400), st.integers(10, 400)),
    st.floats(0.3, 4),
)
def test_any_box_that_a_model_may_find_is_cut_out(corner, size, zoom):
    """Also at the border, where a figure has no paper around it."""
    photo = np.zeros((round(320 * zoom), round(480 * zoom), 3), np.uint8)
    shown = (320, 480, 3)
    x1, y1 = corner
    x2, y2 = min(480, x1 + size[0]), min(320, y1 + size[1])
    mask = np.full((y2 - y1, x2 - x1), 255, np.uint8)
    joints = dict.fromkeys(PARENTS, (float(x2), float(y2)))
    found = FoundFigure((x1, y1, x2, y2), 0.9, joints, (x1, y1, x2, y2), mask)
    if min(x2 - x1, y2 - y1) * min(zoom, 1) < 9:
        return
    (figure,) = rigging._cut_out(photo, [found], shown)
    height, width = figure.character.mask.shape
    assert figure.character.texture.shape == (height, width, 4)
    assert max(height, width) <= TEXTURE_SIDE + 1
    assert all(0 <= x <= width and 0 <= y <= height for x, y in figure.character.joints.values())


def test_a_page_without_a_figure_is_refused_with_what_to_try():
    with pytest.raises(NoFigure, match="no drawn figure found; photograph"):
        rig_drawing(page(0), FakeRigger(0), LIMITS)


def test_a_speck_is_too_small():
    class Speck:
        def rig(self, picture):
            joints = dict.fromkeys(PARENTS, (5.0, 5.0))
            mask = np.full((4, 4), 255, np.uint8)
            return [FoundFigure((3, 3, 7, 7), 0.9, joints, (3, 3, 7, 7), mask)]

    with pytest.raises(BadDrawing, match="smaller than"):
        rig_drawing(page(), Speck(), LIMITS)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"text", UnsupportedMedia),
        (page()[:500], BadMedia),
        (page(1, 3000) + bytes(2**24), TooLarge),
    ],
)
def test_what_is_no_picture_never_reaches_the_model(data, error):
    rigger = FakeRigger()
    with pytest.raises(error):
        rig_drawing(data, rigger, LIMITS)
    assert rigger.seen == []


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16"])
def test_every_kind_of_pixel_becomes_a_drawing_on_white(mode):
    seen = []

    class Eye(FakeRigger):
        def rig(self, picture):
            seen.append(picture.copy())
            return super().rig(picture)

    grey = np.full(PAGE, 60, np.uint8)
    picture_ = Image.fromarray(grey)
    if mode == "I;16":
        picture_ = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        picture_ = picture_.convert(mode)
        picture_.putalpha(0)
    out = io.BytesIO()
    picture_.save(out, "PNG")
    rig_drawing(out.getvalue(), Eye(), LIMITS)
    assert seen[0].dtype == np.uint8
    assert seen[0].shape == (*PAGE, 3)
    assert (seen[0] == (255 if mode in ("LA", "RGBA") else 60)).all()


# pictures


def test_a_figure_survives_its_pngs():
    figure = man()
    texture, mask = picture(figure, "texture"), picture(figure, "mask")
    again = read_figure(texture, mask, figure.joints, LIMITS)
    assert np.array_equal(again.texture, figure.texture)
    assert np.array_equal(again.mask, figure.mask)
    assert again.joints == figure.joints


def test_the_overlay_shows_every_joint_and_fades_the_rest():
    figure = man(scale=2)
    overlay = decoded(picture(figure, "overlay"))
    assert overlay.shape[:2] == figure.mask.shape
    assert overlay[~figure.mask].min() > 100
    for name, (x, y) in figure.joints.items():
        colour = overlay[round(y), round(x)].astype(int)
        side = name.split("_")[0]
        if side in ("left", "right"):
            assert (colour[0] > colour[2]) == (side == "left"), name  # blue, or red


def test_all_pictures_have_the_figures_size():
    for name in PICTURES:
        assert decoded(picture(man(), name)).shape[:2] == (250, 200)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_a_mask_may_be_any_picture_of_white_on_black(mode):
    figure = man()
    out = io.BytesIO()
    Image.fromarray(figure.mask.astype(np.uint8) * 255).convert(mode).save(out, "PNG")
    again = read_figure(picture(figure, "texture"), out.getvalue(), figure.joints, LIMITS)
    assert np.array_equal(again.mask, figure.mask)


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (np.full((250, 201), 255, np.uint8), "has 201×250 pixels"),
        (np.zeros((250, 200), np.uint8), "empty"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, error):
    with pytest.raises(BadDrawing, match=error):
        read_figure(
            picture(man(), "texture"), cv2.imencode(".png", mask)[1].tobytes(), JOINTS, LIMITS
        )


def test_a_mask_that_is_no_picture_is_refused():
    with pytest.raises(UnsupportedMedia):
        read_figure(picture(man(), "texture"), b"mask", JOINTS, LIMITS)
