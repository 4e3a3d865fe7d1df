"""The rigger's two looks: the whole photo for boxes, then crops of each for the rest.

Network outputs, in order (see ``model_store/rigger/network.py``): joints (13, h/4, w/4),
mask (1, h, w), centre (1, h/4, w/4), box (4, h/4, w/4), figure (1,); all but box before
softmax or sigmoid. Boxes are x1 y1 x2 y2 in pixels of the image looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

try:  # inside an archive the runtime is a sibling
    from runtime import Heads, Image, Network
except ModuleNotFoundError:
    from handlers.runtime import Heads, Image, Network

F32 = npt.NDArray[np.float32]

LIMBS = ("shoulder", "elbow", "hand", "hip", "knee", "foot")
#: The network's joints; a mirrored picture swaps each right with the next left.
ANSWERED = ("neck", *(f"{side}_{part}" for part in LIMBS for side in ("right", "left")))
MIRRORED = [0, *(i + 1 if i % 2 else i - 1 for i in range(1, 13))]

STRIDE = 32
CELL = 4
BOX_UNIT = 128  # pixels of the network's input
PAGE_SIDES = (128, 256)  # of the first look: large figures, small figures
CROP_SIDE = 160
MARGIN = 0.1
VIEWS = ((0.0, 1.0), (8.0, 0.92), (-8.0, 1.05))  # degrees and scale of the crops looked at
MAX_FIGURES = 5
CENTRE_THRESHOLD = 0.2
COPY = 0.55  # intersection over union from which two boxes are the same guess
SAME = 0.5  # overlap (of the smaller box) from which two boxes are one figure
PEAK = 2  # cells around a joint's peak that place it


@dataclass(frozen=True)
class Look:
    """What one crop shows.

    joints (13, 3) float32 x y score and box (4,) in pixels of the image; chance, 0…1, that
    it is a figure; ``mask`` (S, S) float32 0…1 over the crop, and ``place`` (2, 3), which
    takes the image's pixels to the crop's.
    """

    joints: F32
    chance: float
    mask: F32
    place: F32


def sigmoid(x: F32) -> F32:
    """Logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), np.float32)


def page(image: Image, side: int) -> tuple[Image, float]:
    """The image at ``side`` pixels, padded to the stride by its border; and the factor."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, (w, h), interpolation=method)
    right, below = -w % STRIDE, -h % STRIDE
    return np.asarray(
        cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8
    ), scale


def peaks(heads: Heads, scale: float) -> tuple[F32, F32]:
    """Boxes (N, 4) in pixels of the image and scores (N,) at the centre map's maxima."""
    centre, box = sigmoid(heads[2][0]), heads[3]
    largest = cv2.dilate(centre, np.ones((3, 3), np.uint8))
    row, col = np.nonzero((centre == largest) & (centre > CENTRE_THRESHOLD))
    order = np.argsort(-centre[row, col])[: 4 * MAX_FIGURES]
    row, col = row[order], col[order]
    x, y = (col + 0.5) * CELL, (row + 0.5) * CELL
    left, up, right, down = box[:, row, col] * BOX_UNIT
    boxes = np.stack([x - left, y - up, x + right, y + down], 1) / scale
    return boxes.astype(np.float32), centre[row, col].astype(np.float32)


def distinct(boxes: F32, scores: F32) -> list[int]:
    """Indices of the boxes that are figures of their own, best first.

    Of two that cover each other the larger is the better, unless it is far less likely: a
    head alone may look like a figure, and so may an arm.
    """
    longer = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).max(1)
    kept: list[int] = []
    for i in np.argsort(-scores * longer, kind="stable"):
        if all(_shared(boxes[i], boxes[k]) < SAME for k in kept):
            kept.append(int(i))
    return sorted(kept, key=lambda i: -float(scores[i]))


