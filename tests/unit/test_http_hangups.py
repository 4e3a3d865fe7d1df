"""The gateway and the renderer as real processes: clients that hang up, hurry or are too many."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest
import urllib3

from gateway.settings import MIB
from tests.faulty import Fault, Proxy
from tests.played_pod import astronaut, calmed, played_pod
from tests.servers import wait_for
from tests.unit.http_fakes import page


@pytest.fixture(scope="module")
def pod(redis_url, s3_endpoint, tmp_path_factory):
    """Its object store is behind a proxy, ``pod.store``."""
    port = int(s3_endpoint.rsplit(":", 1)[1])
    with (
        Proxy(("127.0.0.1", port)) as store,
        played_pod(redis_url, store.url, tmp_path_factory.mktemp("pod"), large=True) as pod,
    ):
        pod.store = store
        yield pod


@pytest.fixture(autouse=True)
def calm(pod):
    with calmed(pod):
        yield


def photo(data=None, path="/v1/blur", *headers):
    """A whole request with a photo, as bytes."""
    body, kind = urllib3.encode_multipart_formdata({"file": ("a.jpg", data or astronaut())})
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def metric(pod, name):
    text = pod.ask("GET", "/metrics").data.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def gone(pod, route):
    return metric(pod, f'masquerade_requests_total{{method="POST",route="{route}",status="499"}}')


def test_a_waiting_photo_whose_client_hung_up_is_not_rendered(pod):
    pod.model.delay = 1.5
    asked = len(pod.model.asked)
    with pod.connection(photo()):
        wait_for(lambda: pod.model.waiting)
        with pod.connection(photo()):
            wait_for(lambda: metric(pod, "masquerade_photos_in_flight") == 2)
        wait_for(lambda: metric(pod, "masquerade_photos_in_flight") == 1)
        wait_for(lambda: not pod.model.waiting)
    pod.model.delay = 0
    assert pod.post(astronaut()).status == 200
    assert len(pod.model.asked) == asked + 2


def test_a_photo_at_work_is_given_up_with_its_client(pod):
    pod.model.delay = 1.0
    before = gone(pod, "/v1/blur")
    with pod.connection(photo()):
        wait_for(lambda: pod.model.waiting)
    wait_for(lambda: metric(pod, "masquerade_photos_in_flight") == 0, seconds=0.9)
    assert gone(pod, "/v1/blur") == before + 1


def test_a_picture_is_not_fetched_for_a_client_that_hung_up(pod):
    before = gone(pod, "/v1/classify")
    with socket.create_server(("127.0.0.1", 0)) as source:
        url = f"http://127.0.0.1:{source.getsockname()[1]}/"
        body = json.dumps({"image_url": url}).encode()
        head = "POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with pod.connection(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body):
            source.settimeout(20)
            fetch, _ = source.accept()
        with fetch:
            fetch.settimeout(20)
            while fetch.recv(65536):
                pass
    wait_for(lambda: gone(pod, "/v1/classify") == before + 1)


def test_nothing_is_stored_for_a_client_that_hung_up(pod):
    before, spoiled = gone(pod, "/v1/blur"), pod.store.spoiled
    with pod.store.spoiling(Fault(silent=True), methods=("PUT",)):
        with pod.connection(photo()):
            wait_for(lambda: pod.store.spoiled == spoiled + 2)
        wait_for(lambda: gone(pod, "/v1/blur") == before + 1)
    wait_for(lambda: metric(pod, "masquerade_photos_in_flight") == 0)
    assert {key.split("/")[0] for key in pod.queue.store.unwanted()} == {"results"}


def test_a_client_that_sends_its_next_request_is_still_there(pod):
    pod.model.delay = 0.5
    following = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with pod.connection(photo() + following) as c:
        answer = b"".join(iter(lambda: c.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200") == 2


def test_a_request_is_given_as_long_as_it_asks_for(pod):
    pod.model.delay = 3.0
    begun = time.monotonic()
    fields = {"file": ("a.jpg", astronaut())}
    answer = pod.ask("POST", "/v1/blur", fields=fields, headers={"X-Request-Timeout": "0.7"})
    assert (answer.status, answer.json()["code"]) == (504, "deadline-exceeded")
    assert time.monotonic() - begun < 1.5
    pod.model.delay = 0
    answer = pod.ask("POST", "/v1/blur", fields=fields, headers={"X-Request-Timeout": "20"})
    assert answer.status == 200
    answer = pod.ask("POST", "/v1/blur", fields=fields, headers={"X-Request-Timeout": "soon"})
    assert (answer.status, answer.json()["code"]) == (400, "bad-request")


def test_a_request_waits_for_the_store_no_longer_than_it_asks_for(pod):
    fields = {"file": ("a.jpg", astronaut())}
    with pod.store.spoiling(Fault(silent=True), methods=("PUT",)):
        answer = pod.ask("POST", "/v1/blur", fields=fields, headers={"X-Request-Timeout": "1.5"})
    assert (answer.status, answer.json()["code"]) == (504, "deadline-exceeded")


def test_a_photo_too_many_is_refused_at_once_whatever_its_client_does_then(pod):
    pod.model.delay = 2.0
    name = 'masquerade_refused_total{kind="photos"}'
    before = metric(pod, name)
    with contextlib.ExitStack() as stack:
        for _ in range(pod.settings.max_photos_in_flight + 1):
            stack.enter_context(pod.connection(photo()))
        wait_for(lambda: metric(pod, name) > before)
        large = astronaut() + bytes(MIB - 200_000)
        for headers in ((), ("Connection: close",)):
            begun = time.monotonic()
            with pod.connection(photo(large, "/v1/blur", *headers)) as connection:
                answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 429"), answer[:100]
            assert b"Retry-After: " in answer
            assert time.monotonic() - begun < 1.0
    wait_for(lambda: metric(pod, "masquerade_photos_in_flight") == 0)


def test_a_client_that_falls_silent_amid_its_body_is_left(pod):
    with pod.connection(photo()[:-100]) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 4")
        assert metric(pod, "masquerade_photos_in_flight") == 0


def test_large_work_does_not_hold_small_work_up(pod):
    """One renderer process for each: a drawing waits for its model, photos are answered."""
    pod.model.slow = "rigger"
    pod.model.delay = 6.0
    fields = {"file": ("a.png", page()), "motions": "dab", "size": "120"}
    drawing = threading.Thread(target=lambda: pod.ask("POST", "/v1/animate", fields=fields))
    drawing.start()
    wait_for(lambda: pod.model.waiting)
    assert pod.post(astronaut()).status == 200
    assert pod.model.waiting
    pod.model.delay = 0
    drawing.join()
    assert metric(pod, "masquerade_renderer_processes") == 2


def test_large_photos_ask_the_face_detector_that_yields_to_small_ones(pod):
    small, large = (f"/predictions/face_detector{end}" for end in ("", "_jobs"))
    assert pod.post(astronaut()).status == 200
    assert pod.model.asked[-1] == small
    assert pod.post(astronaut() + bytes(MIB)).status == 200
    assert pod.model.asked[-1] == large


def test_the_event_loop_is_watched(pod):
    wait_for(lambda: metric(pod, "masquerade_event_loop_lag_seconds_count") > 20)
    assert metric(pod, "masquerade_event_loop_blocked_seconds_count") > 20
    assert metric(pod, "masquerade_event_loop_lag_max_seconds") > 0
