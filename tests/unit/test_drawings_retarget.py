"""Retargeting: bones take the motion's angles, and configurations are not trusted."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from drawings_figures import JOINTS, MOTION_CONFIG, bvh, man, retarget_config

from gateway.drawings.bvh import parse_bvh
from gateway.drawings.character import Character, character
from gateway.drawings.motion_config import MotionConfig, RetargetConfig, read_yaml
from gateway.drawings.retarget import MAX_FRAMES, Motion, Poses, retarget
from gateway.errors import BadMotion, TooLarge

PEER = Path(__file__).parents[3] / "shared" / "drawings" / "animated_drawings"


def _motion(text: str | None = None, config: dict | None = None, **changes: object) -> Motion:
    raw = MOTION_CONFIG | changes
    return Motion(
        parse_bvh(text or bvh()),
        MotionConfig.parse(raw),
        RetargetConfig.parse(config or retarget_config()),
    )


def _bone(figure: Character, poses: Poses, joint: str) -> np.ndarray:
    names = list(figure.joints)
    parent = names.index(str(figure.parents[joint]))
    return poses.joints[:, names.index(joint)] - poses.joints[:, parent]


def _angle(vectors: np.ndarray) -> np.ndarray:
    """Degrees counter-clockwise from the right, as one sees it (y down)."""
    return np.degrees(np.arctan2(-vectors[:, 1], vectors[:, 0]))


@pytest.mark.parametrize("turn", [0, 10, 80, -50])
def test_a_bone_points_where_the_motion_says_and_keeps_its_length(turn: int):
    figure = man()
    poses = retarget(figure, _motion(bvh(moving=str(turn))), 30)
    hand = _bone(figure, poses, "left_hand")
    assert _angle(hand) == pytest.approx(np.full(4, turn), abs=1e-3)
    length = np.hypot(*np.subtract(JOINTS["left_hand"], JOINTS["left_elbow"]))
    assert np.linalg.norm(hand, axis=1) == pytest.approx(np.full(4, length))
    # The right arm of a figure that faces us points to the left.
    assert np.abs(_angle(_bone(figure, poses, "right_hand"))) == pytest.approx(np.full(4, 180))


def test_a_bone_without_a_direction_turns_with_its_parent():
    figure = man()
    leaning = {name: (x + (150 - y) * 0.5, y) for name, (x, y) in JOINTS.items()}
    figure = character(figure.texture, figure.mask, leaning)
    poses = retarget(figure, _motion(), 30)
    torso = _angle(_bone(figure, poses, "torso"))
    assert torso == pytest.approx(np.full(4, 90), abs=1e-3)  # the motion's spine is upright
    turned = 90 - np.degrees(np.arctan2(60, 30))
    before = np.subtract(leaning["left_shoulder"], leaning["torso"])[None]
    assert _angle(_bone(figure, poses, "left_shoulder")) == pytest.approx(
        np.repeat(_angle(before) + turned, 4), abs=1e-3
    )


def test_the_root_walks_as_far_as_its_legs_are_long():
    figure = man()
    poses = retarget(figure, _motion(), 30)
    leg = np.hypot(*np.subtract(JOINTS["left_hip"], JOINTS["left_foot"]))
    steps = np.diff(poses.joints[:, 0], axis=0)
    assert steps == pytest.approx(np.tile([leg / 8, 0], (3, 1)))


def test_any_heading_and_either_upward_axis_come_out_alike():
    straight = parse_bvh(bvh()).positions()
    upright = retarget(man(), _motion(), 30)
    tipped = bvh().replace("OFFSET", "OFFSET ")  # z up: (x, y, z) → (x, -z, y)

    def swap(line: str) -> str:
        if not line.startswith("OFFSET "):
            return line
        x, y, z = line.split()[1:]
        return f"OFFSET {x} {-float(z)} {y}"

    tipped = "\n".join(map(swap, tipped.splitlines()))
    # The file's z axis is y once it stands up again, so the arm turns about -y.
    tipped = tipped.replace("Zrotation Xrotation Yrotation", "Yrotation Xrotation Zrotation")
    tipped = tipped.replace(" 10 ", " -10 ")
    fallen = retarget(man(), _motion(tipped, up="+z"), 30)
    assert len(straight) == 4
    assert fallen.joints == pytest.approx(upright.joints, abs=1e-3)


def test_depth_orders_the_parts():
    figure = man()
    swung = bvh().splitlines()
    row = swung[-1].split()
    row[6 + 3 * 2 : 6 + 3 * 2 + 3] = ["0", "0", "-80"]  # the left arm turned to the front
    back = [*row]
    back[6 + 3 * 2 + 2] = "80"
    text = "\n".join([*swung[:-2], " ".join(row), " ".join(back)])
    poses = retarget(figure, _motion(text), 30)
    names = list(figure.joints)
    assert [names[j] for j in poses.parts[1]] == ["left_elbow", "left_hand"]
    assert poses.order[-2].tolist() == [0, 1]  # the arm over the trunk
    assert poses.order[-1].tolist() == [1, 0]
    assert poses.reverse[-1].tolist() == [True, True] and not poses.reverse[-2][1]
    assert sorted(j for part in poses.parts for j in part) == list(range(len(names)))


def test_a_head_below_the_shoulders_is_left_alone():
    figure = man()
    low = character(figure.texture, figure.mask, JOINTS | {"neck": (100, 120)})
    config = retarget_config()
    config["char_joint_bvh_joints_mapping"]["neck"] = ["LArm", "LHand"]
    motion = _motion(bvh(moving="0"), config)
    assert _angle(_bone(figure, retarget(figure, motion, 30), "neck")) == pytest.approx(np.zeros(4))
    assert _angle(_bone(low, retarget(low, motion, 30), "neck")) == pytest.approx(np.full(4, -90))


def test_extra_limbs_move_like_the_one_they_double():
    plain = man()
    joints = dict(plain.joints) | {"left_hand2": (170, 60), "left_hand1": (178, 128)}
    parents = dict(plain.parents) | {"left_hand2": "left_elbow", "left_hand1": "left_elbow"}
    del joints["left_hand"], parents["left_hand"]
    figure = character(plain.texture, plain.mask, joints, parents)
    poses = retarget(figure, _motion(bvh(moving="30")), 30)
    for hand in ("left_hand1", "left_hand2"):
        assert _angle(_bone(figure, poses, hand)) == pytest.approx(np.full(4, 30), abs=1e-3)
    assert len(poses.parts[1]) == 3


def test_a_bone_that_points_at_the_viewer_takes_its_angle_from_the_frames_around():
    rows = bvh(5, moving="0").splitlines()
    for index, turn in ((-4, "-90"), (-3, "-89.9"), (-2, "-90")):
        row = rows[index].split()
        row[6 + 3 * 2 + 2] = turn
        rows[index] = " ".join(row)
    poses = retarget(man(), _motion("\n".join(rows)), 30)
    assert _angle(_bone(man(), poses, "left_hand")) == pytest.approx(np.zeros(5), abs=1e-3)


@pytest.mark.parametrize("frames", [1, 4])
def test_the_plane_of_least_motion_is_found(frames: int):
    config = retarget_config()
    arm = {"name": "arm", "method": "pca", "bvh_joint_names": ["LHand"]}
    config["bvh_projection_bodypart_groups"][0]["bvh_joint_names"].remove("LHand")
    config["bvh_projection_bodypart_groups"].append(arm)
    poses = retarget(man(), _motion(bvh(frames, moving="30"), config), 30)
    assert np.isfinite(poses.joints).all()


def test_fast_motions_are_thinned_out_and_slow_ones_kept():
    fast = retarget(man(), _motion(bvh(120, frame_time="0.008333")), 30)
    assert len(fast.joints) == 30 and fast.frame_time == pytest.approx(1 / 30, rel=1e-3)
    slow = retarget(man(), _motion(bvh(12, frame_time="0.1")), 30)
    assert len(slow.joints) == 12 and slow.frame_time == pytest.approx(0.1)
    part = retarget(man(), _motion(bvh(12), start_frame_idx=2, end_frame_idx=7), 30)
    assert len(part.joints) == 5


def test_lengths_are_bounded():
    with pytest.raises(TooLarge, match=f"limit is {MAX_FRAMES}"):
        retarget(man(), _motion(bvh(MAX_FRAMES + 1)), 30)
    with pytest.raises(BadMotion, match="start_frame_idx is 9"):
        retarget(man(), _motion(start_frame_idx=9), 30)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c["char_joint_bvh_joints_mapping"].update(torso=["Hips", "Tail"]), "Tail"),
        (lambda c: c["char_bodypart_groups"][0].update(bvh_depth_drivers=["Tail"]), "Tail"),
        (lambda c: c["char_bvh_root_offset"].update(bvh_joints=[["Hips", "Tail"]]), "Tail"),
        (
            lambda c: c["bvh_projection_bodypart_groups"][0]["bvh_joint_names"].remove("LHand"),
            "LHand",
        ),
        (lambda c: c.update(char_joint_bvh_joints_mapping={"tail": ["Hips", "Chest"]}), "no joint"),
        (lambda c: c["char_bvh_root_offset"].update(bvh_joints=[["Hips", "Hips"]]), "one place"),
    ],
)
def test_joints_that_are_not_there_are_named(spoil, says: str):
    config = retarget_config()
    spoil(config)
    with pytest.raises(BadMotion, match=says):
        retarget(man(), _motion(config=config), 30)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c.pop("char_bodypart_groups"), "char_bodypart_groups is missing"),
        (lambda c: c.update(char_bodypart_groups=3), "must be a list"),
        (lambda c: c["char_bodypart_groups"][0].update(bvh_depth_drivers=[]), "bvh_depth_drivers"),
        (lambda c: c["bvh_projection_bodypart_groups"][0].update(method="top"), "pca, frontal"),
        (lambda c: c["bvh_projection_bodypart_groups"].append(
            c["bvh_projection_bodypart_groups"][0]), "different names"),
        (lambda c: c.update(char_joint_bvh_joints_mapping={}), "must map"),
        (lambda c: c.update(char_joint_bvh_joints_mapping={"torso": ["Hips"]}), "pairs"),
        (lambda c: c.update(char_joint_bvh_joints_mapping={1: ["a", "b"]}), "not text"),
        (lambda c: c["char_bvh_root_offset"].update(
            bvh_projection_bodypart_group_for_offset="none"), "not there"),
        (lambda c: c["char_bvh_root_offset"].update(char_joints=[["hip"]]), "at least two"),
        (lambda c: c.update(char_runtime_checks=[["below", "a", "b", "c"]]), "char_runtime_checks"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_by_field(spoil, says: str):
    config = retarget_config()
    spoil(config)
    with pytest.raises(BadMotion, match=says):
        RetargetConfig.parse(config)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"up": "+x"}, "up must be"),
        ({"up": ["+y"]}, "up must be"),
        ({"start_frame_idx": -1}, "start_frame_idx"),
        ({"start_frame_idx": 5, "end_frame_idx": 5}, "end_frame_idx"),
        ({"end_frame_idx": True}, "end_frame_idx"),
        ({"frame_time": 0}, "frame_time"),
        ({"frame_time": float("nan")}, "frame_time"),
        ({"frame_time": 10**400}, "frame_time"),
        ({"forward_perp_joint_vectors": []}, "at least one pair"),
        ({"forward_perp_joint_vectors": [["LArm"]]}, "pairs"),
    ],
)
def test_a_wrong_motion_configuration_is_refused_by_field(changes: dict, says: str):
    with pytest.raises(BadMotion, match=says):
        MotionConfig.parse(MOTION_CONFIG | changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "while parsing"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("!!python/object/apply:os.system ['true']", "the tag .*os.system is not taken"),
        ("!!timestamp soon", "the tag"),
        ("!!bool perhaps", "the tag"),
        ("!!int ''", "the tag"),
        ("[" * 60000, "nested more than 20 deep"),
        ("? " * 60, "nested more than 20 deep"),
        ("? {a", "expected"),
        ("a: 2001-99-99", "month"),
    ],
    ids=lambda text: text[:20],
)
def test_hostile_yaml_is_refused_at_once(text: str, says: str):
    began = time.process_time()
    with pytest.raises(BadMotion, match=says):
        read_yaml(text)
    assert time.process_time() - began < 1


def test_large_yaml_is_refused():
    with pytest.raises(TooLarge):
        read_yaml("a" * 300_000)


def test_tuples_of_the_peer_are_read():
    assert read_yaml("a: !!python/tuple [x, y]") == {"a": ["x", "y"]}
    with pytest.raises(BadMotion):
        RetargetConfig.parse(read_yaml("- 1"))


@pytest.mark.skipif(not PEER.is_dir(), reason="AnimatedDrawings' files are not here")
def test_all_configurations_of_animated_drawings_are_read():
    retargets = list((PEER / "config" / "retarget").glob("*.yaml"))
    motions = list((PEER / "config" / "motion").glob("*.yaml"))
    assert len(retargets) >= 6 and len(motions) >= 6
    for file in retargets:
        assert RetargetConfig.parse(read_yaml(file.read_text())).mapping
    for file in motions:
        raw = read_yaml(file.read_text())
        assert isinstance(raw, dict)
        motion = MotionConfig.parse(raw)
        text = (PEER / raw["filepath"].removeprefix("examples/")).read_text()
        assert {name for pair in motion.forward for name in pair} <= set(parse_bvh(text).names)
