"""The gateway and the renderer as real gunicorn processes, with a played model server.

Here is what only shows there: bodies refused while they are sent, processes that die
or hang, an event loop that stays free, events that arrive as they happen.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import urllib3
from PIL import Image

from gateway.jobs.queue import JobQueue
from gateway.settings import MIB, Settings
from gateway.storage import Storage
from handlers.rig_figures import png
from tests.servers import as_env, free_port, gunicorn, keys, wait_for
from tests.unit.http_fakes import MP4, PLACES, found, page

FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
FACE = [177.0, 62.0, 271.0, 190.0]  # in skimage's astronaut


def figure():
    """The rigger's answer for the page of http_fakes at its own size."""
    seen = found((320, 480, 3), PLACES[0])
    return {
        "box": seen.box,
        "score": seen.score,
        "joints": {name: [*place, 0.9] for name, place in seen.joints.items()},
        "mask": {"box": seen.mask_box, "png": png(seen.mask)},
    }


FIGURE = figure()


class PlayedModel:
    """Answers like TorchServe; finds one face or figure, after ``delay`` seconds."""

    def __init__(self):
        self.delay = 0.0
        self.waiting = 0
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply([{"workers": [{"status": "READY"}]}])

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                played.waiting += 1
                time.sleep(played.delay)
                played.waiting -= 1
                if self.path.endswith("/rigger"):
                    self.reply({"images": [{"figures": [FIGURE]}]})
                    return
                marks = [[200.0, 100.0]] * 5
                self.reply({"images": [{"boxes": [FACE], "scores": [0.9], "landmarks": [marks]}]})

            def reply(self, value):
                body = json.dumps(value).encode()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Pod:
    """Where the processes are, and how to talk to them."""

    def __init__(self, settings: Settings, url: str, model: PlayedModel) -> None:
        self.settings, self.url, self.model = settings, url, model
        self.storage = Storage(settings)
        self.queue = JobQueue(settings)
        self.gateway = self.renderer = 0

    def ask(self, method, path, **more):
        return urllib3.request(method, self.url + path, retries=False, timeout=60, **more)

    def post(self, data, name="a.jpg", **fields):
        return self.ask("POST", "/v1/blur", fields={"file": (name, data), **fields})


