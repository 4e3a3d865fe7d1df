"""Who may come in, and what the others are told."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import pytest

from gateway import deadline
from gateway.admission import Admission, Board
from gateway.errors import (
    BadMedia,
    BadRequest,
    Busy,
    ClientGone,
    DeadlineExceeded,
    ModelUnavailable,
    RendererFailed,
)
from gateway.settings import Settings

SETTINGS = Settings(renderer_large_url="http://127.0.0.1:1")


@pytest.fixture(autouse=True)
def two_processes(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    yield
    deadline.start(float("inf"))


@pytest.fixture
def fill():
    """Enter a gate so often, and be at the renderer."""
    with contextlib.ExitStack() as stack:

        def enter(gate, count):
            for _ in range(count):
                stack.enter_context(gate.entered())
                stack.enter_context(gate.at_work())

        yield enter


def gates(**changed):
    return Admission(dataclasses.replace(SETTINGS, **changed), Board())


def test_as_many_wait_as_are_answered_within_the_patience(fill):
    photos = gates(photo_patience=1.0).photos
    photos.took(0.4)
    fill(photos, 5)  # the fifth waits 0.6 s and takes 0.4 s
    with pytest.raises(Busy) as refused, photos.entered():
        pass
    assert refused.value.retry_after == 1
    assert photos.inside == 5


def test_those_who_leave_make_room():
    photos = gates(max_photos_in_flight=1).photos
    for _ in range(3):
        with photos.entered():
            assert not photos.is_open()
    assert photos.inside == 0


def test_one_for_each_process_waits_however_slow_they_are(fill):
    photos = gates().photos
    photos.took(8.0)
    fill(photos, 4)
    with pytest.raises(Busy) as refused:
        photos.check()
    assert refused.value.retry_after == 4 * 8 / 2


def test_there_is_a_limit_however_fast_they_are(fill):
    photos = gates(max_photos_in_flight=6).photos
    photos.took(0.001)
    fill(photos, 6)
    assert not photos.is_open()


def test_who_is_fetched_or_stored_holds_nobody_up():
    both = gates(max_photos_in_flight=4, max_classify_in_flight=1000)
    both.photos.took(10.0)
    with both.classifications.entered(900), both.photos.entered(), both.photos.entered():
        assert both.photos.is_open()
        with both.photos.entered(), both.photos.entered():
            assert not both.photos.is_open()  # but for the limit to all that is in


def test_who_finds_no_place_is_told_when_one_was_free_so_far(now):
    photos = gates(max_photos_in_flight=2).photos
    with photos.entered(), photos.entered():
        now[0] += 30.0
    with photos.entered(), photos.entered(), pytest.raises(Busy) as refused:
        photos.check()
    assert refused.value.retry_after == 15


def test_what_fails_after_long_tells_how_long_such_work_takes(now):
    photos = gates().photos
    photos.took(0.3)

    def fail(after, error):
        with pytest.raises(type(error)), photos.at_work():
            now[0] += after
            raise error

    fail(0.01, BadMedia("no photo"))  # says nothing about one
    fail(20.0, ClientGone("gone"))
    assert photos.seconds == pytest.approx(0.3)
    for _ in range(3):
        fail(20.0, ModelUnavailable("it hangs"))
    assert photos.seconds > 9


def test_the_wait_before_a_failure_is_not_counted(now, fill):
    photos = gates().photos
    photos.took(8.0)
    fill(photos, 3)  # half a photo each is before the newcomer
    with pytest.raises(RendererFailed), photos.at_work():
        now[0] += 15.9
        raise RendererFailed("died")
    assert photos.seconds == 8.0


def test_the_time_that_one_takes_is_measured():
    photos = gates().photos
    guess = photos.seconds
    photos.took(0.1)
    assert photos.seconds == 0.1 != guess
    for _ in range(40):
        photos.took(0.5)
    assert photos.seconds == pytest.approx(0.5, rel=0.01)


def test_large_work_does_not_keep_small_work_out(fill):
    both = gates(max_large_photos_in_flight=1)
    fill(both.large_photos, 1)
    fill(both.drawings, 4)
    assert not both.large_photos.is_open()
    assert both.photos.is_open()


def test_without_processes_of_its_own_it_does(fill):
    one = Admission(Settings(), Board())
    one.drawings.took(5.0)
    fill(one.drawings, 4)
    assert not one.photos.is_open()


def test_kinds_in_the_same_processes_wait_for_each_other(fill):
    both = gates()
    both.drawings.took(20.0)
    fill(both.drawings, 4)
    assert not both.large_photos.is_open()


def test_who_would_not_be_answered_before_its_deadline_is_refused_at_once(fill):
    photos = gates().photos
    photos.took(0.4)
    fill(photos, 3)
    photos.check()
    deadline.start(0.7)
    with pytest.raises(Busy):
        photos.check()
    deadline.start(-0.1)
    with pytest.raises(DeadlineExceeded):
        photos.check()


def test_an_idle_pod_tries_whatever_the_deadline():
    photos = gates().photos
    photos.took(5.0)
    deadline.start(1.0)
    photos.check()


def test_many_images_at_once_count_as_such(fill):
    some = gates(max_classify_in_flight=8).classifications
    with some.entered(20):  # more than ever fit: alone, they do
        assert not some.is_open()
    with some.entered(7):
        some.check()
        with pytest.raises(Busy):
            some.check(2)


def test_processes_count_together_and_a_dead_one_leaves_nothing():
    board = Board()
    board.sit(3)
    board.add(0, 1)
    if not (child := os.fork()):
        board.sit(4)
        board.add(0, 5)
        os._exit(0)
    os.waitpid(child, 0)
    assert board.total(0) == 6
    board.wipe(4)
    assert board.total(0) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, float("inf")),
        ({"X-Request-Timeout": "2.5"}, 2.5),
        ({"X-Envoy-Expected-Rq-Timeout-Ms": "1500"}, 1.5),
        ({"X-Request-Timeout": "2", "X-Envoy-Expected-Rq-Timeout-Ms": "15000"}, 2),
    ],
)
def test_the_time_that_a_request_has(headers, seconds):
    assert deadline.asked(headers) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "nan"])
def test_a_time_that_is_none(text):
    with pytest.raises(BadRequest, match="X-Request-Timeout"):
        deadline.asked({"X-Request-Timeout": text})
