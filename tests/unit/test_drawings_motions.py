"""The library: made by its script, loops cleanly, moves every figure."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from drawings_figures import JOINTS, man

from gateway.drawings.motions import NAMES, library_motion
from gateway.drawings.motions.make import RATE, bvh
from gateway.drawings.motions.poses import MOTIONS, mirrored
from gateway.drawings.retarget import retarget
from gateway.errors import BadOption


def test_all_promised_motions_are_there():
    promised = {"dab", "jumping", "wave_hello", "zombie", "jumping_jacks", "dance", "walk", "cheer"}
    assert promised <= set(NAMES) == set(MOTIONS)


def test_an_unknown_motion_names_the_known_ones():
    with pytest.raises(BadOption, match=r"unknown motion 'moonwalk'; known are .*dab.*zombie"):
        library_motion("moonwalk")


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_what_the_script_writes(name: str):
    written = (resources.files("gateway.drawings.motions") / f"{name}.bvh").read_text("utf-8")
    assert written == bvh(*MOTIONS[name]())


@pytest.mark.parametrize("name", NAMES)
def test_motions_are_short_smooth_loops(name: str):
    motion = library_motion(name).bvh
    seconds = len(motion.values) * motion.frame_time
    assert motion.frame_time == pytest.approx(1 / RATE, rel=1e-4)
    assert 1.9 < seconds < 6.1
    places = motion.positions()
    steps = np.linalg.norm(np.diff(places, axis=0, append=places[:1]), axis=2).max(axis=1)
    assert steps.max() > 0.5  # something moves
    assert steps[-1] <= 1.05 * steps[:-1].max()  # and the last frame leads into the first
    assert steps.max() < 25  # centimetres a frame


@pytest.mark.parametrize("name", NAMES)
def test_bones_keep_their_lengths_and_feet_reach_the_floor(name: str):
    motion = library_motion(name).bvh
    places = motion.positions()
    for joint, parent in enumerate(motion.parents):
        if parent >= 0:
            length = np.linalg.norm(places[:, joint] - places[:, parent], axis=1)
            assert length == pytest.approx(
                np.full(len(length), np.linalg.norm(motion.offsets[joint]))
            )
    feet = [motion.names.index(foot) for foot in ("LeftFoot", "RightFoot")]
    lowest = places[:, feet, 1].min(axis=1)
    assert lowest.min() == pytest.approx(8, abs=0.5)
    assert np.mean(lowest < 10) >= 0.2  # stands as well as it flies


@pytest.mark.parametrize("name", NAMES)
def test_a_drawn_man_does_them_all_in_place(name: str):
    poses = retarget(man(), library_motion(name), 30)
    joints = dict(zip(JOINTS, np.moveaxis(poses.joints, 1, 0), strict=True))
    assert np.abs(joints["root"] - JOINTS["root"])[:, 0].max() < 40
    assert (joints["neck"][:, 1] < joints["root"][:, 1]).all()
    assert len(poses.joints) == len(library_motion(name).bvh.values)


def test_arms_do_what_the_names_say():
    def hands(name: str) -> tuple[np.ndarray, np.ndarray]:
        joints = retarget(man(), library_motion(name), 30).joints
        return joints[:, list(JOINTS).index("right_hand")], joints[
            :, list(JOINTS).index("left_hand")
        ]

    right, left = hands("wave_hello")
    assert right[:, 1].min() < 80 < 140 < left[:, 1].min()
    right, left = hands("jumping_jacks")
    assert max(right[:, 1].min(), left[:, 1].min()) < 60
    right, left = hands("zombie")  # seen from the side: both reach to the right
    assert right[:, 0].min() > 100 and left[:, 0].min() > 140


def test_mirroring_twice_changes_nothing():
    for motion in MOTIONS.values():
        for _, pose in motion()[1]:
            assert mirrored(mirrored(pose)) == pose
