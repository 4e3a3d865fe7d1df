"""Routes that take files in: ``POST /v1/blur`` and ``POST /v1/uploads``."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, jsonify, request

from gateway import deadline, stopping
from gateway.errors import BadOption, BadRequest, Cancelled, TooLarge, revive
from gateway.http import access, flows
from gateway.http.first_look import turn_away
from gateway.http.intake import read_json, receive, wait_seconds
from gateway.http.views import instant, job_view
from gateway.jobs.store import Job
from gateway.object_names import new_token, upload_key
from gateway.pipelines.options import BlurOptions
from gateway.settings import MIB

_LONGEST_WISH = 64 * 1024  # bytes of JSON
_ANSWERING = 0.1  # seconds before a request's deadline in which it is told how far its job is
_POLL = 0.1  # seconds between two looks at a job that a request waits for


def blueprint(services: flows.Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("blur", __name__)
    settings = services.settings

    @routes.post("/v1/blur")
    def blur() -> Response | tuple[Response, int, dict[str, str]]:
        wait = wait_seconds(request, settings)
        turn_away(request, services.gates)
        with receive(request, settings) as incoming:
            try:
                options = BlurOptions.parse(incoming.options, threshold=settings.detect_threshold)
            except BadOption:
                if incoming.upload_id is not None:
                    flows.discard(services, incoming.upload_id)
                raise
            if incoming.upload_id is not None:
                outcome = flows.blur_uploaded(services, incoming.upload_id, options)
            else:
                outcome = flows.blur_sent(services, incoming, options)
        if not isinstance(outcome, Job):
            return jsonify(outcome)
        job = _await_end(services, outcome, wait)
        view = jsonify(job_view(job, services.storage))
        if job.status == "done":
            return view
        return view, 202, {"Location": f"/v1/jobs/{job.id}"}

    @routes.post("/v1/uploads")
    def uploads() -> tuple[Response, int]:
        wanted: object = {}
        if request.content_length:
            wanted = read_json(request, _LONGEST_WISH, "the JSON of an upload")
        if not isinstance(wanted, dict):
            raise BadRequest('send a JSON object such as {"size": 123456}')
        size, content_type = _size(wanted), _content_type(wanted)
        if size is not None and size > settings.max_upload_bytes:
            raise TooLarge(f"the largest upload is {settings.max_upload_bytes // MIB} MiB")
        access.count_upload(size)
        upload_id = new_token()
        link = services.storage.put_link(upload_key(upload_id), size, content_type)
        answer = {
            "upload_id": upload_id,
            "method": "PUT",
            "url": link.url,
            "headers": {"Content-Type": content_type} if content_type else {},
            "expires_at": instant(link.expires_at),
            "max_bytes": settings.max_upload_bytes if size is None else size,
        }
        return jsonify(answer), 201

    return routes


def _await_end(services: flows.Services, job: Job, seconds: float) -> Job:
    """The job when it ended, or as it is after so long or when the gateway stops.

    Raises:
        MasqueradeError: the reason, when it failed or was cancelled.
    """
    until = time.monotonic() + min(seconds, deadline.left() - _ANSWERING)
    while job.live and time.monotonic() < until and not stopping.begun():
        time.sleep(_POLL)
        job = services.queue.get(job.id)
    if job.error is not None:
        raise revive(job.error["code"], job.error["message"])
    if job.status == "cancelled":
        raise Cancelled("the job was cancelled")
    return job


def _size(wanted: dict[str, Any]) -> int | None:
    size = wanted.get("size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size <= 0):
        raise BadRequest("'size' must be a whole number of bytes above 0")
    return size


def _content_type(wanted: dict[str, Any]) -> str | None:
    kind = wanted.get("content_type")
    plain = isinstance(kind, str) and 3 <= len(kind) <= 100 and kind.isascii()
    if kind is not None and not (plain and kind.isprintable() and "/" in kind):
        raise BadRequest("'content_type' must be a media type such as video/mp4")
    return kind
