"""Golden pictures of hidden faces; tests/golden/README.md says how to make them anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faces_fakes import FACE_BOX, astronaut, paint, wallpaper

from gateway.faces.blur import hide
from gateway.faces.views import planes
from gateway.pipelines.analyse import pack

FOLDER = Path(__file__).resolve().parents[1] / "golden"
STYLES = ("gaussian", "pixelate", "solid")
SHAPES = ("ellipse", "box")
# Roundings of another OpenCV may differ, a moved edge or another cell may not.
MEAN, MOST = 0.6, 16
SCALE = 1.3


def portrait(style: Any, shape: Any) -> np.ndarray:
    """The astronaut's head, half size."""
    head = astronaut()[16:240, 124:332]
    picture = cv2.resize(head, (104, 112), interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = FACE_BOX
    box = np.float32([[x1 - 124, y1 - 16, x2 - 124, y2 - 16]]) / 2
    hide(picture, box, style=style, shape=shape, scale=SCALE, fill=(40, 40, 40))
    return picture


def borders(style: Any) -> np.ndarray:
    """Faces cut by every border and by a corner, one of them wholly in the picture."""
    boxes = [(-14, 20, 22, 64), (100, 30, 140, 80), (48, -16, 84, 24), (40, 78, 80, 130)]
    boxes += [(-20, 84, 20, 130), (52, 34, 78, 66)]
    picture = wallpaper(112, 128, 3)
    for box in boxes:
        paint(picture, box)
    hide(picture, np.float32(boxes), style=style, scale=SCALE)
    return picture


def chroma() -> np.ndarray:
    """Hidden in the planes of 4:2:0, as a video's frames are."""
    picture = paint(paint(wallpaper(96, 128, 5), (14, 20, 50, 66)), (80, 30, 128, 90))
    packed = pack(planes(picture))
    luma, rest = packed[:96], packed[96:].reshape(2, 48, 64)
    boxes = np.float32([(14, 20, 50, 66), (80, 30, 128, 90)])
    hide(luma, boxes, scale=SCALE)
    for plane in rest:
        hide(plane, boxes, scale=SCALE, subsampling=(2, 2))
    return cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)


def deep() -> np.ndarray:
    """16 bits and alpha."""
    picture = cv2.cvtColor(paint(wallpaper(80, 80, 7), (20, 16, 60, 66)), cv2.COLOR_BGR2BGRA)
    picture = picture.astype(np.uint16) * 257
    picture[..., 3] = np.linspace(20_000, 65_535, 80, dtype=np.uint16)[None]
    hide(picture, np.float32([(20, 16, 60, 66)]), scale=SCALE)
    return picture


PICTURES: dict[str, Callable[[], np.ndarray]] = {
    **{f"{style}-{shape}": partial(portrait, style, shape) for style in STYLES for shape in SHAPES},
    **{f"borders-{style}": partial(borders, style) for style in STYLES},
    "chroma": chroma,
    "deep": deep,
}


@pytest.mark.parametrize("name", PICTURES)
def test_hidden_faces_look_as_they_did(name: str) -> None:
    file, picture = FOLDER / f"{name}.png", PICTURES[name]()
    if os.environ.get("UPDATE_GOLDENS"):
        cv2.imwrite(str(file), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        pytest.fail(f"{file.name} was written: look at it, then run again without UPDATE_GOLDENS")
    golden = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert golden is not None, f"{file} is missing; tests/golden/README.md says how to make it"
    assert golden.shape == picture.shape
    assert golden.dtype == picture.dtype
    unit = 257 if picture.dtype == np.uint16 else 1
    difference = np.abs(golden.astype(int) - picture) / unit
    assert difference.mean() < MEAN
    assert difference.max() < MOST


def test_every_golden_picture_is_in_use() -> None:
    ours = {file.stem for file in FOLDER.glob("*.png") if not file.stem.startswith("animate-")}
    assert ours == set(PICTURES)
