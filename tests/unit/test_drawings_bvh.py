"""BVH: forward kinematics against an explicit one, and hostile files."""

from __future__ import annotations

import numpy as np
import pytest
from drawings_figures import bvh
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drawings.bvh import MAX_FRAMES, parse_bvh
from gateway.errors import BadMotion, MasqueradeError, TooLarge

TWO_BONES = """HIERARCHY
ROOT Hips
{
  OFFSET 5 6 7
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 0 -10 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    JOINT Foot
    {
      OFFSET 0 -10 3
      CHANNELS 0
      End Site
      {
        OFFSET 0 0 2
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.04
1 2 3 30 40 50 10 20 30
4 5 6 0 0 0 0 90 0
"""


def _turn(axis: str, degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    c, s = np.cos(a), np.sin(a)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def test_positions_agree_with_explicit_matrices():
    motion = parse_bvh(TWO_BONES)
    assert motion.names == ("Hips", "Knee", "Foot")
    assert motion.frame_time == 0.04
    places = motion.positions()
    hips = _turn("z", 30) @ _turn("x", 40) @ _turn("y", 50)
    knee = hips @ _turn("y", 10) @ _turn("x", 20) @ _turn("z", 30)
    root = np.array([1, 2, 3])
    assert places[0, 0] == pytest.approx(root)
    assert places[0, 1] == pytest.approx(root + hips @ [0, -10, 0])
    assert places[0, 2] == pytest.approx(places[0, 1] + knee @ [0, -10, 3])
    assert places[1, 2] == pytest.approx([4, 5 - 10 - 3, 6 - 10])
    assert np.array_equal(motion.positions(1), places[1:])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("HIERARCHY", "HIERARCHIE", "begin with HIERARCHY"),
        ("MOTION", "NOTION", "no MOTION"),
        ("Frames: 2", "Frames: 0", "no frames"),
        ("Frames: 2", "Frames: -3", "no frames"),
        ("Frames: 2", "Frames: two", "no frames"),
        ("Frames: 2", "Frames: 3", "27 in all, but has 18"),
        ("Frames: 2", "Frames: 1", "has 18"),
        ("Frames: 2", "Frames: \u0660", "no frames"),
        ("Frame Time: 0.04", "Frame Time: 0", "frame time"),
        ("Frame Time: 0.04", "Frame Time: nan", "frame time"),
        ("Frame Time: 0.04", "Time: 1", "Frame Time"),
        ("4 5 6 0", "4 nan 6 0", "infinite"),
        ("4 5 6 0", "4 1e300 6 0", "infinite"),
        ("4 5 6 0", "4 five 6 0", "five"),
        ("4 5 6 0", "4 1_0 6 0", "1_0"),
        ("4 5 6 0", "4,5 6 0", "something else"),
        ("OFFSET 0 -10 0", "OFFSET 0 -ten 0", "-ten"),
        ("OFFSET 0 -10 0", "OFFSET 0 inf 0", "Knee"),
        ("JOINT Knee", "JOINT Hips", "two joints"),
        ("CHANNELS 0", "CHANNELS 99", "99"),
        ("Yrotation Xrotation Zrotation", "Yrotation Xrotation Yrotation", "channels"),
        ("Yrotation Xrotation Zrotation", "Yrotation Xrotation Twist", "channels"),
        ("JOINT Foot", "ROOT Foot", "ROOT"),
        ("JOINT Foot", "} JOINT Foot", "more behind"),
        ("MOTION", "}\nMOTION", "more behind"),
        ("      End Site\n", "      End\n", "Site"),
    ],
)
def test_a_broken_file_is_refused_by_name(old: str, new: str, says: str):
    assert old in TWO_BONES
    with pytest.raises(BadMotion, match=says):
        parse_bvh(TWO_BONES.replace(old, new, 1))


def test_white_space_is_no_number():
    head = "HIERARCHY\nROOT a\n{ OFFSET 0 0 0 CHANNELS 1 Xrotation }\n"
    with pytest.raises(BadMotion, match="but has 0"):
        parse_bvh(head + "MOTION\nFrames: 1\nFrame Time: 0.1\n \n")


def test_a_million_frames_are_refused_before_they_are_read():
    with pytest.raises(TooLarge, match=f"1000000 frames; the limit is {MAX_FRAMES}"):
        parse_bvh(TWO_BONES.replace("Frames: 2", "Frames: 1000000"))
    with pytest.raises(TooLarge):
        parse_bvh(TWO_BONES.replace("Frames: 2", "Frames: " + "9" * 5000))


def test_deep_nesting_does_not_exhaust_the_stack():
    levels = 5000
    head = "HIERARCHY\nROOT a\n{ OFFSET 0 0 0 CHANNELS 3 Xrotation Yrotation Zrotation "
    inner = "".join(f"JOINT j{i} {{ OFFSET 0 1 0 CHANNELS 0 " for i in range(levels))
    with pytest.raises(TooLarge, match="joints"):
        parse_bvh(head + inner + "}" * (levels + 1) + "\nMOTION\nFrames: 1\nFrame Time: 0.1\n0 0 0")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_raises_only_our_errors(data: st.DataObject):
    text = list(bvh(2))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(text) - 1))
        match data.draw(st.sampled_from("drc")):
            case "d":
                del text[at : at + data.draw(st.integers(1, 60))]
            case "r":
                text[at : at + 1] = data.draw(st.text(max_size=6))
            case "c":
                text = text[: max(1, at)]
        if not text:
            break
    try:
        motion = parse_bvh("".join(text))
    except MasqueradeError:
        return
    assert np.isfinite(motion.positions()).all()
