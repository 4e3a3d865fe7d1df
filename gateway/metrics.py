"""What Prometheus can ask: requests, latencies, stage times, faces, drawings, jobs, the queue.

Counts of the gateway's processes are added up by prometheus_client's multiprocess
mode; those of jobs come out of Redis when asked, whichever worker did them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.errors import QueueUnavailable
from gateway.jobs.queue import JobQueue
from gateway.jobs.store import LIVE, STATUSES

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

REQUESTS = Counter("masquerade_requests_total", "Requests", ["route", "method", "status"])
LATENCY = Histogram(
    "masquerade_request_seconds", "Time to the answer's headers", ["route"], buckets=_SECONDS
)
STAGES = Histogram(
    "masquerade_photo_stage_seconds", "Time of a photo's stages", ["stage"], buckets=_SECONDS
)
FACES = Counter("masquerade_photo_faces_total", "Faces blurred in photos")
IN_FLIGHT = Gauge(
    "masquerade_photos_in_flight", "Photos rendered or waiting", multiprocess_mode="livesum"
)
DRAWING_STAGES = Histogram(
    "masquerade_drawing_stage_seconds", "Time of a drawing's stages", ["stage"], buckets=_SECONDS
)
ANIMATIONS = Counter("masquerade_animations_total", "Animations made of drawings")
DRAWINGS_IN_FLIGHT = Gauge(
    "masquerade_drawings_in_flight", "Drawings at work or waiting", multiprocess_mode="livesum"
)


CLASSIFY_STAGES = Histogram(
    "masquerade_classify_stage_seconds",
    "Time of a classification's stages",
    ["stage"],
    buckets=_SECONDS,
)


def request(route: str, method: str, status: int, seconds: float) -> None:
    """Count one answered request under its route's pattern."""
    REQUESTS.labels(route, method, str(status)).inc()
    LATENCY.labels(route).observe(seconds)


def photo(faces: int, timings: Mapping[str, float]) -> None:
    """Count one blurred photo; ``timings`` in ms under names ending in ``_ms``."""
    FACES.inc(faces)
    _stages(STAGES, timings)


def photo_in_flight() -> AbstractContextManager[None]:
    """Counts as one photo in flight while entered."""
    return IN_FLIGHT.track_inprogress()


def drawing(animations: int, timings: Mapping[str, float]) -> None:
    """Count one rigged or animated drawing; ``timings`` as in :func:`photo`."""
    ANIMATIONS.inc(animations)
    _stages(DRAWING_STAGES, timings)


def classified(timings: Mapping[str, float]) -> None:
    """Count one classified image; ``timings`` as in :func:`photo`."""
    _stages(CLASSIFY_STAGES, timings)


def drawing_in_flight() -> AbstractContextManager[None]:
    """Counts as one drawing in flight while entered."""
    return DRAWINGS_IN_FLIGHT.track_inprogress()


def _stages(histogram: Histogram, timings: Mapping[str, float]) -> None:
    for name, value in timings.items():
        histogram.labels(name.removesuffix("_ms")).observe(value / 1000)


def render(queue: JobQueue) -> bytes:
    """Everything in Prometheus' text format."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    jobs = CollectorRegistry()
    jobs.register(_Jobs(queue))
    return bytes(generate_latest(registry) + generate_latest(jobs))


class _Jobs(Collector):
    """Jobs and their queue as Redis has them; just ``up 0`` when it does not answer."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        queue = self._queue
        try:
            counts, batches = queue.store.counts(), queue.batches.store.counts()
            live, loads = len(queue.store.live_ids()), queue.load()
            dead = queue.batches.store.dead_letters()
        except QueueUnavailable:
            yield GaugeMetricFamily("masquerade_queue_up", "Whether Redis answers", 0)
            return
        yield GaugeMetricFamily("masquerade_queue_up", "Whether Redis answers", 1)
        depth = sum(load.waiting for load in loads.values())
        yield GaugeMetricFamily("masquerade_queue_depth", "Tasks that wait for a worker", depth)
        for name, meaning in (
            ("waiting", "Tasks that wait for a worker"),
            ("running", "Tasks at work"),
            ("oldest", "Seconds that the first task has been waiting"),
        ):
            suffix = "_seconds" if name == "oldest" else ""
            gauge = GaugeMetricFamily(f"masquerade_queue_{name}{suffix}", meaning, labels=["kind"])
            for kind, load in loads.items():
                gauge.add_metric([kind], getattr(load, name))
            yield gauge
        yield GaugeMetricFamily("masquerade_jobs_live", "Single jobs queued or running", live)
        ended = tuple(status for status in STATUSES if status not in LIVE)
        yield _by(
            "masquerade_jobs", "Single jobs by outcome", "status", counts, ("submitted", *ended)
        )
        whole = {status: batches.get(f"batches_{status}", 0) for status in ("submitted", *ended)}
        yield _by(
            "masquerade_batches", "Batches and trainings by outcome", "status", whole, tuple(whole)
        )
        outcomes = ("done", "skipped", "failed")
        yield _by("masquerade_batch_items", "Inputs of batches", "outcome", batches, outcomes)
        yield GaugeMetricFamily(
            "masquerade_dead_letters", "Inputs of live batches that have failed", dead
        )
        for name, meaning in (
            ("frames", "Video frames processed"),
            ("faces", "Faces detected in videos"),
        ):
            total = counts.get(name, 0) + batches.get(name, 0)
            yield CounterMetricFamily(f"masquerade_video_{name}", meaning, value=total)
        seconds = (counts.get("ms", 0) + batches.get("ms", 0)) / 1000
        yield CounterMetricFamily(
            "masquerade_video_seconds", "Seconds of video processed", value=seconds
        )


def _by(
    name: str, meaning: str, label: str, counts: Mapping[str, int], values: tuple[str, ...]
) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value in values:
        family.add_metric([value], counts.get(value, 0))
    return family
