"""A skeleton's motion in space turned into poses of a drawn figure.

H. Smith et al., "A Method for Animating Children's Drawings of the Human Form", ACM
Transactions on Graphics 42(3), 2023, section 5: groups of body parts are projected onto
the plane that shows their motion best, the character's bones take the projected bones'
angles and keep their own lengths, the root's path is scaled by the length of the limbs.
Unlike in the authors' code, a bone takes its angle whatever its parents do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gateway.drawings.bvh import Bvh
from gateway.drawings.character import Character
from gateway.drawings.fitting import fitted
from gateway.drawings.motion_config import MotionConfig, Names, Projection, RetargetConfig
from gateway.errors import BadMotion, TooLarge

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

MAX_FRAMES = 1800
"""The longest animation, in frames shown."""

SIDEWAYS, FORWARD = 0, 2
"""Axis along which a projection looks: x is the figure's front, y up, z its right."""

UNCLEAR = 0.08
"""A bone pointing at the viewer, shorter than this share of its length, shows no angle."""


@dataclass(frozen=True)
class Motion:
    """A BVH and how to read it, ready to move any character."""

    bvh: Bvh
    config: MotionConfig
    retarget: RetargetConfig


@dataclass(frozen=True)
class Poses:
    """A character's poses.

    joints: (F, J, 2) float64, pixels of its texture, in the order of ``Character.joints``.
    parts: the joints whose bones are drawn together, as indices. order: (F, P) int32, the
    parts from back to front. reverse: (F, P) bool, whether a part's joints are drawn from
    last to first. frame_time: seconds.
    """

    joints: F64
    parts: tuple[tuple[int, ...], ...]
    order: I32
    reverse: npt.NDArray[np.bool_]
    frame_time: float


def retarget(figure: Character, motion: Motion, max_rate: float) -> Poses:
    """Move a figure.

    Args:
        max_rate: frames per second; faster motions are thinned out to it.

    Raises:
        BadMotion: the configuration names joints that the BVH lacks, or no joint of the
            figure. TooLarge: more than ``MAX_FRAMES``.
    """
    bvh, config = motion.bvh, motion.retarget
    wanted = [name for pair in motion.config.forward for name in pair]
    wanted += [name for p in config.projections for name in p.joints]
    wanted += [name for group in config.groups for name in group.drivers]
    wanted += [name for bone in config.mapping.values() for name in bone]
    wanted += [name for chain in config.bvh_limbs for name in chain]
    _known(wanted, bvh.names)
    config = fitted(config, figure)
    places, frame_time = _frames(motion, max_rate)
    places, forward = _facing(places, bvh.names, motion.config)
    root = places[:, 0]
    local = _turned_to_front(places - root[:, None], forward)
    planes = {p.name: _plane(p, local, bvh.names) for p in config.projections}
    looks = {name: planes[p.name] for p in config.projections for name in p.joints}
    _known(
        [far for _, far in config.mapping.values()]
        + [name for group in config.groups for name in group.drivers],
        tuple(looks),
        "no group of bvh_projection_bodypart_groups has",
    )
    directions = {
        joint: _direction(local, bvh.names.index(near), bvh.names.index(far), looks[far])
        for joint, (near, far) in config.mapping.items()
    }
    path = _path(figure, config, root, forward, local, bvh.names, planes[config.offset_plane])
    joints = _posed(figure, directions, path)
    parts, depths = _parts(figure, config, local, bvh.names, looks)
    order = np.argsort(depths, axis=1, kind="stable").astype(np.int32)
    return Poses(joints, parts, order, depths <= 0, frame_time)


def _known(names: Sequence[str], known: Names, whose: str = "the BVH file has no") -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        shown = ", ".join(name[:40] for name in unknown[:5])
        raise BadMotion(f"{whose} joint {shown}, which the configuration names")


def _frames(motion: Motion, max_rate: float) -> tuple[F64, float]:
    """World positions (F, J, 3) of the frames to show, and the time each is shown."""
    bvh, config = motion.bvh, motion.config
    frame_time = config.frame_time or bvh.frame_time
    total = len(bvh.values)
    end = min(config.end or total, total)
    if config.start >= end:
        raise BadMotion(f"start_frame_idx is {config.start}, but the BVH has {total} frames")
    seconds = (end - config.start) * frame_time
    count = end - config.start
    if 1 / frame_time > max_rate * 1.02:
        count = max(1, round(seconds * max_rate))
    if count > MAX_FRAMES:
        raise TooLarge(
            f"this motion has {count} frames; the limit is {MAX_FRAMES}. "
            "Choose fewer by start_frame_idx and end_frame_idx"
        )
    step = (end - config.start) / count
    index = config.start + np.floor(np.arange(count) * step).astype(int)
    return replace(bvh, values=bvh.values[index]).positions(), seconds / count


def _facing(places: F64, names: Names, config: MotionConfig) -> tuple[F64, F64]:
    """Positions with y up, and the unit vector (F, 3) along which the figure faces."""
    if config.up == "+z":
        places = places[..., [1, 2, 0]]
    across = np.zeros((len(places), 3))
    for left, right in config.forward:
        vector = places[:, names.index(right)] - places[:, names.index(left)]
        across += vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)
    forward = np.stack([across[:, 2], np.zeros(len(places)), -across[:, 0]], axis=1)
    size = np.linalg.norm(forward, axis=1, keepdims=True)
    if size.max() < 1e-6:
        raise BadMotion("the joints of forward_perp_joint_vectors lie above one another")
    clear = np.flatnonzero(size[:, 0] >= 1e-6)
    nearest = clear[np.abs(clear[None] - np.arange(len(size))[:, None]).argmin(axis=1)]
    return places, (forward / np.maximum(size, 1e-9))[nearest]


