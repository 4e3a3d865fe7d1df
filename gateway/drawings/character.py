"""A character: the cut-out drawing and the skeleton inside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gateway.errors import BadDrawing

U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

PARENTS: Mapping[str, str | None] = {
    "root": None,
    "hip": "root",
    "torso": "hip",
    "neck": "torso",
    "right_shoulder": "torso",
    "right_elbow": "right_shoulder",
    "right_hand": "right_elbow",
    "left_shoulder": "torso",
    "left_elbow": "left_shoulder",
    "left_hand": "left_elbow",
    "right_hip": "root",
    "right_knee": "right_hip",
    "right_foot": "right_knee",
    "left_hip": "root",
    "left_knee": "left_hip",
    "left_foot": "left_knee",
}
"""The 16 joints that the rigger finds, parents first; left and right are the figure's own."""

MAX_JOINTS = 128
MIN_SIDE = 8
"""The smallest figure taken, in pixels along its longer side."""


@dataclass(frozen=True)
class Character:
    """A drawn figure with its skeleton.

    texture: (H, W, 4) uint8 BGRA, straight alpha. mask: (H, W) bool, the figure's pixels.
    joints: name → (x, y) in pixels of the texture. parents: name → parent, None for the
    one root; parents come before children in both mappings.
    """

    texture: U8
    mask: Mask
    joints: Mapping[str, tuple[float, float]]
    parents: Mapping[str, str | None]

    def scaled(self, factor: float) -> Character:
        """The same figure ``factor`` times as large, resampled."""
        height, width = self.mask.shape
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        ratio = (size[0] / width, size[1] / height)
        area = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        coverage = cv2.resize(self.mask.astype(np.float32), size, interpolation=area)
        return replace(
            self,
            texture=np.asarray(cv2.resize(self.texture, size, interpolation=area), np.uint8),
            # A stroke thinner than a pixel of the new size must not vanish.
            mask=coverage > (0.5 if factor >= 1 else 0.25),
            joints={n: (x * ratio[0], y * ratio[1]) for n, (x, y) in self.joints.items()},
        )

    def snapped(self) -> Character:
        """The same figure with joints that lie outside the mask moved to its nearest pixel."""
        inside = _nearest_inside(self.mask)
        height, width = self.mask.shape
        joints = {}
        for name, (x, y) in self.joints.items():
            column, row = (min(max(int(v), 0), top - 1) for v, top in ((x, width), (y, height)))
            if (int(x), int(y)) == (column, row) and self.mask[row, column]:
                joints[name] = (x, y)
            else:
                near_y, near_x = divmod(int(inside[row, column]), width)
                joints[name] = (near_x + 0.5, near_y + 0.5)
        return replace(self, joints=joints)


def character(
    texture: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    joints: Mapping[str, tuple[float, float]],
    parents: Mapping[str, str | None] = PARENTS,
) -> Character:
    """A checked character.

    Args:
        texture: (H, W, 3) BGR or (H, W, 4) BGRA, uint8.
        mask: (H, W), non-zero (bool) or at least 128 (uint8) where the figure is.
        joints: every name of ``parents``, in pixels of the texture.
        parents: a tree with one root.

    Raises:
        BadDrawing: sizes differ, the mask is empty or the skeleton is no tree.
    """
    if texture.ndim != 3 or texture.shape[2] not in (3, 4) or texture.dtype != np.uint8:
        raise BadDrawing("the drawing's texture is not an 8-bit colour picture")
    if mask.ndim != 2 or mask.shape != texture.shape[:2]:
        raise BadDrawing("the mask is not as large as the drawing's texture")
    figure = mask if mask.dtype == np.bool_ else mask >= 128
    rows, columns = np.flatnonzero(figure.any(1)), np.flatnonzero(figure.any(0))
    if not len(rows):
        raise BadDrawing("the mask is empty: no part of the drawing belongs to the figure")
    if max(np.ptp(rows), np.ptp(columns)) < MIN_SIDE:
        raise BadDrawing(f"the figure is smaller than {MIN_SIDE} pixels; send a larger picture")
    if texture.shape[2] == 3:
        texture = cv2.cvtColor(texture, cv2.COLOR_BGR2BGRA)
    ordered = _parents_first(parents)
    missing = [name for name in ordered if name not in joints]
    if missing:
        raise BadDrawing(f"the skeleton lacks {', '.join(missing[:5])}")
    places = {name: _place(name, joints[name]) for name in ordered}
    return Character(texture, figure, places, ordered)


