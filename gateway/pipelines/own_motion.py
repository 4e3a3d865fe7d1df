"""Motions that users bring: a BVH file with AnimatedDrawings' two configurations for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.drawings.bvh import parse_bvh
from gateway.drawings.character import character
from gateway.drawings.motion_config import MotionConfig, RetargetConfig, read_yaml
from gateway.drawings.retarget import Motion, retarget
from gateway.errors import BadMotion
from gateway.pipelines.animate_drawing import RATE

PARTS = ("bvh", "motion_config", "retarget_config")

# Nobody in particular: arms out, legs down.
_JOINTS = {
    **{"root": (100, 150), "hip": (100, 150), "torso": (100, 90), "neck": (100, 50)},
    **{"right_shoulder": (80, 90), "right_elbow": (50, 90), "right_hand": (20, 90)},
    **{"left_shoulder": (120, 90), "left_elbow": (150, 90), "left_hand": (180, 90)},
    **{"right_hip": (88, 150), "right_knee": (88, 190), "right_foot": (88, 230)},
    **{"left_hip": (112, 150), "left_knee": (112, 190), "left_foot": (112, 230)},
}


@dataclass(frozen=True)
class MotionLength:
    """What a motion makes of any figure. seconds: of one round."""

    frames: int
    seconds: float


def read_motion(bvh: bytes, motion_config: bytes, retarget_config: bytes) -> Motion:
    """A motion out of three text files, the configurations being YAML.

    Raises:
        BadMotion, TooLarge: what is wrong with which of them.
    """
    try:
        texts = [part.decode("utf-8-sig") for part in (bvh, motion_config, retarget_config)]
    except UnicodeDecodeError:
        raise BadMotion("the BVH file or a configuration is not UTF-8 text") from None
    return Motion(
        parse_bvh(texts[0]),
        MotionConfig.parse(read_yaml(texts[1])),
        RetargetConfig.parse(read_yaml(texts[2])),
    )


def measure(motion: Motion) -> MotionLength:
    """Try a motion on a plain figure.

    Raises:
        BadMotion, TooLarge: it cannot move one; see :func:`retarget`.
    """
    mask = np.ones((250, 200), np.bool_)
    figure = character(np.zeros((250, 200, 3), np.uint8), mask, _JOINTS)
    poses = retarget(figure, motion, RATE)
    return MotionLength(len(poses.joints), round(len(poses.joints) * poses.frame_time, 3))
