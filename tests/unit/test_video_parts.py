"""Long videos in parts: encoded apart, joined bit for bit."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
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
    join_parts,
    probe,
    read_frames,
    scan,
    transcode,
    write_part,
)
from tests import clips
from tests.clips import Clip, Sound
from tests.keyed_clips import CLIPS, FRAMES, LIMITS, gop, seams_of


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
