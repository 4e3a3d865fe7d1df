"""Tracks: gaps filled, ends extended, cuts respected, paths through every detection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_faces_flow import moved, texture

from gateway.faces.boxes import Detections, centres, iou
from gateway.faces.flow import Motion
from gateway.faces.tracks import Track, Tracker, TrackerOptions, associate

OPTIONS = TrackerOptions(threshold=0.3, max_gap=20, extend=5)
Path = Callable[[int], Sequence[float]]
Seen = Mapping[int, Sequence[tuple[Sequence[float], float]]]


def grey(frame: int) -> np.ndarray:
    """A picture, (1000, 1000), that says which frame it is."""
    return np.broadcast_to(np.uint8(frame), (1000, 1000))


def exact(*paths: Path) -> Callable[..., Motion]:
    """A ``follow`` that moves each box just as the object nearest to it moves."""

    def follow(before: np.ndarray, after: np.ndarray, boxes: np.ndarray) -> Motion:
        then = np.array([p(int(before[0, 0])) for p in paths], np.float32)
        now = np.array([p(int(after[0, 0])) for p in paths], np.float32)
        distance = np.linalg.norm(centres(boxes)[:, None] - centres(then)[None], axis=2)
        nearest = distance.argmin(axis=1)
        shifted = boxes + now[nearest] - then[nearest]
        return Motion(shifted, np.ones(len(boxes), bool), np.zeros(2, np.float32))

    return follow


def still(_before: np.ndarray, _after: np.ndarray, boxes: np.ndarray) -> Motion:
    """A ``follow`` that trusts in boxes that never move."""
    return Motion(boxes.copy(), np.ones(len(boxes), bool), np.zeros(2, np.float32))


def lost(_before: np.ndarray, _after: np.ndarray, boxes: np.ndarray) -> Motion:
    """A ``follow`` that says that it does not know, and drifts."""
    return Motion(boxes + np.float32(0.3), np.zeros(len(boxes), bool), np.zeros(2, np.float32))


def line(x: float, y: float, vx: float = 0, vy: float = 0, w: float = 40, h: float = 50) -> Path:
    return lambda t: (x + vx * t, y + vy * t, x + vx * t + w, y + vy * t + h)


def found(items: Sequence[tuple[Sequence[float], float]]) -> Detections:
    landmarks = [[[0, 0]] * 5 for _ in items]
    return Detections.of([b for b, _ in items], [s for _, s in items], landmarks)


def run(
    frames: int,
    seen: Seen,
    follow: Callable[..., Motion],
    options: TrackerOptions = OPTIONS,
    cut_before: Sequence[int] = (),
    scale: float = 1.0,
) -> list[Track]:
    """All tracks of a video of ``frames`` frames, looked at where ``seen`` has a frame."""
    tracker = Tracker(options, follow)
    ended = []
    for n in range(frames):
        if n in cut_before:
            ended += tracker.cut()
        ended += tracker.feed(n, grey(n), scale, found(seen[n]) if n in seen else None)
    return sorted([*ended, *tracker.cut()], key=lambda t: t.number)


def look_at(path: Path, frames: Sequence[int], score: float = 0.9) -> Seen:
    return {n: [(path(n), score)] for n in frames}


def covers(box: np.ndarray, other: np.ndarray) -> bool:
    """Whether ``other`` lies in ``box``; tracks continue faces beyond the picture's border."""
    low = (box[:2] <= other[:2] + 1e-3).all()
    return bool(low and (box[2:] >= other[2:] - 1e-3).all())


def error(track: Track, path: Path) -> float:
    return max(
        float(np.abs(box - np.array(path(track.first + i))).max())
        for i, box in enumerate(track.boxes)
    )


WALKER = line(10, 20, 2, 1)
STROLLER = line(100, 100, 0.2, 0.1)


def test_a_face_is_followed_between_looks() -> None:
    (track,) = run(40, look_at(WALKER, range(0, 40, 10)), exact(WALKER))
    assert (track.first, track.last) == (0, 35)
    assert track.detected == {0, 10, 20, 30}
    assert error(track, WALKER) < 1e-3


