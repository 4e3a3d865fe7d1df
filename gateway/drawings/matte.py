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

SOLID = 0.5
"""From this share of the ink's contrast on, a pixel is ink and nothing else."""


def cut_out(texture: U8, shown: Mask) -> U8:
    """The figure alone, (H, W, 4) uint8 BGRA, premultiplied alpha.

    texture: (H, W, 4) uint8 BGRA, straight alpha. shown: (H, W) bool, the figure's pixels.
    """
    alpha = np.where(shown, texture[..., 3], 0).astype(np.float32) / 255
    colours = texture[..., :3].astype(np.float32)
    paper, known = _paper(colours, ~shown & (texture[..., 3] == 255), _reach(shown))
    ink = _ink(np.abs(colours - paper).max(axis=2) * known, shown, _reach(shown))
    alpha *= ink
    cut = np.empty(texture.shape, np.float32)
    # Laid over that paper, the result is the texture again.
    cut[..., :3] = colours * (alpha > 0)[..., None] - paper * (1 - ink)[..., None]
    np.clip(cut[..., :3], 0, 255 * alpha[..., None], out=cut[..., :3])
    straight = ink == 1
    cut[straight, :3] = colours[straight] * alpha[straight, None]
    cut[..., 3] = 255 * alpha
    return np.rint(cut).astype(np.uint8)


def _reach(shown: Mask) -> int:
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    longer = max(np.ptp(rows), np.ptp(columns)) if len(rows) else 0
    return max(2, round(REACH * float(longer)))


def _paper(colours: F32, outside: Mask, reach: int) -> tuple[F32, Mask]:
    """The paper's colour (H, W, 3) as the pixels outside have it nearby, and where it is known."""
    weight = outside.astype(np.float32)
    spread = (8 * reach + 1, 8 * reach + 1)
    total = cv2.blur(weight, spread)
    mean = cv2.blur(colours * weight[..., None], spread) / np.maximum(total, 1e-6)[..., None]
    return mean.astype(np.float32), total > 0.01


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