@pytest.fixture(scope="module")
def pod(redis_url, s3_endpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pod")
    model = PlayedModel()
    settings = Settings(
        s3_endpoint=s3_endpoint,
        s3_bucket=f"pod-{os.getpid()}",
        redis_url=redis_url,
        queue_name="pod",
        torchserve_url=model.url,
        torchserve_management_url=model.url,
        renderer_url=f"http://127.0.0.1:{free_port()}",
        image_deadline=4,
        drawing_deadline=8,
        model_timeout=30.0,
        max_upload_bytes=200 * MIB,
        max_image_bytes=20 * MIB,
        renderer_memory=1024 * MIB,
    )
    address = f"127.0.0.1:{free_port()}"
    env = {**as_env(settings), "WEB_CONCURRENCY": "1", "GATEWAY_BIND": address}
    made = Pod(settings, f"http://{address}", model)
    with (
        gunicorn(
            "gateway.gunicorn_renderer",
            settings.renderer_url + "/healthz",
            folder / "renderer.log",
            env,
        ) as renderer,
        gunicorn(
            "gateway.gunicorn_gateway", made.url + "/healthz", folder / "gateway.log", env
        ) as gateway,
    ):
        made.gateway, made.renderer = gateway.pid, renderer.pid
        wait_for(lambda: made.ask("GET", "/readyz").status == 200)
        yield made
    model.server.shutdown()


@pytest.fixture(autouse=True)
def calm(pod):
    """Every test leaves the pod working and clean."""
    pod.model.delay = 0.0
    yield
    pod.model.delay = 0.0
    wait_for(lambda: pod.post(astronaut()).status == 200)
    wait_for(lambda: not spooled(pod.gateway) and not spooled(pod.renderer))
    left = [key for key in keys(pod.storage) if key.startswith("uploads/")]
    assert set(left) == set(pod.queue.store.originals())


def astronaut(kind="JPEG"):
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(out, kind)
    return out.getvalue()


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def spooled(pid):
    """Temporary files that a server's workers still hold."""
    found = []
    for child in children(pid):
        for fd in Path(f"/proc/{child}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(fd.readlink())
                if target.startswith("/tmp") and target.endswith("(deleted)"):
                    found.append(target)
    return [name for name in found if "wgunicorn" not in name]


def bomb(width, height):
    def chunk(kind, data):
        text = kind + data
        return struct.pack(">I", len(data)) + text + struct.pack(">I", zlib.crc32(text))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def test_a_photo_all_the_way(pod):
    answer = pod.post(astronaut(), style="solid")
    view = answer.json()
    assert answer.status == 200, view
    assert (view["width"], view["height"]) == (512, 512)
    assert view["faces"][0]["box"] == pytest.approx(FACE, abs=1)
    before = skimage.data.astronaut().astype(int)
    after = np.asarray(Image.open(io.BytesIO(urllib3.request("GET", view["url"]).data))).astype(int)
    changed = np.abs(after - before).max(axis=2) > 60
    assert changed[100:150, 200:250].mean() > 0.9
    assert changed[300:, :100].mean() < 0.02


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (bomb(60_000, 60_000), 413, "too-large"),
        (astronaut()[:2000], 422, "bad-media"),
        (astronaut("PNG")[:20_000], 422, "bad-media"),
        (MP4, 422, "bad-media"),
        (b"text", 415, "unsupported-media"),
    ],
)
def test_bad_files(pod, data, status, code):
    answer = pod.post(data)
    assert (answer.status, answer.json()["code"]) == (status, code), answer.data


def test_a_renderer_that_is_killed_takes_only_its_own_request_along(pod):
    pod.model.delay = 3.0
    answers = []
    thread = threading.Thread(target=lambda: answers.append(pod.post(astronaut())))
    thread.start()
    wait_for(lambda: pod.model.waiting)
    os.kill(children(pod.renderer)[0], signal.SIGKILL)
    thread.join()
    assert (answers[0].status, answers[0].json()["code"]) == (422, "renderer-failed")
    pod.model.delay = 0
    assert pod.post(astronaut()).status == 200


def test_a_photo_over_its_deadline(pod):
    pod.model.delay = 20.0
    begun = time.monotonic()
    answer = pod.post(astronaut())
    assert (answer.status, answer.json()["code"]) == (504, "deadline-exceeded")
    assert time.monotonic() - begun < pod.settings.image_deadline + 2
    pod.model.delay = 0


def test_no_renderer_at_all(pod):
    os.kill(pod.renderer, signal.SIGSTOP)
    for child in children(pod.renderer):
        os.kill(child, signal.SIGSTOP)
    try:
        answer = pod.post(astronaut())
        assert (answer.status, answer.json()["code"]) == (504, "deadline-exceeded")
        assert pod.ask("GET", "/healthz").status == 200
    finally:
        for child in children(pod.renderer):
            os.kill(child, signal.SIGCONT)
        os.kill(pod.renderer, signal.SIGCONT)


def animate(pod, **more):
    fields = {"file": ("a.png", page()), "motions": "dab,zombie", "size": "120", **more}
    return pod.ask("POST", "/v1/animate", fields=fields)


def left_behind(pod):
    return [key for key in keys(pod.storage) if key.startswith(("rigs/", "uploads/"))]


