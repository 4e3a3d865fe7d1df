"""Photos in, rigged figures out: the whole of the rigger without TorchServe."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

try:  # inside an archive these are siblings
    from rig_look import F32, Look, all_joints, distinct, find, look
    from rig_mask import bones_of, refine
    from rig_photo import Photo
    from runtime import Image, Network
except ModuleNotFoundError:
    from handlers.rig_look import F32, Look, all_joints, distinct, find, look
    from handlers.rig_mask import bones_of, refine
    from handlers.rig_photo import Photo
    from handlers.runtime import Image, Network

Bytes = npt.NDArray[Any]  # uint8; OpenCV promises no more

LEAST_SCORE = 0.7  # below this there is no figure: 1 in 25 made-up pages without one reaches it
SURE_SCORE = 0.95  # the same for what was not seen at the first look
WORTH = 0.4  # the score of a single crop from which a guess is worth a closer look
MARGIN = 0.3  # of the longer side, of paper added for a second look
MASK_SIDE = 640  # longer side at which masks are refined, pixels
GLANCES = 3  # crops of a guess until its box stays
SAME_BOX = 0.1  # of its longer side, by which a box that stays may move
EDGE = 3  # pixels of a crop that count as its edge
GROWTH = 0.3  # of the crop, by which a box grows where its figure is cut
ROUGH = 0.5  # of the mask's probability, for the last look's box


@dataclass(frozen=True)
class Figure:
    """A rigged figure in pixels of the photo as sent.

    box x1 y1 x2 y2; 16 named joints as x, y, score; ``mask`` uint8 0/255 covers
    ``mask_box`` (integers).
    """

    box: tuple[float, float, float, float]
    score: float
    joints: dict[str, tuple[float, float, float]]
    mask_box: tuple[int, int, int, int]
    mask: Bytes


def rig(network: Network, photos: Sequence[Photo]) -> list[list[Figure]]:
    """The figures of each photo, best first; none where there is no drawn figure.

    A photo without any, or with one that reaches its border, gets a second look with paper
    around it: a figure that is cut out tightly looks like a part of one.
    """
    figures = _rig(network, photos)
    doubtful = [n for n, photo in enumerate(photos) if _is_doubtful(figures[n], photo)]
    if doubtful:
        again = _rig(network, [widened(photos[n]) for n in doubtful])
        for n, found in zip(doubtful, again, strict=True):
            moved = [inside for f in found if (inside := narrowed(f, photos[n]))]
            if _best(moved) > (_best(figures[n]) or SURE_SCORE):
                figures[n] = [f for f in moved if f.score >= SURE_SCORE or figures[n]]
    return figures


def _is_doubtful(figures: list[Figure], photo: Photo) -> bool:
    near = 0.005 * max(photo.width, photo.height)
    return not figures or any(
        min(f.box[:2]) < near or photo.width - f.box[2] < near or photo.height - f.box[3] < near
        for f in figures
    )


def _best(figures: list[Figure]) -> float:
    return max((figure.score for figure in figures), default=0.0)


def _rig(network: Network, photos: Sequence[Photo]) -> list[list[Figure]]:
    found = find(network, [photo.pixels for photo in photos])
    jobs = [
        (photo, number, box, centre)
        for number, (photo, guesses) in enumerate(zip(photos, found, strict=True))
        for box, centre in glance(network, photo.pixels, *guesses)
    ]
    looks = look(network, [(photo.pixels, box) for photo, _, box, _ in jobs])
    figures: list[list[Figure]] = [[] for _ in photos]
    for (photo, number, _, centre), seen in zip(jobs, looks, strict=True):
        figure = finish(photo, seen, together(centre, seen))
        if figure is not None and figure.score >= LEAST_SCORE:
            figures[number].append(figure)
    return [_distinct(each) for each in figures]


def widened(photo: Photo) -> Photo:
    """The photo with a margin of the colour that its border has."""
    image = photo.pixels
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    paper = [int(v) for v in np.median(border, axis=0)]
    by = _margin(photo)
    wide = cv2.copyMakeBorder(image, by, by, by, by, cv2.BORDER_CONSTANT, value=paper)
    fx, fy = photo.scale
    width, height = photo.width + round(2 * by * fx), photo.height + round(2 * by * fy)
    return Photo(np.asarray(wide, np.uint8), width, height)


def narrowed(figure: Figure, photo: Photo) -> Figure | None:
    """A figure of the widened photo in the photo itself; None when nothing of it is left."""
    left, top = (_margin(photo) * factor for factor in photo.scale)
    a, b, c, d = figure.mask_box
    x1, y1 = max(0, a - round(left)), max(0, b - round(top))
    x2, y2 = min(photo.width, c - round(left)), min(photo.height, d - round(top))
    if x2 - x1 < 2 or y2 - y1 < 2:
        return None
    rows = slice(y1 + round(top) - b, y2 + round(top) - b)
    mask = figure.mask[rows, x1 + round(left) - a : x2 + round(left) - a]
    sides = np.array(figure.box) - [left, top, left, top]
    size = [photo.width, photo.height] * 2
    box: tuple[float, float, float, float] = tuple(np.clip(sides, 0, size).tolist())
    joints = {name: (u - left, v - top, score) for name, (u, v, score) in figure.joints.items()}
    return Figure(box, figure.score, joints, (x1, y1, x2, y2), np.ascontiguousarray(mask))


def _margin(photo: Photo) -> int:
    """Pixels added on each side."""
    return round(MARGIN * max(photo.pixels.shape[:2]))


def glance(network: Network, image: Image, boxes: F32, centres: F32) -> list[tuple[F32, float]]:
    """What holds of the first look's guesses after one crop of each: better boxes, and scores.

    The crop tells a figure from a part of one and from anything else, and its mask tells
    the box better than the whole photo did.
    """
    better = boxes.copy()
    scores = np.zeros(len(boxes), np.float32)
    kept = unsettled = list(range(len(boxes)))
    for _ in range(GLANCES):
        looks = look(network, [(image, better[i]) for i in unsettled], brief=True)
        moved = []
        for i, seen in zip(unsettled, looks, strict=True):
            scores[i] = together(float(centres[i]), seen)
            own = extent(seen, better[i])
            if off(own, better[i]) > SAME_BOX:
                moved.append(i)
            better[i] = own
        likely = [i for i in kept if scores[i] >= WORTH]
        kept = [likely[k] for k in distinct(better[likely], scores[likely])]
        unsettled = [i for i in moved if i in kept]
    return [(better[i], float(centres[i])) for i in kept]


def together(centre: float, seen: Look) -> float:
    """One score out of both looks and the joints' certainty."""
    return float((seen.chance**2 * min(1.0, centre * 2)) ** (1 / 3))


