"""A real photo and a short real video, made from what scikit-image's wheel ships, and a drawing.

The portrait is NASA's of Eileen Collins (public domain). The video is a camera move
over a wall on which that portrait hangs in several sizes, with a tone as sound.
The drawing is our own.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

U8 = npt.NDArray[np.uint8]

RATE = 30
SOUND_RATE = 48_000


def portrait() -> U8:
    """The portrait, (512, 512, 3) uint8 RGB; the face is about 100 px high."""
    return np.asarray(skimage.data.astronaut(), np.uint8)


def write_photo(path: Path) -> Path:
    """The portrait as a JPEG."""
    cv2.imwrite(str(path), portrait()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


def wall(height: int = 900, width: int = 2000) -> U8:
    """The wall with portraits of three sizes, uint8 RGB."""
    brick = cv2.resize(np.asarray(skimage.data.brick(), np.uint8), (height, height))
    scene = np.dstack([np.tile(brick, (1, -(-width // height)))[:, :width]] * 3)
    for scale, x, y in ((1.4, 60, 90), (0.7, 900, 240), (0.3, 1400, 330), (1.0, 1460, 380)):
        side = int(512 * scale)
        picture = cv2.resize(portrait(), (side, side), interpolation=cv2.INTER_AREA)
        h, w = min(side, height - y), min(side, width - x)
        scene[y : y + h, x : x + w] = picture[:h, :w]
    return scene


def write_video(path: Path, seconds: float = 4.0, size: tuple[int, int] = (1280, 720)) -> Path:
    """An MP4 (H.264, AAC) of ``seconds`` at 30 frames/s and ``size`` (width, height)."""
    scene = wall()
    width, height = size
    total = round(seconds * RATE)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        sound = out.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for number in range(total):
            window = _window(number / max(1, total - 1), scene.shape, width / height)
            view = cv2.warpAffine(scene, _to(window, size), size, flags=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(np.asarray(view, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(picture.encode(frame))
        for begin in range(0, round(seconds * SOUND_RATE), 1024):
            t = np.arange(begin, begin + 1024) / SOUND_RATE
            tone = (0.1 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            samples.rate, samples.pts = SOUND_RATE, begin
            samples.time_base = Fraction(1, SOUND_RATE)
            out.mux(sound.encode(samples))
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    return path


def drawing(figures: int = 1, width: int = 1600) -> U8:
    """A photo, 4:3, uint8 RGB, of a sheet of paper with people drawn and painted on it."""
    height = width * 3 // 4
    noise = np.random.default_rng(7).normal(0, 6, (height, width)).astype(np.float32)
    light = np.linspace(225, 244, width)[None] + cv2.GaussianBlur(noise, (0, 0), 2)
    paper = np.clip(light[..., None] + np.array([4, 0, -6]), 0, 255).astype(np.uint8)
    for number in range(figures):
        _person(paper, (width * (2 * number + 1) / (2 * figures), height / 2), height / 300)
    return paper


def write_drawing(path: Path) -> Path:
    """The drawing as a phone would take it: a JPEG of 12 megapixels."""
    cv2.imwrite(str(path), drawing(width=4000)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


def _person(paper: U8, middle: tuple[float, float], size: float) -> None:
    """Of 244 times ``size`` pixels' height, facing us, arms out and a little down."""
    ink, pen = (40, 40, 70), max(2, round(3 * size))

    def at(*places: float) -> npt.NDArray[np.int32]:
        points = np.array(places, float).reshape(-1, 2) * size + middle
        return np.rint(points).astype(np.int32)

    leg = (30, 30, 34, 100, 50, 108, 50, 114, 16, 114, 8, 30)
    arm = (26, -42, 80, -10, 84, 4, 74, 6, 28, -18)
    shapes = [(leg, (60, 120, 190)), (arm, (240, 190, 150))]
    mirror = np.array([-1, 1])
    limbs = [(np.reshape(s, (-1, 2)) * m, c) for s, c in shapes for m in (1, mirror)]
    body = np.array([(-26, -45), (26, -45), (34, 30), (-34, 30)])
    for shape, colour in [*limbs, (body, (220, 80, 80))]:
        cv2.fillPoly(paper, [at(*shape.ravel())], colour, cv2.LINE_AA)
        cv2.polylines(paper, [at(*shape.ravel())], True, ink, pen, cv2.LINE_AA)
    (head,), radius = at(0, -82), round(36 * size)
    cv2.circle(paper, head, radius, (245, 200, 160), -1, cv2.LINE_AA)
    cv2.circle(paper, head, radius, ink, pen, cv2.LINE_AA)
    for x in (-13, 13):
        cv2.circle(paper, at(x, -90)[0], round(4 * size), ink, -1, cv2.LINE_AA)
    axes = (round(16 * size), round(12 * size))
    cv2.ellipse(paper, at(0, -78)[0], axes, 0, 20, 160, ink, pen, cv2.LINE_AA)


def _window(t: float, shape: tuple[int, ...], aspect: float) -> tuple[float, float, float]:
    """Left, top and width of the camera's view at time t in 0 … 1: a pan and a slow zoom."""
    ease = t * t * (3 - 2 * t)
    width = (0.62 - 0.12 * ease) * shape[1]
    return (shape[1] - width) * ease, (shape[0] - width / aspect) * 0.5, width


def _to(window: tuple[float, float, float], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    left, top, width = window
    zoom = size[0] / width
    return np.array([[zoom, 0, -left * zoom], [0, zoom, -top * zoom]])
