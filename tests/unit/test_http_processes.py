"""The gateway and the renderer as real processes: all the way through, and their deaths."""

from __future__ import annotations

import io
import os
import signal
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import urllib3
from PIL import Image

from gateway.settings import MIB
from tests.played_pod import FACE, astronaut, calmed, children, played_pod
from tests.servers import keys, wait_for
from tests.unit.http_fakes import MP4, page


@pytest.fixture(scope="module")
def pod(redis_url, s3_endpoint, tmp_path_factory):
    with played_pod(redis_url, s3_endpoint, tmp_path_factory.mktemp("pod")) as pod:
        yield pod


@pytest.fixture(autouse=True)
def calm(pod):
    with calmed(pod):
        yield


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
