"""Where a long video is cut: whole coverage, keyframes, room on both sides."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadMedia, EmptyUpload, TooLarge
from gateway.media.video import Scan, Section, VideoLimits
from gateway.pipelines.split import Segment, cut, plan
from tests import clips
from tests.clips import Clip

LIMITS = VideoLimits(pixels=4096 * 2176, seconds=36000)
BEFORE, AFTER = 90, 60


def even(minutes: float, every: float, rate: int = 25) -> Scan:
    """A video with a keyframe every so many seconds, in milliseconds."""
    times = np.arange(0, minutes * 60_000, 1000 // rate)
    keys = times[:: round(every * rate)][1:]
    return Scan(times, keys, Fraction(1, 1000), rate)


def test_ten_minutes_are_ten_segments() -> None:
    segments = cut(even(10, 2), 60_000, BEFORE, AFTER)
    assert [s.start for s in segments] == [1500 * n for n in range(10)]
    assert [s.end for s in segments] == [1500 * n for n in range(1, 11)]
    second = segments[1]
    assert (second.first, second.stop) == (60_000, 120_000)
    assert (second.watch_first, second.watch_stop) == (60_000 - 3600, 122_400)
    assert (second.key, second.refresh) == (56_000, 120_000 - 3600)
    assert segments[0] == Segment(0, 0, 1500, stop=60_000, watch_stop=62_400, refresh=56_400)
    assert segments[-1].stop is segments[-1].watch_stop is segments[-1].refresh is None


@pytest.mark.parametrize(("minutes", "count"), [(0.1, 1), (1.4, 1), (1.6, 2), (2.4, 2), (2.6, 3)])
def test_pieces_are_about_as_long_as_asked(minutes: float, count: int) -> None:
    segments = cut(even(minutes, 1), 60_000, BEFORE, AFTER)
    assert len(segments) == count


def test_rare_keyframes_make_fewer_segments() -> None:
    assert len(cut(even(10, 45), 60_000, BEFORE, AFTER)) in range(6, 11)
    assert len(cut(even(10, 119), 60_000, BEFORE, AFTER)) <= 6
    assert len(cut(even(10, 400), 60_000, BEFORE, AFTER)) <= 2
    assert len(cut(even(10, 700), 60_000, BEFORE, AFTER)) == 1


def test_a_few_frames_a_minute_are_not_cut() -> None:
    times = np.arange(0, 600_000, 6000)
    assert len(cut(Scan(times, times[1:], Fraction(1, 1000), 1 / 6), 60_000, 4, 3)) == 10
    assert len(cut(Scan(times, times[1:], Fraction(1, 1000), 1 / 6), 60_000, 9, 6)) < 10
    assert len(cut(Scan(times, times[1:], Fraction(1, 1000), 1 / 6), 60_000, 90, 60)) == 1


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 400), min_size=2, max_size=900),
    st.floats(0, 0.4),
    st.integers(0, 10**6),
    st.integers(200, 20_000),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_segments_cover_every_frame_once_and_begin_at_keyframes(
    gaps: list[int], share: float, seed: int, length: int, before: int, after: int
) -> None:
    times = np.cumsum(gaps)
    rng = np.random.default_rng(seed)
    keys = times[1:][rng.random(len(times) - 1) < share]
    segments = cut(Scan(times, keys, Fraction(1, 1000), 10.0), length, before, after)
    assert [s.index for s in segments] == [*range(len(segments))]
    assert segments[0].start == 0
    assert segments[-1].end == len(times)
    for one, other in pairwise(segments):
        assert one.end == other.start
        assert one.stop == other.first == times[other.start]
        assert other.first in keys
        assert one.refresh == other.watch_first == times[other.start - before]
        assert other.key is None or other.key in keys
        assert other.watch_first >= (times[0] if other.key is None else other.key)
    for segment in segments:
        assert segment.end - segment.start > before + after or len(segments) == 1
        assert Segment(**json.loads(json.dumps(asdict(segment)))) == segment


def test_sections_begin_at_a_keyframe_or_at_the_beginning() -> None:
    segment = Segment(1, 50, 90, first=500, stop=900, key=300, watch_first=350, watch_stop=1000)
    assert segment.watched() == Section(300, 300, 1000)
    assert segment.rendered() == Section(500, 500, 900)
    assert segment.watched(sought=False) == Section(None, None, 1000)
    assert segment.rendered(sought=False) == Section(None, 500, 900)


def test_plan_reads_a_real_file(tmp_path: Path) -> None:
    clip = Clip(frames=700, options={"g": "20", "sc_threshold": "0", "preset": "ultrafast"})
    path = str(clips.make(tmp_path / "a.mp4", clip))
    segments = plan(path, LIMITS, 7.0)
    assert [s.start for s in segments] == [0, 180, 340, 520]
    assert plan(path, LIMITS, 7.0, interval=2.0) != segments
    assert len(plan(path, LIMITS)) == len(plan(path, LIMITS, 0)) == 1


def test_plan_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    with pytest.raises(EmptyUpload):
        plan(str(path), LIMITS)
    path.write_bytes(clips.make(tmp_path / "b.mp4", Clip()).read_bytes()[:400])
    with pytest.raises(BadMedia):
        plan(str(path), LIMITS)
    # Matroska as a stream does not say how long it is.
    live = clips.make(tmp_path / "c.mkv", Clip(frames=250, container_options={"live": "1"}))
    with pytest.raises(TooLarge):
        plan(str(live), replace(LIMITS, seconds=5))
