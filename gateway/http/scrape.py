"""The answer of ``/metrics``: what the gateway's processes, the queue and the model server count.

Counts of jobs come out of Redis, whichever worker did them; those of the models out of
TorchServe, which listens on loopback only, where Prometheus cannot ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.admission import Admission
from gateway.errors import QueueUnavailable
from gateway.jobs.queue import JobQueue
from gateway.jobs.store import LIVE, STATUSES
from gateway.models import ModelServer

# TorchServe's own counters: our name, what it is, and how much of our unit one of theirs is.
_THEIRS = {
    "ts_inference_requests": (
        *("masquerade_model_server_requests", "Requests that the model server took"),
        1.0,
    ),
    "ts_inference_latency_microseconds": (
        *("masquerade_model_server_seconds", "Time of requests in the model server"),
        1e-6,
    ),
    "ts_queue_latency_microseconds": (
        *("masquerade_model_queue_seconds", "Time that requests waited for a model's worker"),
        1e-6,
    ),
}
# Histograms of our handlers (handlers/runtime.py).
_OURS = {
    "masquerade_model_seconds": "Time of a handler's calls",
    "masquerade_model_requests": "Requests in a handler's call: the batch",
    "masquerade_model_images": "Images in a handler's call",
}
_VIDEO_STAGES = ("fetch", "analyse", "render", "store")


def render(
    queue: JobQueue,
    models: ModelServer,
    gates: Admission,
    faults: Mapping[str, str | None],
) -> bytes:
    """Everything in Prometheus' text format.

    faults: what is wrong with each check of ``/readyz``, None for those that pass.
    """
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    others = CollectorRegistry()
    for collector in (_Checks(faults), _Gates(gates), _Jobs(queue), _Models(models)):
        others.register(collector)
    return bytes(generate_latest(registry) + generate_latest(others))


class _Checks(Collector):
    """Whether the checks of readiness pass, those too that the kubelet leaves out."""

    def __init__(self, faults: Mapping[str, str | None]) -> None:
        self._faults = faults

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("masquerade_ready", "Whether a check passes", labels=["check"])
        for name, fault in self._faults.items():
            ready.add_metric([name], fault is None)
        yield ready


class _Gates(Collector):
    """Who is in, and who of those at the renderer is at work: a process takes one as soon as it
    is free."""

    def __init__(self, gates: Admission) -> None:
        self._gates = gates

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        gates = self._gates
        photos = gates.photos.inside + gates.large_photos.inside
        yield GaugeMetricFamily(
            "masquerade_photos_in_flight", "Photos being fetched, rendered or stored", photos
        )
        yield GaugeMetricFamily(
            "masquerade_drawings_in_flight",
            "Drawings being fetched, made or stored",
            gates.drawings.inside,
        )
        renders = GaugeMetricFamily(
            "masquerade_renders", "Requests at the renderer, at work or waiting", labels=["kind"]
        )
        for gate in (gate for lane in gates.lanes for gate in lane.gates):
            renders.add_metric([gate.what], gate.working)
        yield renders
        yield from self._lanes()

    def _lanes(self) -> Iterator[Metric]:
        families = [
            GaugeMetricFamily(f"masquerade_{name}", meaning, labels=["lane"])
            for name, meaning in (
                ("renderer_processes", "Renderer processes of this pod"),
                ("renders_running", "Renders at work"),
                ("renders_waiting", "Requests that wait for a renderer process"),
            )
        ]
        for lane in self._gates.lanes:
            inside = lane.inside
            running = min(inside, lane.places)
            for family, value in zip(
                families, (lane.places, running, inside - running), strict=True
            ):
                family.add_metric([lane.name], value)
        yield from families


class _Models(Collector):
    """What TorchServe and our handlers in it count; just ``up 0`` when it does not answer."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        text = self._server.metrics()
        up = GaugeMetricFamily("masquerade_model_server_up", "Whether the model server answers")
        up.add_metric([], text is not None)
        yield up
        for theirs in text_string_to_metric_families(text or ""):
            if theirs.name in _THEIRS:
                yield _counter(theirs, *_THEIRS[theirs.name])
            elif theirs.name in _OURS:
                yield _histogram(theirs)


def _counter(theirs: Metric, name: str, meaning: str, unit: float) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=["model"])
    for sample in theirs.samples:
        family.add_metric([sample.labels["model_name"]], sample.value * unit)
    return family


def _histogram(theirs: Metric) -> Metric:
    family = Metric(theirs.name, _OURS[theirs.name], "histogram")
    for sample in theirs.samples:
        edge = {"le": sample.labels["le"]} if "le" in sample.labels else {}
        family.add_sample(sample.name, {"model": sample.labels["ModelName"], **edge}, sample.value)
    return family


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
            "masquerade_dead_letters",
            "Inputs of batches that have failed, until they are retried or expire",
            dead,
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
        stages = CounterMetricFamily(
            "masquerade_video_stage_seconds", "Time of single videos' stages", labels=["stage"]
        )
        for stage in _VIDEO_STAGES:
            stages.add_metric([stage], counts.get(f"{stage}_ms", 0) / 1000)
        yield stages


def _by(
    name: str, meaning: str, label: str, counts: Mapping[str, int], values: tuple[str, ...]
) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value in values:
        family.add_metric([value], counts.get(value, 0))
    return family
