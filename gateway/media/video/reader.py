"""Pass one: what a video is, and its frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av

from gateway.errors import BadMedia, TooLarge
from gateway.media.video.pictures import Uniform, format_of, matrix_of, orientation_of
from gateway.media.video.source import Source, open_source
from gateway.media.video.types import Frame, Section, VideoInfo, VideoLimits


def probe(path: str, limits: VideoLimits) -> VideoInfo:
    """Look at the video at ``path`` and decode its first frame.

    Raises:
        EmptyUpload: no bytes. UnsupportedMedia: not a container or codec we read.
        BadMedia: damaged, cut short, or without a picture. TooLarge: over a limit.
    """
    with open_source(path, limits) as source:
        frame = _first_frame(source)
        if frame.width * frame.height > limits.pixels:
            raise TooLarge(
                f"frames are {frame.width}×{frame.height}; the limit is {limits.pixels} pixels"
            )
        turn = orientation_of(frame)
        picture = format_of(frame)
        width, height = frame.width, frame.height
        aspect = source.video.sample_aspect_ratio or Fraction(1)
        if turn.transpose:
            width, height, aspect = height, width, 1 / aspect
        rate = float(source.rate)
        return VideoInfo(
            width=width,
            height=height,
            rotation=turn.degrees,
            mirrored=turn.mirrored,
            seconds=source.seconds,
            rate=rate,
            frames_estimate=source.video.frames or max(1, round(source.seconds * rate)),
            codec=source.video.codec_context.codec.canonical_name,
            container=source.demuxer,
            audio_tracks=len(source.container.streams.audio),
            subtitle_tracks=len(source.container.streams.subtitles),
            matrix=matrix_of(picture, frame.width, frame.height),
            full_range=picture.color_range == 2,
            interlaced=picture.interlaced,
            sample_aspect=aspect,
            orientation=turn,
            picture=picture,
            limits=limits,
        )


def _first_frame(source: Source) -> av.VideoFrame:
    # Slice threads give a frame out at once; frame threads would want several packets.
    source.video.codec_context.thread_type = "SLICE"
    for item in source.items([], threads=0):
        if isinstance(item, av.VideoFrame):
            return item
    raise BadMedia("no frame of the video can be decoded")


def read_frames(
    path: str, info: VideoInfo, *, threads: int = 0, section: Section | None = None
) -> Iterator[Frame]:
    """Decode every frame that a player shows, upright, in presentation order.

    The planes are read-only views of the decoder's memory, without a copy where the
    video is 8-bit 4:2:0 and stored upright; they are meant for the current iteration
    (keeping one keeps its whole frame in memory). ``threads`` bounds the decoder's
    threads, 0 lets it choose. The same file gives the same frames every time, and a
    ``section`` the same as the whole, numbered from 0; it may have none.

    Raises:
        BadMedia: no frame, or fewer frames than faults, could be decoded.
        TooLarge: the video runs longer than the limit.
        SeekFailed: the section's keyframe cannot be decoded from.
    """
    uniform = Uniform(info.picture, info.width, info.height, info.orientation)
    with open_source(path, info.limits) as source:
        items = source.section(section, threads) if section else source.items([], threads)
        frames = (item for item in items if isinstance(item, av.VideoFrame))
        for index, frame in enumerate(map(uniform, frames)):
            end = float(((frame.pts or 0) + source.lasts(frame)) * source.time_base)
            yield Frame(index, source.seconds_at(frame), frame, writable=False, end=end)
