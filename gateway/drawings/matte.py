"""The figure without the rim of paper that a mask leaves around it.

A mask made from a photo lies a little outside the ink. Over paper that rim is not seen;
over the figure's own body, or another background, it is a white seam. Near the outline
each pixel is therefore taken for a mixture of ink and paper and the paper's share removed.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

REACH = 0.025
"""How deep into the figure paper is looked for, as a share of its longer side."""

LEAST_CONTRAST = 20.0
"""Where no ink differs from the paper by this much (of 255), what lies there is kept."""

_COARSE = 4
"""Paper's colour changes slowly: it is averaged over a picture of this fraction."""

_LEAST_SEEN = 0.01
"""Share of the neighbourhood that must be paper to know its colour."""

SOLID = 0.5
"""From this share of the ink's contrast on, a pixel is ink and nothing else."""


def cut_out(texture: U8, shown: Mask) -> U8:
    """The figure alone, (H, W, 4) uint8 BGRA, premultiplied alpha.

    texture: (H, W, 4) uint8 BGRA, straight alpha. shown: (H, W) bool, the figure's pixels.
    """
    alpha = np.where(shown, texture[..., 3], 0).astype(np.uint8)
    cut = cv2.merge([*cv2.split(texture)[:3], np.full_like(alpha, 255)])
    cut = cv2.multiply(cut, cv2.merge([alpha] * 4), scale=1 / 255)
    reach = _reach(shown)
    paper, known = _paper(texture[..., :3], ~shown & (texture[..., 3] == 255), reach)
    blue, green, red = cv2.split(cv2.absdiff(texture[..., :3], paper))
    difference = np.where(known, cv2.max(cv2.max(blue, green), red), 0)
    ink = _ink(difference.astype(np.float32), shown, reach)
    rim = ink < 1
    share = ink[rim, None]
    solid = alpha[rim, None] * share
    # Laid over that paper, the result is the texture again.
    colours = texture[rim, :3] - paper[rim] * (1 - share)
    cut[rim, :3] = np.rint(np.clip(colours, 0, solid))
    cut[rim, 3:] = np.rint(solid)
    return np.asarray(cut, np.uint8)


def _reach(shown: Mask) -> int:
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    longer = max(np.ptp(rows), np.ptp(columns)) if len(rows) else 0
    return max(2, round(REACH * float(longer)))


def _paper(colours: U8, outside: Mask, reach: int) -> tuple[U8, Mask]:
    """The paper's colour (H, W, 3) as the pixels outside have it nearby, and where it is known."""
    height, width = outside.shape
    small = (-(-width // _COARSE), -(-height // _COARSE))
    weight = cv2.resize(outside.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    masked = np.where(outside[..., None], colours, 0).astype(np.float32)
    sums = cv2.resize(masked, small, interpolation=cv2.INTER_AREA)
    spread = (2 * reach + 1, 2 * reach + 1)  # of coarse pixels
    total = cv2.blur(weight, spread)
    mean = cv2.blur(sums, spread) / np.maximum(total, 1e-6)[..., None]
    paper = cv2.resize(mean, (width, height)).clip(0, 255).astype(np.uint8)
    return paper, cv2.resize(total, (width, height)) > _LEAST_SEEN


def _ink(difference: F32, shown: Mask, reach: int) -> F32:
    """Each pixel's share of ink, (H, W) in 0…1; 1 where paper does not reach from outside.

    difference: (H, W) from the paper's colour, 0 where that is not known.
    """
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    contrast = cv2.dilate(difference * shown, window)
    share = difference / np.maximum(SOLID * contrast, 1e-6)
    outside = (~shown).astype(np.uint8)
    near = cv2.dilate(outside, window) > 0
    papery = shown & near & (share < 1) & (contrast > LEAST_CONTRAST)
    # Only what touches the outside: paper behind a line, such as an eye's white, is the figure's.
    _, pieces = cv2.connectedComponents(papery.astype(np.uint8), connectivity=4)
    touching = np.unique(pieces[papery & (cv2.dilate(outside, np.ones((3, 3), np.uint8)) > 0)])
    rim = np.isin(pieces, touching) & papery
    return np.where(rim, share, 1).astype(np.float32)
