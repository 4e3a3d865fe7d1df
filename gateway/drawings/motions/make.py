"""Writes the library's BVH files: ``python -m gateway.drawings.motions.make``.

Turns key poses (see ``poses``) into a skeleton's joint angles, frame by frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.drawings.motions.poses import MOTIONS, Keys, Pose

F64 = npt.NDArray[np.float64]

RATE = 30

# Joint → parent, and place relative to it in centimetres; y up, facing +z, arms spread.
SKELETON: Mapping[str, tuple[str | None, tuple[float, float, float]]] = {
    "Hips": (None, (0, 0, 0)),
    "Spine": ("Hips", (0, 12, 0)),
    "Chest": ("Spine", (0, 30, 0)),
    "Neck": ("Chest", (0, 10, 0)),
    "Head": ("Neck", (0, 16, 0)),
    "LeftShoulder": ("Chest", (3, 6, 0)),
    "LeftArm": ("LeftShoulder", (14, 0, 0)),
    "LeftForeArm": ("LeftArm", (27, 0, 0)),
    "LeftHand": ("LeftForeArm", (25, 0, 0)),
    "RightShoulder": ("Chest", (-3, 6, 0)),
    "RightArm": ("RightShoulder", (-14, 0, 0)),
    "RightForeArm": ("RightArm", (-27, 0, 0)),
    "RightHand": ("RightForeArm", (-25, 0, 0)),
    "LeftUpLeg": ("Hips", (9, -4, 0)),
    "LeftLeg": ("LeftUpLeg", (0, -42, 0)),
    "LeftFoot": ("LeftLeg", (0, -42, 0)),
    "LeftToeBase": ("LeftFoot", (0, -6, 14)),
    "RightUpLeg": ("Hips", (-9, -4, 0)),
    "RightLeg": ("RightUpLeg", (0, -42, 0)),
    "RightFoot": ("RightLeg", (0, -42, 0)),
    "RightToeBase": ("RightFoot", (0, -6, 14)),
}
TIPS = {
    "Head": (0.0, 12.0, 0.0),
    "LeftHand": (12.0, 0.0, 0.0),
    "RightHand": (-12.0, 0.0, 0.0),
    "LeftToeBase": (0.0, 0.0, 6.0),
    "RightToeBase": (0.0, 0.0, 6.0),
}
ANKLE = 8.0
"""Height of the ankle over the floor, centimetres."""


def frames(seconds: float, keys: Keys) -> F64:
    """Every frame of a loop as numbers (F, 21), eased between the key poses."""
    times = np.array([s for s, _ in keys] + [seconds])
    poses = np.array([_numbers(pose) for _, pose in [*keys, keys[0]]])
    at = np.arange(round(seconds * RATE)) / RATE
    after = np.searchsorted(times, at, side="right")
    part = ((at - times[after - 1]) / (times[after] - times[after - 1]))[:, None]
    eased = part * part * (3 - 2 * part)
    return np.asarray(poses[after - 1] + eased * (poses[after] - poses[after - 1]))


def _numbers(pose: Pose) -> list[float]:
    limbs = [angle for limb in pose[:4] for bone in limb for angle in bone]
    return [*limbs, *pose[4:]]


def bvh(seconds: float, keys: Keys) -> str:
    """A motion as a BVH file."""
    values = frames(seconds, keys)
    turns = _world_turns(values)
    columns = [_root(values, turns)]
    for name, (parent, _) in SKELETON.items():
        local = turns[name] if parent is None else turns[parent].transpose(0, 2, 1) @ turns[name]
        columns.append(_euler(local))
    table = np.concatenate(columns, axis=1) + 0.0  # no negative zeros
    lines = ["HIERARCHY", *_hierarchy("Hips", 0), "MOTION"]
    lines += [f"Frames: {len(table)}", f"Frame Time: {1 / RATE:.6f}"]
    lines += [" ".join(f"{value:.2f}" for value in row) for row in table]
    return "\n".join(lines).replace("-0.00", "0.00") + "\n"


def _pointing(out: F64, fore: F64, side: float) -> F64:
    """Unit vectors (F, 3); side is 1 for the figure's left and -1 for its right."""
    out, fore = np.radians(out), np.radians(fore)
    return np.stack(
        [side * np.sin(out) * np.cos(fore), -np.cos(out) * np.cos(fore), np.sin(fore)], axis=1
    )


