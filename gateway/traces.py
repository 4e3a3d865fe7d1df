"""OpenTelemetry traces over OTLP/HTTP; off, and nothing of it imported, unless asked for.

``MASQUERADE_TRACES`` names the collector. What else there is to say (headers, sampling,
resource) OpenTelemetry's own variables say.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

from gateway.settings import Settings

Kind = Literal["internal", "server", "client", "producer", "consumer"]

PACKAGES = (
    *("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk.trace.export"),
    *("opentelemetry.sdk.resources", "opentelemetry.trace.propagation.tracecontext"),
)
"""What tracing needs: imported by :func:`start`, or before by a process that will be forked."""

_PATIENCE = 2  # seconds that a collector which is away can hold up the end of a job

_tracer: Any = None
_provider: Any = None
_OFF: AbstractContextManager[Any] = contextlib.nullcontext()


def start(settings: Settings, service: str) -> None:
    """Begin to trace in this process, if the settings say so; after it was forked, as threads
    do not survive that. ``service``: its name in the traces.
    """
    global _tracer, _provider
    if not settings.traces or _provider is not None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    endpoint = f"{settings.traces.rstrip('/')}/v1/traces"
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_PATIENCE)
    named = Resource.create({"service.name": f"masquerade-{service}"})
    _provider = TracerProvider(resource=named)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("masquerade")


def span(
    name: str,
    kind: Kind = "internal",
    parent: Mapping[str, str] | None = None,
    **attributes: str | int | float,
) -> AbstractContextManager[Any]:
    """A span around a block; an exception marks it as failed, by its type (``error.type``).

    ``parent``: headers or a message's meta from another process, which it belongs to.
    Yields OpenTelemetry's span, or None when traces are off.
    """
    if _tracer is None:
        return _OFF
    return _span(name, kind, parent, attributes)


@contextlib.contextmanager
def _span(
    name: str, kind: Kind, parent: Mapping[str, str] | None, attributes: Mapping[str, Any]
) -> Iterator[Any]:
    from opentelemetry.trace import SpanKind, StatusCode

    with _tracer.start_as_current_span(
        name,
        context=_read(parent),
        kind=SpanKind[kind.upper()],
        attributes=attributes,
        record_exception=False,  # it would send messages, which quote keys and names
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(StatusCode.ERROR)
            current.set_attribute("error.type", type(error).__name__)
            raise


def stages(timings: Mapping[str, float]) -> None:
    """Spans of stages that were timed anyway, one after the other, the last of which ends now.

    timings: milliseconds under names ending in ``_ms``.
    """
    if _tracer is None:
        return
    begun = time.time_ns() - round(sum(timings.values()) * 1e6)
    for name, spent in timings.items():
        ended = begun + round(spent * 1e6)
        _tracer.start_span(name.removesuffix("_ms"), start_time=begun).end(end_time=ended)
        begun = ended


def carrier() -> dict[str, str]:
    """``traceparent`` of the current span for another process; nothing when there is none."""
    held: dict[str, str] = {}
    if _tracer is not None:
        _propagator().inject(held)
    return held


def flush() -> None:
    """Send what was traced: before a process ends without more ado."""
    if _provider is not None:
        _provider.force_flush(1000 * _PATIENCE)


def _read(parent: Mapping[str, str] | None) -> Any:
    if parent is None:
        return None
    return _propagator().extract({name.lower(): value for name, value in parent.items()})


def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()
