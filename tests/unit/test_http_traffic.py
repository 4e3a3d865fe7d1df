"""The gateway as a real process: bodies refused while they are sent, an event loop that
stays free, events that arrive as they happen.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.settings import MIB
from tests.played_pod import astronaut, calmed, played_pod, spooled
from tests.servers import wait_for
from tests.unit.http_fakes import MP4


@pytest.fixture(scope="module")
def pod(redis_url, s3_endpoint, tmp_path_factory):
    with played_pod(redis_url, s3_endpoint, tmp_path_factory.mktemp("pod")) as pod:
        yield pod


@pytest.fixture(autouse=True)
def calm(pod):
    with calmed(pod):
        yield


FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def head_of(length):
    return (
        b"POST /v1/blur HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n" + length + b"\r\n"
    )


def test_five_gigabytes_are_refused_at_once(pod):
    with pod.connection() as client:
        client.sendall(head_of(b"Content-Length: 5368709120\r\n"))
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(20):
                client.sendall(bytes(MIB))
        answer = client.recv(65536)
        assert time.monotonic() - begun < 3
    assert answer.startswith(b"HTTP/1.1 413") and b'"too-large"' in answer
    assert b"Connection: close" in answer


def test_an_endless_body_without_a_length_is_cut_off(pod):
    answer = b""
    with pod.connection() as client:
        client.sendall(head_of(b"Transfer-Encoding: chunked\r\n"))
        client.sendall(b"%x\r\n" % len(FORM) + FORM + b"\r\n")
        with contextlib.suppress(OSError):
            for _ in range(300):
                client.sendall(b"100000\r\n" + bytes(MIB) + b"\r\n")
        with contextlib.suppress(OSError):
            answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]


@pytest.mark.parametrize(
    "rest",
    [
        b"zz\r\n",
        b"-5\r\nabc",
        b"1;" + b"a" * 100_000 + b"\r\n-\r\n",
        b"1\r\n-no end",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
def test_malformed_chunks_are_the_clients_fault(pod, rest):
    answer = b""
    with pod.connection() as client:
        client.sendall(head_of(b"Transfer-Encoding: chunked\r\n"))
        client.sendall(b"%x\r\n" % len(FORM) + FORM + b"\r\n" + rest)
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                answer += data
    assert answer.startswith(b"HTTP/1.1 400") and b'"bad-request"' in answer, answer[:300]


def test_a_client_that_hangs_up_leaves_nothing(pod):
    with pod.connection() as client:
        client.sendall(head_of(b"Content-Length: 9000000\r\n") + FORM + MP4 + bytes(3 * MIB))
        wait_for(lambda: spooled(pod.gateway))
    wait_for(lambda: not spooled(pod.gateway))


def test_bodies_that_do_not_come_keep_nobody_out(pod):
    size = pod.settings.max_upload_bytes
    with contextlib.ExitStack() as stack:
        for length in (b"Content-Length: %d\r\n" % size, b"Transfer-Encoding: chunked\r\n"):
            for _ in range(4):
                client = stack.enter_context(pod.connection())
                client.sendall(head_of(length))
        assert pod.post(astronaut()).status == 200


def test_a_body_that_drips_is_given_up(pod):
    drips = {b"Content-Length: 9000\r\n": b"-", b"Transfer-Encoding: chunked\r\n": b"1\r\n-\r\n"}
    with ThreadPoolExecutor(2) as pool:
        for answer in pool.map(lambda length: dripped(pod, length, drips[length]), drips):
            assert answer.startswith(b"HTTP/1.1 400") and b"too slowly" in answer, answer
    wait_for(lambda: not spooled(pod.gateway))


def dripped(pod, length, drip):
    """The answer, up to the connection's end, to a body of which a little comes now and then."""
    answer = b""
    with pod.connection() as client:
        client.sendall(head_of(length))
        client.settimeout(0.2)
        until = time.monotonic() + 60
        with contextlib.suppress(OSError):
            while not answer and time.monotonic() < until:
                client.sendall(drip)
                with contextlib.suppress(TimeoutError):
                    answer = client.recv(65536)
        client.settimeout(20)
        while data := client.recv(65536):
            answer += data
    return answer


