"""Rendered frames → an animation file: GIF, MP4 or WebP.

A writer takes frames in two steps, so that the costly part of the first can run in
several threads: ``prepare`` (any thread, any order) and ``write`` (one thread, in order).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from typing import Protocol

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.choices import AnimationFormat
from gateway.media.image_base import Encoded
from gateway.media.image_webp import AnimationWriter

U8 = npt.NDArray[np.uint8]


GIF_COLOURS = 255
"""One place of 256 is for transparency, which also stands for "as in the frame before"."""

_SAMPLED = 30_000
"""Pixels that a palette is made of."""

_GIF_CLOCK = Fraction(1, 100)
_GIF_SHORTEST = 2
"""Players show shorter delays, in hundredths of a second, as ten times as long."""

_CRF = "20"
_PRESET = "veryfast"
_MP4_CLOCK = 90_000


class Writer(Protocol):
    """One animation being written. Frames are (H, W, 4) uint8 BGRA, premultiplied alpha."""

    def prepare(self, frame: U8) -> U8:
        """A frame in the form that ``write`` takes; thread-safe."""

    def write(self, prepared: U8) -> None:
        """Append the next frame."""

    def finish(self) -> Encoded:
        """The file."""


def writer(
    kind: AnimationFormat, frame_time: float, samples: Sequence[U8], *, transparent: bool
) -> Writer:
    """A writer for an endless animation.

    Args:
        frame_time: seconds, at least 0.02 for GIF.
        samples: some of the frames, from which GIF takes its colours and all the size.
        transparent: whether alpha is to be kept; otherwise, and always in MP4, frames must
            be opaque.
    """
    if kind == "gif":
        return GifWriter(frame_time, samples, transparent=transparent)
    if kind == "mp4":
        return Mp4Writer(frame_time, samples[0].shape)
    return WebpWriter(frame_time, transparent=transparent)


class GifWriter:
    """GIF with one palette for all frames, so that still parts are stored once."""

    def __init__(self, frame_time: float, samples: Sequence[U8], *, transparent: bool) -> None:
        self._transparent = transparent
        self._frame_time = frame_time
        self._count = 0
        colours = _palette(samples, transparent=transparent)
        self._lookup = _nearest(colours)
        self._table = np.zeros((256, 4), np.uint8)
        self._table[: len(colours), :3] = colours
        self._table[: len(colours), 3] = 255
        self._clear = len(colours)
        height, width = samples[0].shape[:2]
        self._out = BytesIO()
        last = str(max(round(frame_time * 100), _GIF_SHORTEST))
        options = {"loop": "0", "final_delay": last}
        self._container = av.open(self._out, "w", format="gif", options=options)
        self._stream = self._container.add_stream("gif", rate=100, width=width, height=height)
        self._stream.pix_fmt = "pal8"
        self._stream.codec_context.time_base = _GIF_CLOCK

    def prepare(self, frame: U8) -> U8:
        """Palette places (H, W)."""
        if not self._transparent:
            return cv2.LUT(_packed(frame), self._lookup)  # type: ignore[return-value]
        place = cv2.LUT(_packed(_on_white(frame)), self._lookup)
        place[cv2.extractChannel(frame, 3) < 128] = self._clear
        return place  # type: ignore[return-value]

    def write(self, prepared: U8) -> None:
        """Append the next frame."""
        height, width = prepared.shape
        picture = av.VideoFrame(width, height, "pal8")
        places, table = picture.planes
        if places.line_size != width:
            prepared = np.pad(prepared, ((0, 0), (0, places.line_size - width)))
        places.update(prepared.tobytes())
        table.update(self._table.tobytes())
        picture.pts, picture.time_base = self._tick(self._count), _GIF_CLOCK
        self._count += 1
        self._container.mux(self._stream.encode(picture))

    def _tick(self, index: int) -> int:
        return round(max(index * self._frame_time * 100, index * _GIF_SHORTEST))

    def finish(self) -> Encoded:
        """The file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return Encoded(self._out.getvalue(), "image/gif", "gif")


