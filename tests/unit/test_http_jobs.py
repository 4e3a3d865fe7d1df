"""``/v1/jobs`` by Flask's client, on a real Redis and a real S3 server."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
import time

import pytest
import urllib3

from gateway.http import jobs
from gateway.jobs.queue import JobQueue
from gateway.object_names import RESULTS, UPLOADS, new_token
from tests.servers import free_port, keys
from tests.unit.http_fakes import app_of, services_of

OPTIONS = {"style": "solid", "shape": "box", "scale": 1.5, "threshold": 0.3, "audio": "drop"}
RESULT = {
    **{"content_type": "video/mp4", "width": 8, "height": 6, "frames": 9, "seconds": 0.3},
    **{"tracks": 1, "faces_detected": 5, "faces_filled": 2, "timings": {"total_ms": 1.0}},
}


@pytest.fixture
def job(services):
    key = UPLOADS + new_token()
    services.storage.put(key, io.BytesIO(b"video"), "application/octet-stream")
    return services.queue.submit(key, OPTIONS, 9)


def begin(services, job):
    token = new_token()
    places = (f"{RESULTS}{token}/blurred.mp4", f"{RESULTS}{token}/report.json")
    return services.queue.store.begin(job, places)


def finish(services, job):
    running = begin(services, job)
    for key in running.places:
        services.storage.put(key, io.BytesIO(b"result"), "video/mp4")
    video, report = running.places
    services.queue.store.finish(running, {**RESULT, "key": video, "report_key": report})
    services.storage.delete([job.original])
    return running


def events(answer):
    for block in answer.get_data(as_text=True).split("\n\n"):
        if block.startswith("event:"):
            name, data = block.split("\n", 1)
            yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_waiting_job(client, job):
    view = client.get(f"/v1/jobs/{job.id}").json
    assert list(view) == [
        *("id", "kind", "pipeline", "status", "progress", "created_at", "started_at"),
        *("finished_at", "attempts", "options"),
    ]
    assert (view["status"], view["attempts"], view["started_at"]) == ("queued", 0, None)
    assert view["options"] == OPTIONS
    assert view["progress"]["frames_total"] == 9


def test_a_running_job(client, services, job):
    running = begin(services, job)
    services.queue.store.progress(
        running,
        {
            **{"stage": "render", "frames_done": 3, "frames_total": 9, "fraction": 0.7},
            **{"fps": 30.0, "eta_seconds": 0.2},
        },
    )
    view = client.get(f"/v1/jobs/{job.id}").json
    assert (view["status"], view["attempts"]) == ("running", 1)
    assert view["progress"]["fps"] == 30.0
    assert view["started_at"].endswith("Z")


def test_a_done_job_has_fresh_links(client, services, job):
    finish(services, job)
    view = client.get(f"/v1/jobs/{job.id}").json
    assert view["status"] == "done"
    assert view["progress"]["fraction"] == 1.0
    assert (view["progress"]["frames_done"], view["progress"]["frames_total"]) == (9, 9)
    assert list(view["result"])[:3] == ["url", "report_url", "expires_at"]
    assert view["result"]["faces_filled"] == 2
    assert not {"key", "report_key"} & set(view["result"])
    assert urllib3.request("GET", view["result"]["url"]).data == b"result"
    time.sleep(1.1)
    assert client.get(f"/v1/jobs/{job.id}").json["result"]["url"] != view["result"]["url"]


def test_a_failed_job(client, services, job):
    services.queue.store.fail(begin(services, job), "bad-media", "no frames")
    assert client.get(f"/v1/jobs/{job.id}").json["error"] == {
        **{"code": "bad-media", "title": "Unreadable media"},
        **{"status": 422, "detail": "no frames"},
    }


@pytest.mark.parametrize("method", ["get", "delete"])
@pytest.mark.parametrize("name", ["nope", "a" * 32, "%2e%2e", "é"])
def test_an_unknown_job(client, method, name):
    answer = getattr(client, method)(f"/v1/jobs/{name}")
    assert (answer.status_code, answer.json["code"]) == (404, "not-found")
    assert client.get(f"/v1/jobs/{name}/events").status_code == 404


def test_cancelling_a_waiting_job(client, services, job):
    view = client.delete(f"/v1/jobs/{job.id}").json
    assert view["status"] == "cancelled"
    assert keys(services.storage) == []
    assert services.queue.depth() == 0
    assert client.get(f"/v1/jobs/{job.id}").json["status"] == "cancelled"


def test_cancelling_a_running_job_deletes_what_it_wrote(client, services, job):
    running = begin(services, job)
    services.storage.put(running.places[0], io.BytesIO(b"half"), "video/mp4")
    assert client.delete(f"/v1/jobs/{job.id}").json["status"] == "cancelled"
    assert keys(services.storage) == []


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
def test_deleting_an_ended_job_forgets_it(client, services, job, end):
    if end == "done":
        finish(services, job)
        assert len(keys(services.storage)) == 2
    elif end == "failed":
        services.queue.store.fail(begin(services, job), "bad-media", "x")
    else:
        client.delete(f"/v1/jobs/{job.id}")
    view = client.delete(f"/v1/jobs/{job.id}").json
    assert view["status"] == end
    assert keys(services.storage) == []
    assert client.get(f"/v1/jobs/{job.id}").status_code == 404
    assert client.delete(f"/v1/jobs/{job.id}").status_code == 404


def test_events_of_an_ended_job_are_one(client, services, job):
    finish(services, job)
    answer = client.get(f"/v1/jobs/{job.id}/events")
    assert answer.mimetype == "text/event-stream"
    assert [(name, view["status"]) for name, view in events(answer)] == [("done", "done")]


def test_events_follow_a_job_to_its_end(client, services, job):
    def work():
        time.sleep(0.4)
        running = begin(services, job)
        for done in (2, 5):
            time.sleep(0.4)
            services.queue.store.progress(running, {"stage": "render", "frames_done": done})
        time.sleep(0.4)
        services.queue.store.fail(running, "bad-media", "x")

    thread = threading.Thread(target=work)
    thread.start()
    seen = list(events(client.get(f"/v1/jobs/{job.id}/events")))
    thread.join()
    assert seen[0][1]["status"] == "queued"
    assert [view["progress"]["frames_done"] for _, view in seen[-3:-1]] == [2, 5]
    assert [name for name, _ in seen] == ["progress"] * (len(seen) - 1) + ["failed"]


def test_events_keep_a_quiet_connection_open(client, services, job, monkeypatch):
    monkeypatch.setattr(jobs, "_HEARTBEAT", 0.3)
    threading.Timer(1.0, lambda: services.queue.store.cancel(job.id)).start()
    text = client.get(f"/v1/jobs/{job.id}/events").get_data(as_text=True)
    assert text.count(": still here") in (1, 2, 3)
    assert text.rindex("event: cancelled") > text.rindex(": still here")


def test_events_end_when_the_job_is_forgotten(client, services, job):
    threading.Timer(0.6, lambda: services.queue.forget(job)).start()
    assert [name for name, _ in events(client.get(f"/v1/jobs/{job.id}/events"))] == ["progress"]


def test_the_queue_is_down(settings):
    services = services_of(settings)
    services.queue = JobQueue(
        dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    )
    answer = app_of(services).test_client().get("/v1/jobs/" + "a" * 32)
    assert (answer.status_code, answer.json["code"]) == (503, "queue-unavailable")
    assert "Retry-After" in answer.headers