def test_a_missed_detection_between_two_is_filled() -> None:
    seen = {**look_at(WALKER, [0, 5, 15, 20]), 10: []}
    (track,) = run(21, seen, exact(WALKER))
    assert (track.first, track.last) == (0, 20)
    assert 10 not in track.detected
    assert error(track, WALKER) < 1e-3


def test_drift_is_spread_over_the_frames_since_the_last_sight() -> None:
    """Flow that stands still while the face moves evenly: the path is mended evenly."""
    (track,) = run(21, look_at(WALKER, [0, 10, 20]), still)
    assert error(track, WALKER) < 1e-3


def test_an_unreliable_stretch_becomes_a_straight_line() -> None:
    (track,) = run(21, look_at(WALKER, [0, 10, 20]), lost)
    assert error(track, WALKER) < 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 40), st.tuples(*[st.floats(-6, 6)] * 4), min_size=1),
    st.sampled_from([still, lost, exact(STROLLER)]),
)
def test_the_path_meets_every_detection_exactly(
    jitter: dict[int, tuple[float, ...]], follow: Callable[..., Motion]
) -> None:
    seen = {n: [(np.add(STROLLER(n), j).tolist(), 0.9)] for n, j in jitter.items()}
    (track,) = run(41, seen, follow, TrackerOptions(0.3, max_gap=50, extend=4))
    assert track.detected == set(jitter)
    for n in jitter:
        assert np.array_equal(track.boxes[n - track.first], np.float32(seen[n][0][0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=31, max_size=31), st.integers(0, 8))
def test_every_frame_between_first_and_last_sight_has_a_box(hits: list[bool], extend: int) -> None:
    looks = [n for n in range(31) if hits[n]]
    options = TrackerOptions(0.3, max_gap=40, extend=extend)
    seen = {**{n: [] for n in range(31)}, **look_at(WALKER, looks)}
    tracks = run(31, seen, exact(WALKER), options)
    assert len(tracks) == bool(looks)
    for track in tracks:
        assert track.first == max(0, looks[0] - extend)
        assert track.last == min(30, looks[-1] + extend)
        assert error(track, WALKER) < 1e-3


def test_a_track_begins_before_the_first_sight_and_ends_after_the_last() -> None:
    (track,) = run(60, look_at(WALKER, [20, 30]), exact(WALKER))
    assert (track.first, track.last) == (15, 35)
    assert error(track, WALKER) < 1e-3


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_face_is_hidden_from_the_full_look_before_it_to_the_one_after_it(
    data: st.DataObject,
) -> None:
    """Whatever the looks' distances, up to ``reach``, and where half looks do not see it."""
    reach = data.draw(st.integers(1, 12))
    options = TrackerOptions(
        0.3, max_gap=reach + 8, extend=data.draw(st.integers(0, 6)), reach=reach
    )
    steps = data.draw(st.lists(st.integers(1, reach), min_size=3, max_size=12))
    full = [0, *np.cumsum(steps).tolist()]
    half = data.draw(st.sets(st.integers(0, full[-1]))) - set(full)
    seen_from = data.draw(st.integers(0, full[-1]))
    comes, goes = seen_from, data.draw(st.integers(seen_from, full[-1]))
    tracker = Tracker(options, exact(WALKER))
    tracks = []
    for n in range(full[-1] + 1):
        answer = None
        if n in full or n in half:
            answer = found([(WALKER(n), 0.9)] if n in full and comes <= n <= goes else [])
        tracks += tracker.feed(n, grey(n), 1.0, answer, full=n in full)
    tracks += tracker.cut()
    known = any(comes <= n <= goes for n in full)
    assert len(tracks) == known
    for track in tracks:
        assert track.first <= comes
        assert track.last >= goes
        assert error(track, WALKER) < 1e-3
        before = max((n for n in full if n < comes), default=-1)
        after = min((n for n in full if n > goes), default=full[-1] + 1)
        assert track.first > min(before, min(track.detected) - options.extend - 1)
        assert track.last < max(after, max(track.detected) + options.extend + 1)


def test_two_sights_of_one_look_are_followed_back_each_on_its_own() -> None:
    other = line(200, 100, -3, 0)
    seen = {12: [(WALKER(12), 0.9), (other(12), 0.8)]}
    tracks = run(13, seen, exact(WALKER, other))
    assert [t.first for t in tracks] == [7, 7]
    by_start = sorted(tracks, key=lambda t: t.boxes[0][0])
    assert error(by_start[0], WALKER) < 1e-3
    assert error(by_start[1], other) < 1e-3


def test_no_track_crosses_a_cut() -> None:
    """The same place on both sides, seen just before and just after: two tracks."""
    spot = line(50, 50)
    tracks = run(40, look_at(spot, [0, 10, 18, 22, 30]), exact(spot), cut_before=[20])
    assert [(t.first, t.last) for t in tracks] == [(0, 19), (20, 35)]


def test_a_face_first_seen_after_a_cut_is_not_followed_back_over_it() -> None:
    spot = line(50, 50)
    (track,) = run(30, look_at(spot, [12]), exact(spot), cut_before=[10])
    assert (track.first, track.last) == (10, 17)


def test_a_face_gone_for_longer_than_the_gap_is_given_up() -> None:
    tracks = run(60, look_at(WALKER, [0, 2, 40]), exact(WALKER))
    assert [(t.first, t.last) for t in tracks] == [(0, 7), (35, 45)]
    within = run(60, look_at(WALKER, [0, 2, 22]), exact(WALKER))
    assert [(t.first, t.last) for t in within] == [(0, 27)]


def test_ended_tracks_are_answered_as_they_end() -> None:
    tracker = Tracker(OPTIONS, exact(WALKER))
    ended = [
        (n, t)
        for n in range(60)
        for t in tracker.feed(n, grey(n), 1.0, found([(WALKER(0), 0.9)]) if n == 0 else None)
    ]
    assert len(ended) == 1
    assert ended[0][0] == OPTIONS.max_gap + 1
    assert tracker.cut() == []


def test_weak_detections_continue_a_track_and_never_begin_one() -> None:
    weak = look_at(WALKER, [5, 10, 15], score=0.2)
    assert run(30, weak, exact(WALKER)) == []
    (track,) = run(30, {**weak, **look_at(WALKER, [0])}, exact(WALKER))
    assert track.detected == {0, 5, 10, 15}
    assert track.last == 20
    assert track.score == pytest.approx(0.9)


def test_a_strong_detection_has_the_first_choice() -> None:
    spot = line(50, 50)
    beside = line(56, 53)
    seen = {0: [(spot(0), 0.9)], 5: [(spot(5), 0.2), (beside(5), 0.9)]}
    (track,) = run(6, seen, exact(spot))
    assert np.array_equal(track.boxes[5], np.float32(beside(5)))


@pytest.mark.parametrize("height", [4, 15])
def test_two_faces_that_cross_stay_two_tracks(height: float) -> None:
    right, left = line(0, 50, 4), line(160, 50 + height, -4)
    seen = {n: [(right(n), 0.9), (left(n), 0.8)] for n in range(0, 41, 4)}
    # While one hides the other, the detector sees one face.
    seen[20] = [(right(20), 0.9)]
    tracks = run(41, seen, exact(right, left))
    assert len(tracks) == 2
    for n in range(41):
        boxes = np.stack([t.boxes[n - t.first] for t in tracks])
        truth = np.array([right(n), left(n)], np.float32)
        assert (iou(truth, boxes).max(axis=1) > 0.5).all()


def test_positions_scale_between_frames_and_small_greys() -> None:
    def follow(before: np.ndarray, after: np.ndarray, boxes: np.ndarray) -> Motion:
        steps = int(after[0, 0]) - int(before[0, 0])
        boxes = boxes + np.float32([0.5 * steps, 0, 0.5 * steps, 0])
        return Motion(boxes, np.ones(len(boxes), bool), np.zeros(2, np.float32))

    quick = line(10, 20, vx=2)
    (track,) = run(30, look_at(quick, [8, 16]), follow, scale=4.0)
    assert error(track, quick) < 1e-3


def test_a_real_face_on_a_real_texture_is_followed_with_real_flow() -> None:
    scene, face = texture(240, 480, seed=6), texture(50, 40, seed=7)
    path = line(40, 60, 3, 1)
    tracker = Tracker(OPTIONS)
    for n in range(31):
        frame = moved(scene, -n, 0.5 * n)
        x, y = int(path(n)[0]), int(path(n)[1])
        frame[y : y + 50, x : x + 40] = face
        tracker.feed(n, frame, 1.0, found([(path(n), 0.9)]) if n in (8, 20) else None)
    (track,) = tracker.cut()
    assert (track.first, track.last) == (3, 25)
    for i, box in enumerate(track.boxes):
        truth = np.array([path(track.first + i)], np.float32)
        assert iou(truth, box[None])[0, 0] > 0.8


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_strong_detection_is_ever_left_uncovered(data: st.DataObject) -> None:
    """Whatever the detector says and however badly flow follows, each face it saw is hidden."""
    spots = st.tuples(st.floats(0, 200), st.floats(0, 200), st.floats(8, 60), st.floats(0.05, 1))
    looks = data.draw(st.dictionaries(st.integers(0, 25), st.lists(spots, max_size=4)))
    seen = {n: [((x, y, x + s, y + s), score) for x, y, s, score in v] for n, v in looks.items()}
    cuts = data.draw(st.lists(st.integers(1, 25), max_size=2))
    tracks = run(26, seen, data.draw(st.sampled_from([still, lost])), cut_before=cuts)
    assert len({t.number for t in tracks}) == len(tracks)
    for n, items in seen.items():
        here = [t.boxes[n - t.first] for t in tracks if t.first <= n <= t.last]
        for box, score in items:
            if np.float32(score) >= OPTIONS.threshold:
                assert any(covers(b, np.float32(box)) for b in here)
    for track in tracks:
        assert 0 <= track.first <= min(track.detected)
        assert max(track.detected) <= track.last <= 25
        for cut in cuts:
            assert not track.first < cut <= track.last


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_face_cut_by_the_border_is_taken_for_a_whole_one(way: int, axis: int) -> None:
    """It leaves (or, the other way, enters) while the detector sees less and less of it."""

    def path(n: int) -> list[float]:
        at = [900.0, 900.0]
        at[axis] += 3.5 * (n if way > 0 else 24 - n)
        return [*at, at[0] + 40, at[1] + 40]

    seen = {n: [(np.clip(path(n), 0, 1000).tolist(), 0.9)] for n in (0, 8, 16, 19, 24)[::way]}
    (track,) = run(25, seen, still)
    for n in range(min(seen), max(seen) + 1):
        assert covers(track.boxes[n - track.first] + [-1, -1, 1, 1], np.float32(path(n)))


@pytest.mark.parametrize("score", [0.9, 0.1])
def test_a_face_carried_over_goes_on_however_weak(score: float) -> None:
    tracker = Tracker(OPTIONS, exact(WALKER))
    tracker.carry(np.float32([WALKER(0)]))
    for n in range(31):
        tracker.feed(n, grey(n), 1.0, found([(WALKER(n), score)]) if n % 10 == 0 else None)
    (track,) = tracker.cut()
    assert (track.first, track.last) == (0, 30)
    assert track.detected == {0, 10, 20, 30}
    assert error(track, WALKER) < 1e-3


def test_a_face_carried_over_and_never_seen_ends_soon() -> None:
    tracker = Tracker(OPTIONS, exact(WALKER))
    tracker.carry(np.float32([WALKER(0), STROLLER(0)]))
    ended = [t for n in range(30) for t in tracker.feed(n, grey(n), 1.0, found([]))]
    assert [(t.first, t.last, t.detected) for t in ended] == [(0, OPTIONS.extend, set())] * 2


# Association


def test_association_pairs_what_overlaps_most() -> None:
    before = [np.float32(line(0, 0)(0)), np.float32(line(30, 0)(0))]
    boxes = np.float32([line(28, 2)(0), line(3, -2)(0)])
    assert sorted(associate(before, boxes)) == [(0, 1), (1, 0)]


def test_association_refuses_what_is_far_or_of_another_size() -> None:
    before = [np.float32(line(0, 0)(0))]
    assert associate(before, np.float32([line(300, 0)(0)])) == []
    assert associate(before, np.float32([(15, 20, 24, 31)])) == []
    assert associate(before, np.zeros((0, 4), np.float32)) == []
    assert associate([], np.float32([line(0, 0)(0)])) == []


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 99))
def test_association_uses_nothing_twice(tracks: int, detections: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 80, (tracks + detections, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, corner.shape)], 1)
    boxes = boxes.astype(np.float32)
    pairs = associate(list(boxes[:tracks]), boxes[tracks:])
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
