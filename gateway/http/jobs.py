"""Routes of jobs: look, follow, cancel or forget."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from flask import Blueprint, Response, jsonify

from gateway import stopping
from gateway.errors import MasqueradeError
from gateway.http import flows
from gateway.http.views import job_view
from gateway.jobs.store import Job

_POLL = 0.1  # seconds
_HEARTBEAT = 15.0
_LONGEST_OUTAGE = 30.0  # seconds without Redis until a stream ends


def blueprint(services: flows.Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/v1/jobs/<job_id>")
    def look(job_id: str) -> Response:
        return jsonify(job_view(services.queue.get(job_id), services.storage))

    @routes.get("/v1/jobs/<job_id>/events")
    def follow(job_id: str) -> Response:
        job = services.queue.get(job_id)
        return Response(
            _events(services, job),
            content_type="text/event-stream; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @routes.delete("/v1/jobs/<job_id>")
    def remove(job_id: str) -> Response:
        job = services.queue.get(job_id)
        view = job_view(job, services.storage)
        if job.live:
            flows.cancel(services, job)
            return jsonify(job_view(services.queue.get(job_id), services.storage))
        flows.forget(services, job)
        return jsonify(view)

    return routes


def _events(services: flows.Services, job: Job) -> Iterator[str]:
    """Server-sent events: at once, on every change, and a last one when the job ends.

    A gateway that stops breaks them off; clients ask again and reach the next one.
    """
    told: object = None
    spoke = heard = time.monotonic()
    while not stopping.begun():
        now = (job.status, job.attempts, job.progress)
        if now != told:
            told, spoke = now, time.monotonic()
            name = "progress" if job.live else job.status
            yield f"event: {name}\ndata: {json.dumps(job_view(job, services.storage))}\n\n"
            if not job.live:
                return
        elif time.monotonic() - spoke > _HEARTBEAT:
            spoke = time.monotonic()
            yield ": still here\n\n"
        time.sleep(_POLL)
        try:
            fresh = services.queue.store.get(job.id)
        except MasqueradeError:
            if time.monotonic() - heard > _LONGEST_OUTAGE:
                return
            continue
        heard = time.monotonic()
        if fresh is None:  # deleted while we watched
            return
        job = fresh
