"""Pass two: decode, edit, encode, and mux beside the original sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import av
import av.error
from av.codec.context import Flags
from av.container import OutputContainer

from gateway.errors import BadMedia
from gateway.media.video.faults import is_disk_full, translated
from gateway.media.video.pictures import Uniform
from gateway.media.video.source import Source, open_source
from gateway.media.video.tracks import plan_tracks
from gateway.media.video.types import Frame, VideoInfo, Written

_PRESET = "veryfast"
_CRF = "22"
_MUXER_CLOCK = 10_000  # the least timescale that the MP4 writer uses


def transcode(
    path: str,
    out: str,
    info: VideoInfo,
    edit: Callable[[Frame], None],
    *,
    keep_audio: bool = True,
    threads: int = 0,
) -> Written:
    """Write the video at ``path`` to ``out`` as MP4, each frame changed by ``edit``.

    H.264 (x264 veryfast, crf 22), fast-start; same picture size, frame count,
    timestamps, aspect and colour tags; pixels upright, no display matrix. All sound
    tracks are copied bit for bit where MP4 players take the codec, else converted
    to AAC; text subtitles are kept; other tracks and all metadata stay out.
    ``edit(frame)`` may write into ``frame.planes`` and may raise to stop. ``out``
    is overwritten and may be ``/proc/self/fd/N`` of an unlinked file. ``threads``
    bounds the decoder's and the encoder's threads each, 0 lets them choose.

    Raises:
        BadMedia, TooLarge: as ``read_frames``. DiskFull: no room left for ``out``.
    """
    uniform = Uniform(info.picture, info.width, info.height, info.orientation)
    with open_source(path, info.limits) as source, _mp4(out, source) as container:
        encoder = _Encoder(container, source, info, threads)
        tracks, dropped = plan_tracks(source.container, container, keep_audio=keep_audio)
        container.start_encoding()
        others = [source.container.streams[index] for index in tracks]
        for item in source.items(others, threads):
            if isinstance(item, av.VideoFrame):
                picture = uniform(item)
                time = source.seconds_at(picture)
                edit(Frame(encoder.frames, time, picture, writable=True))
                encoder.write(picture)
            else:
                tracks[item.stream.index].write(item)
        encoder.finish()
    sound = [track for track in tracks.values() if track.kind == "audio"]
    return Written(
        frames=encoder.frames,
        seconds=encoder.seconds,
        audio_tracks=len(sound),
        audio_converted=sum(track.converted for track in sound),
        subtitle_tracks=len(tracks) - len(sound),
        dropped=tuple(dropped),
    )


@contextmanager
def _mp4(out: str, source: Source) -> Iterator[OutputContainer]:
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
    container = av.open(f"file:{out}", "w", format="mp4", container_options=options)
    try:
        yield container
    except BaseException:
        with suppress(av.error.FFmpegError):
            container.close()
        raise
    with translated("the video cannot be written as MP4"):
        container.close()


class _Encoder:
    """The picture track: frames in, H.264 packets muxed."""

    def __init__(
        self, container: OutputContainer, source: Source, info: VideoInfo, threads: int
    ) -> None:
        self._container = container
        self._time_base = source.time_base
        self._step = source.step
        self.frames = 0
        self._ticks = 0
        self._held: av.VideoFrame | None = None
        stream = container.add_stream(
            "libx264",
            rate=source.rate,
            width=info.width,
            height=info.height,
            time_base=source.time_base,
            options={"preset": _PRESET, "crf": _CRF},
        )
        stream.disposition = source.video.disposition & av.stream.Disposition.default
        context = stream.codec_context
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
        self._stream = stream

    def write(self, picture: av.VideoFrame) -> None:
        """Encode one frame; its ``pts`` is in the source's time base."""
        # The next frame's time tells how long one lasts: decoders only know how far
        # apart packets are stored, which B-frames and variable rates make another thing.
        if self._held is not None:
            self._encode(self._held, (picture.pts or 0) - (self._held.pts or 0))
        self._held = picture
        self.frames += 1

    def finish(self) -> None:
        """Encode what is held back, here and in the encoder."""
        if self._held is not None:
            own = self._held.duration
            self._encode(self._held, own if 2 * own > self._step else self._step)
        self._mux(self._stream.encode(None))

    def _encode(self, picture: av.VideoFrame, duration: int) -> None:
        picture.duration = duration
        self._ticks += duration
        picture.pict_type = 0  # the source's choice of I, P and B does not bind the encoder
        self._mux(self._stream.encode(picture))

    @property
    def seconds(self) -> float:
        """From the first frame's start to the last one's end."""
        return float(self._ticks * self._time_base)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            try:
                self._container.mux(packet)
            except av.error.FFmpegError as error:
                if is_disk_full(error):
                    raise
                raise BadMedia("the video's timestamps cannot be written as MP4") from error
