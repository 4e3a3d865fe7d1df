"""A hostile file opened as a video: the only place that opens uploads with libav.

Only listed demuxers and codecs are ever started and only the local file protocol
is open to them, so a playlist, a session description or a reference inside a file
can neither read another file nor reach the network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer

from gateway.errors import BadMedia, EmptyUpload, TooLarge, UnsupportedMedia
from gateway.media.sniff import sniff
from gateway.media.video.clock import JUMP, FrameClock, Splices
from gateway.media.video.faults import translated
from gateway.media.video.types import Section, SeekFailed, VideoLimits

DEMUXERS = ("mov", "matroska", "avi", "mpegts")
VIDEO_CODECS = (
    "h264",
    "hevc",
    "vp8",
    "vp9",
    "av1",
    "mpeg4",
    "mpeg2video",
    "mjpeg",
    "prores",
)
_AUDIO_DECODERS = (
    "aac,aac_latm,mp3,mp3float,mp2,mp2float,mp1,mp1float,ac3,eac3,dca,truehd,alac,flac,opus,vorbis,"
    "amrnb,amrwb,wmav1,wmav2,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,"
    "pcm_f32be,pcm_f64le,pcm_u8,pcm_s8,pcm_alaw,pcm_mulaw,adpcm_ima_wav,adpcm_ima_qt,adpcm_ms"
)
_SUBTITLE_DECODERS = "mov_text,subrip,srt,ass,ssa,webvtt,text"
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(DEMUXERS),
    "codec_whitelist": ",".join(
        (*VIDEO_CODECS, "libdav1d", "libvpx", _AUDIO_DECODERS, _SUBTITLE_DECODERS)
    ),
    "max_streams": "64",
}
_UNREADABLE = "the video cannot be read: it is damaged or incomplete"
_MAX_READ_FAULTS = 32
_FOREVER = 1 << 62  # ticks
_PATIENCE = 1024  # a video that shows nothing in so many packets is not worth the wait
_FINEST_CLOCK = 10_000_000  # ticks per second; MP4 counts the ticks of a frame in 31 bits
_EARLIER = (0, 10, 60)  # seconds before a keyframe that a search for it begins
_LOST_SHARE = 0.05  # of a file's frames; more than this cut off is an incomplete upload


class Source:
    """An open video file: its one picture stream, decoded in presentation order."""

    def __init__(self, container: InputContainer, demuxer: str, limits: VideoLimits) -> None:
        self.container = container
        self.demuxer = demuxer
        self.video = _picture_stream(container)
        self.limits = limits
        self.video.codec_context.options = {"max_pixels": str(_decoder_pixels(limits))}
        self._file_base = _sane(self.video.time_base) or Fraction(1, 90000)
        coarse = self._file_base.denominator <= _FINEST_CLOCK
        self.time_base = self._file_base if coarse else Fraction(1, 90000)
        self.rate = _sane(self.video.average_rate) or _sane(self.video.guessed_rate) or Fraction(25)
        self.step = max(1, round(1 / (self.rate * self.time_base)))
        self.spliced = demuxer == "mpegts"
        self.splices = Splices()
        self.faults = 0
        self.following: int | None = None
        self._origin = self._find_origin()

    def _find_origin(self) -> Fraction:
        """Seconds that the output's clock starts at, on the file's clock.

        A transport stream's clock is arbitrary, as is that of a recording cut from
        a live stream; other files start when their timestamps say. Nothing visible
        may come before zero, where players would hide it.
        """
        start = Fraction(self.container.start_time or 0, av.time_base)
        if self.spliced or start > JUMP:
            return start
        return min(Fraction(0), (self.video.start_time or 0) * self._file_base)

    @property
    def seconds(self) -> float:
        """Declared length; 0.0 when unknown."""
        if self.video.duration and self.video.duration > 0:
            return float(self.video.duration * self._file_base)
        return max(0, self.container.duration or 0) / av.time_base

    def seconds_at(self, frame: av.VideoFrame) -> float:
        """When the frame is shown, in seconds on the output's clock."""
        return float((frame.pts or 0) * self.time_base)

    def lasts(self, frame: av.VideoFrame) -> int:
        """Ticks that a frame is shown which none follows."""
        own = frame.duration
        return own if 2 * own > self.step else self.step

    def items(
        self, others: list[av.stream.Stream], threads: int
    ) -> Iterator[av.VideoFrame | av.Packet]:
        """Frames of the picture, and packets of ``others``, in file order.

        Frames carry strictly increasing ``pts`` in ``time_base`` ticks of the output's
        clock. A packet without data ends its stream. Damaged packets are skipped.

        Raises:
            BadMedia: no frame, or fewer frames than faults, could be decoded.
            TooLarge: the video runs longer than the limit.
        """
        frames = 0
        first: int | None = None
        for item in self._decoded(self.packets([self.video, *others]), threads):
            if isinstance(item, av.VideoFrame):
                pts = item.pts or 0
                first = pts if first is None else first
                check_length(self, pts - first)
                frames += 1
            yield item
        check_decoded(frames, self.faults)

    def section(self, section: Section, threads: int) -> Iterator[av.VideoFrame]:
        """The frames of a section, as ``items`` gives them; there may be none.

        Afterwards ``faults`` counts the section's damaged packets, and ``following`` is
        the time of the first frame behind it, if there is one.

        Raises:
            SeekFailed: the section's keyframe cannot be decoded from.
        """
        key = section.key
        first = -_FOREVER if section.first is None else section.first
        stop = _FOREVER if section.stop is None else section.stop
        packets = self.packets([self.video]) if key is None else self._packets_from(key)
        for frame in self._decoded(packets, threads, (first, stop)):
            pts = frame.pts or 0
            if key is not None:
                if pts < key:  # leading pictures of an open group: not of this section
                    continue
                if pts != key or not frame.key_frame:
                    raise SeekFailed
                key = None
            if pts >= stop:
                self.following = pts
                return
            if pts >= first:
                yield frame
        if key is not None:
            raise SeekFailed

    def _packets_from(self, key: int) -> Iterator[av.Packet]:
        """Packets of the picture from the keyframe on that is shown at ``key``."""
        for earlier in _EARLIER:
            time = key * self.time_base - earlier + self._origin
            with suppress(av.error.FFmpegError):
                self.container.seek(round(time / self._file_base), stream=self.video)
                packets = self.packets([self.video])
                for packet in packets:
                    at = self.shown_at(packet) if packet.is_keyframe else None
                    if at == key:
                        return chain([packet], packets)
                    if at is not None and at > key:
                        break  # the search came out behind it
        raise SeekFailed

    def shown_at(self, packet: av.Packet) -> int | None:
        """When a packet's picture is shown, in ticks on the output's clock."""
        return self._ticks(packet.dts if self.demuxer == "avi" else packet.pts)

    def _decoded(
        self,
        packets: Iterable[av.Packet],
        threads: int,
        counted: tuple[int, int] = (-_FOREVER, _FOREVER),
    ) -> Iterator[Any]:
        """Packets of other streams, and the picture's decoded; ``counted``: see ``faults``."""
        decoder = self.video.codec_context
        if not decoder.is_open:
            decoder.thread_type = "AUTO"
            decoder.thread_count = threads
        clock = FrameClock(self.step)
        # AVI stores no presentation times: the n-th frame shown takes the n-th one stored.
        due: deque[int] | None = deque() if self.demuxer == "avi" else None
        count = 0
        shown = False
        for packet in packets:
            if packet.stream is not self.video:
                yield packet
                continue
            count += 1
            if count > _PATIENCE and not shown:
                break
            if due is not None and packet.size and packet.dts is not None:
                due.append(packet.dts)
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                at = self.shown_at(packet)
                self.faults += at is None or counted[0] <= at < counted[1]
                if due:
                    due.pop()
                continue
            for frame in decoded:
                if due is not None:
                    frame.pts = due.popleft() if due else None
                frame.pts = clock.place(self._ticks(frame.pts), self._ticks(frame.dts))
                frame.duration = self._ticks(frame.duration) or 0
                frame.time_base = self.time_base
                shown = True
                yield frame

    def _ticks(self, time: int | None) -> int | None:
        """The file's ticks as ours."""
        if time is None or self._file_base == self.time_base:
            return time
        return round(time * self._file_base / self.time_base)

    def packets(self, streams: list[av.stream.Stream]) -> Iterator[av.Packet]:
        """Packets of ``streams`` on the output's clock; an empty one ends each stream."""
        splices = self.splices = Splices()
        for packet in self._demuxed(streams):
            if packet.dts is None and packet.pts is None:
                yield packet
                continue
            time_base = packet.time_base
            ticks = -round(self._origin / time_base)
            if self.spliced and packet.dts is not None and packet.stream.type != "subtitle":
                ticks += splices.shift(
                    packet.stream_index, packet.dts, time_base, packet.duration or 0
                )
            if ticks:
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet

    def _demuxed(self, streams: list[av.stream.Stream]) -> Iterator[av.Packet]:
        """Packets up to the end of what can be read, past single faults, then the flushes."""
        for _ in range(_MAX_READ_FAULTS):
            try:
                yield from self.container.demux(streams)
                return
            except av.error.FFmpegError:
                continue
        for stream in streams:
            flush = av.Packet()
            flush.stream = stream
            yield flush


