"""``/v1/blur`` by Flask's client: real S3 and Redis, a played renderer."""

from __future__ import annotations

import base64
import dataclasses
import errno
import io
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import BadMedia, DeadlineExceeded, ModelUnavailable, RendererFailed
from gateway.http import intake
from gateway.object_names import UPLOADS
from gateway.storage import Storage
from tests.servers import free_port, keys, wait_for
from tests.unit.http_fakes import (
    FACE,
    JPEG,
    MP4,
    app_of,
    fetched,
    form,
    no_spool_left,
    refused,
    services_of,
)


@pytest.fixture
def services(settings):
    return services_of(
        dataclasses.replace(
            settings, max_upload_bytes=3 * 1024**2, max_image_bytes=1024**2, max_photos_in_flight=2
        )
    )


@pytest.fixture(autouse=True)
def nothing_stays_open():
    with no_spool_left():
        yield


# photos


def test_a_photo_as_a_form(client, services):
    answer = client.post("/v1/blur", data=form(style="solid", scale="2"))
    view = answer.json
    assert answer.status_code == 200, view
    assert list(view) == [
        *("id", "kind", "url", "report_url", "expires_at", "content_type"),
        *("width", "height", "frames", "faces", "timings"),
    ]
    assert (view["kind"], view["width"], view["height"], view["frames"]) == ("image", 8, 6, 1)
    assert view["faces"] == [FACE]
    assert set(view["timings"]) == {"decode_ms", "detect_ms", "store_ms", "total_ms"}
    assert view["expires_at"].endswith("Z")
    stored = fetched(view["url"])
    assert stored.data == b"blurred " + JPEG
    assert stored.headers["Content-Type"] == "image/jpeg"
    report = fetched(view["report_url"]).json()
    assert report["options"]["style"] == "solid" and report["options"]["scale"] == 2.0
    assert report["id"] == view["id"]
    assert not [key for key in keys(services.storage) if "holiday" in key]


def test_faces_left_bare_are_told_only_where_there_are_any(client, services):
    services.renderer.left_bare = 3
    assert client.post("/v1/blur", data=form(threshold="0.9")).json["left_bare"] == 3
    services.renderer.left_bare = 0
    assert "left_bare" not in client.post("/v1/blur", data=form()).json


def test_a_photo_as_base64(client):
    text = base64.b64encode(JPEG).decode()
    for file in (text, "data:image/jpeg;base64," + text):
        answer = client.post("/v1/blur", json={"file": file, "shape": "box"})
        assert answer.status_code == 200
        assert fetched(answer.json["url"]).data == b"blurred " + JPEG


def test_options_in_the_query_and_the_body_wins(client, services):
    client.post("/v1/blur?style=solid&shape=box&wait=3", data=form(shape="ellipse"))
    options = services.renderer.calls[-1][2]
    assert (options.style, options.shape) == ("solid", "ellipse")


