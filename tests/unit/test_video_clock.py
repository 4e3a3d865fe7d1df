"""Timestamps repaired: always increasing, untouched when good."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.media.video.clock import FrameClock, Splices

TIMES = st.lists(st.none() | st.integers(-(2**40), 2**40), max_size=60)


@given(TIMES, st.integers(0, 5000))
def test_any_times_become_increasing(times: list[int | None], step: int) -> None:
    clock = FrameClock(step)
    placed = [clock.place(time, None) for time in times]
    assert all(a < b for a, b in pairwise(placed))


@given(st.lists(st.integers(-(2**40), 2**40), unique=True, max_size=60))
def test_good_times_are_untouched(times: list[int]) -> None:
    clock = FrameClock(40)
    assert [clock.place(time, None) for time in sorted(times)] == sorted(times)


def test_one_bad_time_does_not_push_the_rest() -> None:
    clock = FrameClock(40)
    placed = [clock.place(time, None) for time in (0, 40, 40, 120, None, 200)]
    assert placed == [0, 40, 60, 120, 160, 200]


def test_lost_times_go_on_at_the_usual_rate() -> None:
    clock = FrameClock(40)
    assert [clock.place(None, None) for _ in range(4)] == [0, 40, 80, 120]
    clock = FrameClock(40)
    assert [clock.place(0, None) for _ in range(4)] == [0, 20, 60, 100]


def test_storage_time_serves_where_shown_time_is_bad() -> None:
    clock = FrameClock(40)
    assert [clock.place(0, None), clock.place(0, 45), clock.place(None, 90)] == [0, 45, 90]


def test_a_restarted_clock_is_joined_for_all_streams() -> None:
    splices = Splices()
    base = Fraction(1, 1000)
    for dts in range(0, 100_000, 500):
        for stream in (0, 1):
            assert splices.shift(stream, dts, base, 500) == 0
    assert splices.shift(0, 3_000_000, base, 500) == 100_000 - 3_000_000
    assert splices.shift(1, 3_000_100, base, 500) == 100_000 - 3_000_000
    assert splices.shift(0, 3_000_500, base, 500) == 100_000 - 3_000_000
    assert splices.shift(0, 0, base, 500) == 101_000
