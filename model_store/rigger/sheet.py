"""The sheet that is drawn on: pens, strokes, fills, and the exact mask of what was drawn.

Drawing code speaks in units of its own; :attr:`Sheet.place` takes them to pixels.
Everything drawn while :attr:`Sheet.mask` is set is also marked there, solid.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .shapes import Points, Rng, tremble, zigzag

Bytes = npt.NDArray[Any]  # uint8; OpenCV promises no more
SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
MARGIN = 1.0  # pixels by which the mask exceeds a stroke on each side


@dataclass(frozen=True)
class Pen:
    """A drawing tool: colour (BGR), width, tremor in pixels, and how much it covers."""

    colour: tuple[int, int, int]
    width: float
    wobble: float
    opacity: float = 1.0
    grain: float = 0.0  # share of the stroke that the paper's tooth leaves bare
    soft: float = 0.0  # blur of the edge, pixels
    gaps: float = 0.0  # probability that a stroke is interrupted
    twice: float = 0.0  # probability that a line is drawn over again

    def wide(self, factor: float) -> Pen:
        """The same pen, wider by ``factor``."""
        return replace(self, width=max(1.0, self.width * factor))

    def of(self, colour: tuple[int, int, int]) -> Pen:
        """The same pen in another colour."""
        return replace(self, colour=colour)


@functools.cache
def tooth(seed: int) -> Bytes:
    """A paper's tooth: (1024, 1024) smooth noise with a flat histogram."""
    rng = np.random.default_rng(seed)
    fine = cv2.GaussianBlur(rng.normal(size=(1024, 1024)).astype(np.float32), (0, 0), 0.9)
    noise = cv2.addWeighted(fine, 1.0, cv2.GaussianBlur(fine, (0, 0), 3), 0.4, 0)
    ranks = np.sort(noise.ravel()[::64])
    return np.interp(noise, ranks, np.linspace(0, 255, len(ranks))).astype(np.uint8)


