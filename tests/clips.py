"""Small synthetic videos in many codecs and containers, made with PyAV in milliseconds.

Each frame carries its number as a bar code along the top edge, and four quadrants of
different brightness and colour below, so a test can tell which frame it sees, which
way up, and whether its colours moved.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder prints its settings otherwise
BITS = 8
QUADRANTS = ((60, 100, 180), (110, 190, 100), (160, 90, 90), (210, 128, 128))
"""(Y, U, V) of top left, top right, bottom left, bottom right."""


@dataclass(frozen=True)
class Sound:
    """One sound track: a tone of ``hertz``, ``longer`` (seconds) than the picture."""

    codec: str = "aac"
    language: str = "eng"
    hertz: float = 440.0
    rate: int = 48000
    layout: str = "stereo"
    longer: float = 0.0
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """What to make. ``times``: presentation ticks of each frame; else ``frames`` even ones."""

    codec: str = "libx264"
    width: int = 96
    height: int = 64
    frames: int = 20
    rate: int = 25
    times: Sequence[int] | None = None
    time_base: Fraction | None = None
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    sounds: Sequence[Sound] = ()
    subtitles: Sequence[tuple[float, float, str]] = ()
    subtitle_codec: str = "mov_text"
    matrix: Sequence[int] | None = None  # display matrix, nine 16.16 / 2.30 integers
    aspect: Fraction | None = None
    color: tuple[int, int, int, int] | None = None  # range, matrix, primaries, transfer
    metadata: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    interlaced: bool = False


def make(path: Path, clip: Clip = Clip(), *, container: str | None = None) -> Path:
    """Write ``clip`` to ``path``; the container follows the name unless given."""
    base = clip.time_base or Fraction(1, clip.rate)
    times = clip.times if clip.times is not None else [*range(clip.frames)]
    if clip.times is None and clip.time_base:
        times = [round(i / (clip.rate * base)) for i in range(clip.frames)]
    with av.open(str(path), "w", format=container, container_options=clip.container_options) as out:
        out.metadata.update(clip.metadata)
        video = out.add_stream(clip.codec, rate=clip.rate, time_base=base, options=clip.options)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, clip.pix_fmt
        if clip.aspect:
            video.codec_context.sample_aspect_ratio = clip.aspect
        if clip.color:
            context = video.codec_context
            (
                context.color_range,
                context.colorspace,
                context.color_primaries,
                context.color_trc,
            ) = clip.color
        if clip.interlaced:
            video.codec_context.flags |= 1 << 18
        if clip.matrix:
            video.set_display_matrix(clip.matrix)
        sounds = [_add_sound(out, sound) for sound in clip.sounds]
        texts = None
        if clip.subtitles:
            texts = out.add_stream(clip.subtitle_codec)
            texts.metadata["language"] = "fra"
            texts.codec_context.subtitle_header = _ASS_HEADER
        out.start_encoding()
        for index, time in enumerate(times):
            picture = draw(index, clip.width, clip.height, clip.pix_fmt)
            if clip.color:
                picture.color_range = clip.color[0]
            picture.pts, picture.time_base = time, base
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        seconds = (
            float((times[-1] + 1) * base) if clip.times is not None else clip.frames / clip.rate
        )
        for stream, sound in zip(sounds, clip.sounds, strict=True):
            _write_sound(out, stream, sound, seconds + sound.longer)
        for start, end, text in clip.subtitles:
            _write_text(out, texts, start, end, text)
    return path


def draw(index: int, width: int, height: int, pix_fmt: str = "yuv420p") -> av.VideoFrame:
    """Frame ``index`` in ``pix_fmt``."""
    y, u, v = (np.empty((height, width), np.uint8) for _ in range(3))
    top, left = height // 2, width // 2
    areas = (np.s_[:top, :left], np.s_[:top, left:], np.s_[top:, :left], np.s_[top:, left:])
    for area, color in zip(areas, QUADRANTS, strict=True):
        y[area], u[area], v[area] = color
    bar = max(1, width // BITS)
    for bit in range(BITS):
        y[: height // 4, bit * bar : (bit + 1) * bar] = 235 if index >> bit & 1 else 16
    frame = av.VideoFrame(width, height, "yuv444p")
    for plane, values in zip(frame.planes, (y, u, v), strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        rows[:, :width] = values
    return frame if pix_fmt == "yuv444p" else frame.reformat(format=pix_fmt)


def number(luma: np.ndarray) -> int:
    """The frame number that an upright frame's luma (H, W) shows."""
    height, width = luma.shape
    bar = max(1, width // BITS)
    bits = [luma[: height // 5, bit * bar : (bit + 1) * bar].mean() > 125 for bit in range(BITS)]
    return sum(1 << bit for bit, on in enumerate(bits) if on)


def times(path: Path) -> list[Fraction]:
    """Presentation seconds of every frame that a player shows, exactly."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return [frame.pts * stream.time_base for frame in file.decode(stream)]


def packets(path: Path, kind: str = "audio", index: int = 0) -> list[bytes]:
    """The payloads of one stream's packets."""
    with av.open(str(path)) as file:
        stream = getattr(file.streams, kind)[index]
        return [bytes(packet) for packet in file.demux(stream) if packet.size]


def _add_sound(out: av.container.OutputContainer, sound: Sound) -> av.AudioStream:
    stream = out.add_stream(
        sound.codec, rate=sound.rate, layout=sound.layout, options={**sound.options, "strict": "-2"}
    )
    stream.metadata["language"] = sound.language
    return stream


def _write_sound(
    out: av.container.OutputContainer, stream: av.AudioStream, sound: Sound, seconds: float
) -> None:
    context = stream.codec_context
    count = round(seconds * sound.rate)
    wave = np.sin(np.arange(count) * 2 * np.pi * sound.hertz / sound.rate) * 0.3
    channels = len(context.layout.channels)
    planar = np.repeat(wave[None].astype(np.float32), channels, axis=0)
    frame = av.AudioFrame.from_ndarray(planar, "fltp", sound.layout)
    frame.rate, frame.pts = sound.rate, 0
    size = context.frame_size or 1024
    resampler = av.AudioResampler(context.format, sound.layout, sound.rate, size)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(stream.encode(piece))
    out.mux(stream.encode(None))


def _write_text(
    out: av.container.OutputContainer, stream: av.stream.Stream, start: float, end: float, text: str
) -> None:
    line = f"0,0,Default,,0,0,0,,{text}".encode()
    duration = round((end - start) * 1000)
    body = av.subtitles.subtitle.SubtitleSet.create(line, 0, duration, 0)
    packet = stream.codec_context.encode_subtitle(body)
    packet.stream = stream
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = round(start * 1000)
    packet.duration = duration
    out.mux(packet)


_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment
Style: Default,Arial,16,&Hffffff,0,0,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
