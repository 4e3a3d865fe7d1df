"""Hiding: what is covered, what is left alone, and what survives."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from faces_fakes import FACE_BOX, astronaut, network
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.faces.blur import FEATHER, SAMPLES, hide
from gateway.faces.boxes import grown, iou
from gateway.pipelines.options import BlurOptions
from handlers.centerface import detect

STYLES = ("gaussian", "pixelate", "solid")
SHAPES = ("ellipse", "box")
DEFAULT = BlurOptions()


def noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


def one(*box: float) -> np.ndarray:
    return np.array([box], np.float32)


@st.composite
def faces_anywhere(draw: st.DrawFn) -> tuple[int, int, np.ndarray]:
    """(height, width, box) of a picture and a face at least partly in it."""
    height, width = draw(st.integers(16, 160)), draw(st.integers(16, 160))
    w = draw(st.floats(8, 140))
    h = w * draw(st.floats(0.7, 1.8))
    x = draw(st.floats(-w + 1, width - 1))
    y = draw(st.floats(-h + 1, height - 1))
    return height, width, one(x, y, x + w, y + h)


def inside(box: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) bool: pixels whose middle lies in the box."""
    x1, y1, x2, y2 = box[0]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    return ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))[None]


def masked(height: int, width: int, box: np.ndarray, **options: Any) -> np.ndarray:
    """(H, W) 0 … 1: how much of each pixel a solid fill replaces."""
    picture = np.full((height, width), 0, np.uint16)
    hide(picture, box, style="solid", fill=60000, **options)
    return picture / 60000


@settings(max_examples=300, deadline=None)
@given(faces_anywhere())
def test_the_default_ellipse_covers_every_face_also_cut_by_the_border(
    case: tuple[int, int, np.ndarray],
) -> None:
    height, width, box = case
    face = inside(box, height, width)
    covered = masked(height, width, box, shape=DEFAULT.shape, scale=DEFAULT.scale)[face]
    if covered.size:
        assert (covered > 0).mean() >= 0.95
        assert (covered > 0.5).mean() >= 0.9


@settings(max_examples=200, deadline=None)
@given(faces_anywhere(), st.floats(1, 3))
def test_a_box_covers_all_of_a_face_at_any_scale(
    case: tuple[int, int, np.ndarray], scale: float
) -> None:
    height, width, box = case
    covered = masked(height, width, box, shape="box", scale=scale)[inside(box, height, width)]
    assert (covered == 1).all()


@pytest.mark.parametrize("scale", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_no_corner_of_a_clipped_face_is_exposed(side: str, scale: float) -> None:
    """The detector's box ends where the picture does: both corners there are face."""
    height, width = 120, 140
    box, border = {
        "left": (one(0, 40, 25, 80), np.s_[40:80, :12]),
        "top": (one(50, 0, 80, 30), np.s_[:15, 50:80]),
        "right": (one(115, 40, 140, 80), np.s_[40:80, 128:]),
        "bottom": (one(50, 90, 80, 120), np.s_[105:, 50:80]),
    }[side]
    assert (masked(height, width, box, scale=scale)[border] > 0.5).all()


def test_a_face_that_leaves_the_picture_is_hidden_to_the_last_column() -> None:
    for shown in range(1, 60):
        box = one(shown - 60, 20, shown, 95)
        assert (masked(110, 100, box)[20:95, :shown] > 0).mean() > 0.95


def test_a_leaving_face_is_hidden_better_than_by_its_own_ellipse() -> None:
    """Whose tip alone would still be in the picture, and leave the strip's corners bare."""
    for shown in range(1, 30):
        box = one(shown - 60, 20, shown, 95)
        assert (masked(110, 100, box, scale=1.0)[20:95, :shown] > 0).mean() > 0.75


def test_a_face_as_large_as_the_picture_leaves_no_pixel() -> None:
    assert (masked(90, 80, one(-3, 0, 80, 91)) == 1).all()


@settings(max_examples=200, deadline=None)
@given(
    faces_anywhere(), st.sampled_from(STYLES), st.sampled_from(SHAPES), st.floats(1, 3), st.data()
)
def test_nothing_outside_the_reach_changes(
    case: tuple[int, int, np.ndarray], style: Any, shape: Any, scale: float, data: st.DataObject
) -> None:
    height, width, box = case
    shape_of = data.draw(st.sampled_from([(height, width), (height, width, 3), (height, width, 4)]))
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]))
    before = noise(shape_of, dtype)
    after = before.copy()
    hide(after, box, style=style, shape=shape, scale=scale)
    x1, y1, x2, y2 = grown(box, scale * (1 + FEATHER))[0]
    far = np.ones((height, width), bool)
    far[
        max(0, int(np.floor(y1))) : max(0, int(np.ceil(y2))),
        max(0, int(np.floor(x1))) : max(0, int(np.ceil(x2))),
    ] = False
    assert np.array_equal(after[far], before[far])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("style", STYLES)
