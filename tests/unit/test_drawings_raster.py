"""Drawing: what is seen is the texture, without seams, with the right part in front."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawings_figures import INK, JOINTS, man

from gateway.drawings import mesh
from gateway.drawings.arap import Arap
from gateway.drawings.character import Character
from gateway.drawings.matte import cut_out
from gateway.drawings.raster import Painter
from gateway.drawings.retarget import Poses

SIZE = (250, 200)


def _poses(figure: Character, frames: int, front: str = "") -> Poses:
    """Two parts: the arm that ends in ``front`` over everything else, or the other way round."""
    names = list(figure.joints)
    arm = [i for i, name in enumerate(names) if front and name.startswith(front)]
    rest = [i for i in range(len(names)) if i not in arm]
    joints = np.zeros((frames, len(names), 2))
    order = np.tile(np.array([0, 1], np.int32), (frames, 1))
    return Poses(joints, (tuple(rest), tuple(arm)), order, order < 0, 1 / 30)


def _painted(figure: Character, joints: dict, poses: Poses | None = None) -> np.ndarray:
    """The figure with some joints moved to other places, on nothing."""
    net = mesh.build(figure)
    pins = np.array([joints.get(name, place) for name, place in figure.joints.items()], float)
    shapes = Arap(net.vertices, net.triangles, net.pins).solve(pins[None])
    canvas = np.zeros((*SIZE, 4), np.uint8)
    painter = Painter(
        cut_out(figure.texture, net.shown), net, poses or _poses(figure, 1), shapes, 1.0
    )
    painter.draw(canvas, 0)
    return canvas


def test_at_rest_the_drawing_comes_out_as_it_went_in():
    figure = man().snapped()
    out = _painted(figure, {})
    inside = cv2.erode(figure.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) != 0
    outside = cv2.dilate(figure.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    assert (out[inside][:, 3] == 255).all()
    away = np.abs(out[inside].astype(int) - figure.texture[inside])
    assert away.max() <= 6 and away.mean() < 0.2
    assert not out[outside].any()


def test_edges_are_soft_and_without_a_fringe_of_other_colours():
    figure = man().snapped()
    net = mesh.build(figure)
    canvas = np.zeros((*SIZE, 4), np.uint8)
    shapes = (net.vertices[None] + [0.4, 0.3]).astype(np.float32)
    Painter(cut_out(figure.texture, net.shown), net, _poses(figure, 1), shapes, 1.0).draw(canvas, 0)
    edge = (canvas[..., 3] > 20) & (canvas[..., 3] < 235)
    assert edge.sum() > 300
    colour = canvas[edge][:, :3] * (255 / canvas[edge][:, 3:])
    assert np.abs(colour - INK).max() < 25


@pytest.mark.parametrize(
    "moved",
    [
        {"left_elbow": (140, 60), "left_hand": (150, 30)},
        {"left_elbow": (140, 130), "left_hand": (112, 120)},
        {"right_knee": (60, 180), "right_foot": (90, 200), "neck": (125, 52)},
    ],
)
def test_a_plain_figure_bends_without_seams(moved: dict):
    figure = man().snapped()
    plain = np.empty_like(figure.texture)
    plain[:] = (*INK, 255)
    out = _painted(Character(plain, figure.mask, figure.joints, figure.parents), moved)
    # A seam would be clear pixels with drawn ones all around, away from any opening.
    solid = (out[..., 3] > 0).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - solid, connectivity=4)
    holes = (stats[labels, cv2.CC_STAT_AREA] < 20) & (solid == 0)
    openings = ((solid == 0) & ~holes).astype(np.uint8)
    assert not (holes & (cv2.dilate(openings, np.ones((5, 5))) == 0)).any()
    deep = cv2.erode(solid, np.ones((5, 5))) != 0
    assert (out[deep][:, 3] >= 254).all()
    assert np.abs(out[deep][:, :3].astype(int) - INK).max() <= 2


def test_the_later_part_is_in_front():
    figure = man().snapped()
    texture = figure.texture.copy()
    texture[:, 135:] = (0, 255, 0, 255)  # the left arm's lower half is green
    green = Character(texture, figure.mask, figure.joints, figure.parents)
    crossed = {"left_elbow": (128, 125), "left_hand": (98, 128)}
    poses = _poses(green, 1, "left_")
    front = _painted(green, crossed, poses)
    behind = _painted(green, crossed, Poses(poses.joints, poses.parts, poses.order[:, ::-1],
                                            poses.reverse, 1 / 30))  # fmt: skip
    at = (126, 105)
    assert front[at].tolist() == [0, 255, 0, 255]
    assert behind[at].tolist() == [*INK, 255]


def test_what_is_outside_the_canvas_is_cut_off():
    figure = man().snapped()
    net = mesh.build(figure)
    moves = np.array([[-90, -90], [5000, 0], [90, 100]], float)
    shapes = net.vertices + moves[:, None]
    painter = Painter(
        cut_out(figure.texture, net.shown), net, _poses(figure, 3), shapes.astype(np.float32), 1.0
    )
    for frame, seen in enumerate((True, False, True)):
        canvas = np.zeros((*SIZE, 4), np.uint8)
        painter.draw(canvas, frame)
        assert canvas.any() == seen
    whole = _painted(figure, {})
    canvas = np.zeros((*SIZE, 4), np.uint8)
    painter.draw(canvas, 0)
    assert np.abs(canvas[:150, :100].astype(int) - whole[90:240, 90:190]).mean() < 1


def test_shrinking_averages_instead_of_skipping():
    figure = man(scale=2).snapped()
    noisy = figure.texture.copy()
    noisy[::2, :, :3], noisy[1::2, :, :3] = 0, 200
    net = mesh.build(figure)
    canvas = np.zeros((*SIZE, 4), np.uint8)
    shapes = (net.vertices[None] * 0.5).astype(np.float32)
    Painter(cut_out(noisy, net.shown), net, _poses(figure, 1), shapes, 0.5).draw(canvas, 0)
    x, y = JOINTS["root"]
    assert np.abs(canvas[y - 40 : y + 8, x - 8 : x + 8, :3].astype(int) - 100).max() <= 3
