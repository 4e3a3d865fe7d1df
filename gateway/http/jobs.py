"""Routes of jobs of every kind: look, follow, cancel or forget."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, jsonify

from gateway import stopping
from gateway.access.owner import own
from gateway.errors import MasqueradeError
from gateway.http import batches, flows
from gateway.http.views import job_view
from gateway.jobs.batches import Batch
from gateway.jobs.store import Job

_POLL = 0.1  # seconds
_BATCH_POLL = 0.5  # of a job that changes all the time
_HEARTBEAT = 15.0
_LONGEST_OUTAGE = 30.0  # seconds without Redis until a stream ends


def blueprint(services: flows.Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("jobs", __name__)

    @routes.get("/v1/jobs/<job_id>")
    def look(job_id: str) -> Response:
        return jsonify(_view(services, _found(services, job_id)))

    @routes.get("/v1/jobs/<job_id>/events")
    def follow(job_id: str) -> Response:
        return Response(
            _events(services, _found(services, job_id)),
            content_type="text/event-stream; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @routes.delete("/v1/jobs/<job_id>")
    def remove(job_id: str) -> Response:
        job = _found(services, job_id)
        view = _view(services, job)
        if isinstance(job, Batch):
            batches.remove(services, job)
        elif job.live:
            flows.cancel(services, job)
        else:
            flows.forget(services, job)
        if job.live:
            view = _view(services, _found(services, job_id))
        return jsonify(view)

    return routes


def _found(services: flows.Services, job_id: str) -> Job | Batch:
    """The present owner's job, or ``NotFound``."""
    return own(_look(services, job_id) or services.queue.get(job_id))


def _look(services: flows.Services, job_id: str) -> Job | Batch | None:
    queue = services.queue
    return queue.store.get(job_id) or queue.batches.store.get(job_id)


def _view(services: flows.Services, job: Job | Batch) -> dict[str, Any]:
    if isinstance(job, Batch):
        return batches.view_of(services, job)
    return job_view(job, services.storage)


def _events(services: flows.Services, job: Job | Batch) -> Iterator[str]:
    """Server-sent events: at once, on every change, and a last one when the job ends.

    A gateway that stops breaks them off; clients ask again and reach the next one.
    """
    told: object = None
    spoke = heard = time.monotonic()
    poll = _BATCH_POLL if isinstance(job, Batch) else _POLL
    while not stopping.begun():
        try:
            now = _change(services, job)
            if now != told:
                told, spoke = now, time.monotonic()
                name = "progress" if job.live else job.status
                yield f"event: {name}\ndata: {json.dumps(_view(services, job))}\n\n"
                if not job.live:
                    return
            elif time.monotonic() - spoke > _HEARTBEAT:
                spoke = time.monotonic()
                yield ": still here\n\n"
            time.sleep(poll)
            fresh = _look(services, job.id)
        except MasqueradeError:
            if time.monotonic() - heard > _LONGEST_OUTAGE:
                return
            time.sleep(poll)
            continue
        heard = time.monotonic()
        if fresh is None:  # deleted while we watched
            return
        job = fresh


def _change(services: flows.Services, job: Job | Batch) -> object:
    """Differs when there is something new to tell."""
    if isinstance(job, Batch):
        running = services.queue.batches.store.running(job.id) if job.live else {}
        return job.status, job.counters, job.listed, job.state, running
    return job.status, job.attempts, job.progress
