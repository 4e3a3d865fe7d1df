"""Health, readiness, metrics, documents, the page; ids, headers and log lines of every answer."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import socket
import time
from types import SimpleNamespace

import pytest

from gateway import stopping
from gateway.http import readiness
from gateway.http.flows import Services
from gateway.http.rendering import Renderer
from gateway.jobs.queue import JobQueue
from gateway.logs import JsonFormatter, request_id
from gateway.settings import Settings
from gateway.storage import Storage
from tests.servers import free_port
from tests.unit.http_fakes import JPEG, app_of, services_of


def test_alive(client):
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_ready(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    ok = {"ok": True, "detail": "ok"}
    names = ("model", "storage", "queue", "renderer")
    assert answer.json == {"ready": True, "checks": dict.fromkeys(names, ok)}


def test_all_models_that_a_request_may_need_are_checked():
    models = Services.connect(Settings()).models
    assert [model.name for model in models] == [
        *("face_detector", "face_detector_jobs", "rigger", "classifier")
    ]


def test_not_ready_says_what_and_recovers_by_itself(client, services):
    rigger = services.models[1]
    rigger.fault = "no model worker is ready"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["ready"] is False
    assert answer.json["checks"]["model"] == {
        "ok": False,
        "detail": "rigger: no model worker is ready",
    }
    assert answer.json["checks"]["queue"]["ok"]
    rigger.fault = None
    time.sleep(readiness.FRESH + 0.05)
    assert client.get("/readyz").status_code == 200


def test_what_is_excluded_is_told_but_does_not_decide(client, services):
    services.models[0].fault = "no model worker is ready"
    assert client.get("/readyz").status_code == 503
    answer = client.get("/readyz?exclude=queue&exclude=model")
    assert answer.status_code == 200
    assert answer.json["ready"] is True
    assert not answer.json["checks"]["model"]["ok"]
    assert client.get("/readyz?exclude=queue&exclude=storage").status_code == 503


@pytest.mark.parametrize("name", ["redis", "gateway", "", "queue,storage"])
def test_an_unknown_check_cannot_be_excluded(client, name):
    answer = client.get("/readyz", query_string={"exclude": ["queue", name]})
    assert (answer.status_code, answer.json["code"]) == (422, "bad-option")
    assert "model, storage, queue, renderer" in answer.json["detail"]


def test_a_check_is_excluded_once(client):
    answer = client.get("/readyz?exclude=queue&exclude=queue")
    assert (answer.status_code, answer.json["code"]) == (422, "bad-option")


def test_a_gateway_that_leaves_is_not_ready_whatever_is_excluded(client, monkeypatch):
    monkeypatch.setattr(stopping, "draining", lambda: True)
    answer = client.get("/readyz", query_string={"exclude": list(readiness.CHECKS)})
    assert answer.status_code == 503
    assert answer.json["checks"]["gateway"]["ok"] is False


def test_photos_are_served_while_redis_is_away(settings):
    services = services_of(settings)
    away = dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    services.queue = JobQueue(away)
    client = app_of(services).test_client()
    assert not client.get("/readyz").json["checks"]["queue"]["ok"]
    assert client.get("/readyz?exclude=queue&exclude=storage").status_code == 200
    sent = client.post("/v1/blur", data={"file": (io.BytesIO(JPEG), "a.jpg")})
    assert sent.status_code == 200


def test_renderers_at_work_are_ready_and_those_that_are_gone_are_not(settings):
    """A process at work answers nobody else: the connection waits in the backlog."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        url = f"http://127.0.0.1:{busy.getsockname()[1]}"
        gone = f"http://127.0.0.1:{free_port()}"

        def check(**urls):
            services = services_of(settings)
            services.renderer = Renderer(dataclasses.replace(settings, **urls))
            return app_of(services).test_client().get("/readyz").json["checks"]["renderer"]

        assert check(renderer_url=url, renderer_large_url=url + "/large")["ok"]
        assert "does not answer" in check(renderer_url=gone)["detail"]
        assert "does not answer" in check(renderer_url=url, renderer_large_url=gone)["detail"]


def test_everything_down_at_once_is_told_within_two_seconds(settings):
    services = services_of(settings)
    down = dataclasses.replace(
        settings,
        s3_endpoint=f"http://127.0.0.1:{free_port()}",
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
    )
    services.storage, services.queue = Storage(down), JobQueue(down)
    services.models[0].ready = lambda: time.sleep(4)
    services.renderer.ready = lambda: 1 / 0
    begun = time.monotonic()
    answer = app_of(services).test_client().get("/readyz")
    assert time.monotonic() - begun < 2
    checks = answer.json["checks"]
    assert answer.status_code == 503
    assert not any(check["ok"] for check in checks.values())
    assert "no answer within" in checks["model"]["detail"]
    assert "Redis" in checks["queue"]["detail"]
    assert checks["renderer"]["detail"] == "the check failed (ZeroDivisionError)"


