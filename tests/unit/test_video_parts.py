"""Long videos in parts: cut where it is safe, encoded apart, joined bit for bit."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from gateway.errors import BadMedia, Cancelled, DiskFull, RendererFailed
from gateway.media.video import (
    Frame,
    Part,
    Section,
    SeekFailed,
    VideoLimits,
    join_parts,
    probe,
    read_frames,
    scan,
    transcode,
    write_part,
)
from tests import clips
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


def in_parts(
    path: Path, seams: Sequence[int], edit=lambda frame: None, *, sought: bool = True
) -> list[Part]:
    info = probe(str(path), LIMITS)
    bounds = [None, *seams, None]
    return [
        write_part(
            str(path),
            str(path.with_name(f"{path.name}-{index}.nut")),
            info,
            Section(first if sought else None, first, stop),
            edit,
        )
        for index, (first, stop) in enumerate(pairwise(bounds))
    ]


def joined(path: Path, parts: Sequence[Part], **options: bool) -> Path:
    out = path.with_name(f"{path.name}-joined.mp4")
    info = probe(str(path), LIMITS)
    join_parts(str(path), str(out), info, parts, progress=lambda done: None, **options)
    return out


def whole(path: Path, seams: Sequence[int], **options: bool) -> Path:
    out = path.with_name(f"{path.name}-whole.mp4")
    info = probe(str(path), LIMITS)
    transcode(str(path), str(out), info, lambda frame: None, seams=seams, **options)
    return out


def mark(frame: Frame) -> None:
    frame.planes[0][-8:, -8:] = 16


@pytest.mark.parametrize("name", CLIPS)
def test_parts_join_to_what_one_piece_gives(tmp_path: Path, name: str) -> None:
    """Every bit: frames, timestamps, sound, subtitles, tags."""
    path = clips.make(tmp_path / name, CLIPS[name])
    seams = seams_of(path)
    assert len(seams) >= 2
    parts = in_parts(path, seams)
    one, many = whole(path, seams), joined(path, parts)
    assert clips.times(many) == clips.times(one)
    kinds = [(kind, clips.packets(one, kind)) for kind in ("video", "audio") if has(one, kind)]
    for kind, packets in kinds:
        assert clips.packets(many, kind) == packets
    assert one.read_bytes() == many.read_bytes()
    # And what one piece gives is what it gave without seams.
    plain = whole(path, [])
    assert clips.times(plain) == clips.times(one)
    assert len(clips.packets(plain, "video")) == sum(len(part.times) for part in parts)


def test_one_piece_begins_afresh_at_its_seams(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", CLIPS["variable.mp4"])
    times = clips.times(path)
    seams = [times[n] for n in (10, 50, 51, 90)]
    with av.open(str(path)) as file:
        base = file.streams.video[0].time_base
    out = whole(path, [int(time / base) for time in seams])
    with av.open(str(out)) as file:
        stream = file.streams.video[0]
        sent = [packet for packet in file.demux(stream) if packet.size]
    assert {p.pts * stream.time_base for p in sent if p.is_keyframe} == {times[0], *seams}
    assert clips.times(out) == times
    assert all(a.dts < b.dts for a, b in pairwise(sent))


def has(path: Path, kind: str) -> bool:
    with av.open(str(path)) as file:
        return bool(getattr(file.streams, kind))


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


@pytest.mark.parametrize("options", [{"keep_audio": True}, {"keep_audio": False}])
def test_sound_comes_from_the_original(tmp_path: Path, options: dict[str, bool]) -> None:
    path = clips.make(tmp_path / "sound.mp4", CLIPS["sound.mp4"])
    out = joined(path, in_parts(path, seams_of(path)), **options)
    with av.open(str(out)) as file:
        assert len(file.streams.audio) == 2 * options["keep_audio"]
        assert len(file.streams.subtitles) == 1
    if options["keep_audio"]:
        assert clips.packets(out) == clips.packets(path)


def test_edits_land_on_their_frames_on_both_sides_of_a_seam(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", CLIPS["open.mp4"])
    (seam,) = seams_of(path, 1)

    def edit(frame: Frame) -> None:
        if frame.index % 2:
            mark(frame)

    parts = in_parts(path, [seam], edit)
    out = joined(path, parts)
    shown = read_frames(str(out), probe(str(out), LIMITS))
    dark = [frame.planes[0][-6:, -6:].mean() < 40 for frame in shown]
    assert dark == [bool(n % 2) for part in parts for n in range(len(part.times))]
    assert [clips.number(f.planes[0]) for f in read_frames(str(out), probe(str(out), LIMITS))] == [
        *range(FRAMES)
    ]


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


# What goes wrong


@pytest.mark.parametrize("seed", range(6))
def test_damage_is_the_same_in_parts(tmp_path: Path, seed: int) -> None:
    """Where a keyframe is hit, a part is decoded from the file's beginning."""
    rng = np.random.default_rng(seed)
    name = ["open.mkv", "mpeg2.ts", "vp9.webm"][seed % 3]
    body = bytearray(clips.make(tmp_path / name, CLIPS[name]).read_bytes())
    for place in rng.integers(len(body) // 10, len(body), 8):
        body[place] ^= 1 << rng.integers(8)
    path = tmp_path / f"damaged-{name}"
    path.write_bytes(body)
    info = probe(str(path), LIMITS)
    expected = [frame.pts for frame in read_frames(str(path), info)]
    seams = seams_of(path) if scan(str(path), LIMITS) else []
    bounds = [None, *seams, None]
    times: list[int] = []
    for first, stop in pairwise(bounds):
        for key in (first, None):
            section = Section(key, first, stop)
            try:
                times += [f.pts for f in read_frames(str(path), info, section=section)]
                break
            except SeekFailed:
                continue
    assert times == expected


def test_a_damaged_stretch_costs_its_own_frames_only(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", gop(codec="mjpeg", pix_fmt="yuvj420p"))
    with av.open(str(path)) as file:
        places = [(p.pos, p.size) for p in file.demux(video=0) if p.size][40:60]
    body = bytearray(path.read_bytes())
    for position, size in places:
        body[position : position + size] = bytes(size)
    path.write_bytes(body)
    found = scan(str(path), LIMITS)
    assert found is not None
    seams = found.times[[40, 60]].tolist()
    with pytest.raises(SeekFailed):
        in_parts(path, seams)
    parts = in_parts(path, seams, sought=False)
    assert [len(part.times) for part in parts] == [40, 0, 60]
    assert parts[1].faults == 20
    assert joined(path, parts).read_bytes() == whole(path, seams).read_bytes()


def test_a_video_damaged_all_over_is_refused_at_the_join(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", gop())
    parts = in_parts(path, seams_of(path))
    with pytest.raises(BadMedia, match="most of"):
        joined(path, [replace(part, faults=FRAMES) for part in parts])
    with pytest.raises(BadMedia, match="no frame"):
        joined(path, [replace(part, times=[]) for part in parts])


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", gop())
    parts = in_parts(path, seams_of(path))
    other = clips.make(tmp_path / "b.mp4", gop(width=112))
    strangers = in_parts(other, seams_of(other))
    swapped = [parts[1], parts[0], *parts[2:]]
    short = [replace(parts[0], times=parts[0].times[:-1]), *parts[1:]]
    wrong_file = [replace(parts[0], path=parts[1].path), *parts[1:]]
    foreign = [replace(parts[0], path=strangers[0].path), *parts[1:]]
    for wrong in (swapped, short, wrong_file, foreign):
        with pytest.raises(RendererFailed, match="do not fit"):
            joined(path, wrong)
    Path(parts[0].path).write_bytes(b"not a part")
    with pytest.raises(RendererFailed, match="do not fit"):
        joined(path, parts)


def test_parts_and_result_may_be_unlinked_files(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", CLIPS["sound.mp4"])
    seams = seams_of(path)
    info = probe(str(path), LIMITS)
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(len(seams) + 3)]
        source, out, *places = (f"/proc/self/fd/{file.fileno()}" for file in files)
        files[0].write(path.read_bytes())
        files[0].flush()
        bounds = pairwise([None, *seams, None])
        # A part may have been written before, by an attempt that got further.
        files[2].write(bytes(100_000))
        files[2].flush()
        parts = [
            write_part(source, place, info, Section(first, first, stop), lambda frame: None)
            for place, (first, stop) in zip(places, bounds, strict=True)
        ]
        join_parts(source, out, info, parts, progress=lambda done: None)
        files[1].seek(0)
        assert files[1].read() == whole(path, seams).read_bytes()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", gop(sounds=[Sound()]))
    info = probe(str(path), LIMITS)
    parts = in_parts(path, seams_of(path))
    with pytest.raises(DiskFull):
        write_part(str(path), "/dev/full", info, Section(), lambda frame: None)
    with pytest.raises(DiskFull):
        join_parts(str(path), "/dev/full", info, parts, progress=lambda done: None)


def test_joining_tells_of_every_frame_and_can_be_stopped(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", CLIPS["sound.mp4"])
    parts = in_parts(path, seams_of(path))
    told: list[int] = []

    def progress(done: int) -> None:
        told.append(done)
        if done == 70:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        join_parts(
            str(path), str(tmp_path / "o.mp4"), probe(str(path), LIMITS), parts, progress=progress
        )
    assert told == [*range(1, 71)]


_IN_PARTS = """
import resource, sys
from gateway.media.video import *
path, out = sys.argv[1:]
info = probe(path, VideoLimits(10**7, 1e4))
keys = scan(path, info.limits).keys.tolist()
bounds = [None, keys[len(keys) // 3], keys[2 * len(keys) // 3], None]
parts = [
    write_part(path, f"{out}{n}", info, Section(a, a, b), lambda f: f.planes)
    for n, (a, b) in enumerate(zip(bounds, bounds[1:]))
]
join_parts(path, out, info, parts, progress=lambda done: None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        options = {"preset": "ultrafast", "g": "25"}
        clip = Clip(width=320, height=240, frames=frames, options=options, sounds=[Sound()])
        path = clips.make(tmp_path / f"{frames}.mp4", clip)
        done = subprocess.run(
            [sys.executable, "-c", _IN_PARTS, str(path), str(tmp_path / "out")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    # 900 more frames of 115 KB would be 100 MB.
    assert peak(1000) - peak(100) < 30_000
