"""Orientation, colour tags, aspect, depth and size of decoded pictures."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.video import Orientation, VideoInfo, VideoLimits, probe, read_frames, transcode
from gateway.media.video.pictures import turn_plane
from tests import clips
from tests.clips import Clip

LIMITS = VideoLimits(pixels=4096 * 2176, seconds=3600)
QUIET_X265 = {"x265-params": "log-level=none"}
ONE = 1 << 16


def matrix(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    return (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)


RIGHT_ANGLES = [
    *((a, 0, 0, d) for a, d in product((1, -1), repeat=2)),
    *((0, b, c, 0) for b, c in product((1, -1), repeat=2)),
]


def shown(stored: np.ndarray, entries: Sequence[int]) -> np.ndarray:
    """What a player shows, pixel by pixel from the matrix's definition."""
    a, b, _, c, d = entries[:5]
    height, width = stored.shape
    points = {}
    for q, p in product(range(height), range(width)):
        points[(a * p + c * q) // ONE, (b * p + d * q) // ONE] = stored[q, p]
    left, top = min(x for x, _ in points), min(y for _, y in points)
    size = (height, width) if a or d else (width, height)
    upright = np.zeros(size, np.uint8)
    for (x, y), value in points.items():
        upright[y - top, x - left] = value
    return upright


@pytest.mark.parametrize("entries", RIGHT_ANGLES)
def test_planes_turn_as_the_display_matrix_says(entries: tuple[int, int, int, int]) -> None:
    full = matrix(*entries)
    turn = Orientation.from_display_matrix(full)
    stored = np.arange(6 * 10, dtype=np.uint8).reshape(6, 10)
    expected = shown(stored, full)
    turned = np.zeros((expected.shape[0], 64), np.uint8)[:, : expected.shape[1]]  # padded rows
    if turn.is_identity:
        turned[:] = stored
    else:
        turn_plane(stored, turned, turn)
    assert np.array_equal(turned, expected)
    by_hand = np.fliplr(stored) if turn.mirrored else stored
    assert np.array_equal(np.rot90(by_hand, -turn.degrees // 90), expected)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=9, max_size=9))
def test_any_matrix_gives_some_orientation(entries: list[int]) -> None:
    turn = Orientation.from_display_matrix(entries)
    assert turn.degrees in (0, 90, 180, 270)


@pytest.mark.parametrize("entries", RIGHT_ANGLES)
def test_rotated_video_is_read_and_written_upright(
    tmp_path: Path, entries: tuple[int, int, int, int]
) -> None:
    full = matrix(*entries)
    plain = clips.make(tmp_path / "plain.mp4", Clip(frames=6, aspect=Fraction(4, 3)))
    path = clips.make(tmp_path / "a.mp4", Clip(frames=6, aspect=Fraction(4, 3), matrix=full))
    before, info = probe(str(plain), LIMITS), probe(str(path), LIMITS)
    swapped = bool(entries[1])
    assert (info.width, info.height) == ((64, 96) if swapped else (96, 64))
    assert info.sample_aspect == (Fraction(3, 4) if swapped else Fraction(4, 3))
    pairs = zip(read_frames(str(plain), before), read_frames(str(path), info), strict=True)
    for stored, upright in pairs:
        for one, other in zip(stored.planes, upright.planes, strict=True):
            assert np.array_equal(shown(one, full), other)
    out = tmp_path / "out.mp4"
    transcode(str(path), str(out), info, lambda frame: None)
    after = probe(str(out), LIMITS)
    assert after.orientation.is_identity
    assert (after.width, after.height) == (info.width, info.height)
    assert after.sample_aspect == info.sample_aspect
    written = next(read_frames(str(out), after)).planes[0].astype(int)
    assert np.abs(written - upright_first(path, info)).mean() < 4


def upright_first(path: Path, info: VideoInfo) -> np.ndarray:
    return next(read_frames(str(path), info)).planes[0]


@pytest.mark.parametrize(
    ("name", "clip"),
    {
        "601.mp4": Clip(color=(1, 6, 6, 6)),
        "709.mp4": Clip(color=(1, 1, 1, 1)),
        "full.mp4": Clip(pix_fmt="yuvj420p", color=(2, 5, 5, 6)),
        "full-709.mkv": Clip(pix_fmt="yuvj420p", color=(2, 1, 1, 1)),
        "hlg.mp4": Clip(
            codec="libx265", pix_fmt="yuv420p10le", options=QUIET_X265, color=(1, 9, 9, 18)
        ),
        "full-10.mkv": Clip(
            codec="libx265",
            pix_fmt="yuv420p10le",
            options={"x265-params": "log-level=none:range=full"},
            color=(2, 9, 9, 16),
        ),
        "422.mp4": Clip(pix_fmt="yuv422p", color=(1, 1, 1, 1)),
        "444.mp4": Clip(pix_fmt="yuv444p", color=(1, 1, 1, 1)),
    }.items(),
    ids=str,
)
def test_colour_tags_and_values_are_kept(tmp_path: Path, name: str, clip: Clip) -> None:
    path = clips.make(tmp_path / name, clip)
    info = probe(str(path), LIMITS)
    out = tmp_path / "out.mp4"
    transcode(str(path), str(out), info, lambda frame: None)
    with av.open(str(path)) as source, av.open(str(out)) as written:
        one, two = next(source.decode(video=0)), next(written.decode(video=0))
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
            assert getattr(one, tag) == getattr(two, tag) == clip_tag(clip, tag), tag
        deep = one.format.components[0].bits == 10
        luma_in = one.to_ndarray()[:64].astype(float) / (4 if deep else 1)
        if "444" in one.format.name:
            luma_in = one.to_ndarray()[0].astype(float)
        elif "422" in one.format.name:
            luma_in = clips_luma(one)
        assert np.abs(luma_in - clips_luma(two)).mean() < 2
    assert info.full_range == (clip.color[0] == 2)
    assert info.matrix == {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}[clip.color[1]]


def clip_tag(clip: Clip, tag: str) -> int:
    names = ("color_range", "colorspace", "color_primaries", "color_trc")
    return dict(zip(names, clip.color, strict=True))[tag]


def clips_luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width].astype(float)


def test_rgb_becomes_bt709(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mkv", Clip(codec="libx264rgb", pix_fmt="rgb24"))
    info = probe(str(path), LIMITS)
    out = tmp_path / "out.mp4"
    transcode(str(path), str(out), info, lambda frame: None)
    with av.open(str(path)) as source, av.open(str(out)) as written:
        rgb = next(source.decode(video=0)).to_ndarray(format="rgb24").astype(float)
        frame = next(written.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        y = 16 + 219 / 255 * (rgb @ (0.2126, 0.7152, 0.0722))
        assert np.abs(y - clips_luma(frame))[40:60, 10:40].mean() < 2


def test_grey_stays_grey(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mkv", Clip(pix_fmt="gray"))
    info = probe(str(path), LIMITS)
    y, u, v = next(read_frames(str(path), info)).planes
    with av.open(str(path)) as source:
        assert np.array_equal(y, clips_luma(next(source.decode(video=0))))
    assert abs(int(u[5, 5]) - 128) <= 1 and abs(int(v[5, 5]) - 128) <= 1


def test_alpha_is_dropped(tmp_path: Path) -> None:
    clip = Clip(codec="prores_ks", pix_fmt="yuva444p10le", options={"profile": "4444"})
    path = clips.make(tmp_path / "a.mov", clip)
    info = probe(str(path), LIMITS)
    frames = list(read_frames(str(path), info))
    assert [clips.number(frame.planes[0]) for frame in frames] == [*range(20)]
    assert info.picture.pix_fmt == "yuv420p"


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(8, 9), Fraction(1)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_sample_aspect_is_kept(tmp_path: Path, aspect: Fraction, name: str) -> None:
    path = clips.make(tmp_path / name, Clip(frames=3, aspect=aspect))
    info = probe(str(path), LIMITS)
    out = tmp_path / "out.mp4"
    transcode(str(path), str(out), info, lambda frame: None)
    with av.open(str(out)) as file:
        assert file.streams.video[0].sample_aspect_ratio == aspect


def test_a_new_size_midway_is_scaled_to_the_first(tmp_path: Path) -> None:
    first = clips.make(tmp_path / "a.ts", Clip()).read_bytes()
    second = clips.make(tmp_path / "b.ts", Clip(width=160, height=128)).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(first + second)
    info = probe(str(path), LIMITS)
    out = tmp_path / "out.mp4"
    written = transcode(str(path), str(out), info, lambda frame: None)
    assert (info.width, info.height, written.frames) == (96, 64, 40)
    frames = [clips.number(frame.planes[0]) for frame in read_frames(str(out), info)]
    assert frames == [*range(20), *range(20)]
