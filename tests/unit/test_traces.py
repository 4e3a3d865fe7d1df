"""Traces: nothing while they are off, spans and their context while they are on."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import carry, logs, traces
from gateway.settings import Settings
from tests.leaks import NAME
from tests.otlp import Collector
from tests.servers import free_port, wait_for


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch):
    """Traces are on, and sent here."""
    monkeypatch.setattr(traces, "_tracer", None)
    monkeypatch.setattr(traces, "_provider", None)
    with Collector() as collector:
        traces.start(Settings(traces=collector.url), "test")
        yield collector
        traces._provider.shutdown()


def received(collector, count):
    traces.flush()
    wait_for(lambda: len(collector.spans) >= count)
    return {span.name: span for span in collector.spans}


def test_off_means_that_nothing_is_imported():
    code = (
        "import sys\n"
        "from gateway import app, renderer, traces\n"
        "from gateway.jobs import worker\n"
        "from gateway.settings import Settings\n"
        "traces.start(Settings(), 'test')\n"
        "with traces.span('x') as span: assert span is None\n"
        "assert traces.carrier() == {}\n"
        "traces.stages({'decode_ms': 1.0}); traces.flush()\n"
        "for name in traces.PACKAGES[:2]: assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_spans_have_a_parent_here_and_in_another_process(collector):
    with traces.span("outer", "server", **{"http.route": "/v1/blur"}):
        sent = carry.headers()
    assert set(sent) >= {"traceparent"}
    with traces.span("other process", "consumer", parent={"Traceparent": sent["traceparent"]}):
        traces.stages({"decode_ms": 250.0, "encode_ms": 500.0})
    spans = received(collector, 4)
    outer = spans["outer"]
    assert (outer.service, outer.parent) == ("masquerade-test", "")
    assert outer.attributes["http.route"] == "/v1/blur"
    assert spans["other process"].parent == outer.id
    assert spans["decode"].parent == spans["encode"].parent == spans["other process"].id
    assert spans["encode"].seconds == pytest.approx(0.5, abs=1e-6)
    assert {span.trace for span in spans.values()} == {outer.trace}


def test_without_a_parent_a_trace_begins(collector):
    for name, parent in (("none", {}), ("broken", {"traceparent": "nonsense"})):
        with traces.span(name, "server", parent=parent):
            pass
    spans = received(collector, 2)
    assert [span.parent for span in spans.values()] == ["", ""]
    assert spans["none"].trace != spans["broken"].trace


def test_an_exception_marks_its_span_and_its_words_stay_here(collector):
    with pytest.raises(ValueError, match=NAME), traces.span("outer"), traces.span("failing"):
        raise ValueError(NAME) from KeyError(NAME)
    spans = received(collector, 2)
    for name in ("failing", "outer"):
        assert spans[name].failed
        assert spans[name].attributes == {"error.type": "ValueError"}
    assert NAME.encode() not in collector.raw


def test_a_pools_thread_goes_on_under_the_request(collector):
    def work(times: int) -> str:
        with traces.span("in the thread"):
            return logs.request_id.get() * times

    token = logs.request_id.set("abcd")
    try:
        with traces.span("request"), ThreadPoolExecutor(1) as pool:
            assert pool.submit(carry.along(work), times=2).result() == "abcdabcd"
            assert pool.submit(work, 1).result() == ""
    finally:
        logs.request_id.reset(token)
    traces.flush()
    wait_for(lambda: len(collector.spans) >= 3)
    (request,) = (span for span in collector.spans if span.name == "request")
    parents = [span.parent for span in collector.spans if span.name == "in the thread"]
    assert sorted(parents) == ["", request.id]


def test_a_jobs_message_carries_who_asked_for_it(settings):
    from gateway.jobs.queue import JobQueue

    token = logs.request_id.set("abcd-1234")
    try:
        queue = JobQueue(settings)
        job = queue.submit("uploads/x", {})
    finally:
        logs.request_id.reset(token)
    meta = queue.message(job.id).meta
    assert meta == {"request_id": "abcd-1234"}
    for given, named in ((meta, "abcd-1234"), ({}, "job-1")):
        known, work = logs.request_id.set(""), logs.job.set("")
        carry.take(given, "job-1")
        assert (logs.request_id.get(), logs.job.get()) == (named, "job-1")
        logs.request_id.reset(known)
        logs.job.reset(work)


def test_a_collector_that_is_away_holds_nothing_up(monkeypatch):
    monkeypatch.setattr(traces, "_tracer", None)
    monkeypatch.setattr(traces, "_provider", None)
    traces.start(Settings(traces=f"http://127.0.0.1:{free_port()}"), "test")
    with traces.span("lost"):
        pass
    begun = time.monotonic()
    traces.flush()
    assert time.monotonic() - begun < traces._PATIENCE + 2
    traces._provider.shutdown()