def check_length(source: Source, ticks: int) -> None:
    """Raise TooLarge where so many ticks are more than the limit."""
    if ticks * source.time_base > source.limits.seconds:
        raise TooLarge(_too_long(source.limits))


def check_decoded(frames: int, faults: int) -> None:
    """Raise BadMedia where a video of so many frames and damaged packets is not usable."""
    if not frames:
        raise BadMedia("no frame of the video can be decoded")
    if faults > frames:
        raise BadMedia("most of the video's frames cannot be decoded")


@contextmanager
def open_source(path: str, limits: VideoLimits) -> Iterator[Source]:
    """Open the file at ``path`` and check what can be checked without decoding.

    Raises:
        EmptyUpload, UnsupportedMedia, BadMedia, TooLarge: as their names say.
    """
    head = _head(path)
    if not head:
        raise EmptyUpload("the file is empty")
    if sniff(head) != "video":
        raise UnsupportedMedia("not a video we read: send MP4, MOV, MKV, WebM, AVI or MPEG-TS")
    demuxer = _demuxer(head)
    with translated(_UNREADABLE):
        container = av.open(
            f"file:{path}",
            format=demuxer,
            container_options=_OPTIONS,
            options={"max_pixels": str(_decoder_pixels(limits))},
            metadata_errors="replace",
        )
    with translated(_UNREADABLE), container:
        source = Source(container, demuxer, limits)
        _check(source, limits)
        yield source


