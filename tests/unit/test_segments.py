"""Blurred in segments, a video is what it is in one piece: bit for bit, face for face."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from faces_fakes import PaintDetector, wallpaper
from scipy.optimize import linear_sum_assignment
from test_blur_video import (
    HEIGHT,
    OTHER_ROOM,
    WIDTH,
    Box,
    exposed,
    no_threads_left,
    quiet,
    read,
    shot,
)

from gateway.errors import Cancelled, RendererFailed
from gateway.faces.boxes import Detections, iou
from gateway.media.video import VideoLimits
from gateway.pipelines.blur_video import blur_video
from gateway.pipelines.options import BlurOptions
from gateway.pipelines.segments import Segment, blur_segment, join, plan
from tests import clips
from tests.clips import Clip, Sound

LIMITS = VideoLimits(pixels=4096 * 2176, seconds=3600)
RATE = 25
INTERVAL = 0.2
SECONDS = 4.0
FRAMES = 300
GOP = {"crf": "14", "preset": "veryfast", "g": "25", "sc_threshold": "0", "bf": "0"}
MS = Fraction(1, 1000)
UNEVEN = np.cumsum(np.random.default_rng(5).integers(20, 60, FRAMES)).tolist()
SOLID = BlurOptions(style="solid")
Report = dict[str, Any]


def film(
    path: Path, pictures: Sequence[np.ndarray], times: Sequence[int] | None = None, **options: str
) -> Path:
    """A video of BGR pictures with a keyframe a second; ``times`` in milliseconds."""
    with av.open(str(path), "w") as out:
        base = MS if times else Fraction(1, RATE)
        stream = out.add_stream("libx264", rate=RATE, time_base=base, options=GOP | options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = times[number] if times else number, base
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


def in_one_piece(
    path: Path, detector: Any = None, options: BlurOptions = SOLID
) -> tuple[Report, Path]:
    out = path.with_name("whole.mp4")
    report = blur_video(
        str(path),
        str(out),
        options,
        detector or PaintDetector(),
        LIMITS,
        progress=quiet,
        interval=INTERVAL,
        segment_seconds=SECONDS,
    )
    return report, out


def planned(path: Path) -> list[Segment]:
    return plan(str(path), LIMITS, SECONDS, interval=INTERVAL)


def part(
    path: Path, segment: Segment, detector: Any = None, options: BlurOptions = SOLID, **more: Any
) -> tuple[str, Report]:
    out = str(path.with_name(f"part-{segment.index}.nut"))
    more = {"progress": quiet, "interval": INTERVAL} | more
    report = blur_segment(
        str(path), segment, out, options, detector or PaintDetector(), LIMITS, **more
    )
    return out, json.loads(json.dumps(report))


def in_segments(
    path: Path,
    make: Callable[[], Any] = PaintDetector,
    options: BlurOptions = SOLID,
    segments: Sequence[Segment] | None = None,
) -> tuple[Report, Path]:
    """Blurred last segment first, each by a detector of its own, as other workers would."""
    segments = segments or planned(path)
    done = {s.index: part(path, s, make(), options) for s in reversed(segments)}
    parts, reports = zip(*(done[s.index] for s in segments), strict=True)
    out = path.with_name("joined.mp4")
    report = join(
        str(path),
        segments,
        parts,
        reports,
        str(out),
        options,
        LIMITS,
        progress=quiet,
        detector=make(),
        interval=INTERVAL,
    )
    return report, out


def faces_of(report: Report) -> dict[int, list[Report]]:
    return {entry["frame"]: entry["faces"] for entry in report["per_frame"]}


def same_faces(one: Report, many: Report) -> None:
    """As many faces in every frame, at the same places, their tracks one to one."""
    assert one["frames"] == many["frames"]
    a, b = faces_of(one), faces_of(many)
    assert a.keys() == b.keys()
    pairs = set()
    for frame, faces in a.items():
        others = b[frame]
        assert len(faces) == len(others), frame
        shared = iou(*(np.float32([f["box"] for f in side]) for side in (faces, others)))
        for i, j in zip(*linear_sum_assignment(-shared), strict=True):
            assert shared[i, j] >= 0.9, frame
            pairs.add((faces[i]["track"], others[j]["track"]))
    assert len({x for x, _ in pairs}) == len({y for _, y in pairs}) == len(pairs)
    for name in ("tracks", "faces_detected", "faces_filled", "seconds", "width", "height"):
        assert one[name] == many[name], name


def both(path: Path, make: Callable[[], Any] = PaintDetector) -> tuple[Report, Path]:
    """Blurred both ways, and alike; the joined one."""
    segments = planned(path)
    assert len(segments) >= 2
    one, whole = in_one_piece(path, make())
    many, joined = in_segments(path, make)
    same_faces(one, many)
    assert clips.times(joined) == clips.times(whole)
    assert joined.read_bytes() == whole.read_bytes()
    assert set(many) == set(one)
    return many, joined


def back_and_forth(n: int) -> Box:
    x = 10 + abs((2 * n) % 300 - 150)
    return x, 40, x + 32, 80


def strolling(n: int) -> Box:
    return 20 + n // 4, 4, 44 + n // 4, 34


class Blindfold(PaintDetector):
    """Sees nothing in a picture whose upper left corner is white, and weakly where it is grey."""

    def _find(self, kind: str, picture: np.ndarray, threshold: float) -> Detections:
        found = super()._find(kind, picture, threshold)
        level = picture[:4, :4].mean()
        if level > 230:
            return Detections.of([], [], [])
        if 180 < level < 210:
            return Detections(found.boxes, found.scores * 0 + np.float32(0.15), found.landmarks)
        return found


def cornered(pictures: list[np.ndarray], frames: range, value: int) -> list[np.ndarray]:
    for n in frames:
        pictures[n][:12, :12] = value
    return pictures


# The same as in one piece

FILMS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "b-frames.mp4": {"bf": "3"},
    "open.mp4": {"bf": "3", "x264-params": "open-gop=1"},
    "open.ts": {"bf": "3", "x264-params": "open-gop=1"},
    "variable.mkv": {"times": UNEVEN, "bf": "3"},
    "sparse-keys.mp4": {"g": "50"},
}


@pytest.mark.parametrize("name", FILMS)
def test_faces_over_the_seams_are_as_in_one_piece(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, shot(FRAMES, back_and_forth, strolling), **FILMS[name])
    report, out = both(path)
    assert exposed(read(out)) == []
    assert [len(faces) for faces in faces_of(report).values()] == [2] * FRAMES
    assert report["tracks"] == 2
    assert no_threads_left()


def test_a_face_missed_around_the_seam_is_filled_across_it(tmp_path: Path) -> None:
    pictures = shot(FRAMES, strolling)
    seams = [s.start for s in planned(film(tmp_path / "a.mp4", pictures))[1:]]
    assert len(seams) == 2
    for seam in seams:
        cornered(pictures, range(seam - 15, seam + 15), 255)
    report, out = both(film(tmp_path / "b.mp4", pictures), Blindfold)
    assert exposed(read(out)) == []
    assert report["tracks"] == 1
    for seam in seams:
        around = range(seam - 14, seam + 14)
        assert {f["source"] for n in around for f in faces_of(report)[n]} == {"filled"}


@pytest.mark.parametrize("side", [(-40, 0), (0, 40)])
def test_a_face_seen_on_one_side_of_the_seam_only(tmp_path: Path, side: tuple[int, int]) -> None:
    pictures = shot(FRAMES, strolling)
    seam = planned(film(tmp_path / "a.mp4", pictures))[1].start
    cornered(pictures, range(seam + side[0], seam + side[1]), 255)
    both(film(tmp_path / "b.mp4", pictures), Blindfold)


def test_a_face_weak_from_the_seam_on_stays_hidden(tmp_path: Path) -> None:
    pictures = shot(FRAMES, strolling)
    seam = planned(film(tmp_path / "a.mp4", pictures))[1].start
    cornered(pictures, range(seam - 20, FRAMES), 195)
    path = film(tmp_path / "b.mp4", pictures)
    last = planned(path)[-1]
    assert last.start > seam
    # Weak from long before it: nothing tells the last segment by itself that this is a face.
    _, alone = part(path, last, Blindfold())
    assert alone["per_frame"] == []
    report, out = both(path, Blindfold)
    assert exposed(read(out)) == []
    assert report["tracks"] == 1


@pytest.mark.parametrize("shift", [-40, -1, 0, 1])
def test_a_scene_cut_near_the_seam_ends_tracks_there(tmp_path: Path, shift: int) -> None:
    seam = planned(film(tmp_path / "a.mp4", shot(FRAMES)))[1].start
    cut = seam + shift
    pictures = shot(cut, strolling) + shot(FRAMES - cut, back_and_forth, room=OTHER_ROOM)
    report, out = both(film(tmp_path / "b.mp4", pictures))
    assert exposed(read(out)) == []
    assert report["tracks"] == 2
    numbers = [{f["track"] for f in faces} for faces in faces_of(report).values()]
    assert len(set.union(*numbers[:cut])) == len(set.union(*numbers[cut:])) == 1


@pytest.mark.parametrize("shift", [-3, 0])
def test_a_face_that_comes_or_goes_at_the_seam(tmp_path: Path, shift: int) -> None:
    seam = planned(film(tmp_path / "a.mp4", shot(FRAMES)))[1].start
    at = seam + shift
    goes = shot(at, strolling) + shot(FRAMES - at)
    comes = shot(at) + shot(FRAMES - at, strolling)
    for name, pictures in {"goes.mp4": goes, "comes.mp4": comes}.items():
        report, out = both(film(tmp_path / name, pictures))
        assert exposed(read(out)) == []
        assert report["tracks"] == 1


def test_nothing_flashes_repeats_or_is_lost_at_a_seam(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    big = wallpaper(HEIGHT + 200, WIDTH + 200, contrast=120)
    places = np.cumsum(rng.integers(-1, 2, (FRAMES, 2)), axis=0).clip(-99, 99) + 100
    pictures = [big[y : y + HEIGHT, x : x + WIDTH].copy() for y, x in places]
    path = film(tmp_path / "a.mp4", pictures, bf="3")
    _, out = both(path)
    after = read(out)
    assert len(after) == FRAMES
    errors = [np.abs(a.astype(int) - b).mean() for a, b in zip(after, pictures, strict=True)]
    assert max(errors) < 1.5 * float(np.median(errors)) + 1


def test_interlaced_frames_and_their_fields_are_looked_at(tmp_path: Path) -> None:
    options = {"g": "25", "sc_threshold": "0"}
    path = clips.make(tmp_path / "a.mp4", Clip(frames=FRAMES, options=options, interlaced=True))
    detectors: list[PaintDetector] = []

    def make() -> PaintDetector:
        detectors.append(PaintDetector())
        return detectors[-1]

    report, _ = in_segments(path, make)
    assert sum(len(d.calls) for d in detectors) == 3 * sum(report["looks"].values()) > 0
    both(path)


def test_sound_subtitles_and_a_turned_picture_are_kept(tmp_path: Path) -> None:
    clip = Clip(
        frames=FRAMES,
        options={"g": "25", "sc_threshold": "0"},
        sounds=[Sound(), Sound("ac3", "deu")],
        subtitles=[(1.0, 2.0, "before"), (7.9, 8.2, "over a seam")],
        matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
        metadata={"title": "SECRET"},
    )
    path = clips.make(tmp_path / "a.mp4", clip)
    report, out = both(path)
    assert (report["width"], report["height"]) == (64, 96)
    assert clips.packets(out, index=1) == clips.packets(path, index=1)
    assert b"SECRET" not in out.read_bytes()
    with av.open(str(out)) as file:
        assert len(file.streams.subtitles) == 1
    _, silent = in_segments(path, options=BlurOptions(audio="drop"))
    with av.open(str(silent)) as file:
        assert not file.streams.audio


def test_sound_that_outlasts_the_picture_ends_as_in_one_piece(tmp_path: Path) -> None:
    options = {"g": "25", "sc_threshold": "0"}
    clip = Clip(frames=FRAMES, options=options, sounds=[Sound(longer=9), Sound("ac3", longer=9)])
    path = clips.make(tmp_path / "a.mp4", clip)
    _, out = both(path)
    with av.open(str(out)) as file:
        seconds = [float(s.duration * s.time_base) for s in file.streams.audio]
    assert seconds == pytest.approx([FRAMES / RATE + 1] * 2, abs=0.1)


def test_a_video_that_cannot_be_cut_is_one_segment(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", shot(FRAMES, strolling), g="9999")
    (segment,) = planned(path)
    one, whole = in_one_piece(path)
    many, joined = in_segments(path)
    same_faces(one, many)
    assert joined.read_bytes() == whole.read_bytes()
    assert segment.stop is None


# What goes wrong


def test_a_wrong_keyframe_costs_time_only(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", shot(FRAMES, strolling))
    one, whole = in_one_piece(path)
    segments = planned(path)
    wrong = [segments[0], *(replace(s, key=(s.key or 0) + 512) for s in segments[1:])]
    many, joined = in_segments(path, segments=wrong)
    same_faces(one, many)
    assert joined.read_bytes() == whole.read_bytes()


def test_missing_or_mixed_up_segments_are_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", shot(FRAMES))
    segments = planned(path)
    parts, reports = zip(*(part(path, s) for s in segments), strict=True)
    out = str(tmp_path / "out.mp4")
    for wrong in (reports[:-1], reports[::-1]):
        with pytest.raises(RendererFailed):
            join(
                str(path),
                segments,
                parts,
                wrong,
                out,
                SOLID,
                LIMITS,
                progress=quiet,
                detector=PaintDetector(),
            )


@pytest.mark.parametrize(("stage", "at"), [("analyse", 0), ("analyse", 50), ("render", 10)])
def test_a_segment_can_be_stopped(tmp_path: Path, stage: str, at: int) -> None:
    path = film(tmp_path / "a.mp4", shot(FRAMES, strolling))
    before = threading.active_count()

    def progress(now: str, done: int, _total: int) -> None:
        if (now, done) == (stage, at):
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        part(path, planned(path)[1], progress=progress)
    assert no_threads_left()
    assert threading.active_count() <= before


def test_progress_counts_the_segments_own_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", shot(FRAMES))
    segments = planned(path)
    told: list[tuple[str, int, int]] = []
    done = [part(path, s, progress=lambda *news: told.append(news)) for s in segments]
    assert sum(s.end - s.start for s in segments) == FRAMES
    for stage in ("analyse", "render"):
        counts = [(n, total) for name, n, total in told if name == stage]
        assert max(counts)[0] == max(total for _, total in counts)
        assert all(n <= total for n, total in counts)
    told.clear()
    parts, reports = zip(*done, strict=True)
    out = str(tmp_path / "out.mp4")
    join(
        str(path),
        segments,
        parts,
        reports,
        out,
        SOLID,
        LIMITS,
        progress=lambda *n: told.append(n),
        detector=PaintDetector(),
    )
    assert told == [("join", n, FRAMES) for n in range(1, FRAMES + 1)]
    assert Segment(**json.loads(json.dumps(asdict(segments[1])))) == segments[1]