class Sheet:
    """Ink on nothing: colour (H, W, 3) BGR and alpha (H, W), both uint8."""

    def __init__(self, rng: Rng, height: int, width: int) -> None:
        self.rng = rng
        self.colour: Bytes = np.zeros((height, width, 3), np.uint8)
        self.alpha: Bytes = np.zeros((height, width), np.uint8)
        self.mask: Bytes | None = None
        self.place: Points = np.array([[1.0, 0, 0], [0, 1.0, 0]])
        self._tooth = tooth(int(rng.integers(4)))

    def to_pixels(self, line: Points) -> Points:
        """Points in the current units → pixels."""
        return np.asarray(line, np.float64) @ self.place[:, :2].T + self.place[:, 2]

    def line(self, line: Points, pen: Pen, closed: bool = False, solid: bool = True) -> None:
        """Draw a line; with ``solid``, a closed one is filled in the mask."""
        drawn = tremble(self.rng, self.to_pixels(line), pen.wobble, closed)
        self._mark(drawn, pen.width, closed and solid)
        self.stroke(drawn, pen)
        if pen.twice and self.rng.random() < pen.twice:
            again = tremble(self.rng, self.to_pixels(line), pen.wobble * 1.3, closed)
            self._mark(again, pen.width, False)
            self.stroke(again, pen)

    def mark(self, line: Points) -> None:
        """Count the inside of an outline as drawn, though no ink is put there."""
        self._mark(self.to_pixels(line), 1.0, True)

    def knock_out(self, line: Points) -> None:
        """Take away the ink inside an outline: what is drawn next covers it."""
        cv2.fillPoly(self.alpha, [_fixed(self.to_pixels(line))], 0, cv2.LINE_8, SHIFT)

    def fill(self, line: Points, pen: Pen, style: str) -> None:
        """Colour an outline: ``solid``, ``wash`` (pale), ``scribble`` or ``hatch`` (tight)."""
        area = tremble(self.rng, self.to_pixels(line), pen.wobble, True)
        if style in ("solid", "wash"):
            self._mark(area, 1.0, True)
            opacity = pen.opacity * (0.35 if style == "wash" else 0.95)
            self._ink(area, replace(pen, opacity=opacity), None)
            return
        (x1, y1), (x2, y2) = area.min(0), area.max(0)
        gap = pen.width * (self.rng.uniform(1.4, 3.0) if style == "scribble" else 1.1)
        angle = self.rng.choice([45, -45, 90, 0, 20]) + self.rng.normal(0, 8)
        scribble = zigzag(self.rng, (x1, y1, x2, y2), angle, gap)
        # A child's scribble leaves the outline here and there.
        over = self.rng.uniform(0, 2.5)
        self._ink(scribble, pen, (area, over))

    def stroke(self, drawn: Points, pen: Pen) -> None:
        """Put ink along pixel points, with the pen's gaps."""
        if pen.gaps and len(drawn) > 12 and self.rng.random() < pen.gaps:
            size = int(self.rng.integers(2, max(3, len(drawn) // 12) + 1))
            at = int(self.rng.integers(3, len(drawn) - size - 2))
            self._ink(drawn[: at + 1], pen, None, outline=True)
            drawn = drawn[at + size :]
        self._ink(drawn, pen, None, outline=True)

    def _mark(self, drawn: Points, width: float, inside: bool) -> None:
        if self.mask is None:
            return
        fixed = _fixed(drawn)
        if inside:
            cv2.fillPoly(self.mask, [fixed], 255, cv2.LINE_8, SHIFT)
        thick = max(1, round(width + 2 * MARGIN))
        cv2.polylines(self.mask, [fixed], inside, 255, thick, cv2.LINE_8, SHIFT)

    def _ink(
        self,
        drawn: Points,
        pen: Pen,
        clip: tuple[Points, float] | None,
        outline: bool = False,
    ) -> None:
        height, width = self.alpha.shape
        extent = drawn if clip is None else clip[0]
        pad = pen.width / 2 + 3 + 3 * pen.soft + (clip[1] if clip else 0)
        x1, y1 = np.clip(extent.min(0) - pad, 0, (width, height)).astype(int)
        x2, y2 = np.clip(extent.max(0) + pad + 1, 0, (width, height)).astype(int)
        if x2 - x1 < 1 or y2 - y1 < 1:
            return
        patch = np.zeros((y2 - y1, x2 - x1), np.uint8)
        origin = np.array([x1, y1], np.float64)
        fixed = _fixed(drawn - origin)
        if outline or clip is not None:
            thick = max(1, round(pen.width))
            level = 255 if pen.width >= 1 else int(255 * pen.width)
            cv2.polylines(patch, [fixed], False, level, thick, cv2.LINE_AA, SHIFT)
        else:
            cv2.fillPoly(patch, [fixed], 255, cv2.LINE_AA, SHIFT)
        if clip is not None:
            inside = np.zeros_like(patch)
            border = _fixed(clip[0] - origin)
            cv2.fillPoly(inside, [border], 255, cv2.LINE_8, SHIFT)
            if clip[1] >= 1:
                cv2.polylines(inside, [border], True, 255, round(2 * clip[1]), cv2.LINE_8, SHIFT)
            patch = cv2.bitwise_and(patch, inside)
        if clip is not None and self.mask is not None:
            target = self.mask[y1:y2, x1:x2]
            np.maximum(target, np.where(patch > 127, 255, 0).astype(np.uint8), out=target)
        self.blend(x1, y1, patch, pen)

    def blend(self, x1: int, y1: int, patch: Bytes, pen: Pen) -> None:
        """Put a patch of ink (h, w) at pixel (x1, y1); it must lie within the sheet."""
        if pen.soft:
            patch = cv2.GaussianBlur(patch, (0, 0), pen.soft)
        h, w = patch.shape
        if pen.grain:
            bite = self._tooth[y1 % 256 : y1 % 256 + h, x1 % 256 : x1 % 256 + w]
            keep = cv2.convertScaleAbs(bite, alpha=4.0, beta=-4.0 * 255 * pen.grain)
            keep = np.where(bite < 255 * pen.grain, 0, keep).astype(np.uint8)
            left = np.maximum(keep, np.uint8(80 * (1 - pen.grain)))
            patch = cv2.multiply(patch, left, scale=1 / 255)
        if pen.opacity < 1:
            patch = cv2.convertScaleAbs(patch, alpha=pen.opacity)
        colour = self.colour[y1 : y1 + h, x1 : x1 + w]
        alpha = self.alpha[y1 : y1 + h, x1 : x1 + w]
        # New ink over old: the colour moves towards the pen's by its share of the ink.
        share = patch.astype(np.float32) / np.maximum(cv2.max(patch, alpha), 1)
        share = np.where(alpha == 0, 1.0, share * 0.9)[..., None]
        touched = patch > 0
        blended = colour + (np.array(pen.colour, np.float32) - colour) * share
        colour[touched] = blended[touched].astype(np.uint8)
        # Ink on ink gets denser.
        denser = 255 - (255 - alpha.astype(np.uint16)) * (255 - patch) // 255
        alpha[:] = np.maximum(alpha, denser.astype(np.uint8))


def _fixed(drawn: Points) -> npt.NDArray[np.int32]:
    return np.round(drawn * (1 << SHIFT)).astype(np.int32)
