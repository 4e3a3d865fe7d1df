"""The records that video code and its callers exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class VideoLimits:
    """The largest video taken: pixels of one frame (width × height), and seconds."""

    pixels: int
    seconds: float


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright: transpose first, then flip left-right, up-down."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """The right-angle orientation nearest to a display matrix.

        ``matrix`` holds nine integers (a, b, u, c, d, v, x, y, w) as ISO/IEC
        14496-12 stores them: a stored pixel (p, q) is shown at (a·p + c·q, b·p + d·q).
        """
        a, b, _, c, d = matrix[:5]
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    @property
    def is_identity(self) -> bool:
        """Whether stored pixels are upright already."""
        return not (self.transpose or self.flip_x or self.flip_y)

    @property
    def mirrored(self) -> bool:
        """Whether the picture is mirrored, not only turned."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    @property
    def degrees(self) -> int:
        """Clockwise turn: 0, 90, 180 or 270 (after a left-right flip, where mirrored)."""
        if self.transpose:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0


@dataclass(frozen=True)
class Section:
    """A stretch of a video: the frames shown from ``first`` until before ``stop``.

    All times are ticks on the output's clock, as frames carry them. ``key``: when the
    keyframe to decode from is shown, at or before ``first``. ``None`` means the file's
    beginning, or its end.
    """

    key: int | None = None
    first: int | None = None
    stop: int | None = None


class SeekFailed(Exception):
    """A section's keyframe is not where it was found before, or is none.

    The section can still be had by decoding from the file's beginning.
    """


class PictureFormat(NamedTuple):
    """What a decoded picture is: pixel format and colour tags as libav numbers them."""

    pix_fmt: str
    color_range: int
    colorspace: int
    color_primaries: int
    color_trc: int
    interlaced: bool


@dataclass(frozen=True)
class VideoInfo:
    """What ``probe`` found.

    width, height: pixels of the upright picture, as frames have them.
    rotation, mirrored: the turn (degrees clockwise) already applied to frames.
    rate: average frames per second; frames_estimate: at least 1; seconds: 0.0 when
    the file does not say. container: ``mov`` (MP4 too), ``matroska`` (WebM too), ``avi``
    or ``mpegts``. matrix, full_range: how to read the planes as colour;
    an untagged file gets the guess that players make from the picture's size.
    """

    width: int
    height: int
    rotation: int
    mirrored: bool
    seconds: float
    rate: float
    frames_estimate: int
    codec: str
    container: str
    audio_tracks: int
    subtitle_tracks: int
    matrix: str
    full_range: bool
    interlaced: bool
    sample_aspect: Fraction
    orientation: Orientation
    picture: PictureFormat
    limits: VideoLimits


@dataclass(frozen=True)
class Written:
    """What ``transcode`` wrote; ``dropped`` names tracks that MP4 cannot hold."""

    frames: int
    seconds: float
    audio_tracks: int
    audio_converted: int
    subtitle_tracks: int
    dropped: tuple[str, ...]


class Frame:
    """One upright frame: ``index`` from 0, ``time`` in seconds on the output's clock.

    ``end``: when the picture ends, should none follow.
    """

    def __init__(
        self, index: int, time: float, picture: av.VideoFrame, *, writable: bool, end: float = 0.0
    ) -> None:
        self.index = index
        self.time = time
        self.end = end
        self.picture = picture
        self._writable = writable

    @property
    def pts(self) -> int:
        """``time`` in ticks of the source."""
        return self.picture.pts or 0

    @cached_property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U and V: (H, W) and twice (h, w) uint8, chroma full or half size.

        Views of the frame's own memory, rows strided. Frames of ``read_frames`` are
        read-only, because the decoder may still predict from them. Frames handed
        to an edit are writable; the first access copies the frame where the decoder
        still holds it, so leave ``planes`` alone when there is nothing to edit.
        """
        if self._writable:
            self.picture.make_writable()
        y, u, v = (plane_view(plane) for plane in self.picture.planes)
        if not self._writable:
            for plane in (y, u, v):
                plane.flags.writeable = False
        return y, u, v


def plane_view(plane: av.video.plane.VideoPlane) -> Plane:
    """(H, W) uint8 over the plane's memory, without its row padding."""
    stride = abs(plane.line_size)
    view = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, stride)[
        :, : plane.width
    ]
    # A negative line size stores the picture bottom up.
    return view[::-1] if plane.line_size < 0 else view
