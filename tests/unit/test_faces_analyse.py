"""The first pass over a moving picture: packing, looks, order, threads, faults."""

from __future__ import annotations

import threading
import time
from itertools import islice

import cv2
import numpy as np
import pytest
from faces_fakes import PaintDetector, paint, painted_faces, wallpaper
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ModelUnavailable
from gateway.faces.boxes import Detections, iou
from gateway.faces.views import planes
from gateway.pipelines.analyse import Analysis, fields, halved, pack, watch

RATE = 25.0
INTERVAL = 0.2
EVERY = round(RATE * INTERVAL)


def walk(frames: int, *, speed: float = 2, seed: int = 0) -> list[np.ndarray]:
    """A face that walks through a room, (H, W, 3) BGR."""
    room = wallpaper(120, 200, seed)
    return [paint(room.copy(), face(n, speed)) for n in range(frames)]


def face(n: int, speed: float = 2) -> tuple[int, int, int, int]:
    x = round(20 + speed * n)
    return x, 40, x + 32, 80


def analysed(frames: list[np.ndarray], detector: PaintDetector, threshold: float = 0.4) -> Analysis:
    with Analysis(detector, threshold=threshold, rate=RATE, interval=INTERVAL) as analysis:
        count = watch(
            ((n, planes(f), n / RATE) for n, f in enumerate(frames)), analysis, lambda done: None
        )
        assert count == len(frames)
        analysis.finish()
    return analysis


def no_threads_left() -> bool:
    return not [t for t in threading.enumerate() if t.name.startswith("detect")]


