"""Videos through the whole blur, with a detector that sees painted faces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from faces_fakes import PaintDetector, paint, painted_faces, wallpaper

from gateway.errors import Cancelled, ModelUnavailable
from gateway.faces.boxes import Detections, iou
from gateway.faces.timeline import Spot
from gateway.media.video import Frame, VideoLimits, probe, read_frames
from gateway.pipelines.blur_video import blur_video, hide_in_planes
from gateway.pipelines.options import BlurOptions
from tests import clips
from tests.clips import Clip, Sound

LIMITS = VideoLimits(pixels=4096 * 2176, seconds=3600)
SOLID = BlurOptions(style="solid")
RATE = 25
HEIGHT, WIDTH = 120, 208
ROOM = wallpaper(HEIGHT, WIDTH)
OTHER_ROOM = np.ascontiguousarray(wallpaper(HEIGHT, WIDTH, 9, contrast=160)[::-1])
Box = tuple[int, int, int, int]
Progress = Callable[[str, int, int], None]


def write(
    path: Path, pictures: Sequence[np.ndarray], pix_fmt: str = "yuv420p", codec: str = "libx264"
) -> Path:
    """A video of BGR pictures, of high quality, at ``RATE``."""
    with av.open(str(path), "w") as out:
        options = {"crf": "12", "preset": "ultrafast"} if "264" in codec else {"qmin": "1"}
        stream = out.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(frame.reformat(format=pix_fmt)))
        out.mux(stream.encode(None))
    return path


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [f.to_ndarray(format="bgr24") for f in file.decode(video=0)]


def quiet(_stage: str, _done: int, _total: int) -> None:
    """No progress."""


def blurred(
    path: Path,
    detector: Any = None,
    options: BlurOptions = SOLID,
    progress: Progress = quiet,
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """(report, frames of the result as BGR)."""
    out = path.with_name(f"{path.stem}-out.mp4")
    report = blur_video(
        str(path), str(out), options, detector or PaintDetector(), LIMITS, progress=progress
    )
    return report, read(out)


def boxes_of(report: dict[str, Any], frame: int) -> np.ndarray:
    for entry in report["per_frame"]:
        if entry["frame"] == frame:
            return np.float32([f["box"] for f in entry["faces"]])
    return np.zeros((0, 4), np.float32)


def right(n: int) -> Box:
    """A face that walks to the right."""
    return 10 + 2 * n, 40, 42 + 2 * n, 80


def shot(frames: int, *faces: Callable[[int], Box], room: np.ndarray = ROOM) -> list[np.ndarray]:
    pictures = []
    for n in range(frames):
        picture = room.copy()
        for face in faces:
            paint(picture, face(n))
        pictures.append(picture)
    return pictures


def exposed(pictures: Sequence[np.ndarray]) -> list[int]:
    """Frames in which some of a face shows."""
    return [n for n, picture in enumerate(pictures) if len(painted_faces(picture))]


def no_threads_left() -> bool:
    return not [t for t in threading.enumerate() if t.name.startswith("detect")]


# No face slips through


def test_every_frame_of_a_face_s_life_is_hidden(tmp_path: Path) -> None:
    path = write(tmp_path / "walk.mp4", shot(60, right))
    detector = PaintDetector()
    _, after = blurred(path, detector)
    assert len(after) == 60
    assert exposed(read(path)) == list(range(60))
    assert exposed(after) == []
    # Seen now and then, followed in between.
    assert 3 <= len(detector.calls) <= 25
    assert no_threads_left()


def test_the_report_is_right(tmp_path: Path) -> None:
    path = write(tmp_path / "walk.mp4", shot(50, right))
    report, _ = blurred(path)
    assert (report["width"], report["height"], report["frames"]) == (WIDTH, HEIGHT, 50)
    assert report["seconds"] == pytest.approx(2.0)
    assert report["tracks"] == 1
    assert report["options"] == SOLID.as_dict()
    assert [entry["frame"] for entry in report["per_frame"]] == list(range(50))
    sources = [f["source"] for entry in report["per_frame"] for f in entry["faces"]]
    assert sources.count("detected") == report["faces_detected"]
    assert sources.count("filled") == report["faces_filled"]
    assert len(sources) == 50
    assert sources[0] == "detected"
    for n in range(50):
        assert iou(boxes_of(report, n), np.float32([right(n)]))[0, 0] > 0.7
    assert sum(report["looks"].values()) == report["faces_detected"]
    assert set(report["timings"]) == {"analyse_ms", "render_ms"}


@pytest.mark.parametrize("every", [2, 3])
def test_looks_that_miss_the_face_leave_it_hidden(tmp_path: Path, every: int) -> None:
    path = write(tmp_path / "walk.mp4", shot(75, right))
    report, after = blurred(path, PaintDetector(misses=lambda call: call % every == 1))
    assert exposed(after) == []
    assert report["tracks"] == 1


def test_a_face_that_comes_and_goes_is_hidden_from_first_to_last(tmp_path: Path) -> None:
    """In at the left border, out at the right, in between looks of the detector."""
    path = write(tmp_path / "through.mp4", shot(95, lambda n: (4 * n - 90, 30, 4 * n - 50, 80)))
    before = exposed(read(path))
    assert 11 <= before[0] < before[-1] <= 76
    report, after = blurred(path)
    assert exposed(after) == []
    last = report["per_frame"][-1]["frame"]
    assert last < 95 - 5


def test_a_face_that_appears_between_looks_is_hidden_from_its_first_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    jitter = rng.integers(-1, 2, (40, 2))
    pictures = shot(13) + shot(27, lambda n: (90 + jitter[n, 0], 40 + jitter[n, 1], 126, 84))
    _, after = blurred(write(tmp_path / "appears.mp4", pictures))
    assert exposed(after) == []


@pytest.mark.parametrize(
    ("name", "codec", "claimed", "step"),
    [("a.mkv", "libx264", 1000, 40), ("a.avi", "mpeg4", 500, 12), ("b.mkv", "libx264", 1, 40)],
)
def test_a_false_frame_rate_leaves_no_face_bare(
    tmp_path: Path, name: str, codec: str, claimed: int, step: int
) -> None:
    path = tmp_path / name
    pictures = shot(20) + shot(40, lambda n: right(30)) + shot(40)
    with av.open(str(path), "w") as out:
        base = Fraction(1, 500 if name.endswith("avi") else 1000)
        stream = out.add_stream(codec, rate=claimed, time_base=base, options={"qmin": "1"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = number * step, base
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    assert probe(str(path), LIMITS).rate == pytest.approx(claimed, rel=0.01)
    assert exposed(read(path)) == list(range(20, 60))
    _, after = blurred(path)
    assert exposed(after) == []


def test_two_faces_that_cross_are_two_tracks(tmp_path: Path) -> None:
    path = write(
        tmp_path / "cross.mp4", shot(60, right, lambda n: (150 - 2 * n, 8, 178 - 2 * n, 36))
    )
    report, after = blurred(path)
    assert report["tracks"] == 2
    assert exposed(after) == []


@pytest.mark.parametrize("order", ["face first", "face second"])
def test_nothing_is_hidden_across_a_scene_cut(tmp_path: Path, order: str) -> None:
    with_face, without = shot(23, right), shot(22, room=OTHER_ROOM)
    first = order == "face first"
    pictures = with_face + without if first else without + with_face
    report, after = blurred(write(tmp_path / "cut.mp4", pictures))
    frames = [entry["frame"] for entry in report["per_frame"]]
    assert frames == (list(range(23)) if first else list(range(22, 45)))
    assert exposed(after) == []
    for n in range(23, 45) if first else range(22):
        assert np.abs(after[n].astype(int) - pictures[n]).mean() < 12


def test_a_face_on_both_sides_of_a_cut_is_two_tracks(tmp_path: Path) -> None:
    pictures = shot(20, lambda n: right(5)) + shot(20, lambda n: right(7), room=OTHER_ROOM)
    report, after = blurred(write(tmp_path / "cut.mp4", pictures))
    assert report["tracks"] == 2
    assert exposed(after) == []
    numbers = [{f["track"] for f in entry["faces"]} for entry in report["per_frame"]]
    assert len(set.union(*numbers[:20])) == len(set.union(*numbers[20:])) == 1
    assert numbers[19] != numbers[20]


def test_a_still_video_gets_few_looks(tmp_path: Path) -> None:
    detector = PaintDetector()
    path = write(tmp_path / "still.mp4", shot(120, lambda n: right(20)))
    report, after = blurred(path, detector)
    assert exposed(after) == []
    assert len(detector.calls) == sum(report["looks"].values()) <= 12


def test_what_is_below_the_threshold_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "walk.mp4", shot(20, right))
    report, after = blurred(path, options=BlurOptions(threshold=0.95))
    assert report["tracks"] == report["faces_detected"] == 0
    assert report["per_frame"] == []
    assert len(exposed(after)) == 20


# Pixels


@pytest.mark.parametrize("style", ["gaussian", "pixelate", "solid"])
@pytest.mark.parametrize("shape", ["ellipse", "box"])
@pytest.mark.parametrize("scale", [1.0, 1.6])
def test_every_option_has_its_effect(tmp_path: Path, style: Any, shape: Any, scale: float) -> None:
    options = BlurOptions(style=style, shape=shape, scale=scale)
    path = write(tmp_path / "walk.mp4", shot(8, right))
    report, after = blurred(path, options=options)
    assert report["options"] == options.as_dict()
    for n in (0, 7):
        x1, y1, x2, y2 = right(n)
        inner = np.s_[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8]
        before = cv2.cvtColor(shot(8, right)[n], cv2.COLOR_BGR2GRAY)
        grey = cv2.cvtColor(after[n], cv2.COLOR_BGR2GRAY)
        assert grey[inner].std() < before[inner].std() / 3
        assert (grey[inner].max() < 12) == (style == "solid")
        far = np.abs(grey.astype(int) - before)
        far[:, max(0, x1 - 40) : x2 + 40] = 0
        assert far.mean() < 4
        wide = (x2 - x1) * scale / 2
        middle = (x1 + x2) // 2
        assert (far[:, int(middle + wide) + 40 :]).max(initial=0) < 60


@pytest.mark.parametrize(
    ("name", "pix_fmt", "codec"),
    [
        ("444.mp4", "yuv444p", "libx264"),
        ("422.mp4", "yuv422p", "libx264"),
        ("full.avi", "yuvj420p", "mjpeg"),
        ("ten.mkv", "yuv420p10le", "libx264"),
        ("rgb.mkv", "rgb24", "libx264rgb"),
    ],
)
def test_faces_are_hidden_in_planes_of_any_format(
    tmp_path: Path, name: str, pix_fmt: str, codec: str
) -> None:
    path = write(tmp_path / name, shot(12, right), pix_fmt, codec)
    report, after = blurred(path)
    assert report["tracks"] == 1
    assert len(after) == 12
    assert exposed(after) == []
    x1, y1, x2, y2 = right(6)
    assert after[6][y1 + 8 : y2 - 8, x1 + 8 : x2 - 8].max() < 15


@pytest.mark.parametrize("size", [(121, 207), (75, 98), (64, 33)])
def test_odd_sizes_keep_their_size_and_hide_their_faces(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    height, width = size
    pictures = [paint(wallpaper(height, width), (n, 20, n + 24, 52)) for n in range(10)]
    path = write(tmp_path / "odd.avi", pictures, "yuvj420p", "mjpeg")
    report, after = blurred(path)
    assert after[0].shape == (height, width, 3)
    assert (report["width"], report["height"]) == (width, height)
    assert exposed(after) == []


def test_a_turned_video_is_hidden_upright(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", [np.rot90(p).copy() for p in shot(10, right)])
    turned = tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    assert probe(str(turned), LIMITS).rotation
    report, after = blurred(turned)
    assert after[0].shape == (HEIGHT, WIDTH, 3)
    assert exposed(after) == []
    assert iou(boxes_of(report, 0), np.float32([right(0)]))[0, 0] > 0.7


def test_solid_is_black_in_the_range_of_the_video(tmp_path: Path) -> None:
    path = write(tmp_path / "one.mp4", shot(1, right))
    info = probe(str(path), LIMITS)
    for black in (0, 16):
        for frame in read_frames(str(path), info):
            copy = Frame(0, 0.0, frame.picture, writable=True)
            hide_in_planes(copy, [Spot(0, np.float32(right(0)), True)], SOLID, black)
            y, u, v = copy.planes
            x1, y1, x2, y2 = right(0)
            assert (y[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4] == black).all()
            half = np.s_[y1 // 2 + 2 : y2 // 2 - 2, x1 // 2 + 2 : x2 // 2 - 2]
            assert (u[half] == 128).all()
            assert (v[half] == 128).all()


@pytest.mark.parametrize(
    ("name", "pix_fmt", "codec", "black"),
    [("limited.mp4", "yuv420p", "libx264", 16), ("full.avi", "yuvj420p", "mjpeg", 0)],
)
def test_black_is_written_in_the_range_of_the_video(
    tmp_path: Path, name: str, pix_fmt: str, codec: str, black: int
) -> None:
    path = write(tmp_path / name, shot(3, right), pix_fmt, codec)
    blurred(path)
    out = str(path.with_name(f"{path.stem}-out.mp4"))
    for frame in read_frames(out, probe(out, LIMITS)):
        x1, y1, x2, y2 = right(frame.index)
        assert abs(np.median(frame.planes[0][y1 + 8 : y2 - 8, x1 + 8 : x2 - 8]) - black) <= 2


# Sound, progress, faults


@pytest.mark.parametrize(("audio", "tracks"), [("keep", 2), ("drop", 0)])
def test_sound_is_kept_or_dropped(tmp_path: Path, audio: str, tracks: int) -> None:
    path = clips.make(tmp_path / "sound.mp4", Clip(sounds=[Sound(), Sound(hertz=880)]))
    blurred(path, options=BlurOptions(audio=audio))
    out = tmp_path / "sound-out.mp4"
    with av.open(str(out)) as file:
        assert len(file.streams.audio) == tracks
    for index in range(tracks):
        assert clips.packets(out, index=index) == clips.packets(path, index=index)


def test_interlaced_frames_and_their_fields_are_looked_at(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.ts", Clip(interlaced=True))
    detector = PaintDetector()
    report, _ = blurred(path, detector)
    assert len(detector.calls) == 3 * sum(report["looks"].values()) > 0


def test_subtitles_are_kept_unless_unwanted(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "words.mp4", Clip(subtitles=[(0.1, 0.5, "hello")]))
    blurred(path)
    out = tmp_path / "words-out.mp4"
    assert clips.packets(out, "subtitles")[:1] == clips.packets(path, "subtitles")[:1]
    blurred(path, options=BlurOptions(subtitles="drop"))
    with av.open(str(out)) as file:
        assert not file.streams.subtitles


def test_progress_tells_of_every_frame_of_both_passes(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = write(tmp_path / "walk.mp4", shot(30, right))
    blurred(path, progress=lambda *news: told.append(news))
    expected = [(stage, n, 30) for stage in ("analyse", "render") for n in range(1, 31)]
    assert told == expected


@pytest.mark.parametrize(("stage", "at"), [("analyse", 1), ("analyse", 20), ("render", 10)])
def test_cancelling_stops_the_work_and_leaves_no_thread(
    tmp_path: Path, stage: str, at: int
) -> None:
    path = write(tmp_path / "walk.mp4", shot(40, right))
    before = threading.active_count()
    told: list[str] = []

    def progress(now: str, done: int, _total: int) -> None:
        told.append(now)
        if (now, done) == (stage, at):
            raise Cancelled("no more")

    with pytest.raises(Cancelled):
        blurred(path, progress=progress)
    assert no_threads_left()
    assert threading.active_count() <= before
    assert told[-1] == stage
    assert told.count(stage) == at


def test_a_model_that_goes_away_ends_the_work(tmp_path: Path) -> None:
    class GoesAway(PaintDetector):
        def _find(self, kind: str, picture: np.ndarray, threshold: float) -> Detections:
            if len(self.calls) > 2:
                raise ModelUnavailable("gone")
            return super()._find(kind, picture, threshold)

    path = write(tmp_path / "walk.mp4", shot(60, right))
    with pytest.raises(ModelUnavailable):
        blurred(path, GoesAway())
    assert no_threads_left()


@pytest.mark.parametrize("size", [(2, 2), (16, 2), (2, 300)])
def test_videos_of_a_few_pixels_are_survived(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(12)]
    report, after = blurred(write(tmp_path / "tiny.avi", pictures, "yuvj420p", "mjpeg"))
    assert report["frames"] == 12
    assert after[0].shape == (*size, 3)


def test_a_video_of_one_frame_is_hidden(tmp_path: Path) -> None:
    report, after = blurred(write(tmp_path / "one.mp4", shot(1, right)))
    assert report["frames"] == 1
    assert exposed(after) == []
