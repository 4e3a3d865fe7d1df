"""The routes for operators: health, metrics, documents, request ids."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.service import media
from tests.service.helpers import problem


def test_healthz(api):
    assert api.get("/healthz").json() == {"status": "ok"}


def test_readyz(api):
    body = api.get("/readyz").json()
    assert body["ready"] is True
    assert set(body["checks"]) == {"model", "storage", "queue", "renderer"}
    assert all(check["ok"] for check in body["checks"].values())


def samples(api) -> dict[tuple, float]:
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_count_over_all_processes(api):
    """Whichever of the gateway's processes took the requests, and answers now."""
    photos = ("masquerade_requests_total", ("method", "POST"), ("route", "/v1/blur"))
    before = samples(api)
    for _ in range(4):
        assert api.blur(media.photo()).status_code == 200
    problem(api.blur(b"nothing"), 415, "unsupported-media")
    after = samples(api)

    def more(*name: object) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more(*photos, ("status", "200")) == 4
    assert more(*photos, ("status", "415")) == 1
    assert more("masquerade_photo_faces_total") == 4
    assert more("masquerade_photo_stage_seconds_count", ("stage", "detect")) == 4
    assert more("masquerade_request_seconds_count", ("route", "/v1/blur")) == 5
    assert more("masquerade_storage_seconds_count", ("operation", "put")) == 8  # photo and report
    for name in ("seconds", "requests", "images"):
        assert more(f"masquerade_model_{name}_count", ("model", "face_detector")) >= 4
    assert more("masquerade_model_server_requests_total", ("model", "face_detector")) >= 4
    assert after[("masquerade_model_server_up",)] == 1
    for lane in (("lane", "small"), ("lane", "large")):
        assert after[("masquerade_renderer_processes", lane)] == 2
        assert after[("masquerade_renders_running", lane)] == 0
    assert after[("masquerade_ready", ("check", "storage"))] == 1
    assert after[("masquerade_queue_up",)] == 1
    assert after[("masquerade_photos_in_flight",)] == 0


def test_metrics_count_jobs(api, clips):
    done = ("masquerade_jobs_total", ("status", "done"))
    before = samples(api)
    assert api.blur(clips.short(), wait=100).status_code == 200
    after = samples(api)
    assert after[done] - before.get(done, 0) == 1
    frames = ("masquerade_video_frames_total",)
    assert after[frames] - before.get(frames, 0) == 30
    for stage in ("fetch", "analyse", "render", "store"):
        name = ("masquerade_video_stage_seconds_total", ("stage", stage))
        assert after[name] > before[name]
    assert (after[("masquerade_jobs_live",)], after[("masquerade_queue_depth",)]) == (0, 0)


def test_openapi_names_every_route(api):
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        *("/v1/blur", "/v1/uploads", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/events"),
        *("/v1/jobs", "/v1/jobs/{job_id}/items", "/v1/jobs/{job_id}/retry"),
        *("/v1/rigs", "/v1/rigs/{rig_id}", "/v1/animate", "/v1/motions", "/v1/motions/{motion_id}"),
        "/v1/classify",
        *("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/", "/page/{name}"),
    }


def test_docs_and_the_page(api):
    for path in ("/docs", "/"):
        answer = api.get(path)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "<h1" in answer.text
    assert "/v1/blur" in api.get("/docs").text


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/v1/jobs/unknown", "/nowhere"])
def test_request_ids(api, path):
    given = api.get(path, headers={"X-Request-Id": "my-id-0123"})
    assert given.headers["X-Request-Id"] == "my-id-0123"
    made = {api.get(path).headers["X-Request-Id"] for _ in range(3)}
    assert len(made) == 3
    insane = api.get(path, headers={"X-Request-Id": "x" * 200}).headers["X-Request-Id"]
    assert insane != "x" * 200


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/page/../settings.py", "/page/nothing.js"])
def test_unknown_routes(api, path):
    problem(api.get(path), 404, "not-found")


def test_a_method_that_a_route_does_not_take(api):
    answer = api.get("/v1/blur")
    problem(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["Allow"]