def _turned_to_front(local: F64, forward: F64) -> F64:
    """Positions (F, J, 3) turned about y so that every frame's figure faces +x."""
    c, s = forward[:, None, 0], forward[:, None, 2]
    x, y, z = np.moveaxis(local, 2, 0)
    return np.stack([c * x + s * z, y, c * z - s * x], axis=2)


def _plane(projection: Projection, local: F64, names: Names) -> int:
    """The axis that a group is looked at along: the one nearest to its least motion."""
    if projection.method != "pca" or not projection.joints:
        return FORWARD if projection.method == "sagittal" else SIDEWAYS
    index = [names.index(name) for name in projection.joints]
    points = local[:, index].reshape(-1, 3)
    points = points - points.mean(axis=0)
    _, vectors = np.linalg.eigh(points.T @ points)
    least = np.abs(vectors[:, 0])
    return SIDEWAYS if least[SIDEWAYS] > least[FORWARD] else FORWARD


def _flat(vectors: F64, axis: int) -> F64:
    """(…, 3) seen along an axis, (…, 2) with y up: from the front, or from its right side."""
    across = -vectors[..., 2] if axis == SIDEWAYS else vectors[..., 0]
    return np.stack([across, vectors[..., 1]], axis=-1)


def _direction(local: F64, near: int, far: int, axis: int) -> npt.NDArray[np.complex128]:
    """Unit directions (F,) of a bone as complex numbers in pixels' sense (y down).

    Where it points at the viewer the angle is taken from the frames around.
    """
    bone = local[:, far] - local[:, near]
    flat = _flat(bone, axis)
    shown, length = np.linalg.norm(flat, axis=1), np.linalg.norm(bone, axis=1)
    clear = np.flatnonzero(shown > UNCLEAR * np.maximum(length, 1e-9))
    if not len(clear):
        return np.full(len(bone), 1j)
    angle = np.unwrap(np.arctan2(-flat[clear, 1], flat[clear, 0]))
    return np.exp(1j * np.interp(np.arange(len(bone)), clear, angle))


def _path(
    figure: Character,
    config: RetargetConfig,
    root: F64,
    forward: F64,
    local: F64,
    names: Names,
    axis: int,
) -> npt.NDArray[np.complex128]:
    """The root's way (F,) from its place in the first frame, in pixels of the figure."""
    theirs = 0.0
    for chain in config.bvh_limbs:
        for a, b in pairwise(chain):
            theirs += float(np.linalg.norm(local[0, names.index(a)] - local[0, names.index(b)]))
    ours = sum(
        float(np.hypot(*np.subtract(figure.joints[a], figure.joints[b])))
        for chain in config.character_limbs
        for a, b in pairwise(chain)
    )
    if theirs < 1e-9:
        raise BadMotion("the BVH joints of char_bvh_root_offset lie in one place")
    steps = np.diff(root, axis=0, prepend=root[:1])
    across = forward if axis == FORWARD else forward[:, ::-1] * [1, 0, -1]
    sideways = np.cumsum((across * steps).sum(axis=1))
    return (sideways - 1j * np.cumsum(steps[:, 1])) * (ours / theirs)


def _posed(
    figure: Character,
    directions: Mapping[str, npt.NDArray[np.complex128]],
    path: npt.NDArray[np.complex128],
) -> F64:
    """Joints (F, J, 2): bones keep their lengths; one without a direction of its own turns
    with its parent bone."""
    rest = {name: complex(*place) for name, place in figure.joints.items()}
    place: dict[str, npt.NDArray[np.complex128]] = {}
    turn: dict[str, npt.NDArray[np.complex128]] = {}
    for name, parent in figure.parents.items():
        if parent is None:
            place[name], turn[name] = rest[name] + path, np.ones_like(path)
            continue
        bone = rest[name] - rest[parent]
        turn[name] = turn[parent]
        if name in directions and abs(bone) > 1e-6:
            turn[name] = directions[name] * (abs(bone) / bone)
        place[name] = place[parent] + turn[name] * bone
    joints = np.stack(list(place.values()), axis=1)
    return np.stack([joints.real, joints.imag], axis=2)


def _parts(
    figure: Character,
    config: RetargetConfig,
    local: F64,
    names: Names,
    looks: Mapping[str, int],
) -> tuple[tuple[tuple[int, ...], ...], F64]:
    """What is drawn together, and its depth (F, P), growing towards the viewer."""
    index = {name: i for i, name in enumerate(figure.joints)}
    parts, depths, placed = [], [], set()
    for group in config.groups:
        own = [joint for joint in group.joints if joint not in placed]
        placed.update(own)
        drivers = [local[:, names.index(name), looks[name]] for name in group.drivers]
        parts.append([index[joint] for joint in own])
        depths.append(np.mean(drivers, axis=0))
    rest = [i for name, i in index.items() if name not in placed]
    if not parts:
        parts, depths = [[]], [np.zeros(len(local))]
    parts[0] += rest  # nothing of the figure is left behind
    return tuple(map(tuple, parts)), np.stack(depths, axis=1)