def test_the_threshold_of_the_settings_is_the_default(services):
    settings = dataclasses.replace(services.settings, detect_threshold=0.44)
    other = services_of(settings)
    app_of(other).test_client().post("/v1/blur", data=form())
    assert other.renderer.calls[-1][2].threshold == 0.44


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"data": form(b"")}, 400, "empty-upload"),
        ({"data": form(b"hello, world" * 50)}, 415, "unsupported-media"),
        ({"data": form(b"GIF")}, 415, "unsupported-media"),
        ({"data": form(style="sepia")}, 422, "bad-option"),
        ({"data": form(scale="nan")}, 422, "bad-option"),
        ({"data": form(colour="red")}, 422, "bad-option"),
        ({"data": form(wait="x"), "query_string": "wait=soon"}, 422, "bad-option"),
        ({"data": form(), "query_string": "wait=-1"}, 422, "bad-option"),
        ({"data": form(), "query_string": "wait=nan"}, 422, "bad-option"),
        ({"data": {"style": "solid"}}, 400, "bad-request"),
        ({"data": {"file": "not a file part"}}, 400, "bad-request"),
        ({"data": form(upload_id="a" * 32)}, 400, "bad-request"),
        (
            {"data": {"file": [(io.BytesIO(JPEG), "a"), (io.BytesIO(JPEG), "b")]}},
            400,
            "bad-request",
        ),
        ({"data": b"", "content_type": "multipart/form-data; boundary=x"}, 400, "bad-request"),
        ({"data": b"--y", "content_type": "multipart/form-data"}, 400, "bad-request"),
        (
            {"data": b"x" * 99, "content_type": "multipart/form-data; boundary=x"},
            400,
            "bad-request",
        ),
        ({"data": JPEG, "content_type": "image/jpeg"}, 415, "unsupported-media"),
        ({"data": JPEG}, 415, "unsupported-media"),
        ({}, 415, "unsupported-media"),
        ({"data": b"{", "content_type": "application/json"}, 400, "bad-request"),
        ({"json": {}}, 400, "empty-upload"),
        ({"json": {"file": ""}}, 400, "empty-upload"),
        ({"json": {"file": "%%%%"}}, 400, "bad-request"),
        ({"json": {"file": 5}}, 400, "bad-request"),
        ({"json": {"upload_id": 5}}, 400, "bad-request"),
        ({"json": {"upload_id": "../../etc"}}, 404, "not-found"),
        ({"json": {"upload_id": "a" * 32}}, 404, "not-found"),
        ({"json": {"upload_id": "a" * 32, "file": "AAAA"}}, 400, "bad-request"),
        ({"json": {"file": base64.b64encode(JPEG).decode(), "style": ["a"]}}, 422, "bad-option"),
        ({"data": form(style="x" * 400_000)}, 413, "too-large"),
        ({"data": form(JPEG + bytes(1024**2))}, 413, "too-large"),
        ({"data": form(MP4 + bytes(3 * 1024**2))}, 413, "too-large"),
        ({"data": form(MP4 + bytes(5 * 1024**2))}, 413, "too-large"),
        ({"json": {"file": "A" * 4 * 1024**2}}, 413, "too-large"),
    ],
)
def test_bad_input_is_a_problem_and_leaves_nothing(client, services, request_, status, code):
    detail = refused(client.post("/v1/blur", **request_), status, code)
    assert len(detail) > 10
    assert keys(services.storage) == []
    assert client.post("/v1/blur", data=form()).status_code == 200


def test_a_huge_declared_length_is_refused_unread(client):
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError("the body was touched")

    for kind in ("multipart/form-data; boundary=x", "application/json"):
        answer = client.post(
            "/v1/blur",
            content_type=kind,
            environ_overrides={
                "wsgi.input": Untouchable(),
                "CONTENT_LENGTH": str(5 * 1024**3),
            },
        )
        refused(answer, 413, "too-large")


def test_too_many_form_parts(client):
    refused(
        client.post("/v1/blur", data=form(**{f"x{i}": "1" for i in range(50)})), 413, "too-large"
    )


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (BadMedia("the JPEG is truncated"), 422, "bad-media"),
        (RendererFailed("died"), 422, "renderer-failed"),
        (DeadlineExceeded("late"), 504, "deadline-exceeded"),
        (ModelUnavailable("down"), 503, "model-unavailable"),
        (RuntimeError("internal secret"), 500, "internal"),
    ],
)
def test_what_the_renderer_reports(client, services, fault, status, code):
    services.renderer.fault = fault
    answer = client.post("/v1/blur", data=form())
    assert "secret" not in refused(answer, status, code)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert keys(services.storage) == []
    services.renderer.fault = None
    assert client.post("/v1/blur", data=form()).status_code == 200


