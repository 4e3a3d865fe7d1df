"""What the gateway's processes count: requests, latencies, stage times, faces, drawings, S3.

prometheus_client's multiprocess mode adds them up; ``gateway.http.scrape`` answers them,
with what others count: who is in stands on the board of ``gateway.admission``.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_MOMENTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

REQUESTS = Counter("masquerade_requests_total", "Requests", ["route", "method", "status"])
LATENCY = Histogram(
    "masquerade_request_seconds", "Time to the answer's headers", ["route"], buckets=_SECONDS
)
STAGES = Histogram(
    "masquerade_photo_stage_seconds", "Time of a photo's stages", ["stage"], buckets=_SECONDS
)
FACES = Counter("masquerade_photo_faces_total", "Faces blurred in photos")
DRAWING_STAGES = Histogram(
    "masquerade_drawing_stage_seconds", "Time of a drawing's stages", ["stage"], buckets=_SECONDS
)
ANIMATIONS = Counter("masquerade_animations_total", "Animations made of drawings")
STORAGE = Histogram(
    "masquerade_storage_seconds",
    "Time of calls to the object store",
    ["operation"],
    buckets=_SECONDS,
)
REFUSED = Counter(
    "masquerade_refused_total", "Requests refused because too much was in already", ["kind"]
)
LOOP_LAG = Histogram(
    "masquerade_event_loop_lag_seconds",
    "How much later than due the event loop took its next turn",
    buckets=_MOMENTS,
)
LOOP_BLOCKED = Histogram(
    "masquerade_event_loop_blocked_seconds",
    "The event loop's longest turn since the last look, without its wait for a core",
    buckets=_MOMENTS,
)
LOOP_LAG_MAX = Gauge(
    "masquerade_event_loop_lag_max_seconds",
    "The largest lag within the last minute or two",
    multiprocess_mode="livemax",
)
LOOP_BLOCKED_MAX = Gauge(
    "masquerade_event_loop_blocked_max_seconds",
    "The longest turn within the last minute or two",
    multiprocess_mode="livemax",
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


def drawing(animations: int, timings: Mapping[str, float]) -> None:
    """Count one rigged or animated drawing; ``timings`` as in :func:`photo`."""
    ANIMATIONS.inc(animations)
    _stages(DRAWING_STAGES, timings)


def classified(timings: Mapping[str, float]) -> None:
    """Count one classified image; ``timings`` as in :func:`photo`."""
    _stages(CLASSIFY_STAGES, timings)


def storage(operation: str, seconds: float) -> None:
    """Count one call to the object store."""
    STORAGE.labels(operation).observe(seconds)


def refused(kind: str) -> None:
    """Count one request that was refused because too much of its kind was in."""
    REFUSED.labels(kind).inc()


def _stages(histogram: Histogram, timings: Mapping[str, float]) -> None:
    for name, value in timings.items():
        histogram.labels(name.removesuffix("_ms")).observe(value / 1000)
