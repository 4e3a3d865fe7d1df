"""BVH motion files: parsed with suspicion, played by forward kinematics.

Format: Biovision Hierarchy, as described by M. Meredith and S. Maddock, "Motion Capture
File Formats Explained" (University of Sheffield, 2001).
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.errors import BadMotion, TooLarge

F64 = npt.NDArray[np.float64]

MAX_BYTES = 16 * 1024 * 1024
MAX_JOINTS = 512
MAX_FRAMES = 20_000
MAX_VALUE = 1e6
"""Largest coordinate or angle taken: more is a damaged file, and would overflow later."""
FRAME_TIMES = (1 / 1000, 1.0)

_AXES = {"Xrotation": 0, "Yrotation": 1, "Zrotation": 2}
_PLACES = {"Xposition": 0, "Yposition": 1, "Zposition": 2}


@dataclass(frozen=True)
class Bvh:
    """A skeleton and its motion.

    names: J joints, parents before children, the root first. parents: index of each
    joint's parent, -1 for the root. offsets: (J, 3) from the parent, in the file's units.
    channels: per joint, the order of its channels. values: (F, C) float64, all joints'
    channels side by side, degrees for rotations. frame_time: seconds.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: F64
    channels: tuple[tuple[str, ...], ...]
    values: F64
    frame_time: float

    def positions(self, start: int = 0, end: int | None = None) -> F64:
        """World positions (F, J, 3) of frames ``start`` … ``end - 1``, in the file's units.

        The root stands where its position channels say; other joints' position channels
        are ignored, since bones have a fixed length here.
        """
        values = self.values[start:end]
        rotations = np.empty((len(values), len(self.names), 3, 3))
        places = np.empty((len(values), len(self.names), 3))
        column = 0
        for joint, channels in enumerate(self.channels):
            turn = np.broadcast_to(np.eye(3), (len(values), 3, 3))
            shift = np.broadcast_to(self.offsets[joint], (len(values), 3)).copy()
            for name in channels:
                if name in _AXES:
                    turn = turn @ _rotation(_AXES[name], np.radians(values[:, column]))
                elif joint == 0:
                    shift[:, _PLACES[name]] = values[:, column]
                column += 1
            parent = self.parents[joint]
            if parent < 0:
                rotations[:, joint], places[:, joint] = turn, shift
            else:
                rotations[:, joint] = rotations[:, parent] @ turn
                moved = np.einsum("fij,fj->fi", rotations[:, parent], shift)
                places[:, joint] = places[:, parent] + moved
        return places


