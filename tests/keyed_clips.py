"""Clips with a keyframe now and then, of every kind in which long videos are cut and joined."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from gateway.media.video import VideoLimits, scan
from tests.clips import Clip, Sound

LIMITS = VideoLimits(pixels=4096 * 2176, seconds=3600)
MS = Fraction(1, 1000)
FRAMES = 120
GOP = {"g": "15", "sc_threshold": "0"}
X265 = "log-level=none:keyint=15:min-keyint=15:scenecut=0"
UNEVEN = np.cumsum(np.random.default_rng(3).integers(5, 90, FRAMES)).tolist()
TEXTS = ((0.1, 0.3, "hello"), (3.5, 3.7, "you"))


def gop(**kind: object) -> Clip:
    return replace(Clip(frames=FRAMES, options=GOP), **kind)


CLIPS = {
    "plain.mp4": gop(),
    "b-frames.mp4": gop(options=GOP | {"bf": "4", "refs": "4"}),
    "open.mp4": gop(options=GOP | {"bf": "3", "x264-params": "open-gop=1"}),
    "open.mkv": gop(options=GOP | {"bf": "3", "x264-params": "open-gop=1"}),
    "open.ts": gop(options=GOP | {"bf": "3", "x264-params": "open-gop=1"}, sounds=[Sound()]),
    "sound.mp4": gop(sounds=[Sound(), Sound("ac3", "deu", 880)], subtitles=TEXTS),
    "sound.mkv": gop(sounds=[Sound("vorbis")], subtitles=TEXTS, subtitle_codec="srt"),
    "sound.mov": gop(sounds=[Sound("pcm_s16be")]),
    "variable.mp4": gop(times=UNEVEN, time_base=MS, sounds=[Sound()]),
    "variable.mkv": gop(times=UNEVEN, time_base=MS),
    "late.mp4": gop(times=[500 + 40 * n for n in range(FRAMES)], time_base=MS, sounds=[Sound()]),
    "fragmented.mp4": gop(container_options={"movflags": "frag_keyframe+empty_moov"}),
    "unindexed.mkv": gop(container_options={"live": "1"}, sounds=[Sound()]),
    "edited.mp4": gop(times=range(-7, FRAMES - 7), options=GOP | {"bf": "0"}),
    "edited-b.mp4": gop(times=range(-20, FRAMES - 20), options=GOP | {"bf": "2"}),
    "ntsc.mp4": gop(time_base=Fraction(1001, 30000), times=[*range(FRAMES)]),
    "turned.mp4": gop(matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)),
    "tagged.mp4": gop(color=(2, 1, 1, 1), aspect=Fraction(4, 3)),
    "interlaced.mp4": gop(interlaced=True),
    "ten.mkv": gop(pix_fmt="yuv420p10le"),
    "odd.mkv": gop(codec="libvpx-vp9", width=97, height=65),
    "hevc.mp4": gop(codec="libx265", options={"x265-params": X265}),
    "hevc-closed.mkv": gop(codec="libx265", options={"x265-params": X265 + ":open-gop=0"}),
    "vp8.webm": gop(codec="libvpx", options={"g": "15", "auto-alt-ref": "1", "lag-in-frames": "9"}),
    "vp9.webm": gop(codec="libvpx-vp9", sounds=[Sound("libopus")]),
    "av1.mkv": gop(codec="libsvtav1", options={"preset": "11", "g": "15"}),
    "mpeg4.mp4": gop(codec="mpeg4", options={"bf": "2", "g": "15"}),
    "mpeg2.ts": gop(codec="mpeg2video", options={"bf": "2", "g": "15"}, sounds=[Sound("mp2")]),
    "mjpeg.avi": gop(codec="mjpeg", pix_fmt="yuvj420p", sounds=[Sound("pcm_s16le")]),
    "mjpeg.mov": gop(codec="mjpeg", pix_fmt="yuvj420p"),
    "prores.mov": gop(codec="prores_ks", pix_fmt="yuv422p10le"),
}


def seams_of(path: Path, wanted: int = 3) -> list[int]:
    """A few keyframes, spread over the video at ``path``."""
    found = scan(str(path), LIMITS)
    assert found is not None
    places = np.linspace(0, len(found.keys) - 1, wanted + 2)[1:-1].round().astype(int)
    return [int(found.keys[place]) for place in sorted({*places.tolist()})]
