"""A figure's mask: the network's, corrected by the ink where the two agree.

The network knows what is figure but not to the pixel: it webs the gap between an arm and
the head, and widens thin strokes. The ink knows edges but takes ruled lines and shadows
for strokes. So the ink cuts the paper into areas, and each is figure or not as a whole:
by what the network says of it, and by whether the figure's bones run through it. Ink
itself counts where the network finds it possible.

Images are (H, W, 3) uint8 BGR, masks (H, W) bool, probabilities (H, W) float32; ``bones``
is a mask of where the skeleton says there must be body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[Any]  # uint8; OpenCV promises no more

LIKELY = 0.5
POSSIBLE = 0.25  # ink here belongs to the figure when it touches what is likely
NOTHING = 0.05  # background for certain
CERTAIN = 0.95  # an area of paper without bones, open to the background, and still figure
BONY = 0.3  # share of such an area that bones take up when it is body
LEANING = 0.75  # what the network must say of an open area with bones
BACKGROUND = 0.12  # kernel that spans a stroke's width and more, share of the side
LEAST_CONTRAST = 9.0  # grey levels that ink differs from its paper
WEAK = 0.35  # of the ink's typical contrast, and still ink
PARALLEL = 4  # straight lines beside the figure make a ruled paper
MANY = 60  # of them are looked at
LINE = 5  # pixels that a ruled line is wide
STRONGER = 1.4  # than a ruled line must ink be that crosses it
SAMPLE = 8  # every so many pixels tell the page's light
UNEVEN = 3.0  # times the page's unevenness that a filled area is darker
GAP = 0.03  # of the side: gaps in an outline that the background does not pass
RIM = 0.025  # of the side: how far the network blurs beyond a stroke
BONE = 0.03  # of the side: a bone's thickness
SEAM = 0.0025  # of the side: paper that is cut out with the figure, so that no stroke is frayed
SMALL = 0.004  # pieces and holes under this share of the figure are noise

CHAINS = [
    ("neck", "torso", "hip"),
    *((f"{s}_shoulder", f"{s}_elbow", f"{s}_hand") for s in ("right", "left")),
    *((f"{s}_hip", f"{s}_knee", f"{s}_foot") for s in ("right", "left")),
]
TORSO = ("right_shoulder", "left_shoulder", "left_hip", "right_hip")


def bones_of(joints: Mapping[str, tuple[float, float]], shape: tuple[int, int]) -> Mask:
    """Where the skeleton says there is body: limbs as lines, the torso and head as areas."""
    canvas = np.zeros(shape, np.uint8)
    at = {name: (round(x), round(y)) for name, (x, y) in joints.items()}
    thick = max(1, round(BONE * max(shape)))
    for chain in CHAINS:
        cv2.polylines(canvas, [np.array([at[name] for name in chain])], False, 255, thick)
    cv2.fillConvexPoly(canvas, cv2.convexHull(np.array([at[name] for name in TORSO])), 255)
    reach = np.subtract(joints["neck"], joints["torso"])
    cv2.circle(canvas, at["neck"], max(1, round(0.3 * float(np.hypot(*reach)))), 255, -1)
    return canvas > 0


def ink_of(image: Bytes, near: Mask) -> Mask:
    """Where there is ink: darker than the paper around it, in any colour channel.

    Args:
        image: the crop.
        near: where the figure may be; its ink sets what contrast counts.
    """
    side = max(image.shape[:2])
    smooth = cv2.GaussianBlur(image, (0, 0), max(0.6, side / 700))
    # The paper's brightness: strokes closed away at a quarter of the size, which is fast.
    small = cv2.resize(smooth, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    size = max(3, round(side * 0.25 * BACKGROUND) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    small = cv2.GaussianBlur(cv2.morphologyEx(small, cv2.MORPH_CLOSE, kernel), (0, 0), size / 4)
    paper = cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    darker = cv2.subtract(paper, smooth).max(axis=2)
    if not near.any():
        return np.zeros(near.shape, bool)
    least = max(LEAST_CONTRAST, WEAK * float(np.percentile(darker[near], 90)))
    ink = np.asarray(darker > least, bool)
    ink &= ~_ruled(ink & ~near, darker)
    return ink | _coloured(smooth, near, least)


def _coloured(image: Bytes, near: Mask, least: float) -> Mask:
    """Areas filled in: darker than the page, whose light is taken to change evenly.

    Where it does not (a hard shadow, a table's edge) hardly anything counts.
    """
    rows, columns = np.nonzero(~near[::SAMPLE, ::SAMPLE])
    if len(rows) < 50:
        return np.zeros(near.shape, bool)
    known = image[::SAMPLE, ::SAMPLE][rows, columns].astype(np.float64)
    places = np.stack([np.ones(len(rows)), rows * SAMPLE, columns * SAMPLE], 1)
    plane, *_ = np.linalg.lstsq(places, known, rcond=None)
    uneven = np.abs(known - places @ plane).mean(0)
    y, x = np.arange(near.shape[0])[:, None], np.arange(near.shape[1])[None]
    coloured = np.zeros(near.shape, bool)
    for channel in range(3):
        paper = plane[0, channel] + plane[1, channel] * y + plane[2, channel] * x
        coloured |= paper - image[..., channel] > least + UNEVEN * uneven[channel]
    return coloured


def _ruled(beside: Mask, darker: Bytes) -> Mask:
    """The lines of ruled or squared paper, as told by the ink beside the figure.

    They are long, straight, and at least ``PARALLEL`` to a direction; where something
    clearly darker crosses one, that is no line of the paper.
    """
    side = max(beside.shape)
    # At half the size: the time that this takes grows with the pixels.
    found = cv2.HoughLinesP(
        beside[::2, ::2].astype(np.uint8), 1, np.pi / 360, max(20, side // 12),
        minLineLength=side * 0.1, maxLineGap=side * 0.01,
    )  # fmt: skip
    lines = np.zeros(beside.shape, bool)
    if found is None:
        return lines
    ends = 2 * found.reshape(-1, 4)[:MANY].astype(np.float64)
    way = ends[:, 2:] - ends[:, :2]
    way /= np.maximum(np.hypot(*way.T), 1)[:, None]
    # Angle modulo half a turn, and distance from the middle along the normal.
    cross = np.abs(way[:, :1] * way[:, 1] - way[:, 1:] * way[:, 0])
    middle = (ends[:, :2] + ends[:, 2:]) / 2
    apart = np.abs(
        way[:, :1] * (middle[:, 1] - middle[:, 1:]) - way[:, 1:] * (middle[:, 0] - middle[:, :1])
    )
    rows = np.round(apart / (side * 0.015))
    for i in range(len(ends)):
        others = rows[i][cross[i] < 0.03]
        if len(np.unique(others)) < PARALLEL:
            continue
        a, b = middle[i] - way[i] * 2 * side, middle[i] + way[i] * 2 * side
        line = np.zeros(beside.shape, np.uint8)
        cv2.line(line, (round(a[0]), round(a[1])), (round(b[0]), round(b[1])), 255, LINE)
        on = line > 0
        own = float(np.median(darker[on & beside])) if (on & beside).any() else 0.0
        lines |= on & (darker < STRONGER * own + LEAST_CONTRAST)
    return lines


def refine(image: Bytes, chance: F32, bones: Mask) -> Mask:
    """The figure in a crop, (H, W) bool: one main piece and what clearly belongs to it.

    Args:
        image: the crop at the resolution of the answer.
        chance: the network's mask, enlarged to the same size.
        bones: see :func:`bones_of`.
    """
    likely = chance > LIKELY
    if not likely.any():
        return likely
    near = _grown(chance > NOTHING, 5)
    # A pixel around ink is its blurred edge.
    wall = _grown(ink_of(image, near), 3)
    outside, filled = _areas(wall, chance, bones)
    core = (likely & ~outside) | filled
    mask = _pieces(_reached(core | (wall & (chance > POSSIBLE)), core))
    return _grown(mask, 2 * max(1, round(SEAM * max(mask.shape))) + 1)


def _areas(wall: Mask, chance: F32, bones: Mask) -> tuple[Mask, Mask]:
    """Paper that is background, and paper that is figure whatever single pixels say.

    Gaps in an outline are sealed first; afterwards the background follows the ink as far
    as a gap is wide.
    """
    side = max(wall.shape)
    size = max(3, round(GAP * side) | 1)
    padded = np.pad(wall.astype(np.uint8), size)
    sealed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(size))[size:-size, size:-size] > 0
    border = np.ones_like(wall)
    border[1:-1, 1:-1] = False
    likely = chance > LIKELY
    far = _reached(~sealed, border & ~likely)
    # What is open to the background, yet figure: bodies whose outline does not close.
    rim = max(3, round(RIM * side) | 1)
    pocket = far & likely
    inner = cv2.morphologyEx(pocket.astype(np.uint8), cv2.MORPH_OPEN, _disc(rim)) > 0
    kept = _voted(inner, chance, bones, CERTAIN, LEANING)
    kept = _grown(kept, 2 * rim + 1) & pocket
    far &= ~kept
    # What ink encloses is figure, or paper seen between limbs.
    closed = ~sealed & ~far & ~kept
    filled = _voted(closed, chance, bones, LIKELY, 0.0)
    far |= closed & ~filled
    creeping = ~wall & ~kept & ~filled & _grown(far, 2 * size + 1)
    return _reached(far | creeping, far), kept | filled


def _voted(areas: Mask, chance: F32, bones: Mask, threshold: float, leaning: float) -> Mask:
    """The connected areas whose mean chance exceeds the threshold, or is at least ``leaning``
    while bones run through them."""
    count, labels = cv2.connectedComponents(areas.astype(np.uint8), connectivity=4)
    pixels = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
    mean = np.bincount(labels.ravel(), chance.ravel(), count) / pixels
    bony = np.bincount(labels.ravel(), bones.ravel().astype(np.float64), count) / pixels
    keep = (mean > threshold) | ((bony > BONY) & (mean >= leaning))
    keep[0] = False
    return np.asarray(keep[labels], bool)


def _disc(size: int) -> Bytes:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _grown(mask: Mask, size: int) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(size)) > 0, bool)


def _reached(free: Mask, seeds: Mask) -> Mask:
    """The parts of ``free`` that are connected to a seed."""
    count, labels = cv2.connectedComponents(free.astype(np.uint8), connectivity=4)
    hit = np.zeros(count, bool)
    hit[labels[seeds]] = True
    hit[0] = False
    return np.asarray(hit[labels], bool)


def _pieces(mask: Mask) -> Mask:
    """Without specks and pinholes."""
    for inside in (True, False):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == inside).astype(np.uint8), connectivity=8 if inside else 4
        )
        area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
        area[0] = 0
        if count > 1:
            least = 0.01 * area.max() if inside else SMALL * mask.sum()
            small = area < max(least, 4)
            small[0] = False
            mask = np.where(small[labels], not inside, mask)
    return np.asarray(mask, bool)
