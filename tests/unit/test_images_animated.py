"""Animated pictures: frames, delays, loops, composition."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from image_samples import ANIMATIONS, DELAYS, LIMITS, clip, difference, only, photo, reopen, save
from PIL import Image, ImageSequence

from gateway.media.images import encode, open_picture


def four(frame: np.ndarray) -> np.ndarray:
    """BGRA with no colour under transparency, to compare."""
    frame = frame.copy() if frame.shape[2] == 4 else cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA)
    frame[frame[:, :, 3] == 0] = 0
    return frame


def as_pillow_sees(data: bytes) -> list[np.ndarray]:
    frames = ImageSequence.Iterator(Image.open(BytesIO(data)))
    return [four(np.array(f.convert("RGBA"))[:, :, [2, 1, 0, 3]]) for f in frames]


@pytest.mark.parametrize("name", ANIMATIONS)
def test_animation_keeps_frames_delays_and_loop(name: str) -> None:
    data, content_type, tolerance = ANIMATIONS[name]
    picture = open_picture(data, LIMITS)
    frames = list(picture.frames())
    expected = as_pillow_sees(data)
    assert picture.frame_count == len(frames) == len(expected) == 6
    for ours, theirs in zip(frames, expected, strict=True):
        assert np.array_equal(four(ours), theirs)
    encoded = encode(picture, iter(frames))
    assert encoded.content_type == content_type
    shown = as_pillow_sees(encoded.body)
    assert len(shown) == 6
    for ours, theirs in zip(frames, shown, strict=True):
        assert difference(four(ours), theirs) <= tolerance
    image: Any = Image.open(BytesIO(encoded.body))
    delays = []
    for index in range(6):
        image.seek(index)
        image.load()
        delays.append(image.info.get("duration"))
    assert delays[1:] == DELAYS[1:]
    assert delays[0] == (None if name == "apng-hidden" else DELAYS[0])
    assert image.info["loop"] == (0 if name == "avif" else 3)
    if name == "apng-hidden":
        assert image.default_image


@pytest.mark.parametrize("name", ANIMATIONS)
def test_every_frame_of_an_animation_is_replaced(name: str) -> None:
    data, _, _ = ANIMATIONS[name]
    picture = open_picture(data, LIMITS)
    shade = [np.full_like(f, 255) // 4 * 3 for f in picture.frames()]
    for frame in as_pillow_sees(encode(picture, iter(shade)).body):
        solid = frame[:, :, :3][frame[:, :, 3] > 0].astype(int)
        assert np.abs(solid - 189).max(initial=0) <= 4, "no pixel of the original is left"


@pytest.mark.parametrize("name", ANIMATIONS)
def test_frames_are_decoded_one_at_a_time(name: str) -> None:
    data, _, _ = ANIMATIONS[name]
    picture = open_picture(data, LIMITS)
    log: list[str] = []

    def feed() -> Iterator[np.ndarray]:
        for index, frame in enumerate(picture.frames()):
            log.append(f"decoded {index}")
            yield frame
            log.append(f"taken {index}")
            frame[:] = 7  # the encoder must have kept no view of it

    body = encode(picture, feed()).body
    assert log[:4] == ["decoded 0", "taken 0", "decoded 1", "taken 1"]
    untouched = encode(picture, picture.frames()).body
    assert body == untouched


def test_still_of_one_animation_frame_is_a_plain_file() -> None:
    one = save(clip()[0], "PNG", save_all=True, append_images=[], duration=40)
    picture = open_picture(one, LIMITS)
    assert encode(picture, picture.frames()).content_type == "image/png"


def test_gif_blur_keeps_untouched_pixels_exact() -> None:
    source = Image.fromarray(photo(200, 150)).quantize(150, dither=Image.Dither.NONE)
    picture = open_picture(save(source, "GIF"), LIMITS)
    frame = only(picture)
    before = frame.copy()
    frame[50:100, 60:120] = cv2.GaussianBlur(photo(60, 50, seed=6), (0, 0), 9)
    assert len(np.unique(frame.reshape(-1, frame.shape[2]), axis=0)) > 1_000
    after = only(reopen(encode(picture, [frame])))
    outside = np.ones(frame.shape[:2], bool)
    outside[50:100, 60:120] = False
    same = (after[:, :, :3] == before[:, :, :3]).all(axis=2)
    assert same[outside].mean() > 0.97
    assert difference(after[outside][:, :3], before[outside][:, :3]) < 0.2
    assert difference(after[50:100, 60:120, :3], frame[50:100, 60:120, :3]) < 5


def test_gif_interlaced_local_palette_and_offset_frame() -> None:
    first = save(Image.fromarray(photo(32, 32)).quantize(16), "GIF", interlace=True)
    expected = as_pillow_sees(first)[0]
    assert np.array_equal(four(only(open_picture(first, LIMITS))), expected)
    # A second 16×16 frame at (20, 20), with its own palette, hangs over the edge.
    second = save(Image.fromarray(photo(16, 16, seed=5)).quantize(8), "GIF", interlace=False)
    colours = 3 << ((second[10] & 7) + 1)
    at = second.index(b"\x2c", 13 + colours)
    part = second[at : at + 10]
    place = struct.pack("<HH", 20, 20) + part[5:9] + bytes([0x80 | second[10] & 7])
    data = first[:-1] + b"\x2c" + place + second[13 : 13 + colours] + second[at + 10 :]
    frames = list(open_picture(data, LIMITS).frames())
    assert len(frames) == 2 and frames[1].shape[:2] == (32, 32)
    assert np.array_equal(four(frames[1])[:20], expected[:20])
    assert np.array_equal(four(frames[1])[20:, 20:], as_pillow_sees(second)[0][:12, :12])
