"""Faces in what a viewer might see of a picture: on white or black, stretched, turned.

Without them the detector, shown the colours alone and upright, finds nothing.
"""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from faces_fakes import FACE_BOX, RealDetector, astronaut, wallpaper
from PIL import Image

from gateway.faces.boxes import Detections, iou
from gateway.faces.views import Turn, bgr8, planes, views
from gateway.media.images import ImageLimits, open_picture
from gateway.pipelines.analyse import pack
from gateway.pipelines.blur_image import BlurredImage, blur_image
from gateway.pipelines.options import BlurOptions

LIMITS = ImageLimits(bytes=8 << 20, pixels=2_000_000, frames=60)


def blurred(data: bytes) -> BlurredImage:
    return blur_image(data, BlurOptions(), RealDetector(), LIMITS)


def save(image: Image.Image, kind: str, **settings: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def drawn_by_alpha(picture: np.ndarray, depth: Any = np.uint8) -> np.ndarray:
    """A picture as black ink of more or less opacity: all of it lies in alpha."""
    ink = np.zeros((*picture.shape[:2], 4), np.uint8)
    ink[..., 3] = 255 - cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return ink.astype(depth) * (257 if depth == np.uint16 else 1)


def ink_file(picture: np.ndarray, kind: str) -> bytes:
    if kind == "PNG 16":
        return cv2.imencode(".png", drawn_by_alpha(picture, np.uint16))[1].tobytes()
    alpha = Image.fromarray(drawn_by_alpha(picture)[..., 3])
    image = Image.merge("LA", (Image.new("L", alpha.size), alpha))
    if kind == "HEIF":
        out = io.BytesIO()
        pillow_heif.from_pillow(image.convert("RGBA")).save(out, quality=95)
        return out.getvalue()
    if kind == "GIF":
        dithered = np.asarray(alpha.convert("1"))
        shape = np.zeros((*dithered.shape, 4), np.uint8)
        shape[..., 3] = np.where(dithered, 255, 0)
        return save(Image.fromarray(shape), "GIF")
    return save(image if kind == "PNG" else image.convert("RGBA"), kind)


def seen_in(view: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) that the real network finds in a view."""
    return RealDetector().detect_frames(pack(planes(view))[None], 0.5)[0].boxes


@pytest.mark.parametrize("kind", ["PNG", "PNG 16", "WEBP", "AVIF", "HEIF", "GIF"])
def test_a_face_that_alpha_draws_is_hidden(kind: str) -> None:
    data = ink_file(astronaut(), kind)
    result = blurred(data)
    boxes = np.float32([face["box"] for face in result.faces])
    assert iou(np.float32([FACE_BOX]), boxes).max() > 0.6
    (after,) = open_picture(result.body, LIMITS).frames()
    for _, view in views(after):
        assert (iou(np.float32([FACE_BOX]), seen_in(view)) < 0.3).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_face_that_alpha_draws_in_an_animation_is_hidden(kind: str) -> None:
    """It comes after the first frame: an analysis of it begins when it does."""
    frames = [Image.fromarray(wallpaper(512, 512)[..., ::-1]).convert("RGBA")]
    for shift in (0, 3, 6):
        ink = np.roll(drawn_by_alpha(astronaut()), shift, axis=1)
        frames.append(Image.fromarray(ink))
    data = save(frames[0], kind, save_all=True, append_images=frames[1:], duration=80, loop=0)

    result = blurred(data)
    assert {face["frame"] for face in result.faces} >= {1, 2, 3}
    for after in list(open_picture(result.body, LIMITS).frames())[1:]:
        for _, view in views(after):
            assert (iou(np.float32([FACE_BOX]), seen_in(view)) < 0.3).all()


@pytest.mark.parametrize("dark", [1 / 64, 1 / 256])
def test_a_face_in_the_lowest_levels_is_hidden(dark: float) -> None:
    """Whoever stretches them, by a profile or by hand, would see it."""
    picture = (astronaut().astype(np.float32) * 257 * dark).astype(np.uint16)
    result = blurred(cv2.imencode(".png", picture)[1].tobytes())
    assert iou(np.float32([FACE_BOX]), np.float32([result.faces[0]["box"]]))[0, 0] > 0.8
    (after,) = open_picture(result.body, LIMITS).frames()
    for _, view in views(after):
        assert (iou(np.float32([FACE_BOX]), seen_in(view)) < 0.3).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_face_without_an_orientation_is_hidden(quarters: int, kind: str) -> None:
    """The box is that of the look that was the right way up."""
    turned = np.ascontiguousarray(np.rot90(astronaut(), -quarters))
    result = blurred(save(Image.fromarray(turned[..., ::-1]), kind, quality=95))
    (after,) = map(bgr8, open_picture(result.body, LIMITS).frames())
    assert (iou(np.float32([FACE_BOX]), seen_in(np.rot90(after, quarters).copy())) < 0.3).all()
    turn = Turn(quarters)
    upright = Detections.of([FACE_BOX], [1], [[[0, 0]] * 5])
    there = Turn(4 - quarters).back(upright, turned.shape[1], turned.shape[0])
    assert turn.back(there, 512, 512).boxes == pytest.approx(np.float32([FACE_BOX]))
    assert max(face["score"] for face in result.faces) > 0.85
    assert iou(there.boxes, np.float32([f["box"] for f in result.faces])).max() > 0.8
