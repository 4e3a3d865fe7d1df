"""Videos in and out: every codec and container, frames, timestamps, privacy."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gateway.errors import Cancelled
from gateway.media.video import (
    Frame,
    probe,
    read_frames,
    transcode,
)
from tests import clips
from tests.clips import Clip, Sound
from tests.unit.video_runs import LIMITS, run

QUIET_X265 = {"x265-params": "log-level=none"}


MS = Fraction(1, 1000)


FORMATS = {
    "h264.mp4": Clip(sounds=[Sound()]),
    "h264.mov": Clip(sounds=[Sound("pcm_s16be")]),
    "h264.mkv": Clip(sounds=[Sound("flac")]),
    "h264.ts": Clip(sounds=[Sound("aac"), Sound("mp2")]),
    "h264.avi": Clip(),
    "hevc.mp4": Clip(codec="libx265", options=QUIET_X265),
    "hevc.mkv": Clip(codec="libx265", options=QUIET_X265),
    "hevc.ts": Clip(codec="libx265", options=QUIET_X265),
    "hevc10.mp4": Clip(codec="libx265", pix_fmt="yuv420p10le", options=QUIET_X265),
    "vp8.webm": Clip(codec="libvpx"),
    "vp9.webm": Clip(codec="libvpx-vp9", sounds=[Sound("libopus")]),
    "vp9.mp4": Clip(codec="libvpx-vp9"),
    "av1.mkv": Clip(codec="libsvtav1", options={"preset": "11"}),
    "mpeg4.avi": Clip(codec="mpeg4", sounds=[Sound("libmp3lame")]),
    "mpeg4-b.avi": Clip(codec="mpeg4", options={"bf": "2"}),
    "mpeg4.mp4": Clip(codec="mpeg4", options={"bf": "2"}),
    "mpeg2.ts": Clip(codec="mpeg2video"),
    "mjpeg.avi": Clip(codec="mjpeg", pix_fmt="yuvj422p"),
    "mjpeg.mov": Clip(codec="mjpeg", pix_fmt="yuvj420p"),
    "prores.mov": Clip(codec="prores_ks", pix_fmt="yuv422p10le"),
    "rgb.mp4": Clip(codec="libx264rgb", pix_fmt="rgb24"),
    "odd.mkv": Clip(codec="libvpx-vp9", width=97, height=65),
    "odd-height.mkv": Clip(codec="libvpx-vp9", width=96, height=65),
    "tiny.mp4": Clip(width=16, height=16),
}


def numbers(path: Path) -> list[int]:
    info = probe(str(path), LIMITS)
    return [clips.number(frame.planes[0]) for frame in read_frames(str(path), info)]


def quadrants(planes) -> np.ndarray:
    """Mean (Y, U, V) of the four quadrants, away from bar code and borders."""
    y, u, v = planes
    found = []
    for top, left in ((0.35, 0.1), (0.35, 0.6), (0.6, 0.1), (0.6, 0.6)):
        color = []
        for plane in (y, u, v):
            h, w = plane.shape
            part = plane[
                int(top * h) : int((top + 0.1) * h) + 1, int(left * w) : int((left + 0.3) * w)
            ]
            color.append(part.mean())
        found.append(color)
    return np.array(found)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_its_frames_size_and_colours(tmp_path: Path, name: str) -> None:
    clip = FORMATS[name]
    path = clips.make(tmp_path / name, clip)
    info, written, out = run(path)
    assert (info.width, info.height) == (clip.width, clip.height)
    after = probe(str(out), LIMITS)
    assert (after.width, after.height, after.codec) == (clip.width, clip.height, "h264")
    expected = [*range(clip.frames)]
    assert numbers(path) == numbers(out) == expected
    assert written.frames == clip.frames
    assert abs(written.seconds - clip.frames / clip.rate) < 1 / clip.rate + 1e-6
    assert abs(after.seconds - written.seconds) < 1e-3
    gaps = np.diff([float(t) for t in clips.times(out)])
    assert np.allclose(gaps, np.diff(stored_times(path)), atol=1e-6)
    assert len(clip.sounds) == written.audio_tracks == after.audio_tracks
    first_in = next(read_frames(str(path), info))
    first_out = next(read_frames(str(out), after))
    assert np.abs(quadrants(first_in.planes) - quadrants(first_out.planes)).max() < 4
    if not info.full_range and name != "rgb.mp4" and clip.width > 20:
        assert np.abs(quadrants(first_in.planes) - clips.QUADRANTS).max() < 8


def test_odd_sizes_become_444(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "odd.mkv", FORMATS["odd.mkv"])
    _, _, out = run(path)
    with av.open(str(out)) as file:
        assert file.streams.video[0].pix_fmt == "yuv444p"
        assert (file.streams.video[0].width, file.streams.video[0].height) == (97, 65)


@pytest.mark.parametrize(
    ("name", "clip"),
    {
        "even.mp4": Clip(options={"bf": "3"}),
        "variable.mp4": Clip(times=[0, 100, 130, 400, 401, 900, 1500], time_base=MS),
        "variable.mkv": Clip(times=[0, 7, 50, 51, 90, 91, 95, 400], time_base=MS),
        "late.mp4": Clip(times=[500, 540, 580, 620], time_base=MS, sounds=[Sound()]),
        "late.mkv": Clip(times=[503, 540, 580, 620], time_base=MS, sounds=[Sound()]),
        "ntsc.mp4": Clip(time_base=Fraction(1001, 30000), times=[*range(30)]),
        "film.mov": Clip(time_base=Fraction(1, 90000), times=[i * 3754 for i in range(20)]),
        "jitter.webm": Clip(
            codec="libvpx-vp9", times=[0, 33, 67, 100, 133, 167, 200], time_base=MS
        ),
    }.items(),
    ids=str,
)
def test_timestamps_are_kept_to_the_tick(tmp_path: Path, name: str, clip: Clip) -> None:
    path = clips.make(tmp_path / name, clip)
    info, written, out = run(path)
    assert clips.times(out) == clips.times(path)
    assert numbers(out) == [*range(len(clips.times(path)))]
    shown = [frame.time for frame in read_frames(str(path), info)]
    assert shown == [float(t) for t in clips.times(out)]
    span = float(clips.times(out)[-1] - clips.times(out)[0])
    assert span < written.seconds <= span + 1.5 / info.rate


def test_transport_stream_starts_at_zero_with_sound_in_step(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.ts", Clip(sounds=[Sound("ac3")]))
    _, _, out = run(path)

    def lag(file: Path) -> float:
        with av.open(str(file)) as container:
            starts = {s.type: s.start_time * s.time_base for s in container.streams}
        return float(starts["video"] - starts["audio"])

    with av.open(str(out)) as container:
        assert abs(container.start_time) < 1000
    assert lag(path) == pytest.approx(lag(out), abs=0.002)


def test_a_joined_transport_stream_plays_on(tmp_path: Path) -> None:
    late = Clip(container_options={"output_ts_offset": "5000"}, sounds=[Sound()])
    first = clips.make(tmp_path / "a.ts", Clip(sounds=[Sound()])).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(first + clips.make(tmp_path / "b.ts", late).read_bytes() + first)
    _, written, out = run(path)
    assert written.frames == 60
    assert numbers(out) == [*range(20)] * 3
    assert written.seconds == pytest.approx(2.4, abs=0.3)


def test_frames_hidden_by_an_edit_list_stay_hidden(tmp_path: Path) -> None:
    # The MP4 writer hides what lies before zero behind an edit list.
    path = clips.make(tmp_path / "a.mp4", Clip(times=range(-7, 13), options={"bf": "0"}))
    with av.open(str(path)) as file:
        assert sum(bool(p.size) for p in file.demux(video=0)) == 20
    _, written, out = run(path)
    assert numbers(path) == numbers(out) == [*range(7, 20)]
    assert written.frames == 13
    with av.open(str(out)) as file:
        assert sum(bool(p.size) for p in file.demux(video=0)) == 13


def test_metadata_stays_out(tmp_path: Path) -> None:
    secrets = {
        "title": "SECRET-title",
        "comment": "SECRET-comment",
        "artist": "SECRET-artist",
        "location": "+48.8577+002.2950/",
        "make": "SECRET-make",
        "creation_time": "2021-02-03T04:05:06Z",
    }
    clip = Clip(metadata=secrets, options={"x264-params": "keyint=77"}, sounds=[Sound()])
    source = clips.make(tmp_path / "a.mov", clip).read_bytes()
    assert all(mark in source for mark in (b"SECRET-title", b"+48.8577", b"keyint=77"))
    for name in ("a.mov", "b.mp4", "c.mkv"):
        path = clips.make(tmp_path / name, clip)
        _, _, out = run(path)
        written = out.read_bytes()
        for leak in (b"SECRET", b"48.8577", b"keyint=77", b"Lavf", b"2021"):
            assert leak not in written
        with av.open(str(out)) as file:
            assert set(file.metadata) <= {"major_brand", "minor_version", "compatible_brands"}


def test_cover_pictures_chapters_and_data_stay_out(tmp_path: Path) -> None:
    plain = clips.make(tmp_path / "plain.mp4", Clip())
    path = tmp_path / "a.mkv"
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.add_attachment("secret.ttf", "font/ttf", b"SECRET")
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 9, "time_base": MS, "metadata": {"title": "SECRET"}}]
        )
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
        out.mux(cover.encode(clips.draw(0, 32, 32, "yuvj420p")))
        out.mux(cover.encode(None))
    info, written, out = run(path)
    assert (info.width, info.height, written.frames) == (96, 64, 20)
    assert b"SECRET" not in out.read_bytes()
    with av.open(str(out)) as file:
        assert len(file.streams) == 1
        assert not file.chapters()


def test_edits_land_on_their_frame_only(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", Clip(frames=40, options={"bf": "2", "refs": "4"}))

    def edit(frame: Frame) -> None:
        if frame.index % 5 == 3:
            y, u, v = frame.planes
            y[20:50, 20:60] = 16
            u[:], v[:] = 128, 128

    _, _, out = run(path, edit)
    info = probe(str(path), LIMITS)
    pairs = zip(read_frames(str(path), info), read_frames(str(out), info), strict=True)
    for before, after in pairs:
        black = after.planes[0][24:46, 24:56].max() < 40
        assert black == (before.index % 5 == 3)
        if not black:
            assert np.abs(before.planes[1].astype(int) - after.planes[1]).mean() < 4


def test_frames_to_read_are_read_only_views(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", Clip())
    info = probe(str(path), LIMITS)
    frame = next(read_frames(str(path), info))
    assert [plane.shape for plane in frame.planes] == [(64, 96), (32, 48), (32, 48)]
    with pytest.raises(ValueError, match="read-only"):
        frame.planes[0][0, 0] = 1


def test_works_between_unlinked_files_and_starts_fast(tmp_path: Path) -> None:
    body = clips.make(tmp_path / "a.mp4", Clip(sounds=[Sound()])).read_bytes()
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(body)
        source.flush()
        path, out = (f"/proc/self/fd/{file.fileno()}" for file in (source, target))
        written = transcode(path, out, probe(path, LIMITS), lambda frame: None)
        assert written.frames == 20
        assert probe(out, LIMITS).frames_estimate == 20
        result = target.read()
        assert 0 < result.index(b"moov") < result.index(b"mdat")


def test_an_edit_may_stop_the_work(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", Clip())

    def edit(frame: Frame) -> None:
        if frame.index == 5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        run(path, edit)


def test_interlaced_video_stays_interlaced(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.ts", Clip(interlaced=True))
    info, _, out = run(path)
    assert info.interlaced
    assert probe(str(out), LIMITS).interlaced


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        clip = Clip(width=320, height=240, frames=frames, options={"preset": "ultrafast"})
        path = clips.make(tmp_path / f"{frames}.mp4", clip)
        code = (
            "import sys, resource\n"
            "from gateway.media.video import *\n"
            "i = probe(sys.argv[1], VideoLimits(10**7, 1e4))\n"
            "n = sum(1 for _ in read_frames(sys.argv[1], i))\n"
            "transcode(sys.argv[1], '/dev/null', i, lambda f: f.planes)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    # 900 more frames of 115 KB would be 100 MB.
    assert peak(1000) - peak(100) < 30_000


def stored_times(path: Path) -> list[float]:
    """Presentation seconds of the picture's packets in order, from the container alone."""
    with av.open(str(path)) as file:
        sent = [packet for packet in file.demux(video=0) if packet.size]
        avi = file.format.name == "avi"  # has storage times only
        return sorted(float((p.dts if avi else p.pts) * p.time_base) for p in sent)