def _head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(4096)


def _demuxer(head: bytes) -> str:
    """The one demuxer for a file that ``sniff`` called a video: libav need not guess."""
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF"):
        return "avi"
    box = head[4:8]  # a QuickTime file opens with a named box
    return "mov" if box.isalpha() and box.islower() else "mpegts"


def _picture_stream(container: InputContainer) -> av.VideoStream:
    """The stream that players show: never a cover picture."""
    shown = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not shown:
        raise BadMedia("the file has no video in it")
    best = container.streams.best("video")
    stream = best if best in shown else shown[0]
    context = stream.codec_context
    codec = context.codec.canonical_name if context else "unknown"
    if codec not in VIDEO_CODECS:
        raise UnsupportedMedia(
            f"video codec '{codec}' is not read; known are {', '.join(VIDEO_CODECS)}"
        )
    return stream


def _check(source: Source, limits: VideoLimits) -> None:
    pixels = source.video.width * source.video.height
    if pixels > limits.pixels:
        raise TooLarge(
            f"frames are {source.video.width}×{source.video.height}; "
            f"the limit is {limits.pixels} pixels"
        )
    # A spliced clock makes a transport stream look longer than it plays.
    if source.seconds > limits.seconds and not source.spliced:
        raise TooLarge(_too_long(limits))
    # An MP4's index tells where every frame lies, so a cut-off upload shows at once.
    entries = source.video.index_entries
    if source.demuxer == "mov" and len(entries):
        entry = entries[int((len(entries) - 1) * (1 - _LOST_SHARE))]
        if entry.pos + entry.size > source.container.size:
            raise BadMedia("the video is cut short: part of the file is missing; upload it again")


def _too_long(limits: VideoLimits) -> str:
    return f"the video is longer than the limit of {limits.seconds:g} seconds"


def _decoder_pixels(limits: VideoLimits) -> int:
    """A bound on decoded surfaces, which are larger than the picture shown."""
    return limits.pixels * 5 // 4 + 65536


def _sane(value: Fraction | None) -> Fraction | None:
    """The value when it is a usable rate or time base."""
    return value if value is not None and 0 < value <= 1000 else None