def _world_turns(values: F64) -> dict[str, F64]:
    """For each joint the turn (F, 3, 3) that puts its bone where the poses say."""
    columns = values.T
    aims: dict[str, F64] = {}
    limbs = ("LeftArm", "RightArm", "LeftUpLeg", "RightUpLeg")
    middles = {"Arm": "ForeArm", "UpLeg": "Leg"}
    for index, name in enumerate(limbs):
        side, bone = (name[:4], name[4:]) if name.startswith("Left") else (name[:5], name[5:])
        sign = 1.0 if side == "Left" else -1.0
        a, b, c, d = columns[4 * index : 4 * index + 4]
        aims[name] = _pointing(a, b, sign)
        aims[side + middles[bone]] = _pointing(c, d, sign)
    lean, head, bow = columns[16:19]
    aims["Hips"] = aims["Spine"] = _pointing(180 - lean, bow, 1.0)
    aims["Chest"] = aims["Neck"] = aims["Head"] = _pointing(180 - lean - head, bow, 1.0)
    turns: dict[str, F64] = {}
    for name, (parent, _) in SKELETON.items():
        if name in aims:
            turns[name] = _turn_onto(_bone(name), aims[name])
        elif name.endswith("Shoulder"):
            turns[name] = turns["Spine"]
        elif name.endswith("Hand"):
            assert parent is not None
            turns[name] = turns[parent]
        else:  # feet stay flat
            turns[name] = np.broadcast_to(np.eye(3), (len(values), 3, 3))
    return turns


def _bone(name: str) -> F64:
    """At rest, the direction from a joint to the first one after it, or to its tip."""
    after = [place for parent, place in SKELETON.values() if parent == name]
    bone = np.array(after[0] if after else TIPS[name], float)
    return np.asarray(bone / np.linalg.norm(bone))


def _turn_onto(start: F64, aims: F64) -> F64:
    """Least turns (F, 3, 3) that take a unit vector onto unit vectors (F, 3) (Rodrigues)."""
    axis = np.cross(start, aims)
    cosine = aims @ start
    zero = np.zeros(len(aims))
    x, y, z = axis.T
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    safe = np.maximum(1 + cosine, 1e-9)[:, None, None]
    return np.asarray(np.eye(3) + cross + cross @ cross / safe)


def _root(values: F64, turns: dict[str, F64]) -> F64:
    """Hips' places (F, 3): the lower foot stands on the floor, or ``jump`` above it."""
    sway, jump = values[:, 19], values[:, 20]
    ankles = []
    for side in ("Left", "Right"):
        place = turns["Hips"] @ np.array(SKELETON[side + "UpLeg"][1])
        for joint, after in (("UpLeg", "Leg"), ("Leg", "Foot")):
            place = place + turns[side + joint] @ np.array(SKELETON[side + after][1])
        ankles.append(place[:, 1])
    height = ANKLE - np.minimum(*ankles) + jump
    return np.stack([sway, height, np.zeros(len(values))], axis=1)


def _euler(turn: F64) -> F64:
    """Angles (F, 3) in degrees, about z, then x, then y, without jumps of a whole turn."""
    z = np.arctan2(-turn[:, 0, 1], turn[:, 1, 1])
    x = np.arcsin(np.clip(turn[:, 2, 1], -1, 1))
    y = np.arctan2(-turn[:, 2, 0], turn[:, 2, 2])
    return np.degrees(np.unwrap(np.stack([z, x, y], axis=1), axis=0))


def _hierarchy(name: str, depth: int) -> list[str]:
    parent, place = SKELETON[name]
    tab, inner = "\t" * depth, "\t" * (depth + 1)
    place_channels = "" if parent else "Xposition Yposition Zposition "
    lines = [
        f"{tab}{'JOINT' if parent else 'ROOT'} {name}",
        tab + "{",
        inner + "OFFSET " + " ".join(f"{v:.2f}" for v in place),
        f"{inner}CHANNELS {3 if parent else 6} {place_channels}Zrotation Xrotation Yrotation",
    ]
    for child, (above, _) in SKELETON.items():
        if above == name:
            lines += _hierarchy(child, depth + 1)
    if name in TIPS:
        tip = " ".join(f"{v:.2f}" for v in TIPS[name])
        lines += [inner + "End Site", inner + "{", f"{inner}\tOFFSET {tip}", inner + "}"]
    return [*lines, tab + "}"]


def main() -> None:
    """Write all motions beside this file."""
    for name, motion in MOTIONS.items():
        (Path(__file__).parent / f"{name}.bvh").write_text(bvh(*motion()))


if __name__ == "__main__":
    main()