def test_a_drawing_all_the_way(pod):
    answer = animate(pod)
    view = answer.json()
    assert answer.status == 200, view
    for name in ("dab", "zombie"):
        item = view["animations"][name]
        with Image.open(io.BytesIO(urllib3.request("GET", item["url"]).data)) as gif:
            assert gif.n_frames == item["frames"] > 30
    rig = f"/v1/rigs/{view['rig_id']}"
    moved = pod.ask("PUT", rig, json={"joints": {"left_hand": [150, 60]}})
    assert moved.status == 200, moved.data
    again = pod.ask("POST", "/v1/animate", json={"rig_id": view["rig_id"], "size": 120})
    assert again.status == 200, again.data
    assert pod.ask("DELETE", rig).status == 204
    assert left_behind(pod) == []


def test_a_renderer_that_is_killed_amid_an_animation(pod):
    answers = []
    motions = "dab,jumping,zombie,walk,cheer,dance"
    thread = threading.Thread(
        target=lambda: answers.append(animate(pod, motions=motions, size="1024"))
    )
    thread.start()
    wait_for(lambda: left_behind(pod))  # its pictures come first
    os.kill(children(pod.renderer)[0], signal.SIGKILL)
    thread.join()
    assert (answers[0].status, answers[0].json()["code"]) == (422, "renderer-failed")
    assert left_behind(pod) == []


def test_an_animation_over_its_deadline(pod):
    pod.model.delay = pod.settings.drawing_deadline - 0.7
    answer = animate(pod, motions="dab,jumping,zombie,walk,cheer,dance", size="1024")
    assert (answer.status, answer.json()["code"]) == (504, "deadline-exceeded")
    assert left_behind(pod) == []


def head_of(length):
    return (
        b"POST /v1/blur HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n" + length + b"\r\n"
    )


def connection(pod):
    host, port = pod.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_five_gigabytes_are_refused_at_once(pod):
    with connection(pod) as client:
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
    with connection(pod) as client:
        client.sendall(head_of(b"Transfer-Encoding: chunked\r\n"))
        client.sendall(b"%x\r\n" % len(FORM) + FORM + b"\r\n")
        with contextlib.suppress(OSError):
            for _ in range(300):
                client.sendall(b"100000\r\n" + bytes(MIB) + b"\r\n")
        with contextlib.suppress(OSError):
            answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]


def test_a_client_that_hangs_up_leaves_nothing(pod):
    with connection(pod) as client:
        client.sendall(head_of(b"Content-Length: 9000000\r\n") + FORM + MP4 + bytes(3 * MIB))
        wait_for(lambda: spooled(pod.gateway))
    wait_for(lambda: not spooled(pod.gateway))


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


def test_others_are_answered_while_base64_comes_in(pod):
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


def test_metrics_add_up_over_processes(pod):
    pod.post(astronaut())
    text = pod.ask("GET", "/metrics").data.decode()
    assert 'masquerade_requests_total{method="POST",route="/v1/blur",status="200"}' in text
    assert "masquerade_photos_in_flight 0.0" in text
    assert "masquerade_queue_up 1.0" in text


def test_the_renderer_opens_only_files_that_are_open_already(pod):
    for path in ("/etc/passwd", "/proc/self/fd/../../1/environ", "/proc/1/environ"):
        answer = urllib3.request("POST", pod.settings.renderer_url + "/probe", json={"path": path})
        assert (answer.status, answer.json()["code"]) == (400, "bad-request")


def test_the_renderers_memory_is_bounded(pod):
    for child in children(pod.renderer):
        limits = Path(f"/proc/{child}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max address space"))
        size = int(Path(f"/proc/{child}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        assert int(line.split()[3]) < size + pod.settings.renderer_memory + 256 * MIB


def test_more_photos_than_places_are_told_to_come_back(pod):
    pod.model.delay = 1.0
    count = pod.settings.max_photos_in_flight + 4
    statuses = []

    def post():
        statuses.append(pod.post(astronaut()).status)

    threads = [threading.Thread(target=post) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(429) >= 1
    assert statuses.count(200) >= 1
    assert set(statuses) <= {200, 429, 504}
