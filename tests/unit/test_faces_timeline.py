"""Tracks asked by frame."""

from __future__ import annotations

from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.faces.timeline import Spot, Timeline, stacked, together
from gateway.faces.tracks import Track


@st.composite
def some_tracks(draw: st.DrawFn) -> list[Track]:
    tracks = []
    for number in range(draw(st.integers(0, 5))):
        first, length = draw(st.integers(0, 20)), draw(st.integers(1, 12))
        seen = draw(st.sets(st.integers(first, first + length - 1), min_size=1))
        boxes = [np.full(4, 100 * number + first + i, np.float32) for i in range(length)]
        tracks.append(Track(number, first, boxes, seen))
    return draw(st.permutations(tracks))


def timeline(tracks: list[Track]) -> Timeline:
    result = Timeline()
    for track in tracks:
        result.add([track])
    return result


@settings(deadline=None)
@given(some_tracks())
def test_each_frame_has_the_boxes_of_the_tracks_that_live_in_it(tracks: list[Track]) -> None:
    for frame, spots in enumerate(islice(timeline(tracks).frames(), 40)):
        expected = {t.number: t for t in tracks if t.first <= frame <= t.last}
        assert {s.track for s in spots} == set(expected)
        assert len(spots) == len(expected)
        for spot in spots:
            track = expected[spot.track]
            assert np.array_equal(spot.box, track.boxes[frame - track.first])
            assert spot.detected == (frame in track.detected)


@settings(deadline=None)
@given(some_tracks(), st.integers(0, 40))
def test_counts_are_what_the_frames_show(tracks: list[Track], frames: int) -> None:
    every = [s for spots in islice(timeline(tracks).frames(), frames) for s in spots]
    seen = sum(s.detected for s in every)
    assert timeline(tracks).counts(frames) == (seen, len(every) - seen)


@settings(deadline=None)
@given(some_tracks())
def test_frames_can_be_asked_again(tracks: list[Track]) -> None:
    """The report and the encoder each walk through the timeline."""
    line = timeline(tracks)
    first, second = ([len(s) for s in islice(line.frames(), 40)] for _ in range(2))
    assert first == second
    assert len(line) == len(tracks)


def test_spots_stack_to_boxes() -> None:
    assert stacked([]).shape == (0, 4)
    spots = [Spot(n, np.full(4, n, np.float32), True) for n in range(3)]
    assert stacked(spots).tolist() == [[0] * 4, [1] * 4, [2] * 4]


def test_together_shows_each_face_of_several_views_once() -> None:
    far, near = (np.float32([x, 0, x + 10, 10]) for x in (80, 1))
    filled = Track(0, 0, [np.float32([0, 0, 10, 10])] * 2, {1})
    seen = [Track(0, 0, [near] * 2, {0, 1}), Track(1, 0, [far] * 2, {0, 1})]
    first, _, none = islice(together([timeline([filled]), timeline(seen)]), 3)
    assert sorted(s.box.tolist() for s in first) == [near.tolist(), far.tolist()]
    assert all(s.detected for s in first)
    assert none == []
    alone = timeline([filled])
    assert [len(s) for s in islice(together([alone]), 3)] == [1, 1, 0]