def _shared(a: F32, b: F32) -> float:
    """Common area as a share of the smaller box."""
    areas = (a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()
    return _common(a, b) / max(float(min(areas)), 1e-6)


def _alike(a: F32, b: F32) -> float:
    """Intersection over union."""
    common = _common(a, b)
    both = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - common
    return common / max(both, 1e-6)


def _common(a: F32, b: F32) -> float:
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(np.maximum(size, 0).prod())


def different(boxes: F32, scores: F32) -> list[int]:
    """Indices of the boxes without near copies, best first."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(_alike(boxes[i], boxes[k]) < COPY for k in kept):
            kept.append(int(i))
    return kept


def find(network: Network, images: Sequence[Image]) -> list[tuple[F32, F32]]:
    """The first look: boxes and scores of what may be figures, per image, best first."""
    pages = [page(image, side) for image in images for side in PAGE_SIDES]
    answers = network.run([pixels for pixels, _ in pages])
    found = []
    for number, image in enumerate(images):
        part = slice(number * len(PAGE_SIDES), (number + 1) * len(PAGE_SIDES))
        parts = [peaks(h, s) for h, (_, s) in zip(answers[part], pages[part], strict=True)]
        boxes, scores = (np.concatenate(p) for p in zip(*parts, strict=True))
        height, width = image.shape[:2]
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        real = ((boxes[:, 2:] - boxes[:, :2]) >= 4).all(1)
        boxes, scores = boxes[real], scores[real]
        kept = different(boxes, scores)[:MAX_FIGURES]
        found.append((boxes[kept], scores[kept]))
    return found


def window(box: F32, side: int) -> F32:
    """The (2, 3) transform that puts a box, with its margin, into a square of ``side``."""
    longer = max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0) * (1 + 2 * MARGIN)
    scale = side / longer
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return np.array(
        [[scale, 0, side / 2 - scale * x], [0, scale, side / 2 - scale * y]], np.float32
    )


def cut(image: Image, place: F32, side: int) -> Image:
    """The square of ``side`` pixels that ``place`` cuts out; beyond the image, its border."""
    scale = float(np.hypot(*place[:, 0]))
    if scale < 0.75:  # area averaging first: warpAffine would skip pixels
        shrunk = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        fx, fy = shrunk.shape[1] / image.shape[1], shrunk.shape[0] / image.shape[0]
        place = place @ np.diag([1 / fx, 1 / fy, 1.0]).astype(np.float32)
        image = np.asarray(shrunk, np.uint8)
    square = cv2.warpAffine(image, place, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(square, np.uint8)


def look(network: Network, jobs: Sequence[tuple[Image, F32]], brief: bool = False) -> list[Look]:
    """The second look: crops around boxes, turned and mirrored; their mean is more than each.

    Args:
        network: the rigger's.
        jobs: images and boxes in them.
        brief: one crop of each only.
    """
    places = [window(box, CROP_SIDE) for _, box in jobs]
    turns = [_turn(angle, scale) for angle, scale in VIEWS[: 1 if brief else None]]
    views = []
    for (image, _), place in zip(jobs, places, strict=True):
        for turn in turns:
            view = cut(image, turn @ np.vstack([place, (0, 0, 1)]), CROP_SIDE)
            views += [view] if brief else [view, np.ascontiguousarray(view[:, ::-1])]
    answers = network.run(views)
    each = len(views) // max(1, len(jobs))
    return [
        _merge(answers[i * each : (i + 1) * each], turns, place) for i, place in enumerate(places)
    ]


def _turn(angle: float, scale: float) -> F32:
    """(2, 3): turn and scale a crop about its middle."""
    middle = (CROP_SIDE / 2, CROP_SIDE / 2)
    return np.asarray(cv2.getRotationMatrix2D(middle, angle, scale), np.float32)


def _merge(answers: Sequence[Heads], turns: Sequence[F32], place: F32) -> Look:
    heat, mask, chance = [], [], []
    each = len(answers) // len(turns)
    for number, (joints, ink, _, _, figure) in enumerate(answers):
        if number % 2:  # see ``look``: every other crop is mirrored
            joints, ink = joints[MIRRORED][:, :, ::-1], ink[:, :, ::-1]
        turn = turns[number // each]
        heat.append(np.stack([_back(np.ascontiguousarray(one), turn, CELL) for one in joints]))
        mask.append(_back(np.ascontiguousarray(ink[0]), turn, 1))
        chance.append(figure)
    found = place_joints(np.mean(heat, 0))
    found[:, :2] = (found[:, :2] - place[:, 2]) / float(place[0, 0])
    return Look(found, float(sigmoid(np.mean(chance, 0))[0]), sigmoid(np.mean(mask, 0)), place)


def _back(heads: F32, turn: F32, cell: int) -> F32:
    """A map (h, w) of a turned crop, ``cell`` pixels to its cell, as the crop's own."""
    move = turn.copy()
    # Cell i's middle is pixel (i + 1/2) * cell.
    half = np.full(2, cell / 2 - 0.5, np.float32)
    move[:, 2] = (turn[:, :2] @ half + turn[:, 2] - half) / cell
    size = (heads.shape[1], heads.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(heads, move, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.float32)


def place_joints(heat: F32) -> F32:
    """Joint logits (K, h, w) → (K, 3): x, y in pixels of the crop, and the peak's share."""
    count, _, columns = heat.shape
    flat = heat.reshape(count, -1)
    share = np.exp(flat - flat.max(1, keepdims=True))
    share = (share / share.sum(1, keepdims=True)).reshape(heat.shape)
    answer = np.zeros((count, 3), np.float32)
    for k in range(count):
        row, col = divmod(int(share[k].argmax()), columns)
        top, left = max(0, row - PEAK), max(0, col - PEAK)
        around = share[k, top : row + PEAK + 1, left : col + PEAK + 1]
        total = float(around.sum())
        y, x = (around * np.indices(around.shape)).sum((1, 2)) / max(total, 1e-9)
        answer[k] = (left + x + 0.5) * CELL, (top + y + 0.5) * CELL, min(1.0, total)
    return answer


def all_joints(joints: F32) -> dict[str, tuple[float, float, float]]:
    """The 16 named joints (x, y, score) out of the 13: root, hip and torso are midpoints."""
    named = {name: joints[i] for i, name in enumerate(ANSWERED)}
    hips = (named["right_hip"] + named["left_hip"]) / 2
    shoulders = (named["right_shoulder"] + named["left_shoulder"]) / 2
    every = {"root": hips, "hip": hips, "torso": shoulders, **named}
    return {name: (float(j[0]), float(j[1]), float(j[2])) for name, j in every.items()}
