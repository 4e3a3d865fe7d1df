"""A body's room and pace: what comes in counts by the byte, and may be late but not slow."""

from __future__ import annotations

import pytest

from gateway.admission import Board
from gateway.errors import Busy
from gateway.http.receiving import Pace, Receiving
from gateway.settings import MIB, Settings


@pytest.fixture
def receiving():
    return Receiving(Settings(max_receiving_bytes=16 * MIB), Board())


def test_bodies_count_by_what_has_come_of_them(receiving):
    with receiving.take_in(14 * MIB) as one, receiving.take_in(None) as other:
        with receiving.take_in(14 * MIB):  # nothing has come yet
            pass
        one.grow(10 * MIB)
        other.grow(3 * MIB)
        with pytest.raises(Busy):
            other.grow(2 * MIB)
        with pytest.raises(Busy):
            receiving.take_in(2 * MIB)
        assert receiving.inside == 13 * MIB
        one.release()
        other.grow(2 * MIB)
    assert receiving.inside == 0


def test_large_bodies_leave_room_to_small_ones(receiving):
    with receiving.take_in(None) as large, receiving.take_in(MIB) as small:
        small.grow(1)
        large.grow(14 * MIB - 1)
        with pytest.raises(Busy):
            large.grow(1)
        small.grow(MIB - 1)
        with receiving.take_in(MIB) as another, receiving.take_in(0):
            another.grow(MIB)
            with pytest.raises(Busy):
                receiving.take_in(2)


def test_a_body_alone_may_be_as_large_as_it_likes(receiving):
    with receiving.take_in(50 * MIB) as body:  # the check of its size is somebody else's
        body.grow(50 * MIB)


def test_a_body_too_many_is_told_when_it_fits_by_how_long_others_stay(receiving, now):
    with receiving.take_in(None) as body:
        body.grow(14 * MIB)
        now[0] += 100
    with receiving.take_in(None) as body:
        body.grow(14 * MIB)
        with pytest.raises(Busy) as refused:
            receiving.take_in(7 * MIB)
    assert refused.value.retry_after == 50


@pytest.mark.parametrize(
    ("before", "ahead", "allowed", "late"),
    [(None, 2000, 12.0, (100, 0.3)), ((10**9, 1.0), 0, 10.0, (0, 0.2))],
    ids=["it may be late but not slow", "what came fast is no excuse for long"],
)
def test_a_body_has_its_pace(before, ahead, allowed, late):
    pace = Pace(1000, 10.0)
    if before:
        pace.came(*before)
    assert pace.allowed(ahead) == allowed
    pace.came(ahead, allowed - 0.1)
    with pytest.raises(TimeoutError):
        pace.came(*late)


def test_no_rate_is_no_limit():
    pace = Pace(0, 10.0)
    pace.came(0, 1000.0)
    assert pace.allowed(65536) == 0
