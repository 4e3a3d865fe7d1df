"""What the gateway's processes count: requests, latencies, stage times, faces, drawings, S3.

prometheus_client's multiprocess mode adds them up; ``gateway.http.scrape`` answers them,
with what others count.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

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
STORAGE = Histogram(
    "masquerade_storage_seconds",
    "Time of calls to the object store",
    ["operation"],
    buckets=_SECONDS,
)
RENDERS = Gauge(
    "masquerade_renders",
    "Requests at the renderer, at work or waiting",
    ["kind"],
    multiprocess_mode="livesum",
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


def storage(operation: str, seconds: float) -> None:
    """Count one call to the object store."""
    STORAGE.labels(operation).observe(seconds)


def refused(kind: str) -> None:
    """Count one request that was refused because too much of its kind was in."""
    REFUSED.labels(kind).inc()


def at_renderer(kind: str) -> AbstractContextManager[None]:
    """Counts as one request at the renderer while entered; ``kind``: photo, drawing, ..."""
    return RENDERS.labels(kind).track_inprogress()


def _stages(histogram: Histogram, timings: Mapping[str, float]) -> None:
    for name, value in timings.items():
        histogram.labels(name.removesuffix("_ms")).observe(value / 1000)
