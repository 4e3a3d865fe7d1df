"""One request followed through all processes: by its id in their logs, by its trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.leaks import Needles, Sent
from tests.otlp import Collector, Span
from tests.service import media
from tests.service.helpers import Api, eventually
from tests.service.replica import Replica


@pytest.fixture(scope="module")
def collector(sent: Sent) -> Iterator[Collector]:
    """What it was sent holds nothing that logs may not."""
    with Collector() as collector:
        yield collector
    assert list(Needles(sent).in_text(collector.raw, "traces")) == []


@pytest.fixture(scope="module")
def replica(pod, collector: Collector) -> Iterator[Replica]:
    """Traced, with a worker and queues of its own."""
    own = {
        "MASQUERADE_TRACES": collector.url,
        "MASQUERADE_QUEUE_NAME": "following",
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # ms until spans are sent
    }
    replica = Replica(pod, own, worker=True)
    try:
        replica.start()
        yield replica
    finally:
        replica.kill()


def lines(log: Path, ident: str) -> list[dict[str, Any]]:
    """The lines of a log that belong to a request."""
    found = (json.loads(line) for line in log.read_text().splitlines() if ident in line)
    return [line for line in found if line["request_id"] == ident]


def trace_of(collector: Collector, root: str, wanted: str) -> dict[str, Span]:
    """The spans of the trace that began with ``root``, by name, once the wanted one is there."""

    def spans() -> dict[str, Span] | None:
        begun = [span for span in collector.spans if span.name == root and not span.parent]
        found = {s.name: s for s in collector.spans if begun and s.trace == begun[-1].trace}
        return found if wanted in found else None

    return eventually(spans, f"a trace with {wanted}", 30)


def test_a_photo(pod, replica, collector):
    ident = "follow-the-photo"
    answer = Api(replica.url).call(
        "POST", "/v1/blur", files={"file": media.photo()}, headers={"X-Request-Id": ident}
    )
    assert answer.status_code == 200
    for name in ("gateway", "renderer"):
        (line,) = lines(replica.logs / f"{name}.log", ident)
        assert line["status"] == 200
    handled = eventually(lambda: lines(pod.logs / "torchserve.log", ident), "the handler's line")
    assert [line["logger"] for line in handled] == ["face_detector"]
    assert handled[0]["images"] == 1

    spans = trace_of(collector, "POST /v1/blur", "render /image")
    assert spans["POST /v1/blur"].attributes["http.response.status_code"] == "200"
    assert spans["render /image"].service == "masquerade-renderer"
    assert spans["render /image"].parent == spans["renderer photo"].id
    assert spans["renderer photo"].parent == spans["POST /v1/blur"].id
    assert spans["model face_detector"].parent == spans["render /image"].id
    assert spans["s3 put"].parent == spans["POST /v1/blur"].id
    assert {"decode", "detect", "blur", "encode"} <= set(spans)
    assert not any(span.failed for span in spans.values())


def test_a_video(pod, replica, collector, clips):
    ident = "follow-the-video"
    answer = Api(replica.url).call(
        "POST",
        "/v1/blur",
        params={"wait": 100},
        files={"file": clips.short()},
        headers={"X-Request-Id": ident},
    )
    assert answer.status_code == 200
    (line,) = eventually(lambda: lines(replica.logs / "worker.log", ident), "the worker's line")
    assert line["job"] == f"job-{answer.json()['id'][:6]}"
    assert lines(pod.logs / "torchserve.log", ident)

    spans = trace_of(collector, "POST /v1/blur", "job video")
    assert spans["job video"].service == "masquerade-worker"
    assert spans["job video"].parent == spans["POST /v1/blur"].id
    assert spans["model face_detector_jobs"].trace == spans["job video"].trace
    assert {"s3 get", "analyse", "render"} <= set(spans)
    assert "GET /readyz" not in {span.name for span in collector.spans}


def test_a_failure_is_marked(replica, collector):
    assert Api(replica.url).blur(b"nothing").status_code == 415
    spans = eventually(
        lambda: [
            s for s in collector.spans if s.attributes.get("http.response.status_code") == "415"
        ],
        "the span of the refused request",
        30,
    )
    assert not spans[0].failed  # the client's fault, not ours


def test_the_model_servers_log_is_json(pod):
    text = (pod.logs / "torchserve.log").read_text()
    told = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, told))
    other = [line for line in text.splitlines() if not line.startswith("{")]
    starts = other.count("Model server started.")
    assert starts and len(other) < 10 * starts, other  # Java's own, before it logs
