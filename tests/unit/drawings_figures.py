"""Drawn figures for tests: made here, so that no test needs a file."""

from __future__ import annotations

import cv2
import numpy as np

from gateway.drawings.character import PARENTS, Character, character

JOINTS = {
    "root": (100, 150),
    "hip": (100, 150),
    "torso": (100, 90),
    "neck": (100, 50),
    "right_shoulder": (80, 92),
    "right_elbow": (50, 110),
    "right_hand": (22, 128),
    "left_shoulder": (120, 92),
    "left_elbow": (150, 110),
    "left_hand": (178, 128),
    "right_hip": (88, 152),
    "right_knee": (80, 190),
    "right_foot": (74, 228),
    "left_hip": (112, 152),
    "left_knee": (120, 190),
    "left_foot": (126, 228),
}
PAPER, INK = (200, 210, 220), (160, 60, 30)


def man(limb: int = 12, scale: float = 1.0) -> Character:
    """A man of 200×250 pixels times ``scale``, his limbs ``limb`` pixels thick."""
    mask = np.zeros((250, 200), np.uint8)
    for name, parent in PARENTS.items():
        if parent is not None:
            cv2.line(mask, JOINTS[name], JOINTS[parent], 255, limb)
    cv2.ellipse(mask, (100, 120), (26, 44), 0, 0, 360, 255, -1)
    cv2.circle(mask, (100, 45), 28, 255, -1)
    texture = np.empty((250, 200, 3), np.uint8)
    texture[:] = PAPER
    texture[mask > 0] = INK
    cv2.circle(texture, (90, 40), 4, (255, 255, 255), -1)
    figure = character(texture, mask, JOINTS)
    return figure.scaled(scale) if scale != 1 else figure


def bvh(frames: int = 4, moving: str = "10", frame_time: str = "0.033333") -> str:
    """A small BVH: hips, spine, two arms and two legs; ``moving`` is the left arm's turn."""
    joints = ["Hips", "Chest", "Head", "LArm", "LHand", "RArm", "RHand", "LLeg", "LFoot", "RLeg"]
    lines = ["HIERARCHY", "ROOT Hips", "{", "OFFSET 0 0 0"]
    lines += ["CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"]

    def joint(name: str, offset: str, *inside: str) -> list[str]:
        head = [f"JOINT {name}", "{", f"OFFSET {offset}"]
        return [*head, "CHANNELS 3 Zrotation Xrotation Yrotation", *inside, "}"]

    end = ["End Site", "{", "OFFSET 0 1 0", "}"]
    arms = [
        *joint("LArm", "2 0 0", *joint("LHand", "5 0 0", *end)),
        *joint("RArm", "-2 0 0", *joint("RHand", "-5 0 0", *end)),
    ]
    lines += joint("Chest", "0 6 0", *joint("Head", "0 3 0", *end), *arms)
    lines += joint("LLeg", "1 0 0", *joint("LFoot", "0 -8 0", *end))
    lines += joint("RLeg", "-1 0 0", *joint("RFoot", "0 -8 0", *end))
    lines += ["}", "MOTION", f"Frames: {frames}", f"Frame Time: {frame_time}"]
    for frame in range(frames):
        row = ["0"] * (6 + 3 * len(joints))
        row[0] = str(frame)  # to the figure's left
        row[6 + 3 * 2] = moving  # LArm's Z: Chest, Head, then LArm
        lines.append(" ".join(row))
    return "\n".join(lines) + "\n"


MOTION_CONFIG = {
    "filepath": "unused.bvh",
    "up": "+y",
    "scale": 0.1,
    "groundplane_joint": "LFoot",
    "forward_perp_joint_vectors": [["LArm", "RArm"], ["LLeg", "RLeg"]],
}


def retarget_config() -> dict[str, object]:
    """A configuration for ``bvh``, new each time so that tests can spoil it."""
    return {
        "char_starting_location": [0, 0, 0],
        "bvh_projection_bodypart_groups": [
            {
                "name": "all",
                "method": "frontal",
                "bvh_joint_names": [
                    *("Hips", "Chest", "Head", "LArm", "LHand", "RArm", "RHand"),
                    *("LLeg", "LFoot", "RLeg", "RFoot"),
                ],
            }
        ],
        "char_bodypart_groups": [
            {"bvh_depth_drivers": ["Hips"], "char_joints": ["hip", "torso", "neck"]},
            {"bvh_depth_drivers": ["LHand"], "char_joints": ["left_elbow", "left_hand"]},
        ],
        "char_bvh_root_offset": {
            "bvh_projection_bodypart_group_for_offset": "all",
            "bvh_joints": [["LLeg", "LFoot"]],
            "char_joints": [["left_hip", "left_foot"]],
        },
        "char_joint_bvh_joints_mapping": {
            "torso": ["Hips", "Chest"],
            "left_hand": ["LArm", "LHand"],
            "right_hand": ["RArm", "RHand"],
        },
        "char_runtime_checks": [["above", "neck", "right_shoulder", "left_shoulder"]],
    }
