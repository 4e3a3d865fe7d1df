"""Sound and subtitles beside the picture: copied where MP4 players take them, else converted."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import av
import av.error
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

from gateway.media.video.faults import is_disk_full
from gateway.media.video.places import tells_place

# What MP4 holds and players play; PCM, Vorbis, MP2, DTS and the like become AAC.
COPIED_AUDIO = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}
_TEXT_SUBTITLES = {"mov_text", "subrip", "ass", "ssa", "webvtt", "text"}
_KEPT = (
    Disposition.default
    | Disposition.dub
    | Disposition.original
    | Disposition.comment
    | Disposition.forced
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.clean_effects
    | Disposition.captions
    | Disposition.descriptions
)
_AAC_RATES = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000}
_RATES = range(4_000, 768_001)  # samples per second; sound beyond is a mistake, or a trap
_LONGEST = 60  # seconds of sound in one packet
_OVERHANG = 1  # seconds that sound may go on behind the picture
_AAC_BITRATE = 96_000  # per channel
_AAC_FRAME = 1024
_PREROLL = 4  # packets before an edit's first sample that a decoder needs to start clean
_GAP = Fraction(1, 10)  # seconds: a smaller step in sound timestamps is jitter


class Track(Protocol):
    """One input stream on its way into the MP4."""

    kind: str  # audio or subtitle
    converted: bool

    def write(self, packet: av.Packet) -> None:
        """Take one packet of the input, or an empty one at its end."""


def plan_tracks(
    source: InputContainer,
    out: OutputContainer,
    *,
    keep_audio: bool,
    keep_subtitles: bool,
    picture_end: float,
) -> tuple[dict[int, Track], list[str]]:
    """Tracks by input stream index, added to ``out``; and the names of what is left out.

    picture_end: seconds on the output's clock, soon after which sound ends.
    """
    tracks: dict[int, Track] = {}
    dropped = []
    for stream in source.streams:
        if isinstance(stream, AudioStream) and keep_audio:
            track = _plan_audio(stream, out, picture_end + _OVERHANG)
        elif isinstance(stream, SubtitleStream) and keep_subtitles:
            track = _plan_subtitles(stream, out)
        else:  # cover pictures, other views, data: they would show or name what was hidden
            continue
        if track is None:
            dropped.append(f"{stream.type} {stream.index} ({_codec(stream)})")
        else:
            tracks[stream.index] = track
    return tracks, dropped


def _plan_audio(stream: AudioStream, out: OutputContainer, until: float) -> Track | None:
    if stream.codec_context is None or stream.rate not in _RATES:
        return None
    if _codec(stream) in COPIED_AUDIO and _muxes(stream):
        return _Until(until, _copy(stream, out))
    for layout in (stream.layout.name, _plain_layout(stream.channels), "stereo"):
        if _encodes(stream.rate, layout):
            return _Until(until, _ToAac(stream, out, layout))
    return None


def _plan_subtitles(stream: SubtitleStream, out: OutputContainer) -> Track | None:
    codec = _codec(stream)
    if codec == "mov_text" and _muxes(stream):
        return _Placeless(_copy(stream, out))
    if codec in _TEXT_SUBTITLES:
        return _Placeless(_ToMovText(stream, out))
    return None


class _Until:
    """A track up to a time: a few bytes of sound can stand for days of it."""

    def __init__(self, end: float, track: Track) -> None:
        self.kind, self.converted = track.kind, track.converted
        self._end = end
        self._track = track

    def write(self, packet: av.Packet) -> None:
        """Take one packet of the input, or an empty one at its end."""
        start = packet.pts if packet.dts is None else packet.dts
        if not packet.size or start is None or start * packet.time_base <= self._end:
            self._track.write(packet)


class _Placeless:
    """Subtitles but for the lines that tell a place."""

    def __init__(self, track: Track) -> None:
        self.kind, self.converted = track.kind, track.converted
        self._track = track

    def write(self, packet: av.Packet) -> None:
        """Take one packet of the input, or an empty one at its end."""
        if not tells_place(bytes(packet)):
            self._track.write(packet)


class _Copy:
    """Packets as they are, bit for bit, on the output's clock."""

    converted = False

    def __init__(self, source: Stream, target: Stream, out: OutputContainer) -> None:
        self.kind: str = source.type
        self._target = target
        self._out = out
        # Seconds of sound in a packet, where the codec fixes it.
        self._length = Fraction(0)
        # Sound cut off by an edit list stays out, but for what the first samples build on.
        self._hidden: deque[av.Packet] | None = None
        if isinstance(source, AudioStream):
            context = source.codec_context
            self._length = Fraction(context.frame_size or 0, context.sample_rate)
            self._hidden = deque(maxlen=_PREROLL)
        self._started = self._hidden is None
        self._last = self._next = 0

    def write(self, packet: av.Packet) -> None:
        """Take one packet of the input, or an empty one at its end."""
        if not packet.size:
            return
        if packet.is_discard and self._hidden is not None:
            if not self._started:
                self._hidden.append(packet)
            return
        if not self._started:
            self._started = True
            for hidden in self._hidden or ():
                self._write(hidden)
        self._write(packet)

    def _write(self, packet: av.Packet) -> None:
        target = self._target.time_base or Fraction(1, av.time_base)
        ratio = packet.time_base / target
        length = round(self._length / target)
        start = packet.pts if packet.dts is None else packet.dts
        dts = self._next if start is None else round(start * ratio)
        # Coarse clocks (milliseconds in Matroska) jitter around the count of samples.
        jitter = ratio + 1 if length and ratio != 1 else 0
        if self._next and (dts <= self._last or abs(dts - self._next) <= jitter):
            dts = self._next
        packet.stream = self._target
        packet.dts = packet.pts = dts
        packet.duration = round((packet.duration or 0) * ratio) or length
        packet.time_base = target
        self._last = dts
        self._next = dts + max(1, length or packet.duration)
        _mux(self._out, packet)