def from_config(config: object, mask: npt.NDArray[Any], texture: npt.NDArray[Any]) -> Character:
    """A character of AnimatedDrawings: parsed ``char_cfg.yaml``, ``mask.png``, ``texture.png``.

    Any skeleton that is a tree is taken: extra arms, four legs, other names.

    Raises:
        BadDrawing: the configuration does not describe these pictures.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("skeleton"), list):
        raise BadDrawing("the character configuration has no list named skeleton")
    size = (config.get("height"), config.get("width"))
    if size != texture.shape[:2]:
        raise BadDrawing(
            f"the character configuration says {size[1]}×{size[0]} pixels, "
            f"but the texture has {texture.shape[1]}×{texture.shape[0]}"
        )
    joints: dict[str, Any] = {}
    parents: dict[str, str | None] = {}
    for joint in config["skeleton"][: MAX_JOINTS + 1]:
        name = joint.get("name") if isinstance(joint, Mapping) else None
        if not isinstance(name, str) or not 0 < len(name) <= 100 or name in joints:
            raise BadDrawing("the character configuration has a joint without a name of its own")
        parent = joint.get("parent")
        if parent is not None and not isinstance(parent, str):
            raise BadDrawing(f"joint {name} of the character configuration has no usable parent")
        joints[name], parents[name] = joint.get("loc"), parent
    return character(texture, mask, joints, parents)


def from_figure(
    photo: U8,
    box: tuple[int, int, int, int],
    mask: U8,
    joints: Mapping[str, tuple[float, float]],
) -> Character:
    """A character cut out of a photo, as the rigger found it.

    Args:
        photo: (H, W, 3) uint8 BGR.
        box: x1, y1, x2, y2 of ``mask`` in the photo, whole pixels, inside it.
        mask: (y2 - y1, x2 - x1) uint8, 255 where the figure is.
        joints: the 16 joints of ``PARENTS`` in pixels of the photo.

    Raises:
        BadDrawing: as :func:`character`, or the box is not inside the photo.
    """
    x1, y1, x2, y2 = box
    height, width = photo.shape[:2]
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise BadDrawing("the figure's box is not inside the drawing")
    moved = {name: (x - x1, y - y1) for name, (x, y) in joints.items()}
    return character(photo[y1:y2, x1:x2], mask, moved)


def _place(name: str, place: object) -> tuple[float, float]:
    try:
        x, y = map(float, place)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        x = y = math.nan
    if not (abs(x) < 1e6 and abs(y) < 1e6):
        raise BadDrawing(f"the place of joint {name[:60]} is not two numbers")
    return x, y


def _parents_first(parents: Mapping[str, str | None]) -> dict[str, str | None]:
    """The same tree with parents before children."""
    if len(parents) > MAX_JOINTS:
        raise BadDrawing(f"the skeleton has more than {MAX_JOINTS} joints")
    children: dict[str | None, list[str]] = {}
    for name, parent in parents.items():
        children.setdefault(parent, []).append(name)
    if len(children.get(None, ())) != 1:
        raise BadDrawing("the skeleton must have exactly one joint without a parent, its root")
    ordered: dict[str, str | None] = {}
    pending = children[None]
    while pending:
        name = pending.pop(0)
        ordered[name] = parents[name]
        pending = children.get(name, []) + pending
    if len(ordered) < len(parents):
        raise BadDrawing("the skeleton is not a tree: some joints' parents lead nowhere")
    if len(ordered) < 2:
        raise BadDrawing("the skeleton has no bone")
    return ordered


def _nearest_inside(mask: Mask) -> npt.NDArray[np.int64]:
    """For every pixel the flat index of the nearest mask pixel, (H, W)."""
    outside = np.where(mask, 0, 255).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    flat = np.zeros(int(labels.max()) + 1, np.int64)
    flat[labels[mask]] = np.flatnonzero(mask)
    return flat[labels]
