"""Where a long video may be cut, and that a section holds what the whole has there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from gateway.media.video import Section, SeekFailed, probe, read_frames, scan
from tests import clips
from tests.clips import Clip, Sound
from tests.keyed_clips import CLIPS, FRAMES, LIMITS, gop


@pytest.mark.parametrize("name", ["open.mp4", "variable.mkv", "mpeg2.ts", "vp8.webm", "hevc.mp4"])
def test_a_section_has_the_frames_of_the_whole_whatever_it_is_decoded_from(
    tmp_path: Path, name: str
) -> None:
    path = clips.make(tmp_path / name, CLIPS[name])
    info = probe(str(path), LIMITS)
    all_frames = [(f.pts, f.planes[0].copy()) for f in read_frames(str(path), info)]
    found = scan(str(path), LIMITS)
    assert found is not None
    keys = found.keys.tolist()
    for key in [*keys[1:7], None]:
        first = keys[1] if key is None else key
        stop = first + 40 * (all_frames[1][0] - all_frames[0][0])
        section = Section(key, first, stop)
        got = [(f.pts, f.planes[0].copy()) for f in read_frames(str(path), info, section=section)]
        expected = [frame for frame in all_frames if first <= frame[0] < stop]
        assert [pts for pts, _ in got] == [pts for pts, _ in expected]
        for (_, a), (_, b) in zip(got, expected, strict=True):
            assert np.array_equal(a, b)


# What cannot be cut


@pytest.mark.parametrize(
    ("name", "clip"),
    {
        "b-frames.avi": gop(codec="mpeg4", options={"bf": "2", "g": "15"}),
        "one-key.mp4": gop(options={"g": "9999", "sc_threshold": "0"}),
        "all-keys.mp4": gop(options={"g": "1"}),
        "one-frame.mp4": gop(frames=1),
    }.items(),
)
def test_what_cannot_be_cut_safely_is_not(tmp_path: Path, name: str, clip: Clip) -> None:
    found = scan(str(clips.make(tmp_path / name, clip)), LIMITS)
    assert found is None or not len(found.keys)


def test_a_clock_that_jumps_is_not_cut(tmp_path: Path) -> None:
    clip = gop(sounds=[Sound()])
    late = replace(clip, container_options={"output_ts_offset": "5000"})
    first = clips.make(tmp_path / "a.ts", clip).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(first + clips.make(tmp_path / "b.ts", late).read_bytes())
    assert scan(str(path), LIMITS) is None


def test_a_time_far_out_of_order_is_not_cut_at(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    plain = clips.make(tmp_path / "plain.mp4", gop())
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts += (number == 20) * 2000 * packet.duration // 40
                packet.stream = stream
                out.mux(packet)
    assert scan(str(path), LIMITS) is None


def test_a_short_file_is_not_read(tmp_path: Path) -> None:
    path = str(clips.make(tmp_path / "a.mp4", gop()))
    assert scan(path, LIMITS, at_least=FRAMES / 25 + 1) is None
    found = scan(path, LIMITS, at_least=FRAMES / 25 - 1)
    assert found is not None
    assert len(found.times) == FRAMES
    assert found.rate == 25
    assert len(found.keys) == FRAMES / 15 - 1


@pytest.mark.parametrize("name", ["plain.mp4", "open.mkv", "open.ts"])
def test_a_keyframe_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    path = clips.make(tmp_path / name, CLIPS[name])
    info = probe(str(path), LIMITS)
    found = scan(str(path), LIMITS)
    assert found is not None
    time = int(found.times[22])
    assert time not in found.keys
    with pytest.raises(SeekFailed):
        next(read_frames(str(path), info, section=Section(time, time, None)))
