"""Routes for machines that run the service, and for people who read about it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, send_from_directory

from gateway import stopping
from gateway.http import docs, openapi, scrape
from gateway.http.flows import Services
from gateway.models import ModelServer

_PAGE = Path(__file__).parent / "page"
_PATIENCE = 1.5  # seconds for each readiness check
_FRESH = 0.5  # seconds that an answer of /readyz may be repeated


def blueprint(services: Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("ops", __name__)
    readiness = _Readiness(services)
    model_server = ModelServer(services.settings.torchserve_metrics_url)
    document = openapi.document()
    reference, reference_policy = docs.render(document)

    @routes.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> tuple[dict[str, Any], int]:
        answer = readiness.look()
        if stopping.draining():
            leaving = {"ok": False, "detail": "the gateway is about to stop"}
            answer = {"ready": False, "checks": {**answer["checks"], "gateway": leaving}}
        return answer, 200 if answer["ready"] else 503

    @routes.get("/metrics")
    def metrics() -> Response:
        apart = bool(services.settings.renderer_large_url)
        text = scrape.render(services.queue, model_server, large_apart=apart)
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


class _Readiness:
    """Asks everything at once; an answer is shared by those who ask within half a second."""

    def __init__(self, services: Services) -> None:
        self._checks: dict[str, Callable[[], str | None]] = {
            "model": lambda: _models_fault(services.models),
            "storage": services.storage.ready,
            "queue": services.queue.ready,
            "renderer": services.renderer.ready,
        }
        self._answer: dict[str, Any] = {}
        self._at = float("-inf")

    def look(self) -> dict[str, Any]:
        """``{ready, checks: {name: {ok, detail}}}``."""
        if time.monotonic() - self._at > _FRESH:
            begun = time.monotonic()
            self._answer = self._ask()
            self._at = begun
        return self._answer

    def _ask(self) -> dict[str, Any]:
        pool = ThreadPoolExecutor(len(self._checks))
        asked = {name: pool.submit(check) for name, check in self._checks.items()}
        pool.shutdown(wait=False)
        wait(asked.values(), timeout=_PATIENCE)
        faults = {name: _fault(future) for name, future in asked.items()}
        return {
            "ready": not any(faults.values()),
            "checks": {
                name: {"ok": fault is None, "detail": fault or "ok"}
                for name, fault in faults.items()
            },
        }


def _models_fault(models: Sequence[Any]) -> str | None:
    faults = ((model.name, model.ready()) for model in models)
    return next((f"{name}: {fault}" for name, fault in faults if fault), None)


def _fault(future: Future[str | None]) -> str | None:
    if not future.done():
        return f"no answer within {_PATIENCE} s"
    error = future.exception()
    return f"the check failed ({type(error).__name__})" if error else future.result()
