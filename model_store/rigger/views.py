"""What the network sees of a scene: whole pages, crops around a figure, crops around none.

The steps are ``mmcv.transforms``; each takes and answers a dictionary:

* ``image`` (H, W, 3) uint8 BGR, ``mask`` (H, W) uint8 0/255,
* ``joints`` (13, 2) pixels, ``boxes`` (N, 4) x1 y1 x2 y2,
* ``kind``: PAGE, FIGURE, OTHER or NOTHING, and ``window``: the box that a crop is cut around.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from torch.utils.data import IterableDataset, get_worker_info

from .body import JOINTS, MIRRORED
from .scene import Box, Scene, make_scene
from .shapes import Rng
from .sheet import Bytes

#: A whole page; a crop around a figure; around something else, with parts of figures or without.
PAGE, FIGURE, OTHER, NOTHING = 0, 1, 2, 3
MARGIN = 0.1  # of the box, on each side of a crop
CELL = 4  # pixels of the input per cell of the heatmaps
MAX_BOXES = 4
SHUFFLE = 256


class CutView(BaseTransform):
    """Rotate, scale and shift the window into a square of ``size`` pixels.

    The jitter is what a first look's box may be off by.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        rng: Rng = results["rng"]
        x1, y1, x2, y2 = results["window"]
        centre, side = np.array([x1 + x2, y1 + y2]) / 2, max(x2 - x1, y2 - y1)
        if results["kind"] == PAGE:
            grow, off, turn = rng.uniform(0.85, 1.15), 0.05, rng.normal(0, 3)
        else:
            grow = (1 + 2 * MARGIN) * rng.uniform(0.87, 1.18)
            off, turn = 0.04, rng.normal(0, 7)
        centre = centre + rng.normal(0, off, 2) * side
        scale = self.size / (side * grow)
        matrix = cv2.getRotationMatrix2D((centre[0], centre[1]), turn, scale)
        matrix[:, 2] += self.size / 2 - centre
        image, mask = results["image"], results["mask"]
        if scale < 0.6:
            # Bilinear sampling skips pixels below half size.
            image, mask = cv2.pyrDown(image), cv2.pyrDown(mask)
            shrunk = matrix.copy()
            shrunk[:, :2] *= 2
        else:
            shrunk = matrix
        square = (self.size, self.size)
        border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_REFLECT_101
        results["image"] = cv2.warpAffine(image, shrunk, square, borderMode=border)
        results["mask"] = cv2.warpAffine(mask, shrunk, square)
        results["joints"] = results["joints"] @ matrix[:, :2].T + matrix[:, 2]
        results["boxes"] = _boxes(results["boxes"], matrix, self.size)
        return results


class Mirror(BaseTransform):
    """Mirror half of the views; right and left joints change names."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        if results["rng"].random() < 0.5:
            width = results["image"].shape[1]
            results["image"] = results["image"][:, ::-1]
            results["mask"] = results["mask"][:, ::-1]
            results["joints"] = (results["joints"] * (-1, 1) + (width, 0))[MIRRORED]
            boxes = results["boxes"].copy()
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
            results["boxes"] = boxes
        return results


class Tint(BaseTransform):
    """Another white balance, contrast and brightness for each view of a scene."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        rng: Rng = results["rng"]
        gain = rng.uniform(0.75, 1.2) * (1 + rng.normal(0, 0.05, 3))
        shifted = results["image"] * gain + rng.uniform(-25, 25)
        results["image"] = np.clip(shifted, 0, 255).astype(np.uint8)
        return results