def test_every_kind_of_picture_is_hidden_alike(
    style: Any, shape: Any, channels: tuple[int, ...], dtype: Any
) -> None:
    picture = noise((80, 90, *channels), dtype)
    if channels == (4,):
        picture[..., 3] = np.iinfo(dtype).max
    expected = picture.copy()
    for plane in (expected[..., c] for c in range(min(3, *channels))) if channels else [expected]:
        alone = np.ascontiguousarray(plane)
        hide(alone, one(20, 15, 60, 65), style=style, shape=shape, fill=7)
        plane[...] = alone
    hide(picture, one(20, 15, 60, 65), style=style, shape=shape, fill=7)
    assert picture.dtype == dtype
    assert np.abs(picture.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("style", STYLES)
def test_uint16_is_hidden_as_finely_as_uint8(style: Any) -> None:
    fine = noise((60, 60), np.uint8).astype(np.uint16) * 257
    coarse = (fine // 257).astype(np.uint8)
    for picture in (fine, coarse):
        hide(picture, one(10, 10, 50, 50), style=style)
    assert np.abs(fine / 257 - coarse).max() <= 1.5


def test_views_are_written_through() -> None:
    """Planes of a decoded frame are views with padded rows, some bottom up."""
    box = one(10, 8, 40, 44)
    store = noise((60, 128))
    plain = np.ascontiguousarray(store[:, :64])
    hide(plain, box)
    padded = store.copy()
    hide(padded[:, :64], box)
    assert np.array_equal(padded[:, :64], plain)
    assert np.array_equal(padded[:, 64:], store[:, 64:])
    flipped = store[::-1].copy()
    hide(flipped[::-1, :64], box)
    assert np.array_equal(flipped[::-1, :64], plain)
    wide = np.repeat(store[:, :64], 2, axis=1)
    hide(wide[:, ::2], box)
    assert np.array_equal(wide[:, ::2], plain)
    assert np.array_equal(wide[:, 1::2], store[:, :64])


@pytest.mark.parametrize("subsampling", [(2, 2), (2, 1), (1, 1)])
def test_a_chroma_plane_is_hidden_where_the_luma_is(subsampling: tuple[int, int]) -> None:
    across, down = subsampling
    box = one(33, 21, 75, 79)
    luma = masked(120, 130, box)
    chroma = masked(120 // down, 130 // across, box, subsampling=subsampling)
    enlarged = np.kron(chroma, np.ones((down, across)))
    assert np.abs(enlarged - luma).mean() < 0.01
    assert (enlarged[inside(box, 120, 130)] > 0).mean() > 0.95


def test_solid_paints_one_value_per_channel() -> None:
    picture = noise((50, 50, 4))
    hide(picture, one(15, 15, 35, 35), style="solid", fill=(1, 2, 3))
    assert picture[25, 25].tolist() == [1, 2, 3, 255]


# Alpha


def drawn_by_alpha(dtype: Any = np.uint8) -> np.ndarray:
    """The astronaut, (512, 512, 4): black ink of more or less opacity."""
    picture = np.zeros((512, 512, 4), dtype)
    top = np.iinfo(dtype).max
    picture[..., 3] = (255 - cv2.cvtColor(astronaut(), cv2.COLOR_BGR2GRAY)).astype(dtype)
    picture[..., 3] *= top // 255
    return picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("style", STYLES)
def test_a_face_of_alpha_alone_is_hidden(style: Any, shape: Any, dtype: Any) -> None:
    picture = drawn_by_alpha(dtype)
    hide(picture, one(*FACE_BOX), style=style, shape=shape)
    x1, y1, x2, y2 = map(int, FACE_BOX)
    if style == "solid":
        assert (picture[y1 + 30 : y2 - 30, x1 + 30 : x2 - 30, 3] == np.iinfo(dtype).max).all()
    shade = 255 - (picture[..., 3] / (np.iinfo(dtype).max / 255)).astype(np.uint8)
    left = detect(network(), [cv2.cvtColor(shade, cv2.COLOR_GRAY2BGR)], [0.5])[0]
    assert (iou(one(*FACE_BOX), left.boxes) < 0.3).all()
    assert np.array_equal(picture[300:], drawn_by_alpha(dtype)[300:])


@pytest.mark.parametrize("style", ["gaussian", "pixelate"])
def test_what_is_transparent_lends_no_colour_to_what_is_not(style: Any) -> None:
    """A sticker's outline stays its colour: no dark seam from the nothing around it."""
    sticker = np.zeros((80, 80, 4), np.uint8)
    sticker[:, 40:] = (200, 180, 160, 255)
    hide(sticker, one(20, 20, 60, 60), style=style)
    shown = sticker[..., 3] > 8
    assert np.abs(sticker[shown][:, :3].astype(int) - (200, 180, 160)).max() <= 12
    assert (sticker[~shown & (sticker[..., 3] == 0)] == 0).all()
    assert (sticker[30:50, :10, 3] == 0).all()


def test_a_veil_keeps_its_opacity() -> None:
    veil = noise((60, 60, 4))
    veil[..., 3] = 3
    hide(veil, one(10, 10, 50, 50))
    assert (veil[..., 3] == 3).all()
    assert veil[20:40, 20:40, :3].std() < 25


def test_no_faces_and_faces_elsewhere_change_nothing() -> None:
    before = noise((40, 40, 3))
    after = before.copy()
    hide(after, np.zeros((0, 4), np.float32))
    hide(after, np.array([[100, 100, 120, 120], [-50, 0, -20, 30], [0, 90, 9, 99]], np.float32))
    assert np.array_equal(after, before)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", SHAPES)
def test_tiny_pictures_and_degenerate_boxes_are_survived(style: Any, shape: Any) -> None:
    boxes = [one(0, 0, 1, 1), one(0.4, 0.2, 0.4, 0.2), one(3, 3, 1, 1), one(-9, -9, 99, 99)]
    for size in ((1, 1), (1, 7), (2, 3), (5, 1, 3)):
        for box in boxes:
            hide(noise(size), box, style=style, shape=shape)


# What survives


@pytest.mark.parametrize("style", ["gaussian", "pixelate"])
def test_faces_with_equal_cell_means_become_equal(style: Any) -> None:
    """Pixels shuffled within their cells are two different faces with the same few samples."""
    across = int(SAMPLES**0.5)
    cell = 12
    side = across * cell
    # The mask's area is chosen so that cells fall on whole pixels.
    scale = 0.999 * (SAMPLES * cell * cell) ** 0.5 / side
    face = noise((side, side))
    cells = face.reshape(across, cell, across, cell).swapaxes(1, 2).reshape(-1, cell * cell)
    other = np.random.default_rng(5).permuted(cells, axis=1)
    other = other.reshape(across, across, cell, cell).swapaxes(1, 2).reshape(side, side)
    assert (face != other).mean() > 0.9
    results = []
    for content in (face, other):
        picture = content.copy()
        hide(picture, one(0, 0, side, side), style=style, shape="box", scale=scale)
        results.append(picture)
    assert np.array_equal(*results)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("style", ["gaussian", "pixelate"])
@pytest.mark.parametrize("extent", [(40, 56), (24, 24), (18, 90)])
def test_only_a_few_samples_survive(extent: tuple[int, int], style: Any, shape: Any) -> None:
    """The map from faces to blurred faces has no more degrees of freedom than samples.

    The rank of many random faces' results is measured: beyond the samples only
    rounding is left.
    """
    w, h = extent
    box = one(30, 20, 30 + w, 20 + h)
    core = inside(grown(box, 0.7), h + 40, w + 60)
    limit = int(SAMPLES * (1 + FEATHER) ** 2)
    results = []
    for seed in range(2 * limit):
        picture = noise((h + 40, w + 60), np.uint16, seed)
        hide(picture, box, style=style, shape=shape, scale=1.0)
        results.append(picture[core])
    spread = np.linalg.svd(np.stack(results) - np.mean(results, axis=0), compute_uv=False)
    assert spread[limit] < 1e-3 * spread[0]


def test_a_large_face_keeps_no_more_than_a_small_one() -> None:
    for side in (30, 100, 800):
        picture = noise((side, side), np.uint16)
        hide(picture, one(0, 0, side, side), style="pixelate", shape="box", scale=1.0)
        assert len(np.unique(picture)) <= SAMPLES


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("style", STYLES)
def test_a_face_detector_no_longer_fires(style: Any, shape: Any) -> None:
    for factor in (0.4, 1.0, 1.6):
        size = (round(512 * factor),) * 2
        before = cv2.resize(astronaut(), size, interpolation=cv2.INTER_AREA)
        after = before.copy()
        box = one(*FACE_BOX) * factor
        hide(after, box, style=style, shape=shape)
        # Hair and shoulders alone, around a solid fill, still score up to 0.4.
        seen, left = detect(network(), [before, after], [0.5, 0.5])
        assert (iou(box, seen.boxes) > 0.6).any()
        assert (iou(box, left.boxes) < 0.3).all()


def test_detail_is_gone_but_the_colours_stay() -> None:
    picture = astronaut().copy()
    hide(picture, one(*FACE_BOX), shape="box", scale=1.0)
    x1, y1, x2, y2 = (round(v) for v in FACE_BOX)
    before, after = (p[y1:y2, x1:x2] for p in (astronaut(), picture))
    assert cv2.Laplacian(after, cv2.CV_32F).std() < cv2.Laplacian(before, cv2.CV_32F).std() / 5
    assert np.abs(before.mean((0, 1)) - after.mean((0, 1))).max() < 15