def _rotation(axis: int, angle: F64) -> F64:
    """Rotation matrices (F, 3, 3) about axis 0, 1 or 2 by angles (F,) in radians."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, a, a] = matrix[:, b, b] = np.cos(angle)
    matrix[:, b, a] = np.sin(angle)
    matrix[:, a, b] = -matrix[:, b, a]
    return matrix


def parse_bvh(text: str) -> Bvh:
    """Read a BVH file.

    Raises:
        BadMotion: not BVH, cut short, contradictory, or with values that are no numbers.
        TooLarge: more bytes, joints or frames than the limits above.
    """
    if len(text) > MAX_BYTES:
        raise TooLarge(f"this BVH file is larger than {MAX_BYTES // 2**20} MB")
    motion = re.search(r"^[ \t]*MOTION\b", text, re.MULTILINE)
    if motion is None:
        raise BadMotion("this is not a complete BVH file: it has no MOTION section")
    skeleton = _Skeleton(text[: motion.start()].lstrip("\ufeff").split(None, 64 * MAX_JOINTS))
    skeleton.read()
    tail = text[motion.end() :]
    counts = re.match(r"\s*Frames:\s*(\S+)\s+Frame\s+Time:\s*(\S+)", tail)
    if counts is None:
        raise BadMotion("this BVH file's MOTION section lacks 'Frames:' or 'Frame Time:'")
    frames = _frame_count(counts[1])
    frame_time = _number(counts[2], "the frame time")
    if not FRAME_TIMES[0] <= frame_time <= FRAME_TIMES[1]:
        raise BadMotion(f"a BVH frame time of {frame_time:g} s; it must be from 0.001 to 1")
    width = sum(map(len, skeleton.channels))
    values = _values(tail[counts.end() :], frames, width)
    return Bvh(
        tuple(skeleton.names),
        tuple(skeleton.parents),
        np.array(skeleton.offsets).reshape(-1, 3),
        tuple(skeleton.channels),
        values,
        frame_time,
    )


class _Skeleton:
    """The HIERARCHY section, read word by word without recursion (files may nest deeply)."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[list[float]] = []
        self.channels: list[tuple[str, ...]] = []

    def read(self) -> None:
        if self._next() != "HIERARCHY":
            raise BadMotion("this is not a BVH file: it does not begin with HIERARCHY")
        open_joints: list[int] = []
        while True:
            word = self._next()
            if word == "}":
                if not open_joints:
                    raise BadMotion("this BVH file closes more joints than it opens")
                open_joints.pop()
                if not open_joints:
                    break
            elif word in ("ROOT", "JOINT") and (word == "ROOT") == (not open_joints):
                open_joints.append(self._joint(open_joints[-1] if open_joints else -1))
            elif word == "End" and open_joints:
                self._end_site()
            else:
                raise BadMotion(f"this BVH file has {word[:40]!r} where a joint should be")
        if self._at < len(self._words):
            raise BadMotion(
                "this BVH file has more behind its skeleton; only one skeleton can be used"
            )
        if not sum(map(len, self.channels)):
            raise BadMotion("this BVH file's joints have no channels: nothing moves")

    def _joint(self, parent: int) -> int:
        if len(self.names) == MAX_JOINTS:
            raise TooLarge(f"this BVH file has more than {MAX_JOINTS} joints")
        name = self._next()
        if name in self.names:
            raise BadMotion(f"this BVH file has two joints named {name[:60]!r}")
        self.names.append(name)
        self.parents.append(parent)
        self._expect("{")
        self.offsets.append(self._offset(name))
        self._expect("CHANNELS")
        count = self._next()
        if not count.isdecimal() or len(count) > 1 or int(count) > 6:
            raise BadMotion(
                f"joint {name[:60]!r} of this BVH file says it has {count[:9]} channels"
            )
        channels = tuple(self._next() for _ in range(int(count)))
        unknown = [c for c in channels if c not in _AXES and c not in _PLACES]
        if unknown or len(set(channels)) < len(channels):
            raise BadMotion(f"joint {name[:60]!r} of this BVH file has wrong channels")
        self.channels.append(channels)
        return len(self.names) - 1

    def _end_site(self) -> None:
        self._expect("Site")
        self._expect("{")
        self._offset("End Site")
        self._expect("}")

    def _offset(self, name: str) -> list[float]:
        self._expect("OFFSET")
        return [_number(self._next(), f"the offset of joint {name[:60]!r}") for _ in range(3)]

    def _expect(self, wanted: str) -> None:
        word = self._next()
        if word != wanted:
            raise BadMotion(f"this BVH file has {word[:40]!r} where {wanted!r} should be")

    def _next(self) -> str:
        if self._at >= len(self._words):
            raise BadMotion("this BVH file's HIERARCHY section is cut short")
        self._at += 1
        return self._words[self._at - 1]


def _number(word: str, what: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_VALUE:
        raise BadMotion(f"{what} in this BVH file is not a usable number: {word[:40]!r}")
    return value


def _frame_count(word: str) -> int:
    if not (word.isascii() and word.isdecimal()) or not word.strip("0"):
        raise BadMotion("this BVH file has no frames")
    if len(word) > 9 or int(word) > MAX_FRAMES:
        raise TooLarge(f"this BVH file has {word[:12]} frames; the limit is {MAX_FRAMES}")
    return int(word)


def _values(text: str, frames: int, width: int) -> F64:
    values = _numbers(text)
    if values is None:
        lines = (line for line in text.split("\n") if _numbers(line) is None)
        line = next(lines, text)
        raise BadMotion(
            f"the motion in this BVH file has something else than numbers: {line[:60]!r}"
        )
    if len(values) != frames * width:
        raise BadMotion(
            f"this BVH file should have {frames} frames of {width} numbers, "
            f"{frames * width} in all, but has {len(values)}"
        )
    if not (np.abs(values) <= MAX_VALUE).all():
        raise BadMotion("the motion in this BVH file has values that are infinite or no numbers")
    return values.reshape(frames, width)


def _numbers(text: str) -> F64 | None:
    """Numbers between white space, or None when there is anything else."""
    if text.isspace():  # of which the function below makes a number
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            # Unlike str.split this takes no more memory than the text has.
            return np.fromstring(text, np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