class _ToAac:
    """Sound that MP4 players do not take, as AAC of the same rate and layout."""

    kind = "audio"
    converted = True

    def __init__(self, source: AudioStream, out: OutputContainer, layout: str) -> None:
        rate = _aac_rate(source.rate)
        self._out = out
        self._source = source
        self._target = _add_aac(out, rate, layout)
        _label(self._target, source)
        self._resampler = AudioResampler("fltp", layout, rate, _AAC_FRAME)
        self._base = Fraction(1, rate)
        self._next: int | None = None

    def write(self, packet: av.Packet) -> None:
        """Take one packet of the input, or an empty one at its end."""
        if packet.size:
            self._encode(self._decoded(packet))
            return
        self._encode([*self._decoded(packet), None])
        _mux_all(self._out, self._target.encode(None))

    def _decoded(self, packet: av.Packet) -> list[av.AudioFrame]:
        try:
            frames = self._source.decode(packet)
        except av.error.FFmpegError:
            return []  # a damaged packet; the gap stays silent
        return [frame for frame in frames if frame.samples <= _LONGEST * frame.sample_rate]

    def _encode(self, frames: Sequence[av.AudioFrame | None]) -> None:
        for frame in frames:
            for piece in self._resampler.resample(frame):
                self._place(piece)
                _mux_all(self._out, self._target.encode(piece))

    def _place(self, piece: av.AudioFrame) -> None:
        """Count samples; follow the file's clock only over real gaps."""
        if piece.pts is not None and piece.time_base:
            time = round(piece.pts * piece.time_base / self._base)
            if self._next is None or (time - self._next) * self._base > _GAP:
                self._next = time
        piece.pts = self._next or 0
        piece.time_base = self._base
        self._next = (self._next or 0) + piece.samples


class _ToMovText:
    """Text subtitles of another kind, with their bold and italics."""

    kind = "subtitle"
    converted = True

    def __init__(self, source: SubtitleStream, out: OutputContainer) -> None:
        self._decoder = source.codec_context
        self._decoder.open(strict=False)
        self._target = out.add_stream("mov_text")
        _label(self._target, source)
        self._encoder: SubtitleCodecContext = self._target.codec_context
        self._encoder.subtitle_header = self._decoder.subtitle_header
        self._out = out

    def write(self, packet: av.Packet) -> None:
        """Take one packet of the input, or an empty one at its end."""
        if not packet.size or packet.pts is None:
            return
        try:
            text = self._decoder.decode2(packet)
            if text is None or not len(text):
                return
            shown = self._encoder.encode_subtitle(text)
        except (av.error.FFmpegError, ValueError):
            return  # one unreadable line
        shown.stream = self._target
        shown.pts = shown.dts = packet.pts
        shown.duration = packet.duration
        shown.time_base = packet.time_base
        _mux(self._out, shown)


def _codec(stream: Stream) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context else "unknown"


def _copy(stream: Stream, out: OutputContainer) -> Track:
    target = out.add_stream_from_template(stream)
    _label(target, stream)
    return _Copy(stream, target, out)


def _label(target: Stream, source: Stream) -> None:
    """Language and role are kept; titles and makers' names are not."""
    language = source.language or ""
    if re.fullmatch(r"[a-z]{3}", language):
        target.metadata["language"] = language
    target.disposition = source.disposition & _KEPT


def _muxes(template: Stream) -> bool:
    """Whether the MP4 writer takes the stream as it is."""
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(template)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _encodes(rate: int, layout: str) -> bool:
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            _add_aac(trial, _aac_rate(rate), layout).codec_context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _add_aac(out: OutputContainer, rate: int, layout: str) -> AudioStream:
    stream = out.add_stream("aac", rate=rate, layout=layout)
    stream.bit_rate = min(512_000, _AAC_BITRATE * stream.channels)
    return stream


def _aac_rate(rate: int) -> int:
    return min((known for known in _AAC_RATES if known >= rate), default=48000)


def _plain_layout(channels: int) -> str:
    """The usual layout for a count of channels whose places the file does not tell."""
    return {1: "mono", 2: "stereo", 4: "4.0", 6: "5.1", 8: "7.1"}.get(channels, "stereo")


def _mux_all(out: OutputContainer, packets: list[av.Packet]) -> None:
    for packet in packets:
        _mux(out, packet)


def _mux(out: OutputContainer, packet: av.Packet) -> None:
    """Write a packet; one that is malformed is left out, as players would skip it."""
    try:
        out.mux(packet)
    except av.error.FFmpegError as error:
        if is_disk_full(error):
            raise
