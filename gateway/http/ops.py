"""Routes for machines that run the service, and for people who read about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request, send_from_directory

from gateway import stopping
from gateway.errors import BadOption
from gateway.http import docs, openapi, scrape
from gateway.http.flows import Services
from gateway.http.readiness import CHECKS, Readiness
from gateway.models import ModelServer

_PAGE = Path(__file__).parent / "page"
_PROBED = 5.0  # seconds that /metrics may repeat what was found last, mostly by a probe of /readyz


def blueprint(services: Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("ops", __name__)
    readiness = Readiness(services)
    model_server = ModelServer(services.settings.torchserve_metrics_url)
    document = openapi.document()
    reference, reference_policy = docs.render(document)

    @routes.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> tuple[dict[str, Any], int]:
        left_out = _left_out(request.args.getlist("exclude"))
        faults = readiness.look()
        if stopping.draining():
            faults = {**faults, "gateway": "the gateway is about to stop"}
        ready = not any(fault for name, fault in faults.items() if name not in left_out)
        checks = {
            name: {"ok": fault is None, "detail": fault or "ok"} for name, fault in faults.items()
        }
        return {"ready": ready, "checks": checks}, 200 if ready else 503

    @routes.get("/metrics")
    def metrics() -> Response:
        faults = readiness.look(_PROBED)
        text = scrape.render(services.queue, model_server, services.gates, faults)
        return Response(text, content_type="text/plain; version=0.0.4")

    @routes.get("/openapi.json")
    def specification() -> Response:
        return Response(json.dumps(document), content_type="application/json")

    @routes.get("/docs")
    def reading() -> Response:
        return Response(
            reference,
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": reference_policy},
        )

    @routes.get("/")
    def page() -> Response:
        return _page_file(services, "index.html")

    @routes.get("/page/<path:name>")
    def page_file(name: str) -> Response:
        return _page_file(services, name)

    return routes


def _page_file(services: Services, name: str) -> Response:
    response = send_from_directory(_PAGE, name, max_age=0)
    bucket = services.storage.origin
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' blob: data: {bucket}; media-src 'self' blob: {bucket}; "
        f"connect-src 'self' {bucket}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    response.headers["Cache-Control"] = "no-cache"
    return response


def _left_out(names: list[str]) -> set[str]:
    unknown = set(names) - set(CHECKS)
    if unknown:
        raise BadOption(f"unknown check {min(unknown)[:40]!r}; known are {', '.join(CHECKS)}")
    if len(set(names)) < len(names):
        raise BadOption("each check can be excluded once")
    return set(names)
