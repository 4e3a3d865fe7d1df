"""From a sheet of ink to a phone's photo of it: paper, desk, perspective, light, camera.

Images are (H, W, 3) uint8 BGR.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np

from . import clutter
from .body import one_of
from .shapes import Points, Rng, points
from .sheet import Bytes, Sheet, tooth


def paper(rng: Rng, height: int, width: int) -> Bytes:
    """A sheet of paper: plain, tinted, ruled, squared or dotted, with tooth and creases."""
    base = np.array([255.0, 255.0, 255.0]) * rng.uniform(0.84, 1.0)
    tint = one_of(rng, white=0.6, cream=0.25, coloured=0.1, kraft=0.05)
    if tint == "cream":
        base *= (rng.uniform(0.8, 0.97), rng.uniform(0.92, 0.99), 1.0)
    elif tint == "coloured":
        base *= rng.uniform(0.65, 1.0, 3)
    elif tint == "kraft":
        base *= (0.55, 0.7, 0.82)
    sheet: Bytes = np.empty((height, width, 3), np.uint8)
    sheet[:] = base.astype(np.uint8)
    pattern = one_of(rng, plain=0.55, ruled=0.25, squared=0.13, dotted=0.07)
    if pattern != "plain":
        _rule(rng, sheet, pattern)
    if rng.random() < 0.15:
        for _ in range(int(rng.integers(1, 4))):
            _crease(rng, sheet)
    return sheet


def _rule(rng: Rng, sheet: Bytes, pattern: str) -> None:
    height, width = sheet.shape[:2]
    step = max(height, width) * rng.uniform(0.018, 0.06)
    ink = np.array([rng.uniform(120, 235), rng.uniform(110, 200), rng.uniform(90, 190)])
    ink = ink if rng.random() < 0.7 else np.full(3, rng.uniform(110, 210))
    colour = tuple(int(v) for v in ink)
    thick = 1 if rng.random() < 0.8 else 2
    ys = np.arange(step * rng.uniform(0.3, 3), height, step)
    xs = np.arange(step * rng.uniform(0.3, 1), width, step)
    if pattern == "dotted":
        for y in ys:
            for x in xs:
                cv2.circle(sheet, (int(x), int(y)), 1, colour, -1, cv2.LINE_AA)
        return
    for y in ys:
        cv2.line(sheet, (0, int(y)), (width, int(y)), colour, thick, cv2.LINE_AA)
    if pattern == "squared":
        for x in xs:
            cv2.line(sheet, (int(x), 0), (int(x), height), colour, thick, cv2.LINE_AA)
    elif rng.random() < 0.5:
        x = int(width * rng.uniform(0.06, 0.18))
        cv2.line(sheet, (x, 0), (x, height), (90, 80, 220), thick, cv2.LINE_AA)
    if rng.random() < 0.25:
        for y in np.linspace(0.1, 0.9, int(rng.integers(2, 12))):
            cv2.circle(
                sheet, (int(width * 0.03), int(y * height)), int(width * 0.012), (70, 70, 70), -1
            )


def _crease(rng: Rng, sheet: Bytes) -> None:
    height, width = sheet.shape[:2]
    ends = rng.uniform(-0.2, 1.2, (2, 2)) * (width, height)
    for offset, change in ((0, -22), (1.5, 14)):
        layer = np.zeros((height, width), np.uint8)
        a, b = (ends + offset).astype(int)
        cv2.line(layer, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), 255, 2, cv2.LINE_AA)
        amount = cv2.convertScaleAbs(layer, alpha=abs(change) / 255)[..., None]
        sheet[:] = cv2.subtract(sheet, amount + np.zeros_like(sheet)) if change < 0 else cv2.add(
            sheet, amount + np.zeros_like(sheet)
        )  # fmt: skip


def print_ink(rng: Rng, ground: Bytes, sheet: Sheet) -> Bytes:
    """The ink on the paper: between paint that covers and ink that filters."""
    alpha = sheet.alpha.astype(np.float32)[..., None] * (1 / 255)
    colour = sheet.colour.astype(np.float32)
    filtered = colour * ground * (1 / 255)
    ink = filtered + (colour - filtered) * rng.uniform(0.0, 0.6)
    return (ground + (ink - ground) * alpha).astype(np.uint8)


@functools.cache
def _grain() -> Any:
    """Wood-like streaks, (1024, 1024) float32 around 0."""
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(1024, 128)).astype(np.float32)
    streaks = cv2.resize(noise, (1024, 1024), interpolation=cv2.INTER_LINEAR)
    streaks = cv2.GaussianBlur(streaks, (0, 0), 1.2)
    return streaks / streaks.std()


def desk(rng: Rng, height: int, width: int) -> Bytes:
    """What the paper lies on: wood, cloth, a plain or a cluttered table."""
    kind = one_of(rng, wood=0.42, plain=0.28, cloth=0.2, noise=0.1)
    base = rng.uniform(25, 225) * np.array([1.0, 1.0, 1.0]) * rng.uniform(0.75, 1.1, 3)
    if kind == "wood":
        base = np.array([60, 105, 150]) * rng.uniform(0.4, 1.4)
        texture = _grain()[:height, :width] * rng.uniform(4, 14)
        texture = texture if rng.random() < 0.5 else _grain().T[:height, :width] * 8
    elif kind == "cloth":
        step = rng.uniform(0.05, 0.6)
        yy, xx = np.mgrid[:height, :width].astype(np.float32)
        texture = (np.sin(xx * step) + np.sin(yy * step)) * rng.uniform(3, 25)
    elif kind == "noise":
        coarse = rng.normal(0, 1, (int(rng.integers(3, 60)), int(rng.integers(3, 60))))
        texture = cv2.resize(coarse.astype(np.float32), (width, height)) * rng.uniform(5, 50)
    else:
        texture = (tooth(1)[:height, :width].astype(np.float32) - 128) * rng.uniform(0.0, 0.1)
    image = np.ascontiguousarray(np.clip(base + texture[..., None], 0, 255).astype(np.uint8))
    for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.5 else 0):
        clutter.put(rng, image)
    return image


def camera_pose(rng: Rng, height: int, width: int, out: tuple[int, int]) -> Points:
    """The homography (3, 3) from the sheet to a photo of ``out`` = (height, width)."""
    tall, wide = out
    corners = points((0, 0), (width, 0), (width, height), (0, height))
    if rng.random() < 0.45:  # the paper fills the frame
        zoom = max(wide / width, tall / height) * rng.uniform(1.0, 1.04)
        angle, skew = rng.normal(0, 0.7), 0.006
    else:
        zoom = min(wide / width, tall / height) * rng.uniform(0.72, 1.08)
        angle, skew = rng.normal(0, 7), 0.05
    a = np.radians(angle)
    turn = zoom * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    target = (corners - (width / 2, height / 2)) @ turn.T + (wide / 2, tall / 2)
    target += rng.normal(0, skew, (4, 2)) * (wide, tall) * 0.5
    target += rng.normal(0, 0.02 if skew > 0.01 else 0.0, 2) * (wide, tall)
    return cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))


def lay(rng: Rng, sheet: Bytes, homography: Points, out: tuple[int, int]) -> Bytes:
    """The sheet seen by the camera, with the desk around it and its own shadow."""
    tall, wide = out
    seen = cv2.warpPerspective(sheet, homography, (wide, tall), flags=cv2.INTER_LINEAR,
                               borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    height, width = sheet.shape[:2]
    corners = points((0, 0), (width, 0), (width, height), (0, height))
    target = cv2.perspectiveTransform(corners[None], homography)[0]
    cover = np.zeros((tall, wide), np.uint8)
    cv2.fillPoly(cover, [np.round(target).astype(np.int32)], 255, cv2.LINE_AA)
    if cover.min() == 255:
        return seen
    ground = desk(rng, tall, wide)
    if rng.random() < 0.6:
        dx, dy = rng.normal(0, 5, 2)
        shift = np.array([[1.0, 0, dx], [0, 1.0, dy]])
        shade = cv2.GaussianBlur(
            cv2.warpAffine(cover, shift, (wide, tall)), (0, 0), rng.uniform(2, 8)
        )
        ground = (ground * (1 - shade[..., None] * (rng.uniform(0.2, 0.6) / 255))).astype(np.uint8)
    return np.where(cover[..., None] > 127, seen, ground)


def shine(rng: Rng, image: Bytes) -> Bytes:
    """Uneven light, and sometimes the shadow of a hand, a phone or a window bar."""
    height, width = image.shape[:2]
    coarse = np.ones((8, 8), np.float32)
    gy, gx = np.mgrid[-1:1:8j, -1:1:8j]
    coarse += gx * rng.normal(0, 0.12) + gy * rng.normal(0, 0.12)
    coarse -= (gx**2 + gy**2) * abs(rng.normal(0, 0.06))
    light: Bytes = cv2.resize(
        coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.35 else 0):
        shade = np.zeros((height // 2, width // 2), np.uint8)
        if rng.random() < 0.5:
            shape = rng.uniform(-0.2, 1.2, (4, 2)) * (width / 2, height / 2)
            shape = cv2.convexHull(shape.astype(np.int32))
        else:
            at, size = (
                rng.uniform(0, 0.5, 2) * (width, height),
                rng.uniform(0.1, 0.4, 2) * width / 2,
            )
            shape = cv2.ellipse2Poly(_ints(at), _ints(size), int(rng.integers(180)), 0, 360, 10)
        cv2.fillPoly(shade, [shape], 255)
        soft = rng.uniform(0.4, 3) if rng.random() < 0.5 else rng.uniform(3, 16)
        shade = cv2.resize(cv2.GaussianBlur(shade, (0, 0), soft), (width, height))
        light *= 1 - shade.astype(np.float32) * (rng.uniform(0.12, 0.55) / 255)
    warm = 1 + rng.normal(0, 0.05, 3)
    if rng.random() < 0.15:  # a lamp's yellow light
        warm *= (rng.uniform(0.55, 0.9), rng.uniform(0.85, 1.0), 1.05)
    gain = light[..., None] * warm.astype(np.float32) * rng.uniform(0.55, 1.05)
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def expose(rng: Rng, image: Bytes) -> Bytes:
    """Tone curve, blur, noise and JPEG of a phone's camera."""
    gamma, low = rng.uniform(0.7, 1.4), rng.uniform(0, 25)
    curve = low + (255 - low) * (np.arange(256) / 255) ** gamma
    image = cv2.LUT(image, curve.astype(np.uint8))
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.4))
    elif rng.random() < 0.12:
        image = _shaken(rng, image)
    if rng.random() < 0.5:
        height, width = image.shape[:2]
        y, x = (int(v) for v in rng.integers(0, 512, 2))
        noise = tooth(2)[y : y + height, x : x + width]
        noise = noise[:height, :width]
        amount = rng.uniform(0.01, 0.08)
        patch = (noise.astype(np.float32) - 128) * amount
        h, w = patch.shape
        image[:h, :w] = np.clip(image[:h, :w] + patch[..., None], 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = int(rng.integers(30, 95))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    if rng.random() < 0.06:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8)


def _shaken(rng: Rng, image: Bytes) -> Bytes:
    """Blurred along a line, as by a hand that moved."""
    reach, a = rng.uniform(1, 3.5), rng.uniform(0, np.pi)
    kernel = np.zeros((9, 9), np.uint8)
    way = np.array([np.cos(a), np.sin(a)]) * reach
    cv2.line(kernel, _ints(np.round(4 - way)), _ints(np.round(4 + way)), 255, 1, cv2.LINE_AA)
    return np.asarray(cv2.filter2D(image, -1, kernel / max(1, int(kernel.sum()))), np.uint8)


def _ints(pair: Points) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])