def test_a_full_disk(client, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(intake.tempfile, "TemporaryFile", full)
    answer = client.post("/v1/blur", data=form())
    refused(answer, 503, "disk-full")
    assert answer.headers["Retry-After"] == "30"


def test_all_places_taken(services):
    app = app_of(services)
    entered, leave = threading.Barrier(3), threading.Event()

    def hold():
        entered.wait(10)
        leave.wait(10)

    services.renderer.during = hold
    statuses = []

    def post():
        statuses.append(app.test_client().post("/v1/blur", data=form()).status_code)

    threads = [threading.Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    entered.wait(10)
    answer = app.test_client().post("/v1/blur", data=form())
    refused(answer, 429, "busy")
    assert int(answer.headers["Retry-After"]) > 0
    leave.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    services.renderer.during = lambda: None
    assert app.test_client().post("/v1/blur", data=form()).status_code == 200


def test_who_is_stored_holds_no_renderer(services):
    """However slow the store is, photos wait for nothing but the limit to all of them."""
    stored, go_on = threading.Event(), threading.Event()
    put = services.storage.put

    def slow(*args):
        stored.set()
        go_on.wait(20)
        put(*args)

    services.storage.put = slow
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(app_of(services).test_client().post, "/v1/blur", data=form())
        assert stored.wait(20)
        photos = services.gates.photos
        assert (photos.inside, photos.working) == (1, 0)
        go_on.set()
        assert answer.result().status_code == 200
    assert photos.inside == 0


def test_a_photo_that_fails_slowly_is_remembered(services):
    """The renderer's answer came late, and so will the next one's."""
    services.renderer.during = lambda: time.sleep(0.4)
    services.renderer.fault = ModelUnavailable("it hangs")
    client = app_of(services).test_client()
    refused(client.post("/v1/blur", data=form()), 503, "model-unavailable")
    assert services.gates.photos.seconds >= 0.4


def test_a_probe_is_measured(services):
    assert app_of(services).test_client().post("/v1/blur", data=form(MP4)).status_code == 202
    assert services.gates.probes.seconds == 0.7


def test_the_store_is_down(services):
    services.storage = Storage(
        dataclasses.replace(services.settings, s3_endpoint=f"http://127.0.0.1:{free_port()}")
    )
    client = app_of(services).test_client()
    for data in (JPEG, MP4):
        answer = client.post("/v1/blur", data=form(data))
        refused(answer, 503, "storage-unavailable")
        assert "Retry-After" in answer.headers
    # what may have got there all the same is the sweep's business now
    kinds = {key.split("/")[0] for key in services.queue.store.unwanted()}
    assert kinds == {"uploads", "results"}


# videos


def test_a_video_becomes_a_job(client, services):
    answer = client.post("/v1/blur", data=form(MP4, "party.mp4", audio="drop"))
    job = answer.json
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["pipeline"], job["status"]) == ("video", "blur", "queued")
    assert job["progress"] == {
        **{"stage": "queued", "frames_done": 0, "frames_total": 30, "fraction": 0.0},
        **{"fps": None, "eta_seconds": None},
    }
    assert job["options"]["audio"] == "drop"
    assert services.renderer.calls == [("probe", MP4)]
    record = services.queue.get(job["id"])
    assert keys(services.storage) == [record.original]
    assert record.original.startswith(UPLOADS) and record.original != UPLOADS + job["id"]
    assert services.queue.depth() == 1


def test_a_bad_video_is_refused_at_the_door(client, services):
    services.renderer.fault = BadMedia("no video stream")
    refused(client.post("/v1/blur", data=form(MP4)), 422, "bad-media")
    assert keys(services.storage) == []
    assert services.queue.depth() == 0


def test_a_video_while_the_queue_is_down_leaves_no_original(services):
    services.queue = type(services.queue)(
        dataclasses.replace(services.settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    )
    answer = app_of(services).test_client().post("/v1/blur", data=form(MP4))
    refused(answer, 503, "queue-unavailable")
    assert keys(services.storage) == []


def test_nothing_of_a_video_stays_while_its_client_waits(client, services):
    inside, spooled = [], []

    def end():
        wait_for(services.queue.store.live_ids)
        time.sleep(0.2)  # so that the client waits
        inside.append(services.receiving.inside)
        spooled.append(services.renderer.probed.closed)
        services.queue.cancel(services.queue.get(services.queue.store.live_ids().pop()))

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(end)
        refused(client.post("/v1/blur?wait=20", data=form(MP4)), 409, "cancelled")
        ended.result()
    assert (inside, spooled) == ([0], [True])


@pytest.mark.parametrize("outcome", ["done", "failed", "cancelled", "late"])
def test_waiting_for_a_video(services, outcome):
    store = services.queue.store

    def work():
        for _ in range(100):
            if store.live_ids():
                break
            time.sleep(0.05)
        job = store.begin(store.get(store.live_ids().pop()), ())
        if outcome == "done":
            result = {"frames": 3, "width": 8, "key": "results/a", "report_key": "results/b"}
            store.finish(job, result)
        elif outcome == "failed":
            store.fail(job, "bad-media", "no frames")
        elif outcome == "cancelled":
            store.cancel(job.id)

    thread = threading.Thread(target=work)
    thread.start()
    wait = 0.3 if outcome == "late" else 20
    answer = app_of(services).test_client().post(f"/v1/blur?wait={wait}", data=form(MP4))
    thread.join()
    if outcome == "done":
        assert (answer.status_code, answer.json["status"]) == (200, "done")
        assert answer.json["result"]["url"].startswith("http")
    elif outcome == "failed":
        assert refused(answer, 422, "bad-media") == "no frames"
    elif outcome == "cancelled":
        refused(answer, 409, "cancelled")
    else:
        assert (answer.status_code, answer.json["status"]) == (202, "running")


def test_the_renderer_can_open_a_spooled_video(services):
    with tempfile.TemporaryFile() as file:
        file.write(MP4)
        file.flush()
        assert Path(f"/proc/{os.getpid()}/fd/{file.fileno()}").read_bytes() == MP4
