"""A long result in parts: each encoded on its own, then joined without encoding again.

A part holds only the picture of one section, in a NUT file: it keeps packets as the
encoder made them, with exact times. Sound and subtitles come from the original when
the parts are joined, so the result is what one piece would have been.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import av.error
from av.container import OutputContainer

from gateway.errors import RendererFailed
from gateway.media.video.encoder import Encoder, add_picture, mp4, mux_picture, written
from gateway.media.video.pictures import Uniform
from gateway.media.video.source import Source, check_decoded, open_source
from gateway.media.video.tracks import plan_tracks
from gateway.media.video.transcode import summary
from gateway.media.video.types import Frame, Section, VideoInfo, Written

_UNFIT = "the parts of this video do not fit together"
_EXACT = {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}
_OPEN: dict[str, Any] = {
    "container_options": {"protocol_whitelist": "file", "codec_whitelist": "h264"}
}


@dataclass(frozen=True)
class Part:
    """One encoded section: its file, and from ``write_part`` its times, tail and faults."""

    path: str
    times: Sequence[int]
    tail: int
    faults: int


def write_part(
    path: str,
    out: str,
    info: VideoInfo,
    section: Section,
    edit: Callable[[Frame], None],
    *,
    threads: int = 0,
) -> Part:
    """Encode the frames of a section as ``transcode`` would; ``edit`` and ``threads`` as there.

    Returns:
        times: when each frame is shown, in ticks of the source. tail: how long the last
        one lasts. faults: damaged packets.

    Raises:
        SeekFailed: the section's keyframe cannot be decoded from.
        DiskFull: no room left for ``out``.
    """
    uniform = Uniform(info.picture, info.width, info.height, info.orientation)
    times: list[int] = []
    with (
        open_source(path, info.limits) as source,
        written(av.open(f"file:{out}", "w", format="nut", container_options=_EXACT)) as container,
    ):
        encoder = Encoder(container, source, info, threads)
        container.start_encoding()
        for picture in map(uniform, source.section(section, threads)):
            edit(Frame(encoder.frames, source.seconds_at(picture), picture, writable=True))
            times.append(picture.pts or 0)
            encoder.write(picture)
        encoder.finish(source.following)
    spent = times[-1] - times[0] if times else 0
    return Part(out, times, encoder.ticks - spent, source.faults)


def join_parts(
    path: str,
    out: str,
    info: VideoInfo,
    parts: Sequence[Part],
    *,
    keep_audio: bool = True,
    keep_subtitles: bool = True,
    progress: Callable[[int], None],
) -> Written:
    """Write the parts, in order, to ``out``, with the sound of the original at ``path``.

    ``progress(frames)`` hears how many are written; what it raises ends the work.

    Raises:
        BadMedia: no frame, or fewer frames than faults, could be decoded in all.
        RendererFailed: the parts do not fit together. DiskFull: no room left for ``out``.
    """
    times = [time for part in parts for time in part.times]
    check_decoded(len(times), sum(part.faults for part in parts))
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise RendererFailed(_UNFIT)
    tail = next(part.tail for part in reversed(parts) if part.times)
    with open_source(path, info.limits) as source, mp4(out, source) as container:
        # Opened, but never fed: it describes the track as it would have done.
        stream = add_picture(container, source, info, threads=1)
        tracks, dropped = plan_tracks(
            source.container,
            container,
            keep_audio=keep_audio,
            keep_subtitles=keep_subtitles,
            picture_end=float((times[-1] + tail) * source.time_base),
        )
        container.start_encoding()
        pictures = _Pictures(source, stream, parts, times, tail)
        others = [source.container.streams[index] for index in tracks]
        for packet in source.packets(others) if others else ():
            due = packet.dts if packet.dts is not None else packet.pts
            if due is not None:
                for count in pictures.write_until(due * packet.time_base, container):
                    progress(count)
            tracks[packet.stream.index].write(packet)
        for count in pictures.write_until(None, container):
            progress(count)
    seconds = float((times[-1] + tail - times[0]) * source.time_base)
    return summary(len(times), seconds, tracks.values(), dropped)


class _Pictures:
    """The packets of all parts on one clock, with what an encoder of the whole would say."""

    def __init__(
        self,
        source: Source,
        stream: av.VideoStream,
        parts: Sequence[Part],
        times: Sequence[int],
        tail: int,
    ) -> None:
        self._stream = stream
        self._time_base = source.time_base
        self._parts = [part for part in parts if part.times]
        self._times = times
        self._tail = tail
        self._delay = min(stream.codec_context.reorder_depth, len(times) - 1)
        self._packets = self._all()
        self._next: av.Packet | None = next(self._packets, None)
        self._count = 0

    def write_until(self, time: Fraction | None, container: OutputContainer) -> Iterator[int]:
        """Mux what comes first up to ``time`` (seconds; None: all); the counts reached."""
        packet = self._next
        while packet is not None:
            if time is not None and (packet.dts or 0) * self._time_base > time:
                break
            self._count += 1
            mux_picture(container, packet)
            packet = next(self._packets, None)
            yield self._count
        self._next = packet

    def _all(self) -> Iterator[av.Packet]:
        stored = 0
        for part in self._parts:
            low = stored
            for packet in self._read(part):
                at = (packet.pts or 0) * packet.time_base / self._time_base
                place = bisect_left(self._times, at, low, low + len(part.times))
                if place == low + len(part.times) or self._times[place] != at:
                    raise RendererFailed(_UNFIT)
                packet.stream = self._stream
                packet.pts = self._times[place]
                packet.dts = self._decoded_at(stored)
                packet.duration = self._after(place) - packet.pts
                packet.time_base = self._time_base
                stored += 1
                yield packet
            if stored != low + len(part.times):
                raise RendererFailed(_UNFIT)

    def _read(self, part: Part) -> Iterator[av.Packet]:
        try:
            with av.open(f"file:{part.path}", format="nut", **_OPEN) as file:
                stream = file.streams.video[0]
                if stream.codec_context.extradata != self._stream.codec_context.extradata:
                    raise RendererFailed(_UNFIT)  # of another video, or another encoder's
                for packet in file.demux(stream):
                    if packet.size and packet.pts is not None:
                        yield packet
        except (av.error.FFmpegError, IndexError) as error:
            raise RendererFailed(_UNFIT) from error

    def _decoded_at(self, stored: int) -> int:
        """The decoding time of the packet stored at a place, as x264 counts: the time shown
        at that place, less the delay that B-frames need.
        """
        if stored >= self._delay:
            return self._times[stored - self._delay]
        return self._times[stored] - (self._times[self._delay] - self._times[0])

    def _after(self, place: int) -> int:
        if place + 1 < len(self._times):
            return self._times[place + 1]
        return self._times[place] + self._tail