def test_metrics(client, services):
    client.post("/v1/blur", data={"file": (io.BytesIO(JPEG), "a.jpg")})
    services.queue.submit("uploads/x", {})
    client.get("/v1/jobs/" + "a" * 32)
    text = client.get("/metrics").get_data(as_text=True)
    for line in (
        'masquerade_requests_total{method="POST",route="/v1/blur",status="200"}',
        'masquerade_requests_total{method="GET",route="/v1/jobs/<job_id>",status="404"}',
        'masquerade_request_seconds_bucket{le="0.1",route="/v1/blur"}',
        'masquerade_photo_stage_seconds_count{stage="detect"}',
        "masquerade_photo_faces_total",
        "masquerade_photos_in_flight 0.0",
        "masquerade_queue_up 1.0",
        "masquerade_queue_depth 1.0",
        "masquerade_jobs_live 1.0",
        'masquerade_jobs_total{status="submitted"} 1.0',
        'masquerade_jobs_total{status="failed"} 0.0',
        "masquerade_video_frames_total 0.0",
        "masquerade_video_seconds_total 0.0",
        'masquerade_queue_waiting{kind="video"} 1.0',
        'masquerade_queue_waiting{kind="batch"} 0.0',
        'masquerade_queue_running{kind="batch"} 0.0',
        'masquerade_queue_oldest_seconds{kind="batch"} 0.0',
        'masquerade_batches_total{status="submitted"} 0.0',
        'masquerade_batch_items_total{outcome="failed"} 0.0',
        "masquerade_dead_letters 0.0",
    ):
        assert line in text, line


def test_scrapes_tell_what_probes_found_and_ask_only_when_nobody_did(client, services, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(readiness, "time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = []
    services.models[0].ready = lambda: asked.append(1)

    def told():
        return client.get("/metrics").get_data(as_text=True)

    for line in ("model", "storage", "queue", "renderer"):
        assert f'masquerade_ready{{check="{line}"}} 1.0' in told()
    services.models[0].ready = lambda: asked.append(1) or "gone"
    now[0] += 3
    assert 'masquerade_ready{check="model"} 1.0' in told()
    assert len(asked) == 1
    client.get("/readyz?exclude=model")
    assert 'masquerade_ready{check="model"} 0.0' in told()
    assert len(asked) == 2
    now[0] += 6
    told()
    assert len(asked) == 3


def test_metrics_without_redis(settings):
    services = services_of(settings)
    away = dataclasses.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    services.queue = JobQueue(away)
    text = app_of(services).test_client().get("/metrics").get_data(as_text=True)
    assert "masquerade_queue_up 0.0" in text
    assert "masquerade_queue_depth" not in text


def test_documents(client):
    assert client.get("/openapi.json").json["openapi"] == "3.1.0"
    page = client.get("/docs")
    assert page.mimetype == "text/html"
    assert "script-src" not in page.headers["Content-Security-Policy"]


def test_the_page_may_reach_the_bucket_and_nothing_else(client, services):
    answer = client.get("/")
    assert answer.mimetype == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert f"connect-src 'self' {services.storage.origin};" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert client.get("/page/page.js").mimetype in ("text/javascript", "application/javascript")


@pytest.mark.parametrize(
    "path", ["/page/../ops.py", "/page/%2e%2e/ops.py", "/page/none.js", "/page/", "/nowhere"]
)
def test_no_other_file_is_served(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "not-found")


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/nowhere", "/v1/blur"])
def test_headers_of_every_answer(client, path):
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] in ("no-store", "no-cache")
    assert len(headers["X-Request-Id"]) == 32


@pytest.mark.parametrize(
    ("given", "kept"),
    [("trace-0123.abc", True), ("x", False), ("a" * 200, False), ("ab cd ef", False)],
)
def test_a_sane_request_id_is_kept(client, given, kept):
    answer = client.get("/nowhere", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def test_head_and_wrong_methods(client):
    answer = client.head("/nowhere")
    assert (answer.status_code, answer.data) == (404, b"")
    assert answer.content_type == "application/problem+json"
    assert client.head("/healthz").status_code == 200
    for method, path in (("get", "/v1/blur"), ("put", "/v1/jobs/x"), ("post", "/healthz")):
        answer = getattr(client, method)(path)
        assert (answer.status_code, answer.json["code"]) == (405, "method-not-allowed")
        assert answer.headers["Allow"]


def test_a_request_is_logged_without_names_and_ids(client, caplog):
    with caplog.at_level(logging.INFO):
        client.get("/v1/jobs/secret-job-id-0123", headers={"X-Request-Id": "trace-1"})
        client.post("/v1/blur", data={"file": (io.BytesIO(b"?"), "secret-name.jpg")})
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert "secret" not in "".join(lines)
    line = json.loads(next(line for line in lines if "/v1/jobs" in line))
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/jobs/<job_id>", 404)
    assert line["ms"] >= 0
    assert line["time"].endswith("Z")


def test_a_log_line_has_the_request_id_and_the_exception():
    token = request_id.set("trace-2")
    try:
        raise ValueError("x\ny")
    except ValueError:
        import sys

        what = "gateway", logging.ERROR, "", 1, "it %s", ("broke",)
        record = logging.LogRecord(*what, sys.exc_info())
        text = JsonFormatter().format(record)
    finally:
        request_id.reset(token)
    line = json.loads(text)
    assert "\n" not in text
    assert (line["request_id"], line["message"]) == ("trace-2", "it broke")
    assert "ValueError" in line["exception"]
