"""Clients that go away in the middle of something."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time

import pytest

from tests.service import media
from tests.service.helpers import FINAL, eventually, form, live


def hang_up(connection: socket.socket, *, rudely: bool) -> None:
    """Close; ``rudely``: with a reset, as a phone does that loses its network's patience."""
    if rudely:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture(autouse=True)
def the_pod_goes_on(api):
    yield
    assert api.blur(media.photo()).status_code == 200


@pytest.mark.parametrize("rudely", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_amid_an_upload(api, bucket, clips, rudely, share):
    before = bucket.keys()
    head, whole = form(clips.long())
    with api.raw(head, whole[: int(share * len(whole))]) as connection:
        time.sleep(0.1)
        hang_up(connection, rudely=rudely)
    time.sleep(0.2)
    assert bucket.keys() == before


@pytest.mark.parametrize("rudely", [False, True])
def test_amid_a_photo(api, rudely):
    head, whole = form(media.animation(10))
    with api.raw(head, whole) as connection:
        time.sleep(0.3)
        hang_up(connection, rudely=rudely)


@pytest.mark.parametrize("rudely", [False, True])
def test_amid_a_wait(api, pod, clips, rudely):
    """The job goes on: its client may come back, and its results expire."""
    head, whole = form(clips.short(), "?wait=60")
    before = live(api)
    with api.raw(head, whole) as connection:
        eventually(lambda: live(api) > before, "the job is there")
        hang_up(connection, rudely=rudely)
    eventually(lambda: live(api) == before, "the job is over")
    assert 'masquerade_jobs_total{status="done"}' in api.get("/metrics").text


def test_amid_the_events(api, clips):
    job_id = api.submit(clips.short())
    for _ in range(3):
        with contextlib.closing(api.events(job_id)) as events:
            assert next(events)[1]["id"] == job_id
    assert api.ended(job_id)["status"] == "done"
    assert [view["status"] for _, view in api.events(job_id)][-1] in FINAL


def test_amid_an_answer(api):
    """Many that ask and do not listen."""
    for _ in range(20):
        with api.raw("GET /openapi.json HTTP/1.1\nHost: pod\n\n") as connection:
            hang_up(connection, rudely=True)
    assert json.loads(api.get("/healthz").text) == {"status": "ok"}


def test_many_idle_connections(api):
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(api.address, timeout=10))
        assert api.blur(media.photo()).status_code == 200
