"""When the detector looks: often enough, and not at pictures that do not change."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_faces_flow import moved, texture

from gateway.faces.looks import STILL_STRETCH, Looks

SCENE = texture(144, 256)


def drift(frames: int, speed: float) -> list[np.ndarray]:
    return [moved(SCENE, speed * n, 0) for n in range(frames)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.floats(0.5, 8))
def test_a_moving_picture_gets_a_full_look_every_interval(interval: int, speed: float) -> None:
    looks = Looks(interval)
    full = [n for n, f in enumerate(drift(70, speed)) if looks.decide(f) == "full"]
    assert full[0] == 0
    assert max(np.diff([*full, 70])) <= interval


@pytest.mark.parametrize("interval", [0, -3, 1])
def test_an_interval_of_a_frame_or_less_looks_at_every_frame(interval: int) -> None:
    looks = Looks(interval)
    assert [looks.decide(f) for f in drift(6, 4)] == ["full"] * 6


def test_a_still_picture_gets_few_looks_but_not_none() -> None:
    looks, frame = Looks(10), SCENE
    taken = [looks.decide(frame) for _ in range(200)]
    assert taken[0] == "full"
    assert 1 < sum(t is not None for t in taken) <= 10


def test_something_small_that_appears_in_a_still_picture_is_looked_at() -> None:
    looks = Looks(10)
    for _ in range(15):
        looks.decide(SCENE)
    changed = SCENE.copy()
    changed[60:75, 100:112] = 255
    taken = [looks.decide(changed) for _ in range(10)]
    assert taken.count("full") >= 1


def test_restless_pictures_are_looked_at_more() -> None:
    calm, wild = Looks(24), Looks(24)
    gentle = [calm.decide(f) for f in drift(72, 0.1)]
    hasty = [wild.decide(f) for f in drift(72, 12)]
    assert hasty.count("half") > gentle.count("half") >= 1
    assert hasty.count("full") > gentle.count("full") >= 1


def test_a_new_shot_begins_with_a_full_look() -> None:
    looks = Looks(20)
    for frame in drift(5, 2):
        looks.decide(frame)
    looks.restart()
    assert looks.decide(SCENE) == "full"


def test_the_last_frame_of_a_shot_is_looked_at_unless_that_was_just_done() -> None:
    looks = Looks(10)
    assert not looks.before_cut()
    looks.decide(SCENE)
    assert not looks.before_cut()
    assert [looks.decide(SCENE) for _ in range(6)] == [None] * 6
    assert looks.before_cut()
    looks.restart()
    assert not looks.before_cut()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(1, 60), st.floats(0, 8))
def test_a_refresh_looks_at_once_and_forgets_what_was_before(
    interval: int, at: int, speed: float
) -> None:
    frames = drift(100, speed)
    looks = Looks(interval)
    for frame in frames[:at]:
        looks.decide(frame)
    looks.refresh()
    fresh = Looks(interval)
    taken = [looks.decide(frame) for frame in frames[at:]]
    assert taken[0] == "full"
    assert taken == [fresh.decide(frame) for frame in frames[at:]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.lists(st.floats(0.001, 1.5), min_size=60, max_size=60), st.booleans())
def test_full_looks_follow_the_frames_own_times(
    interval: int, lengths: list[float], still: bool
) -> None:
    """Whatever rate was claimed: never later than the interval's time, or its frames, want."""
    looks, stretch = Looks(interval, 0.6), STILL_STRETCH if still and interval > 1 else 1
    times = np.cumsum(lengths)
    taken = [looks.decide(f, t) for f, t in zip(drift(60, 0 if still else 3), times, strict=True)]
    full = [n for n, look in enumerate(taken) if look == "full"]
    for one, other in pairwise(full):
        late = other - 1  # the last frame that needed none
        assert late == one or times[late] - times[one] < stretch * 0.6 + 1e-6
        assert other - one <= stretch * interval


def test_half_looks_follow_the_frames_own_times() -> None:
    looks = Looks(36, 0.6)
    taken = [looks.decide(f, 0.04 * n) for n, f in enumerate(drift(31, 0.1))]
    assert [n for n, look in enumerate(taken) if look] == [0, 8, 15, 23, 30]
