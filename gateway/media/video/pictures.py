"""Decoded pictures made uniform: 8-bit planar YUV, one size, upright.

H.264 with 4:2:0 chroma has only even sizes, so a picture of odd width or height
is carried as 4:4:4 (High 4:4:4 Predictive), the only way to keep its size to the
pixel without a crop that players ignore. Everything else becomes 4:2:0.
"""

from __future__ import annotations

import struct
from typing import Any

import av
import cv2
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from gateway.media.video.types import Orientation, PictureFormat, Plane, plane_view

_UNSPECIFIED = 2
_MATRICES = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
# ITU-T H.273 code points in use; others would be refused or misread.
_KNOWN_MATRICES = {1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
_KNOWN_PRIMARIES = {1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22}
_KNOWN_TRANSFERS = {1, 2, *range(4, 19)}


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """The orientation that a frame's display matrix asks for."""
    side_data: Any = frame.side_data  # a mapping that iterates over its values
    try:
        matrices = [data for data in side_data if data.type is SideDataType.DISPLAYMATRIX]
    except ValueError:  # another kind of side data, too new for PyAV to name
        quarter = round(frame.rotation / 90) % 4  # counter-clockwise
        return (
            Orientation(),
            Orientation(True, False, True),
            Orientation(False, True, True),
            Orientation(True, True, False),
        )[quarter]
    if not matrices:
        return Orientation()
    return Orientation.from_display_matrix(struct.unpack_from("=9i", bytes(matrices[0])))


def format_of(frame: av.VideoFrame) -> PictureFormat:
    """The working format for a video that begins with ``frame``, its tags kept."""
    odd = frame.width % 2 or frame.height % 2
    full = frame.format.name.startswith("yuvj")
    pix_fmt = f"yuv{'j' if full else ''}{'444' if odd else '420'}p"
    if frame.format.is_rgb:
        return PictureFormat(pix_fmt, 1, 1, 1, _UNSPECIFIED, frame.interlaced_frame)
    return PictureFormat(
        pix_fmt,
        2 if full else frame.color_range if frame.color_range in (1, 2) else 0,
        _known(frame.colorspace, _KNOWN_MATRICES),
        _known(frame.color_primaries, _KNOWN_PRIMARIES),
        _known(frame.color_trc, _KNOWN_TRANSFERS),
        frame.interlaced_frame,
    )


def _known(value: int, known: set[int]) -> int:
    return value if value in known else _UNSPECIFIED


def matrix_of(picture: PictureFormat, width: int, height: int) -> str:
    """``bt601``, ``bt709`` or ``bt2020``; untagged video is guessed by size, as players do."""
    guess = "bt709" if width >= 1280 or height > 576 else "bt601"
    return _MATRICES.get(picture.colorspace, guess)


class Uniform:
    """Turns each decoded frame into the working format, size and orientation.

    A frame that needs nothing passes through without a copy. A change of size in
    mid-stream is scaled to the first size, as players do.
    """

    def __init__(self, picture: PictureFormat, width: int, height: int, turn: Orientation) -> None:
        self._pix_fmt = picture.pix_fmt
        self._size = (height, width) if turn.transpose else (width, height)  # as stored
        self._upright = (width, height)
        self._turn = turn
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in its working form; timestamps are carried over."""
        pts, time_base, duration = frame.pts, frame.time_base, frame.duration
        if frame.format.name != self._pix_fmt or (frame.width, frame.height) != self._size:
            frame = self._convert(frame)
        if not self._turn.is_identity:
            frame = self._rotate(frame)
        frame.pts, frame.duration = pts, duration
        if time_base is not None:
            frame.time_base = time_base
        return frame

    def _convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        width, height = self._size
        if frame.format.is_rgb:
            return self._reformatter.reformat(
                frame,
                width,
                height,
                self._pix_fmt,
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
        # Same matrix in and out: without the tag, swscale cannot refuse a rare one.
        frame.colorspace = _UNSPECIFIED
        return self._reformatter.reformat(frame, width, height, self._pix_fmt)

    def _rotate(self, frame: av.VideoFrame) -> av.VideoFrame:
        turned = av.VideoFrame(*self._upright, self._pix_fmt)
        for source, target in zip(frame.planes, turned.planes, strict=True):
            turn_plane(plane_view(source), plane_view(target), self._turn)
        return turned


def turn_plane(source: Plane, target: Plane, turn: Orientation) -> None:
    """Write ``source`` (H, W) turned into ``target``, (W, H) when transposed."""
    if turn.transpose:
        if turn.flip_x != turn.flip_y:
            clockwise = turn.flip_x
            code = cv2.ROTATE_90_CLOCKWISE if clockwise else cv2.ROTATE_90_COUNTERCLOCKWISE
            cv2.rotate(source, code, dst=target)
        else:
            cv2.transpose(source[::-1, ::-1] if turn.flip_x else source, dst=target)
    else:
        cv2.flip(source, {(1, 0): 1, (0, 1): 0}.get((turn.flip_x, turn.flip_y), -1), dst=target)
