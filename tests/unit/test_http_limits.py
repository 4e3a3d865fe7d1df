"""What a key may ask and send: rates, sizes, bytes a day; in Redis, and while Redis is away."""

from __future__ import annotations

import dataclasses
import io
import re
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.keys import digest_of, new_key
from gateway.access.window import Window
from tests.servers import free_port
from tests.unit.http_fakes import JPEG, app_of, form, refused, services_of

KEYS = {name: new_key() for name in ("ann", "ben")}
DAY = 86400


@pytest.fixture
def key_of(settings):
    """A client with a key of these limits; the settings can be changed, too."""

    def key_of(limits="", name="ann", **changed):
        lines = [f"{each}:{digest_of(key)} {limits}" for each, key in KEYS.items()]
        changed = dataclasses.replace(settings, api_keys=",".join(lines), **changed)
        client = app_of(services_of(changed)).test_client()
        client.environ_base["HTTP_X_API_KEY"] = KEYS[name]
        return client

    return key_of


def motions(client):
    return client.get("/v1/motions")


def told(answer):
    """What is left (r) and until when (t), by the limit's name."""
    found = re.findall(r'"([^"]+)";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    return {name: (int(left), int(seconds)) for name, left, seconds in found}


def test_what_is_left_is_told_with_every_answer(key_of):
    client = key_of("rate=20/second;600/minute day=1000000")
    answer = client.post("/v1/blur", data=form())
    assert answer.headers["RateLimit-Policy"] == (
        '"requests/second";q=20;w=1, "requests/minute";q=600;w=60,'
        f' "bytes/day";q=1000000;qu="content-bytes";w={DAY}'
    )
    left = told(answer)
    assert (left["requests/second"][0], left["requests/minute"][0]) == (19, 599)
    assert 1000000 - 1000 < left["bytes/day"][0] < 1000000 - len(JPEG)
    assert DAY - 5 < left["bytes/day"][1] <= DAY
    assert (
        told(client.get("/v1/jobs/x"))["requests/minute"][0] == 598
    )  # over all routes, errors too


def test_who_asks_too_often_is_told_when_to_come_back(key_of):
    client = key_of("rate=3/minute")
    assert [motions(client).status_code for _ in range(3)] == [200] * 3
    answer = motions(client)
    assert "3 requests a minute" in refused(answer, 429, "limit-reached")
    assert 50 <= int(answer.headers["Retry-After"]) <= 81
    assert told(answer) == {"requests/minute": (0, pytest.approx(60, abs=5))}
    again = motions(client)  # told without asking Redis
    assert refused(again, 429, "limit-reached") and again.headers["RateLimit"]
    assert abs(int(again.headers["Retry-After"]) - int(answer.headers["Retry-After"])) <= 1
    assert motions(key_of("rate=3/minute", name="ben")).status_code == 200
    refused(motions(key_of("rate=3/minute")), 429, "limit-reached")  # another gateway's, too
    for path in ("/healthz", "/", "/openapi.json"):
        assert client.get(path).status_code == 200
        assert "RateLimit" not in client.get(path).headers


def test_whoever_waits_as_told_gets_in(key_of):
    client = key_of("rate=5/second")
    refused = [
        answer for answer in (motions(client) for _ in range(12)) if answer.status_code == 429
    ]
    time.sleep(int(refused[-1].headers["Retry-After"]))
    assert motions(client).status_code == 200


def test_the_default_holds_where_a_key_says_nothing(key_of):
    assert told(motions(key_of(key_rate="7/hour", key_day_bytes=9))) == {
        "requests/hour": (6, pytest.approx(3600, abs=5)),
        "bytes/day": (9, pytest.approx(0, abs=DAY)),
    }
    assert set(told(motions(key_of("rate=2/day", key_rate="7/hour")))) == {"requests/day"}
    assert "RateLimit" not in motions(key_of("rate= day=0", key_day_bytes=9)).headers
    assert "RateLimit" not in motions(key_of(key_rate="")).headers


def test_without_keys_nothing_is_counted(settings):
    client = app_of(services_of(dataclasses.replace(settings, key_rate="1/day"))).test_client()
    for _ in range(3):
        answer = motions(client)
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


def test_bytes_of_a_day(key_of):
    client = key_of("day=2000")
    assert client.post("/v1/blur", data=form(JPEG + bytes(300))).status_code == 200
    answer = client.post("/v1/blur", data=form(JPEG + bytes(1600)))
    assert "2000 bytes a day" in refused(answer, 429, "limit-reached")
    assert 0 < int(answer.headers["Retry-After"]) <= 2 * DAY
    # What was refused is not counted.
    assert client.post("/v1/blur", data=form()).status_code == 200


def test_bytes_that_go_straight_to_the_bucket(key_of):
    client = key_of("day=1000 size=600")
    assert client.post("/v1/uploads", json={"size": 550}).status_code == 201
    refused(client.post("/v1/uploads", json={"size": 550}), 429, "limit-reached")
    refused(client.post("/v1/uploads", json={"size": 601}), 413, "too-large")
    refused(client.post("/v1/uploads", json={}), 411, "length-required")
    refused(client.post("/v1/uploads"), 411, "length-required")
    assert key_of("rate=9/day").post("/v1/uploads").status_code == 201


@pytest.mark.parametrize("limits", ["size=600", "day=600"])
def test_one_request_too_large(key_of, limits):
    client = key_of(limits)
    answer = client.post("/v1/blur", data=form(bytes(700)))
    assert answer.status_code in (413, 429)
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = client.post("/v1/blur", input_stream=io.BytesIO(JPEG), environ_overrides=chunked)
    assert "Content-Length" in refused(answer, 411, "length-required")
    assert client.get("/v1/motions").status_code == 200


# while Redis is away


@pytest.fixture
def silent():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_limits_hold_while_redis_is_away_and_nothing_waits_for_it(key_of, silent, how):
    port = silent if how == "silent" else free_port()
    client = key_of("rate=3/day", redis_url=f"redis://127.0.0.1:{port}/0")
    begun = time.monotonic()
    assert [motions(client).status_code for _ in range(5)] == [200] * 3 + [429] * 2
    assert time.monotonic() - begun < 1.5  # five that waited would take 2 s
    assert int(motions(client).headers["Retry-After"]) > 60


# the window


windows = st.builds(
    Window,
    most=st.integers(1, 10**9),
    span=st.sampled_from([1, 60, 3600, DAY]),
    before=st.integers(0, 10**9),
    now=st.integers(0, 10**9),
    ends=st.floats(0, 1),
).map(lambda w: dataclasses.replace(w, fades=w.ends * w.span, ends=w.ends * w.span))


def later(window, seconds):
    """The same, so much later, if nothing came."""
    if seconds < window.ends:
        fades = max(0.0, window.fades - seconds)
        return dataclasses.replace(window, fades=fades, ends=window.ends - seconds)
    fades = max(0.0, window.span - (seconds - window.ends))
    return Window(window.most, window.span, window.now, fades, 0, 0.0)


@given(windows, st.integers(1, 10**9))
def test_what_waits_as_long_as_told_fits_and_not_earlier(window, cost):
    wait = window.wait(cost)
    if cost > window.most:
        assert wait == window.span
        return
    grain = 1e-9 * window.span
    assert later(window, wait + grain).left >= cost
    if wait > 2 * grain:
        assert later(window, wait - 2 * grain).left < cost
