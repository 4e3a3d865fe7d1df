"""What /metrics answers beside the gateway's own counts: renders, the model server, S3, stages."""

from __future__ import annotations

import contextlib

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.admission import Admission, Board
from gateway.errors import NotFound
from gateway.http import scrape
from gateway.jobs.queue import JobQueue
from gateway.settings import Settings, cores, processes
from gateway.storage import Storage

_OF = 'ModelName="face_detector",Level="Model",Hostname="vm",'
_AT = 'model_version="default",hostname="vm",'
THEIRS = f"""\
# HELP QueueTime Torchserve prometheus gauge metric with unit: Milliseconds
# TYPE QueueTime gauge
QueueTime{{Level="Host",Hostname="vm",}} 2.0
# HELP masquerade_model_seconds Torchserve prometheus histogram metric with unit: s
# TYPE masquerade_model_seconds histogram
masquerade_model_seconds_bucket{{{_OF}le="0.5",}} 3.0
masquerade_model_seconds_bucket{{{_OF}le="+Inf",}} 4.0
masquerade_model_seconds_count{{{_OF}}} 4.0
masquerade_model_seconds_sum{{{_OF}}} 1.25
# HELP ts_queue_latency_microseconds Torchserve prometheus counter metric with unit: Microseconds
# TYPE ts_queue_latency_microseconds counter
ts_queue_latency_microseconds{{model_name="face_detector",{_AT}}} 7782.0
# HELP ts_inference_requests_total Torchserve prometheus counter metric with unit: Count
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{{model_name="face_detector",{_AT}}} 3.0
ts_inference_requests_total{{model_name="rigger",{_AT}}} 5.0
# HELP Requests5XX Torchserve prometheus counter metric with unit: Count
# TYPE Requests5XX counter
"""


class PlayedServer:
    def __init__(self, text: str | None) -> None:
        self.text = text

    def metrics(self) -> str | None:
        return self.text


@pytest.fixture
def gates(settings, monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    return Admission(settings, Board())


@pytest.fixture
def samples(settings, gates):
    """Asks for everything; answers name and labels → value."""

    def ask(text: str | None = THEIRS, faults: dict | None = None) -> dict[tuple, float]:
        queue, server = JobQueue(settings), PlayedServer(text)
        answer = scrape.render(queue, server, gates, faults or {}).decode()
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer)
            for sample in family.samples
        }

    return ask


def test_the_model_servers_counts_are_passed_on_under_our_names(samples):
    found = samples()
    detector = ("model", "face_detector")
    assert found["masquerade_model_server_up",] == 1
    assert found["masquerade_model_seconds_bucket", ("le", "0.5"), detector] == 3
    assert found["masquerade_model_seconds_bucket", ("le", "+Inf"), detector] == 4
    assert found["masquerade_model_seconds_sum", detector] == 1.25
    assert found["masquerade_model_queue_seconds_total", detector] == pytest.approx(0.007782)
    assert found["masquerade_model_server_requests_total", detector] == 3
    assert found["masquerade_model_server_requests_total", ("model", "rigger")] == 5
    assert not any(name[0].startswith(("QueueTime", "Requests5XX", "ts_")) for name in found)


def test_a_model_server_that_does_not_answer_is_down(samples):
    found = samples(None)
    assert found["masquerade_model_server_up",] == 0
    assert not any(name[0].startswith("masquerade_model_seconds") for name in found)


def test_each_check_of_readiness_is_told(samples):
    found = samples(faults={"model": None, "storage": "the bucket answers 403"})
    assert found["masquerade_ready", ("check", "model")] == 1
    assert found["masquerade_ready", ("check", "storage")] == 0


def test_renders_beyond_the_processes_wait(samples, gates):
    with gates.photos.at_work(), gates.photos.at_work():
        assert samples()["masquerade_renders_running", ("lane", "all")] == 2
        with gates.drawings.at_work():
            found = samples()
    assert found["masquerade_renders", ("kind", "photos")] == 2
    assert found["masquerade_renders", ("kind", "drawings")] == 1
    assert found["masquerade_renderer_processes", ("lane", "all")] == 2
    assert found["masquerade_renders_running", ("lane", "all")] == 2
    assert found["masquerade_renders_waiting", ("lane", "all")] == 1
    assert samples()["masquerade_renders_running", ("lane", "all")] == 0


@pytest.mark.parametrize(
    "settings", [Settings(renderer_large_url="http://127.0.0.1:1")], ids=["apart"]
)
def test_large_renders_wait_only_for_the_processes_that_they_have(samples, gates):
    with contextlib.ExitStack() as stack:
        for gate in (gates.drawings, gates.large_photos, gates.drawings, gates.photos):
            stack.enter_context(gate.at_work())
        found = samples()
    for name, small, large in (
        ("renderer_processes", 2, 2),
        ("renders_running", 1, 2),
        ("renders_waiting", 0, 1),
    ):
        assert found[f"masquerade_{name}", ("lane", "small")] == small
        assert found[f"masquerade_{name}", ("lane", "large")] == large


def test_what_is_in_counts_wherever_it_is(samples, gates):
    with gates.photos.entered(), gates.large_photos.entered(), gates.drawings.entered():
        found = samples()
    assert found["masquerade_photos_in_flight",] == 2
    assert found["masquerade_drawings_in_flight",] == 1
    assert samples()["masquerade_photos_in_flight",] == 0


def test_calls_to_the_object_store_are_timed_failures_too(samples, settings):
    name = "masquerade_storage_seconds_count", ("operation", "head")
    before = samples().get(name, 0)
    with pytest.raises(NotFound):
        Storage(settings).size("uploads/none")
    assert samples()[name] == before + 1


def test_the_stages_of_videos_are_summed_up(samples, settings):
    store = JobQueue(settings).store
    for _ in range(2):
        job = store.begin(store.create("uploads/x", {}, 1), ())
        store.finish(job, {"timings": {"fetch_ms": 500.4, "render_ms": 2000, "total_ms": 2600}})
    found = samples()
    name = "masquerade_video_stage_seconds_total"
    assert found[name, ("stage", "fetch")] == 1
    assert found[name, ("stage", "render")] == 4
    assert found[name, ("stage", "store")] == 0


@pytest.mark.parametrize(
    ("quota", "most"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 99), (None, 99)]
)
def test_a_containers_limit_bounds_the_cores(tmp_path, monkeypatch, quota, most):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(99)))
    file = tmp_path / "cpu.max"
    if quota:
        file.write_text(quota + "\n")
    assert cores(file) == most


def test_the_number_of_processes_may_be_said(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    assert processes() == 7