# Packing


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_pack_makes_i420_of_any_size(height: int, width: int, full: bool) -> None:
    rng = np.random.default_rng(height * 41 + width)
    down = (height, width) if full else (-(-height // 2), -(-width // 2))
    luma = rng.integers(0, 256, (height, width), dtype=np.uint8)
    u, v = (np.full(down, value, np.uint8) for value in (70, 190))
    packed = pack((luma, u, v))
    even = (height + height % 2, width + width % 2)
    assert packed.shape == (even[0] * 3 // 2, even[1])
    assert np.array_equal(packed[:height, :width], luma)
    assert np.array_equal(
        packed[: even[0]], np.pad(luma, [(0, height % 2), (0, width % 2)], "edge")
    )
    chroma = packed[even[0] :].reshape(2, -1)
    assert (chroma[0] == 70).all()
    assert (chroma[1] == 190).all()


def test_packed_pictures_keep_their_colours() -> None:
    picture = paint(wallpaper(90, 120), (30, 20, 70, 60))
    back = cv2.cvtColor(pack(planes(picture)), cv2.COLOR_YUV2BGR_I420)
    # The detector reads BT.601 with limited range; a little contrast is all that differs.
    assert np.abs(back.astype(int) - picture).mean() < 30
    assert iou(painted_faces(back).boxes, painted_faces(picture).boxes)[0, 0] > 0.8


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_half_size_is_still_i420(rows: int, columns: int) -> None:
    height, width = 2 * rows, 2 * columns
    packed = np.empty((height * 3 // 2, width), np.uint8)
    packed[:height] = 50
    packed[height:].reshape(2, -1)[:] = [[100], [200]]
    half = halved(packed)
    assert half.shape[0] % 3 == 0
    assert half.shape[1] % 2 == 0
    small = half.shape[0] * 2 // 3
    assert abs(small - height / 2) <= 1
    assert abs(half.shape[1] - width / 2) <= 1
    assert (half[:small] == 50).all()
    assert (half[small:].reshape(2, -1) == [[100], [200]]).all()


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20))
def test_fields_are_every_other_row(rows: int, columns: int) -> None:
    height, width = 4 * rows, 2 * columns
    packed = np.random.default_rng(rows).integers(0, 256, (height * 3 // 2, width), np.uint8)
    for first, field in enumerate(fields(packed)):
        both = packed[:height], *packed[height:].reshape(2, height // 2, columns)
        alone = field[:height], *field[height:].reshape(2, height // 2, columns)
        for whole, seen in zip(both, alone, strict=True):
            assert np.array_equal(seen[0::2], whole[first::2])
            assert np.array_equal(seen[1::2], whole[first::2])


# Watching


class RowsDetector(PaintDetector):
    """Takes for a face what is bright in every row, or in every other one."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self._every = every

    def detect_frames(self, frames, threshold):
        boxes = np.array([[80, 40, 112, 80]], np.float32)
        found = Detections(boxes, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
        return [found.above(0.0 if self._shows(frame[42:78, 84:108]) else 2.0) for frame in frames]

    def _shows(self, rows):
        if self._every == 1:
            return rows.min() > 200
        return sorted([rows[0::2].mean() > 200, rows[1::2].mean() > 200]) == [False, True]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("interlaced", "every", "seen"), [(False, 1, 0), (True, 1, 1), (False, 2, 1), (True, 2, 1)]
)
def test_a_face_in_one_field_or_in_both_is_seen(first, interlaced, every, seen) -> None:
    woven = np.zeros((120, 200, 3), np.uint8)
    woven[40 + first : 80 : 2, 80:112] = 255
    with Analysis(
        RowsDetector(every), threshold=0.4, rate=RATE, interval=INTERVAL, interlaced=interlaced
    ) as analysis:
        watch(((n, planes(woven), n / RATE) for n in range(6)), analysis, lambda done: None)
        timeline = analysis.finish()
    assert [len(spots) for spots in islice(timeline.frames(), 6)] == [seen] * 6


def test_a_face_is_known_in_every_frame() -> None:
    frames = walk(60)
    analysis = analysed(frames, PaintDetector())
    assert len(analysis.timeline) == 1
    for n, spots in enumerate(islice(analysis.timeline.frames(), 60)):
        truth = np.array([face(n)], np.float32)
        assert iou(truth, spots[0].box[None])[0, 0] > 0.75
    detected, filled = analysis.timeline.counts(60)
    assert detected >= 60 // EVERY
    assert detected + filled == 60
    assert no_threads_left()


def test_looks_that_find_nothing_leave_no_hole() -> None:
    detector = PaintDetector(misses=lambda call: call % 3 == 1)
    analysis = analysed(walk(60), detector)
    assert len(analysis.timeline) == 1
    assert all(islice(analysis.timeline.frames(), 60))


def test_the_detector_is_asked_below_the_threshold() -> None:
    """Weak detections continue tracks, so the detector must tell about them."""
    detector = PaintDetector()
    analysed(walk(10), detector, threshold=0.4)
    assert {t for _, _, t in detector.calls} == {0.2}


def test_both_sides_of_a_cut_are_looked_at_and_not_mixed() -> None:
    room = wallpaper(120, 200, 9, contrast=160)[::-1]
    frames = walk(23, speed=1) + [np.ascontiguousarray(room)] * 20
    detector = PaintDetector()
    analysis = analysed(frames, detector)
    shown = [bool(spots) for spots in islice(analysis.timeline.frames(), 43)]
    assert shown == [True] * 23 + [False] * 20


def test_a_face_only_in_the_second_shot_is_not_hidden_in_the_first() -> None:
    room = np.ascontiguousarray(wallpaper(120, 200, 9, contrast=160)[::-1])
    analysis = analysed([room] * 20 + walk(20, speed=1), PaintDetector())
    shown = [bool(spots) for spots in islice(analysis.timeline.frames(), 40)]
    assert shown == [False] * 20 + [True] * 20


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(2 * EVERY, 40), st.integers(0, 3))
def test_a_face_that_pops_in_and_out_of_a_still_picture_is_hidden_throughout(
    comes: int, stays: int, seed: int
) -> None:
    room = wallpaper(360, 640, seed)
    # Of the colour's brightness, and small: the picture hardly seems to change.
    inside = paint(room.copy(), (303, 101, 311, 111))
    frames = [inside if comes <= n < comes + stays else room for n in range(comes + stays + 30)]
    spots = list(islice(analysed(frames, FullSight()).timeline.frames(), len(frames)))
    assert all(spots[n] for n in range(comes, comes + stays))
    assert not any(spots[: max(0, comes - 3 * EVERY)])
    assert not any(spots[comes + stays + 3 * EVERY :])


class FullSight(PaintDetector):
    """Sees small faces in full looks only."""

    def _find(self, kind: str, picture: np.ndarray, threshold: float) -> Detections:
        found = super()._find(kind, picture, threshold)
        return found if picture.shape[1] == 640 else Detections.of([], [], [])


@pytest.mark.parametrize("claimed", [1e-9, 1.0, 25.0, 120.0, 1000.0])
@pytest.mark.parametrize("length", [0.001, 0.04, 1.0])
def test_a_claimed_rate_leaves_no_face_bare(claimed: float, length: float) -> None:
    """Frames of any length, whatever the file says of them."""
    room, stays = wallpaper(120, 200), 50 if length < 0.04 else 16 if length < 1 else 3
    inside = paint(room.copy(), face(10))
    frames = [inside if 20 <= n < 20 + stays else room for n in range(90)]
    with Analysis(PaintDetector(), threshold=0.4, rate=claimed, interval=0.6) as analysis:
        items = ((n, planes(f), n * length) for n, f in enumerate(frames))
        watch(items, analysis, lambda done: None)
        analysis.finish()
    spots = list(islice(analysis.timeline.frames(), len(frames)))
    assert all(spots[20 : 20 + stays])


@pytest.mark.parametrize("frames", [7, 20])
def test_every_frame_is_looked_at_where_the_interval_is_one(frames: int) -> None:
    detector = PaintDetector()
    with Analysis(detector, threshold=0.4, rate=RATE, interval=1 / RATE) as analysis:
        still = planes(walk(1)[0])
        watch(((n, still, n / RATE) for n in range(frames)), analysis, lambda done: None)
        analysis.finish()
    assert analysis.looks_taken == {"full": frames, "half": 0}


def test_a_still_picture_is_looked_at_rarely() -> None:
    detector = PaintDetector()
    analysis = analysed([walk(1)[0]] * 100, detector)
    assert all(islice(analysis.timeline.frames(), 100))
    assert len(detector.calls) <= 11
    assert sum(analysis.looks_taken.values()) == len(detector.calls)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (2, 300)])
def test_tiny_frames_are_survived(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(12)]
    analysed(frames, PaintDetector())


def test_nothing_at_all_has_no_tracks() -> None:
    assert len(analysed([], PaintDetector()).timeline) == 0


class SlowDetector(PaintDetector):
    """Takes its time, in another order than asked, and counts who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.guard = threading.Lock()

    def detect_frames(self, frames: np.ndarray, threshold: float) -> list[Detections]:
        with self.guard:
            self.now += 1
            self.most = max(self.most, self.now)
            pause = 0.02 if self.now % 2 else 0.002
        time.sleep(pause)
        with self.guard:
            self.now -= 1
        return super().detect_frames(frames, threshold)


def test_answers_out_of_order_are_used_in_order() -> None:
    frames = walk(60)
    slow, quick = SlowDetector(), PaintDetector()
    late, prompt = (analysed(frames, d).timeline.frames() for d in (slow, quick))
    for a, b in islice(zip(late, prompt, strict=False), 60):
        assert [s.box.tolist() for s in a] == [s.box.tolist() for s in b]
    assert slow.most > 1


def test_frames_wait_for_the_detector_and_do_not_pile_up() -> None:
    release = threading.Event()

    class Stuck(PaintDetector):
        def detect_frames(self, frames: np.ndarray, threshold: float) -> list[Detections]:
            release.wait(10)
            return super().detect_frames(frames, threshold)

    frames, fed = walk(200), []

    def work() -> None:
        with Analysis(Stuck(), threshold=0.4, rate=RATE, interval=1 / RATE) as analysis:
            watch(((n, planes(f), n / RATE) for n, f in enumerate(frames)), analysis, fed.append)

    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.5)
    waiting = len(fed)
    release.set()
    worker.join()
    assert waiting < 12
    assert len(fed) == 200


def test_a_failing_detector_ends_the_analysis() -> None:
    class Down(PaintDetector):
        def detect_frames(self, frames: np.ndarray, threshold: float) -> list[Detections]:
            raise ModelUnavailable("down")

    with pytest.raises(ModelUnavailable):
        analysed(walk(30), Down())
    assert no_threads_left()
