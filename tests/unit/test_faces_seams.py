"""Tracks over the seams of a video that was watched in segments."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.faces.seams import Watched, lost, reconcile

Path = tuple[int, int, float, float]  # first frame, last frame, x, pixels a frame


def box(path: Path, frame: int) -> list[float]:
    x = path[2] + path[3] * frame
    return [x, 10, x + 40, 60]


def watched(
    faces: Mapping[int, Path], start: int, end: int, before: int = 10, after: int = 10
) -> Watched:
    """A segment [start, end) of a video, with the tracks' numbers in it."""
    seen = {}
    for frame in range(start - before, end + after):
        there = {number: p for number, p in faces.items() if p[0] <= frame <= p[1]}
        if there:
            boxes = np.array([box(p, frame) for p in there.values()], np.float32)
            seen[frame - start] = ([*there], boxes)
    return Watched(end - start, seen)


def test_a_face_over_a_seam_keeps_its_number() -> None:
    face = (0, 99, 0.0, 2.0)
    assert reconcile([watched({7: face}, 0, 50, before=0), watched({3: face}, 50, 100)]) == [
        {7: 0},
        {3: 0},
    ]


def test_over_many_seams() -> None:
    face, other = (0, 200, 0.0, 1.0), (60, 140, 300.0, 0.0)
    segments = [watched({n: face, 9 - n: other}, 50 * n, 50 * n + 50) for n in range(4)]
    assert reconcile(segments) == [{0: 0}, {1: 0, 8: 1}, {2: 0, 7: 1}, {3: 0, 6: 1}]


def test_faces_side_by_side_are_not_mixed_up() -> None:
    left, right = (0, 99, 0.0, 1.0), (0, 99, 25.0, 1.0)
    assert reconcile(
        [watched({0: left, 1: right}, 0, 50), watched({0: right, 1: left}, 50, 100)]
    ) == [
        {0: 0, 1: 1},
        {0: 1, 1: 0},
    ]


def test_a_face_that_leaves_and_one_that_comes_are_two() -> None:
    gone, new = (0, 47, 0.0, 1.0), (52, 99, 0.0, 1.0)
    names = reconcile([watched({0: gone, 1: new}, 0, 50), watched({0: gone, 1: new}, 50, 100)])
    assert names == [{0: 0, 1: 1}, {0: 0, 1: 1}]


def test_a_new_face_at_the_place_of_an_old_one_is_new() -> None:
    names = reconcile(
        [watched({0: (0, 45, 0.0, 1.0)}, 0, 50), watched({0: (50, 99, 0.0, 1.0)}, 50, 99)]
    )
    assert names == [{0: 0}, {0: 1}]


def test_one_track_is_continued_by_one_only() -> None:
    whole, first, second = (0, 99, 0.0, 0.0), (0, 52, 0.0, 0.0), (53, 99, 0.0, 0.0)
    names = reconcile([watched({0: whole}, 0, 50), watched({4: first, 5: second}, 50, 100)])
    assert names[0] == {0: 0}
    assert sorted(names[1].values()) == [0, 1]


def test_segments_without_faces_or_frames() -> None:
    face = (0, 99, 0.0, 1.0)
    empty = Watched(0, {})
    assert reconcile([]) == []
    assert reconcile([empty, watched({2: face}, 0, 100), empty]) == [{}, {2: 0}, {}]
    assert reconcile([watched({0: face}, 0, 50), watched({}, 50, 100)]) == [{0: 0}, {}]


@st.composite
def videos(draw: st.DrawFn) -> tuple[list[Path], list[int]]:
    lanes = draw(st.integers(0, 5))
    paths: list[Path] = []
    for lane in range(lanes):
        end = -30
        for _ in range(draw(st.integers(1, 3))):
            start = draw(st.integers(end + 30, end + 120))
            end = start + draw(st.integers(20, 150))
            paths.append((start, end, 100.0 * lane, 0.1))
    bounds = [0]
    for _ in range(draw(st.integers(1, 5))):
        bounds.append(bounds[-1] + draw(st.integers(25, 90)))
    return paths, bounds


@given(videos(), st.randoms(use_true_random=False))
def test_numbers_in_the_whole_and_faces_are_one_to_one(
    video: tuple[list[Path], list[int]], random
) -> None:
    paths, bounds = video
    segments, truth = [], []
    for start, end in pairwise(bounds):
        numbers = [*range(len(paths))]
        random.shuffle(numbers)
        segments.append(watched(dict(zip(numbers, paths, strict=True)), start, end))
        truth.append(dict(zip(numbers, range(len(paths)), strict=True)))
    pairs = {
        (name, faces[local])
        for names, faces in zip(reconcile(segments), truth, strict=True)
        for local, name in names.items()
    }
    shown = {n for n, p in enumerate(paths) if p[0] < bounds[-1] and p[1] >= 0}
    assert {face for _, face in pairs} == shown
    assert sorted(name for name, _ in pairs) == [*range(len(shown))]


@pytest.mark.parametrize("shift", [0.0, 4.0, 9.0])
def test_boxes_need_not_agree_to_the_pixel(shift: float) -> None:
    face, moved = (0, 99, 0.0, 1.0), (0, 99, shift, 1.0)
    assert reconcile([watched({0: face}, 0, 50), watched({0: moved}, 50, 100)]) == [{0: 0}, {0: 0}]


def test_a_face_that_the_next_segment_does_not_know_is_lost() -> None:
    known, weak, gone = (0, 99, 0.0, 1.0), (0, 99, 100.0, 1.0), (0, 49, 200.0, 0.0)
    before = watched({0: known, 1: weak, 2: gone}, 0, 50)
    assert lost(before, watched({5: known}, 50, 100), -8).tolist() == [box(weak, 42)]
    assert lost(before, watched({}, 50, 100), -8).tolist() == [box(known, 42), box(weak, 42)]
    assert not len(lost(before, watched({3: weak, 5: known}, 50, 100), -8))
    assert not len(lost(watched({}, 0, 50), before, -8))
