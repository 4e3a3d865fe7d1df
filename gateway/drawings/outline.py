"""From a figure's mask to one solid piece that a mesh can be laid over."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from gateway.drawings.character import Character, Mask

I32 = npt.NDArray[np.int32]

PAD = 2
"""Pixels added on each side, so that the outline of a figure cut by the border closes."""

SMALL_HOLE = 0.002
"""Holes below this share of the figure are gaps in the mask, not openings in the figure."""

SPECK = 0.001
"""Loose pieces below this share of the figure's area are dirt, unless a bone crosses them."""

FAR = 0.15
"""Loose pieces farther from the rest than this share of its longer side are not the figure's."""

MAX_PIECES = 32


def solid(figure: Character) -> tuple[Mask, Mask]:
    """The figure's pixels without gaps, and the region that its mesh covers.

    A hole is closed when it is small or a bone crosses it (a head drawn as a ring is
    paper inside, but it is the figure's paper); others, as between arm and hip, stay
    open. Loose pieces are joined to the rest by thin bridges in the region alone, which
    stay invisible; far ones and specks are dropped.

    Returns:
        shown: (H, W) bool, what is to be seen of the texture.
        region: (H + 2·PAD, W + 2·PAD) bool, in one piece, a pixel larger than ``shown``
        all round; index it with pixel coordinates + ``PAD``.
    """
    mask = np.pad(figure.mask, PAD)
    bones = _bones(figure, mask.shape)
    shown, bridges = _joined(_closed(mask, bones), bones)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    region = cv2.dilate((shown | bridges).astype(np.uint8), cross) != 0
    inner = (slice(PAD, -PAD), slice(PAD, -PAD))
    return shown[inner], _closed(region, np.zeros_like(bones))


def contours(region: Mask, tolerance: float) -> list[npt.NDArray[np.float64]]:
    """Closed polygons (N, 2) through the region's border pixels, outer ones and holes.

    Simplified so that no border pixel is farther than ``tolerance`` pixels away. In pixel
    coordinates without the padding; a pixel's centre is at + 0.5.
    """
    found, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    simple = (cv2.approxPolyDP(c, tolerance, True)[:, 0] for c in found)
    return [polygon.astype(float) + (0.5 - PAD) for polygon in simple if len(polygon) >= 3]


def _bones(figure: Character, shape: Sequence[int]) -> Mask:
    canvas = np.zeros(shape, np.uint8)
    for name, parent in figure.parents.items():
        if parent is not None:
            ends = [[int(v) + PAD for v in figure.joints[joint]] for joint in (name, parent)]
            cv2.line(canvas, ends[0], ends[1], 1)
    return canvas != 0


def _closed(mask: Mask, bones: Mask) -> Mask:
    """The mask with small holes, and holes that a bone crosses, filled."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] < SMALL_HOLE * np.count_nonzero(mask)
    fill[np.unique(labels[bones])] = True
    fill[0] = False  # the figure itself
    fill[labels[0, 0]] = False  # the padding: what is outside
    return mask | fill[labels]


def _joined(mask: Mask, bones: Mask) -> tuple[Mask, Mask]:
    """The mask without loose dirt, and the bridges (bool, same shape) that make it one piece."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    crossed = np.bincount(labels[bones], minlength=len(areas)) > 0
    wanted = (areas >= SPECK * areas.sum()) | crossed
    wanted[0] = False
    by_size = np.argsort(-areas, kind="stable")[:MAX_PIECES]
    main, *loose = [int(label) for label in by_size if wanted[label]]
    shown = labels == main
    reach = FAR * max(stats[main, cv2.CC_STAT_WIDTH], stats[main, cv2.CC_STAT_HEIGHT])
    bridges = np.zeros(mask.shape, np.uint8)
    while loose:
        distance, owners = cv2.distanceTransformWithLabels(
            (~shown).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        ends = {label: _nearest(distance, labels == label) for label in loose}
        label = min(loose, key=lambda item: distance[ends[item]])
        loose.remove(label)
        if distance[ends[label]] > reach and not crossed[label]:
            continue
        start = np.argwhere(shown & (owners == owners[ends[label]]))[0]
        cv2.line(bridges, start[::-1].tolist(), ends[label][::-1], 1, thickness=3)
        shown |= labels == label
    return shown, bridges != 0


def _nearest(distance: npt.NDArray[np.float32], piece: Mask) -> tuple[int, int]:
    """The pixel (row, column) of a piece with the least distance."""
    row, column = np.unravel_index(np.where(piece, distance, np.inf).argmin(), piece.shape)
    return int(row), int(column)