class Pack(BaseTransform):
    """Tensors of fixed shape, so that views can be stacked."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        boxes = np.zeros((MAX_BOXES, 4), np.float32)
        found = results["boxes"][:MAX_BOXES]
        boxes[: len(found)] = found
        image = np.ascontiguousarray(results["image"][..., ::-1].transpose(2, 0, 1))
        return {
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(np.ascontiguousarray(results["mask"])),
            "joints": torch.from_numpy(results["joints"].astype(np.float32)),
            "boxes": torch.from_numpy(boxes),
            "kind": torch.tensor(results["kind"]),
        }


def pipeline(size: int) -> Compose:
    """All steps from a view of a scene to tensors of ``size`` by ``size``."""
    return Compose([CutView(size), Mirror(), Tint(), Pack()])


def views(rng: Rng, scene: Scene) -> Iterator[dict[str, Any]]:
    """Several views of a scene, before the transforms."""
    height, width = scene.image.shape[:2]
    boxes = np.array([f.box for f in scene.figures], np.float64).reshape(-1, 4)
    union: Bytes = np.zeros((height, width), np.uint8)
    for figure in scene.figures:
        union = cv2.bitwise_or(union, figure.mask)
    nobody = np.zeros((len(JOINTS), 2))
    base = {"image": scene.image, "rng": rng}
    page = {**base, "mask": union, "joints": nobody, "boxes": boxes, "kind": PAGE}
    page["window"] = (0, 0, width, height)
    for _ in range(1 if scene.figures else 2):
        yield dict(page)
    for figure in scene.figures[:2]:
        inside = _visible(figure.joints, width, height)
        for _ in range(3 if inside else 0):
            yield {
                **base, "mask": figure.mask, "joints": figure.joints, "kind": FIGURE,
                "boxes": np.array([figure.box]), "window": figure.box,
            }  # fmt: skip
    # What is no figure: other things, parts of figures, any piece of the page.
    wrong = list(scene.others[: 2 if scene.figures else 4])
    if rng.random() < 0.6:
        wrong += [_part(rng, figure.box) for figure in scene.figures[:1]]
    if not scene.figures:
        side = rng.uniform(0.2, 0.9) * min(height, width)
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        wrong.append((x, y, x + side, y + side))
    for box in wrong:
        if box[2] - box[0] > 12 and box[3] - box[1] > 12:
            free = not any(_touching(box, figure.box) for figure in scene.figures)
            yield {**page, "kind": NOTHING if free else OTHER, "window": box}


def _touching(box: Box, figure: Box) -> bool:
    """Whether a crop around ``box`` may show some of ``figure``."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = 0.85 * max(box[2] - box[0], box[3] - box[1])
    across = figure[0] - reach < x < figure[2] + reach
    return across and figure[1] - reach < y < figure[3] + reach


def _part(rng: Rng, box: Box) -> Box:
    """A piece of a figure's box, about a third to a half of its height: a head, a leg, an arm."""
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1) * rng.uniform(0.25, 0.5)
    x, y = rng.uniform(x1, max(x1 + 1, x2 - side)), rng.uniform(y1, max(y1 + 1, y2 - side))
    return (x, y, x + side, y + side)


def _visible(joints: Any, width: int, height: int) -> bool:
    x, y = joints.T
    return bool(((x > 0) & (x < width) & (y > 0) & (y < height)).all())


def _boxes(boxes: Any, matrix: Any, size: int) -> Any:
    """Boxes after the transform: of their inner diamond, which a rotation hardly widens."""
    kept = []
    for x1, y1, x2, y2 in boxes:
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        edge = np.array([(x1, cy), (x2, cy), (cx, y1), (cx, y2)]) @ matrix[:, :2].T + matrix[:, 2]
        full = np.concatenate([edge.min(0), edge.max(0)])
        seen = full.clip(0, size)
        area = (full[2] - full[0]) * (full[3] - full[1])
        if (seen[2] - seen[0]) * (seen[3] - seen[1]) > 0.4 * area:
            kept.append(seen)
    return np.array(kept).reshape(-1, 4)


class Drawings(IterableDataset[dict[str, torch.Tensor]]):
    """An endless stream of shuffled views; every worker draws its own scenes."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        cv2.setNumThreads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        steps = pipeline(self.size)
        pool: list[dict[str, torch.Tensor]] = []
        while True:
            pool += [steps(view) for view in views(rng, make_scene(rng))]
            while len(pool) > SHUFFLE:
                at = int(rng.integers(len(pool)))
                pool[at], pool[-1] = pool[-1], pool[at]
                yield pool.pop()