def extent(seen: Look, box: F32) -> F32:
    """The box of a look's mask; the one that was looked at where the mask is empty.

    Where the mask reaches the crop's edge, the figure goes on beyond it: the box grows.
    """
    count, _, stats, _ = cv2.connectedComponentsWithStats((seen.mask > ROUGH).astype(np.uint8))
    if count < 2:
        return box
    x, y, w, h, _ = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    side = seen.mask.shape[0]
    sides = np.array([x, y, x + w, y + h], np.float32)
    beyond = np.array([x < EDGE, y < EDGE, x + w > side - EDGE, y + h > side - EDGE])
    sides += beyond * np.array([-1, -1, 1, 1], np.float32) * GROWTH * side
    corners = sides.reshape(2, 2)
    return np.asarray((corners - seen.place[:, 2]) / float(seen.place[0, 0]), np.float32).ravel()


def off(box: F32, other: F32) -> float:
    """How far two boxes' sides are apart at most, as a share of their longer side."""
    longer = max(float((other[2:] - other[:2]).max()), 1.0)
    return float(np.abs(box - other).max()) / longer


def finish(photo: Photo, seen: Look, score: float) -> Figure | None:
    """The mask at full resolution and everything in the photo's own pixels."""
    patch, chance, (left, top), factor = _enlarge(photo.pixels, seen)
    if patch.size == 0:
        return None
    placed = {
        name: ((x - left) * factor, (y - top) * factor)
        for name, (x, y, _) in all_joints(seen.joints).items()
    }
    mask = refine(patch, chance, bones_of(placed, patch.shape[:2]))
    if not mask.any():
        return None
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    fx, fy = photo.scale
    box = (
        (left + x / factor) * fx, (top + y / factor) * fy,
        (left + (x + w) / factor) * fx, (top + (y + h) / factor) * fy,
    )  # fmt: skip
    x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
    x2, y2 = min(photo.width, int(np.ceil(box[2]))), min(photo.height, int(np.ceil(box[3])))
    if x2 - x1 < 2 or y2 - y1 < 2:
        return None
    # Pixel (i, j) of the answer's mask lies at this place of the patch's.
    ax, ay = factor / fx, factor / fy
    move = np.array([
        [ax, 0, (x1 + 0.5) * ax - left * factor - 0.5],
        [0, ay, (y1 + 0.5) * ay - top * factor - 0.5],
    ])  # fmt: skip
    soft = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (0, 0), 0.7)
    full = cv2.warpAffine(
        soft, move, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    full = cv2.threshold(full, 127, 255, cv2.THRESH_BINARY)[1]
    named = {k: (j[0] * fx, j[1] * fy, j[2]) for k, j in all_joints(seen.joints).items()}
    return Figure(box, score, named, (x1, y1, x2, y2), full)


def _enlarge(image: Image, seen: Look) -> tuple[Image, F32, tuple[int, int], float]:
    """The look's part of the image at up to ``MASK_SIDE``, the network's mask at that size,
    the part's origin in the image, and the factor from the image to it."""
    side = seen.mask.shape[0]
    scale = float(seen.place[0, 0])
    x1, y1 = (-seen.place[:, 2] / scale).astype(float)
    x2, y2 = x1 + side / scale, y1 + side / scale
    height, width = image.shape[:2]
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    part = image[
        top : max(0, min(height, int(np.ceil(y2)))), left : max(0, min(width, int(np.ceil(x2))))
    ]
    if part.size == 0:
        return part, np.zeros((0, 0), np.float32), (left, top), 1.0
    factor = min(1.0, MASK_SIDE / max(part.shape[:2]))
    if factor < 1:
        part = np.asarray(
            cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )
    step = scale / factor
    move = np.array([
        [step, 0, 0.5 * step + (left - x1) * scale - 0.5],
        [0, step, 0.5 * step + (top - y1) * scale - 0.5],
    ])  # fmt: skip
    chance = cv2.warpAffine(
        seen.mask, move, (part.shape[1], part.shape[0]),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return part, np.asarray(chance, np.float32), (left, top), factor


def _distinct(figures: list[Figure]) -> list[Figure]:
    boxes = np.array([figure.box for figure in figures], np.float32).reshape(-1, 4)
    scores = np.array([figure.score for figure in figures], np.float32)
    return [figures[i] for i in distinct(boxes, scores)]


def as_json(photo: Photo, figures: list[Figure]) -> dict[str, Any]:
    """One photo's entry in the answer; coordinates to a tenth of a pixel."""
    return {
        "width": photo.width,
        "height": photo.height,
        "figures": [
            {
                "box": [round(v, 1) for v in figure.box],
                "score": round(figure.score, 4),
                "joints": {
                    name: [round(x, 1), round(y, 1), round(score, 3)]
                    for name, (x, y, score) in figure.joints.items()
                },
                "mask": {"box": list(figure.mask_box), "png": png(figure.mask)},
            }
            for figure in figures
        ],
    }


def png(mask: Bytes) -> str:
    """An 8-bit grey PNG, base64."""
    settings = {
        cv2.IMWRITE_PNG_COMPRESSION: 1,
        cv2.IMWRITE_PNG_STRATEGY: cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER: cv2.IMWRITE_PNG_FILTER_NONE,
    }
    data = cv2.imencode(".png", mask, [part for pair in settings.items() for part in pair])[1]
    return base64.b64encode(data.tobytes()).decode()