class Mp4Writer:
    """H.264 in MP4, fast-start, BT.601, 4:2:0; sizes must be even."""

    def __init__(self, frame_time: float, shape: Sequence[int]) -> None:
        self._step = round(frame_time * _MP4_CLOCK)
        self._count = 0
        # Moving the index to the front reads the file again: that takes a name, not a stream.
        self._out = os.fdopen(os.memfd_create("animation"), "w+b")
        self._container = av.open(
            f"file:/proc/self/fd/{self._out.fileno()}",
            "w",
            format="mp4",
            options={"movflags": "+faststart", "fflags": "+bitexact"},
        )
        self._stream = self._container.add_stream(
            "libx264",
            rate=Fraction(_MP4_CLOCK, self._step),
            width=shape[1],
            height=shape[0],
            options={"preset": _PRESET, "crf": _CRF, "tune": "animation"},
        )
        context = self._stream.codec_context
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, _MP4_CLOCK)
        context.thread_type, context.thread_count = "AUTO", 0
        context.color_range, context.colorspace = 1, 6
        context.color_primaries, context.color_trc = 6, 6

    def prepare(self, frame: U8) -> U8:
        """Planes Y, U, V one below the other, (3·H/2, W)."""
        return cv2.cvtColor(frame, cv2.COLOR_BGRA2YUV_I420)  # type: ignore[return-value]

    def write(self, prepared: U8) -> None:
        """Append the next frame."""
        picture = av.VideoFrame.from_ndarray(prepared, "yuv420p")
        picture.pts, picture.time_base = self._count * self._step, Fraction(1, _MP4_CLOCK)
        picture.duration = self._step
        self._count += 1
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> Encoded:
        """The file."""
        with self._out as out:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            return Encoded(out.read(), "video/mp4", "mp4")


class WebpWriter:
    """Animated WebP with real transparency."""

    def __init__(self, frame_time: float, *, transparent: bool) -> None:
        self._frame_time = frame_time
        self._transparent = transparent
        self._count = 0
        self._animation = AnimationWriter()

    def prepare(self, frame: U8) -> U8:
        """BGR, or BGRA with straight alpha."""
        if self._transparent:
            return cv2.cvtColor(frame, cv2.COLOR_mRGBA2RGBA)  # type: ignore[return-value]
        return cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR)  # type: ignore[return-value]

    def write(self, prepared: U8) -> None:
        """Append the next frame."""
        begin, end = self._tick(self._count), self._tick(self._count + 1)
        self._count += 1
        self._animation.add(prepared, end - begin)

    def _tick(self, index: int) -> int:
        return round(1000 * self._frame_time * index)

    def finish(self) -> Encoded:
        """The file."""
        return self._animation.finish()


def _on_white(frame: U8) -> U8:
    """A premultiplied frame over white; its own alpha stays."""
    missing = cv2.bitwise_not(cv2.extractChannel(frame, 3))
    return cv2.add(frame, cv2.merge([missing, missing, missing, np.zeros_like(missing)]))  # type: ignore[return-value]


def _packed(frame: U8) -> npt.NDArray[np.uint16]:
    """BGRA as 5, 6 and 5 bits in one number, (H, W)."""
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR565).view(np.uint16)[..., 0]


def _palette(samples: Sequence[U8], *, transparent: bool) -> U8:
    """At most ``GIF_COLOURS`` BGR colours (N, 3) for the frames, by median cut.

    The commonest colour, a plain background's, is among them exactly.
    """
    pixels = np.concatenate([frame.reshape(-1, 4) for frame in samples])
    if transparent:
        pixels = np.concatenate([_on_white(frame).reshape(-1, 4) for frame in samples])
        pixels = pixels[np.concatenate([frame[..., 3].reshape(-1) for frame in samples]) >= 128]
    if not len(pixels):
        return np.full((1, 3), 255, np.uint8)
    pixels = pixels[:: 1 + len(pixels) // _SAMPLED]
    values, counts = np.unique(pixels.view(np.uint32), return_counts=True)
    commonest = values[counts.argmax() :][:1].view(np.uint8)[None, :3]
    # Not by how often they occur alone: most of a frame is background.
    values = np.repeat(values, np.minimum(counts, 32))
    colours = values.view(np.uint8).reshape(1, -1, 4)[..., 2::-1]
    reduced = Image.fromarray(np.ascontiguousarray(colours)).quantize(
        GIF_COLOURS - 1, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    table = np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)[: GIF_COLOURS - 1, ::-1]
    return np.unique(np.concatenate([table, commonest]), axis=0)


def _nearest(colours: U8) -> U8:
    """For every 5-6-5 colour (65536,) the place of the nearest of ``colours`` (N, 3)."""
    packed = np.arange(65536)
    blue, green, red = packed & 31, packed >> 5 & 63, packed >> 11
    bins = np.stack([blue * 255 / 31, green * 255 / 63, red * 255 / 31], axis=1).astype(np.float32)
    points = colours.astype(np.float32)
    norms = (points**2).sum(axis=1)
    found = np.empty(65536, np.uint8)
    for start in range(0, 65536, 4096):
        part = slice(start, start + 4096)
        found[part] = (norms - 2 * bins[part] @ points.T).argmin(axis=1)
    return found
