"""Characters: checked skeletons, AnimatedDrawings' configurations, cut-outs of photos."""

from __future__ import annotations

import numpy as np
import pytest
from drawings_figures import JOINTS, man

from gateway.drawings.character import PARENTS, character, from_config, from_figure
from gateway.errors import BadDrawing

TEXTURE = np.full((60, 40, 3), 99, np.uint8)
MASK = np.zeros((60, 40), np.uint8)
MASK[5:55, 10:30] = 255


def _config(*joints: tuple[str, object, str | None]) -> dict[str, object]:
    skeleton = [{"name": n, "loc": loc, "parent": parent} for n, loc, parent in joints]
    return {"height": 60, "width": 40, "skeleton": skeleton}


def test_any_tree_is_a_skeleton_and_parents_come_first():
    config = _config(
        ("tail", [12, 50], "body"), ("body", [20, 30], "root"), ("root", [20, 40], None)
    )
    figure = from_config(config, MASK, TEXTURE)
    assert list(figure.parents) == list(figure.joints) == ["root", "body", "tail"]
    assert figure.joints["tail"] == (12, 50)
    assert figure.texture.shape == (60, 40, 4) and (figure.texture[..., 3] == 255).all()
    assert figure.mask.sum() == 50 * 20


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "skeleton"),
        ({"height": 60, "width": 40, "skeleton": "x"}, "skeleton"),
        ({"height": 6, "width": 40, "skeleton": []}, "40×6"),
        (_config(), "exactly one"),
        (_config(("a", [1, 2], None)), "no bone"),
        (_config(("a", [1, 2], None), ("b", [3, 4], None)), "exactly one"),
        (_config(("a", [1, 2], None), ("a", [3, 4], "a")), "name of its own"),
        (_config(("a", [1, 2], None), ("b", [3, 4], "c"), ("c", [3, 4], "b")), "not a tree"),
        (_config(("a", [1, 2], None), ("b", [3, 4], "nobody")), "not a tree"),
        (_config(("a", [1, 2], None), ("b", "here", "a")), "place of joint b"),
        (_config(("a", [1, 2], None), ("b", [float("nan"), 1], "a")), "place of joint b"),
        (_config(("a", [1, 2], None), ("b", [1e99, 1], "a")), "place of joint b"),
        (_config(("a", [1, 2], None), ("b", [1, 2, 3], "a")), "place of joint b"),
        (_config(("a", [1, 2], None), ("b", [1, 2], 7)), "parent"),
        (_config(*[(f"j{i}", [1, 2], f"j{i - 1}" if i else None) for i in range(200)]), "128"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(config: object, says: str):
    with pytest.raises(BadDrawing, match=says):
        from_config(config, MASK, TEXTURE)


@pytest.mark.parametrize(
    ("texture", "mask", "says"),
    [
        (TEXTURE, np.zeros_like(MASK), "empty"),
        (TEXTURE, MASK[:-1], "not as large"),
        (TEXTURE[..., 0], MASK, "colour"),
        (TEXTURE.astype(float), MASK, "colour"),
    ],
)
def test_pictures_must_fit(texture: np.ndarray, mask: np.ndarray, says: str):
    with pytest.raises(BadDrawing, match=says):
        character(texture, mask, dict.fromkeys(PARENTS, (1.0, 1.0)))


def test_a_tiny_figure_is_refused():
    mask = np.zeros_like(MASK)
    mask[3:8, 3:8] = 255
    with pytest.raises(BadDrawing, match="smaller than 8"):
        character(TEXTURE, mask, dict.fromkeys(PARENTS, (4.0, 4.0)))


def test_missing_joints_are_named():
    with pytest.raises(BadDrawing, match="lacks neck"):
        character(TEXTURE, MASK, {name: (15.0, 15.0) for name in PARENTS if name != "neck"})


def test_a_figure_is_cut_out_of_a_photo():
    man_ = man()
    photo = np.full((400, 300, 3), 255, np.uint8)
    photo[100:350, 50:250] = man_.texture[..., :3]
    mask = man_.mask.astype(np.uint8) * 255
    joints = {name: (x + 50, y + 100) for name, (x, y) in JOINTS.items()}
    figure = from_figure(photo, (50, 100, 250, 350), mask, joints)
    assert figure.joints == JOINTS
    assert np.array_equal(figure.texture, man_.texture) and np.array_equal(figure.mask, man_.mask)
    with pytest.raises(BadDrawing, match="inside the drawing"):
        from_figure(photo, (150, 100, 350, 350), mask, joints)


def test_scaling_moves_everything_alike_and_keeps_thin_strokes():
    figure = man(limb=2)
    small = figure.scaled(0.4)
    assert small.mask.shape == (100, 80) and small.texture.shape == (100, 80, 4)
    assert small.joints["left_foot"] == pytest.approx((126 * 0.4, 228 * 0.4))
    for limb in ("right_hand", "left_hand", "right_foot", "left_foot"):
        x, y = (int(v) for v in small.joints[limb])
        assert small.mask[y - 1 : y + 2, x - 1 : x + 2].any(), limb
