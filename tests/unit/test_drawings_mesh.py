"""Meshes: whole, covering what is to be seen, and no trouble with troublesome masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawings_figures import JOINTS, man
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drawings import mesh
from gateway.drawings.character import Character, character
from gateway.drawings.outline import solid
from gateway.errors import BadDrawing


def _with_mask(mask: np.ndarray, joints: dict[str, tuple[float, float]]) -> Character:
    names = list(joints)
    parents = {name: names[i - 1] if i else None for i, name in enumerate(names)}
    texture = np.full((*mask.shape, 3), 120, np.uint8)
    return character(texture, mask, joints, parents).snapped()


def _covered(found: mesh.Mesh, shape: tuple[int, int]) -> np.ndarray:
    """Pixels of which the middle is in a triangle."""
    canvas = np.zeros(shape, np.uint8)
    for corners in found.vertices[found.triangles]:
        cv2.fillConvexPoly(canvas, np.round((corners - 0.5) * 256).astype(int), 1, shift=8)
    return canvas != 0


def check(found: mesh.Mesh, shape: tuple[int, int]) -> None:
    """What must be true of every mesh."""
    corners = found.vertices[found.triangles]
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2
    assert (areas > 0).all()
    assert np.unique(found.triangles).tolist() == list(range(len(found.vertices)))
    edges = np.sort(np.concatenate([found.triangles[:, [i, (i + 1) % 3]] for i in range(3)]), 1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() <= 2
    # Nothing overlaps: the areas add up to the area covered.
    covered = _covered(found, (shape[0] + 4, shape[1] + 4))
    outer = cv2.dilate(covered.astype(np.uint8), np.ones((3, 3), np.uint8)).sum()
    assert areas.sum() <= outer
    assert (found.bones >= 0).all() and np.isfinite(found.distances).all()
    assert found.pins.sum(axis=1) == pytest.approx(np.ones(len(found.pins)))


def _missing(found: mesh.Mesh) -> int:
    shown = found.shown
    return int((shown & ~_covered(found, shown.shape)).sum())


def test_a_man_is_covered_whole():
    figure = man().snapped()
    found = mesh.build(figure)
    check(found, figure.mask.shape)
    assert _missing(found) == 0
    assert 300 < len(found.vertices) < 1000
    names = list(figure.joints)
    at = found.vertices[found.triangles].mean(axis=1)
    hand = at[found.bones == names.index("right_hand")]
    assert len(hand) and np.linalg.norm(hand - JOINTS["right_hand"], axis=1).max() < 45
    # A foot's triangles belong to that foot's leg, near as the other foot is.
    left = at[(at[:, 1] > 200) & (at[:, 0] > 100)]
    owners = {names[b] for b in found.bones[(at[:, 1] > 200) & (at[:, 0] > 100)]}
    assert len(left) and owners <= {"left_knee", "left_foot"}


def test_pins_lie_at_the_joints():
    figure = man().snapped()
    found = mesh.build(figure)
    assert found.pins @ found.vertices == pytest.approx(np.array(list(figure.joints.values())))


@pytest.mark.parametrize("limb", [1, 2, 3, 5])
def test_thin_limbs_survive(limb: int):
    figure = man(limb).snapped()
    found = mesh.build(figure)
    check(found, figure.mask.shape)
    assert _missing(found) == 0


def test_a_figure_at_the_border_is_whole():
    figure = man()
    mask = np.zeros_like(figure.mask)
    mask[:, :] = np.roll(figure.mask, (-10, 0), (0, 1))
    mask[-14:, 60:140] = True
    cut = character(figure.texture, mask, figure.joints).snapped()
    found = mesh.build(cut)
    check(found, mask.shape)
    assert _missing(found) == 0


def test_a_ring_shaped_head_is_closed_and_an_opening_stays_open():
    figure = man()
    mask = figure.mask.astype(np.uint8)
    cv2.circle(mask, (100, 45), 20, 0, -1)  # the head's inside is paper
    cv2.ellipse(mask, (55, 150), (40, 30), 0, 0, 360, 1, 6)  # an arm on the hip
    shown, _ = solid(character(figure.texture, mask != 0, figure.joints))
    assert shown[35:55, 90:110].all()
    assert not shown[150, 55]
    found = mesh.build(character(figure.texture, mask != 0, figure.joints).snapped())
    check(found, mask.shape)
    middles = found.vertices[found.triangles].mean(axis=1)
    assert not (np.linalg.norm(middles - [55, 150], axis=1) < 12).any()


def test_loose_pieces_are_joined_and_specks_dropped():
    figure = man()
    mask = figure.mask.copy()
    mask[74:78] = False  # the head is off
    mask[5:8, 190:193] = True  # dirt
    shown, region = solid(character(figure.texture, mask, figure.joints))
    assert shown[45, 100] and not shown[75, 100] and not shown[6, 191]
    assert cv2.connectedComponents(region.astype(np.uint8))[0] == 2  # background and one piece
    found = mesh.build(character(figure.texture, mask, figure.joints).snapped())
    check(found, mask.shape)
    assert _missing(found) == 0


def test_a_self_crossing_outline_is_a_mesh_like_any_other():
    mask = np.zeros((120, 160), np.uint8)
    eight = np.array([[20, 20], [140, 100], [140, 20], [20, 100]])
    cv2.fillPoly(mask, [eight], 255)
    figure = _with_mask(mask, {"a": (40, 60), "b": (80, 60), "c": (120, 60)})
    found = mesh.build(figure)
    check(found, mask.shape)
    assert _missing(found) == 0


def test_joints_outside_snap_to_the_nearest_pixel():
    mask = np.zeros((100, 100), np.uint8)
    mask[40:60, 20:80] = 255
    figure = _with_mask(mask, {"a": (30, 50), "b": (70, 5), "c": (-500, 55), "d": (50.2, 50.7)})
    assert figure.joints == {"a": (30, 50), "b": (70.5, 40.5), "c": (20.5, 55.5), "d": (50.2, 50.7)}


def test_noise_is_meshed_or_refused_but_bounded():
    mask = (np.random.default_rng(1).random((500, 500)) > 0.45).astype(np.uint8) * 255
    try:
        found = mesh.build(_with_mask(mask, {"a": (100, 100), "b": (400, 400)}))
    except BadDrawing as error:
        assert "ragged" in str(error)
    else:
        assert len(found.vertices) < 4000


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_blob_gives_a_sound_mesh(data: st.DataObject):
    height, width = data.draw(st.integers(12, 90)), data.draw(st.integers(12, 90))
    mask = np.zeros((height, width), np.uint8)
    point = st.tuples(st.integers(-5, width + 5), st.integers(-5, height + 5))
    for _ in range(data.draw(st.integers(1, 6))):
        a, b = data.draw(point), data.draw(point)
        cv2.line(mask, a, b, 255, data.draw(st.integers(1, 14)))
    for _ in range(data.draw(st.integers(0, 3))):
        cv2.circle(mask, data.draw(point), data.draw(st.integers(1, 9)), 0, -1)
    joints = {name: data.draw(point) for name in "abcd"}
    try:
        figure = _with_mask(mask, joints)
        found = mesh.build(figure)
    except BadDrawing:
        return
    check(found, mask.shape)
    assert _missing(found) <= 0.02 * found.shown.sum() + 3