UPLOADER = """
import http.client, sys
size, head = int(sys.argv[2]), sys.stdin.buffer.read()
client = http.client.HTTPConnection(sys.argv[1], timeout=60)
client.putrequest("POST", "/v1/blur")
client.putheader("Content-Type", "multipart/form-data; boundary=b")
client.putheader("Content-Length", str(len(head) + size + 9))
client.endheaders()
client.send(head)
for _ in range(size >> 20):
    client.send(bytes(1 << 20))
client.send(b"\\r\\n--b--\\r\\n")
sys.stdout.buffer.write(client.getresponse().read())
"""


def test_others_are_answered_while_a_large_file_comes_in(pod, tmp_path):
    host = pod.url.removeprefix("http://")
    head = tmp_path / "head"
    head.write_bytes(FORM + MP4)
    with head.open("rb") as file:
        uploader = subprocess.Popen(
            [sys.executable, "-c", UPLOADER, host, str(150 * MIB)],
            stdin=file,
            stdout=subprocess.PIPE,
        )
    times = []
    while uploader.poll() is None:
        begun = time.monotonic()
        client = http.client.HTTPConnection(host, timeout=20)
        client.request("GET", "/healthz")
        assert client.getresponse().status == 200
        client.close()
        times.append(time.monotonic() - begun)
        time.sleep(0.01)
    assert json.loads(uploader.stdout.read())["code"] == "bad-media"
    uploader.stdout.close()
    assert len(times) > 10
    assert sorted(times)[len(times) // 2] < 0.05
    assert max(times) < 0.5


def blocks(pod):
    """How often the event loop was blocked for more than 50 ms."""
    name = "masquerade_event_loop_blocked_seconds_bucket"
    text = pod.ask("GET", "/metrics").data.decode()
    counts = {
        edge: sum(
            float(line.split()[1])
            for line in text.splitlines()
            if line.startswith(f'{name}{{le="{edge}"}}')
        )
        for edge in ("0.05", "+Inf")
    }
    assert counts["+Inf"] > 0
    return counts["+Inf"] - counts["0.05"]


def test_others_are_answered_while_base64_comes_in(pod):
    before = blocks(pod)
    text = base64.b64encode(astronaut() + bytes(19 * MIB)).decode()
    body = json.dumps({"file": text}).encode()
    headers = {"Content-Type": "application/json"}
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(pod.ask("POST", "/v1/blur", body=body, headers=headers))
    )
    thread.start()
    times = []
    while thread.is_alive():
        begun = time.monotonic()
        assert pod.ask("GET", "/healthz").status == 200
        times.append(time.monotonic() - begun)
    assert answers[0].status == 200
    assert max(times) < 0.5
    assert blocks(pod) == before


def test_events_arrive_as_they_happen(pod):
    job = pod.queue.submit("uploads/none", {"style": "solid"}, 10)
    stream = pod.ask("GET", f"/v1/jobs/{job.id}/events", preload_content=False)
    lines = iter(stream)
    arrived = []

    def next_event():
        for line in lines:
            if line.startswith(b"event:"):
                arrived.append(time.monotonic())
                return line.decode().split()[1]
        return None

    assert next_event() == "progress"
    running = pod.queue.store.begin(job, ())
    assert next_event() == "progress"
    time.sleep(1)
    pod.queue.store.fail(running, "bad-media", "x")
    assert next_event() == "failed"
    assert arrived[2] - arrived[1] > 0.8
    stream.release_conn()


def test_many_watchers_do_not_hold_each_other_up(pod):
    job = pod.queue.submit("uploads/none", {"style": "solid"}, 10)
    streams = [
        pod.ask("GET", f"/v1/jobs/{job.id}/events", preload_content=False) for _ in range(40)
    ]
    begun = time.monotonic()
    assert pod.ask("GET", "/healthz").status == 200
    assert time.monotonic() - begun < 1
    assert pod.ask("DELETE", f"/v1/jobs/{job.id}").json()["status"] == "cancelled"
    for stream in streams:
        assert b"event: cancelled" in stream.read()


def test_more_photos_than_places_are_told_to_come_back(pod):
    pod.model.delay = 1.0
    count = pod.settings.max_photos_in_flight + 8
    answers = []

    def post():
        answers.append(pod.post(astronaut()))

    threads = [threading.Thread(target=post) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [answer.status for answer in answers]
    assert statuses.count(429) >= 1
    assert statuses.count(200) >= 1
    assert set(statuses) <= {200, 429, 504}
    for answer in answers:
        if answer.status == 429:
            assert int(answer.headers["Retry-After"]) >= 1
            assert json.loads(answer.data)["code"] == "busy"
