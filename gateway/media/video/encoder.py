"""The picture track of a result: one way to encode, for a video in one piece or in parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import av
import av.error
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import PictureType

from gateway.errors import BadMedia
from gateway.media.video.faults import is_disk_full, translated
from gateway.media.video.source import Source
from gateway.media.video.types import VideoInfo

# No captions: they are words beside the picture, which nobody looked at.
_X264 = {"preset": "veryfast", "crf": "22", "a53cc": "0"}
_MUXER_CLOCK = 10_000  # the least timescale that the MP4 writer uses


@contextmanager
def mp4(out: str, source: Source) -> Iterator[OutputContainer]:
    """An MP4 being written: closed in order on success, abandoned on failure."""
    clock = source.time_base.denominator
    while clock < _MUXER_CLOCK:
        clock *= 2
    options = {
        "movflags": "+faststart",
        # One clock for the picture and for edit lists: a late start is kept to the tick.
        "video_track_timescale": str(clock),
        "movie_timescale": str(clock),
        "fflags": "+bitexact",  # no encoder tag
    }
    with written(av.open(f"file:{out}", "w", format="mp4", container_options=options)) as container:
        yield container


@contextmanager
def written(container: OutputContainer) -> Iterator[OutputContainer]:
    """Close a container in order on success; abandon it on failure."""
    try:
        yield container
    except BaseException:
        with suppress(av.error.FFmpegError):
            container.close()
        raise
    with translated("the video cannot be written as MP4"):
        container.close()


def add_picture(
    container: OutputContainer, source: Source, info: VideoInfo, threads: int
) -> av.VideoStream:
    """The picture track, with the one set of encoder settings and the source's tags."""
    stream = container.add_stream(
        "libx264",
        rate=source.rate,
        width=info.width,
        height=info.height,
        time_base=source.time_base,
        options=dict(_X264),
    )
    stream.disposition = source.video.disposition & av.stream.Disposition.default
    _configure(stream.codec_context, source, info, threads)
    return stream


def _configure(
    context: av.VideoCodecContext, source: Source, info: VideoInfo, threads: int
) -> None:
    context.pix_fmt = info.picture.pix_fmt
    context.sample_aspect_ratio = info.sample_aspect
    context.color_range = info.picture.color_range
    context.colorspace = info.picture.colorspace
    context.color_primaries = info.picture.color_primaries
    context.color_trc = info.picture.color_trc
    context.flags |= Flags.frame_duration
    if info.interlaced and info.orientation.is_identity and info.height % 4 == 0:
        context.flags |= Flags.interlaced_dct  # the frames tell which field is first
        context.field_order = source.video.codec_context.field_order
    # PyAV's default, slices, would cost quality; this is ffmpeg's.
    context.thread_type = "AUTO"
    context.thread_count = threads


def _another(source: Source, info: VideoInfo, threads: int) -> av.VideoCodecContext:
    """A new encoder for the track that ``add_picture`` added."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = info.width, info.height
    context.framerate, context.time_base = source.rate, source.time_base
    context.options = dict(_X264)
    context.flags |= Flags.global_header
    _configure(context, source, info, threads)
    return context


class Encoder:
    """Frames in, H.264 packets muxed; at ``seams`` (ticks) encoding begins afresh.

    What lies between seams is then, bit for bit, what an encoder makes of it alone.
    """

    def __init__(
        self,
        container: OutputContainer,
        source: Source,
        info: VideoInfo,
        threads: int,
        seams: Collection[int] = (),
    ) -> None:
        self._container = container
        self._stream = add_picture(container, source, info, threads)
        self._context = self._stream.codec_context
        self._renewed = partial(_another, source, info, threads)
        self._time_base = source.time_base
        self._lasts = source.lasts
        self._seams = deque(sorted(seams))
        self._held: av.VideoFrame | None = None
        self._stored = 0
        self._shown: deque[int] = deque()
        self.frames = 0
        self.ticks = 0

    def write(self, picture: av.VideoFrame) -> None:
        """Encode one frame; its ``pts`` is in the source's time base."""
        # The next frame's time tells how long one lasts: decoders only know how far
        # apart packets are stored, which B-frames and variable rates make another thing.
        if self._held is not None:
            self._encode(self._held, (picture.pts or 0) - (self._held.pts or 0))
        self._held = picture
        self.frames += 1

    def finish(self, following: int | None = None) -> None:
        """Encode what is held back, here and in the encoder; then comes ``following``, if any."""
        if self._held is not None:
            length = self._lasts(self._held)
            if following is not None:
                length = following - (self._held.pts or 0)
            self._encode(self._held, length)
        self._mux(self._context.encode(None))

    def _encode(self, picture: av.VideoFrame, duration: int) -> None:
        self._begin_afresh_at(picture.pts or 0)
        picture.duration = duration
        self.ticks += duration
        self._shown.append(picture.pts or 0)
        picture.pict_type = PictureType.NONE  # the source's choice does not bind the encoder
        self._mux(self._context.encode(picture))

    def _begin_afresh_at(self, time: int) -> None:
        reached = False
        while self._seams and self._seams[0] <= time:
            self._seams.popleft()
            reached = True
        if reached and self.ticks:
            self._mux(self._context.encode(None))
            self._context = self._renewed()

    @property
    def seconds(self) -> float:
        """From the first frame's start to the last one's end."""
        return float(self.ticks * self._time_base)

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            # x264 stores the n-th packet when the frame is shown that B-frames delay it by;
            # a new encoder does not know what was shown before.
            if self._stored >= self._stream.codec_context.reorder_depth:
                packet.dts = self._shown.popleft()
            self._stored += 1
            packet.stream = self._stream
            mux_picture(self._container, packet)


def mux_picture(container: OutputContainer, packet: av.Packet) -> None:
    """Write a packet of the picture track; none may be left out."""
    try:
        container.mux(packet)
    except av.error.FFmpegError as error:
        if is_disk_full(error):
            raise
        raise BadMedia("the video's timestamps cannot be written as MP4") from error
