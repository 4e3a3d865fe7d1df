"""The renderer: decodes and draws photos and drawings, probes videos; one request a process.

Served by gunicorn's sync workers on loopback for the gateway only, so that hostile
files meet a process which may crash, be killed at its deadline or run out of its
memory, and takes nothing but its own request along. Internal routes: ``/image``
(bytes in; JSON of ``X-Meta-Length`` bytes, then the picture, out), ``/shown`` (the same; then
what a classifier is shown of it, ``.npy``), ``/probe`` (a path
``/proc/<pid>/fd/<n>`` in; JSON out), ``/drawing`` (records in and out, see
``gateway.renderer_drawings``; an error may be the last record) and ``/motion`` (records in,
JSON out). An error is JSON ``{code, message}``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, request

from gateway import deadline, logs, renderer_drawings, traces
from gateway.carry import REQUEST_ID
from gateway.errors import (
    BadRequest,
    ClientGone,
    DeadlineExceeded,
    DiskFull,
    MasqueradeError,
    NotFound,
    TooLarge,
    is_disk_full,
    is_out_of_memory,
)
from gateway.http.hangups import has_hung_up
from gateway.http.records import record
from gateway.http.rendering import DEADLINE, LARGE, META_LENGTH, OPTIONS, WORKED
from gateway.media.images import ImageLimits
from gateway.media.video import VideoLimits, probe
from gateway.models import FaceDetector, PatientDetector, Rigger
from gateway.pipelines.blur_image import blur_image
from gateway.pipelines.classify_image import packed, shown
from gateway.pipelines.options import BlurOptions
from gateway.pipelines.review import Review
from gateway.settings import Settings

log = logging.getLogger(__name__)

_GRACE = 0.5  # seconds that a request may go on after its deadline, to end in good order
_FILE = re.compile(r"/proc/\d+/fd/\d+")


def create_renderer(
    settings: Settings, detector: Any = None, rigger: Any = None, judge: Any = None
) -> Flask:
    """The renderer as a WSGI application; the others replace TorchServe's models in tests."""
    app = Flask(__name__, static_folder=None)
    # Large photos' looks wait behind those of videos, and not before those of small photos.
    patient = detector or PatientDetector.from_settings(settings)
    detector = detector or FaceDetector.from_settings(settings)
    rigger = rigger or Rigger.from_settings(settings)
    review = Review.from_settings(settings, judge)
    image_limits = ImageLimits(
        bytes=settings.max_image_bytes,
        pixels=settings.max_image_pixels,
        frames=settings.max_image_frames,
    )
    video_limits = VideoLimits(pixels=settings.max_video_pixels, seconds=settings.max_video_seconds)

    @app.before_request
    def begin() -> None:
        logs.request_id.set(request.headers.get(REQUEST_ID, ""))
        g.begun, g.span = time.perf_counter(), contextlib.ExitStack()
        g.span.enter_context(traces.span(f"render {request.path}", "server", dict(request.headers)))
        # Its gateway may have given up while it waited; rendering it would delay the others.
        deadline.start(_deadline() - time.time())
        check_deadline(_deadline(), "the service was too busy to finish this file in time")
        check_wanted(_connection())
        # Ends the process, also amid a decoder's code that never returns.
        if math.isfinite(_deadline()):
            signal.setitimer(signal.ITIMER_REAL, _deadline() - time.time() + _GRACE)

    @app.after_request
    def end(response: Response) -> Response:
        route, begun, span = request.path, g.begun, g.span
        response.headers[WORKED] = f"{time.perf_counter() - begun:.4f}"

        def close() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            span.close()
            if route != "/healthz":
                seconds = time.perf_counter() - begun
                told = {"route": route, "status": response.status_code}
                log.info("rendered", extra={**told, "ms": round(1000 * seconds, 1)})

        response.call_on_close(close)
        return response

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/image")
    def image() -> Response:
        options = BlurOptions(**json.loads(request.headers[OPTIONS]))
        data, check = request.get_data(cache=False), partial(check_wanted, _connection())
        model = patient if LARGE in request.headers else detector
        blurred = blur_image(data, options, model, image_limits, review, check)
        traces.stages(blurred.timings)
        meta = json.dumps(
            {
                "content_type": blurred.content_type,
                "extension": blurred.extension,
                "width": blurred.width,
                "height": blurred.height,
                "frames": blurred.frames,
                "faces": blurred.faces,
                "left_bare": blurred.left_bare,
                "timings": blurred.timings,
                "report": blurred.report,
                "review": blurred.review,
            }
        ).encode()
        return _with_meta(meta, blurred.body)

    @app.post("/shown")
    def show() -> Response:
        data = request.get_data(cache=False)
        picture, frames = shown(data, image_limits, settings.classify_side)
        meta = {"width": picture.width, "height": picture.height, "frames": picture.frame_count}
        return _with_meta(json.dumps(meta).encode(), packed(frames))

    @app.post("/probe")
    def probe_video() -> dict[str, Any]:
        path = request.get_json()["path"]
        if not _FILE.fullmatch(path):
            raise BadRequest("not an open file")
        info = probe(path, video_limits)
        return {
            "width": info.width,
            "height": info.height,
            "frames": info.frames_estimate,
            "seconds": info.seconds,
        }

    @app.post("/drawing")
    def drawing() -> Response:
        until, connection = _deadline(), _connection()

        def check() -> None:
            check_deadline(until, "this took longer than it may; ask for less at once")
            check_wanted(connection)

        records = renderer_drawings.work(
            request.get_data(cache=False), rigger, image_limits, check, review
        )
        return Response(_to_the_end(records), mimetype="application/octet-stream")

    @app.post("/motion")
    def motion() -> dict[str, Any]:
        return renderer_drawings.check_motion(request.get_data(cache=False))

    @app.errorhandler(Exception)
    def report(error: Exception) -> tuple[dict[str, Any], int]:
        public = _public(error)
        return _told(public), public.status

    return app


def check_deadline(until: float, message: str) -> None:
    """Raise DeadlineExceeded when the moment (seconds since the epoch) has passed."""
    if time.time() > until:
        raise DeadlineExceeded(message)


def check_wanted(connection: socket.socket | None) -> None:
    """Raise ClientGone when the gateway has given up a request by closing its connection."""
    if connection is not None and has_hung_up(connection.fileno()):
        raise ClientGone("the gateway does not wait for this any more")


def _connection() -> socket.socket | None:
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    return connection


def _deadline() -> float:
    return float(request.headers.get(DEADLINE, "inf"))


def _to_the_end(records: Iterator[bytes]) -> Iterator[bytes]:
    """The records, and where they break off one that says why: the status is long sent."""
    try:
        yield from records
    except Exception as error:
        yield record({"kind": "error", **_told(_public(error))})


def _with_meta(meta: bytes, body: bytes) -> Response:
    length = len(meta) + len(body)
    return Response(
        [meta, body],
        headers={META_LENGTH: str(len(meta)), "Content-Length": str(length)},
        mimetype="application/octet-stream",
    )


def _told(error: MasqueradeError) -> dict[str, Any]:
    return {"code": error.code, "message": str(error), "retry_after": error.retry_after}


def limit_memory(extra: int) -> None:
    """Let this process add at most ``extra`` bytes of address space to what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, now + extra))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold a user's picture


def _public(error: Exception) -> MasqueradeError:
    if isinstance(error, MasqueradeError):
        return error
    if is_out_of_memory(error):
        return TooLarge("this file needs more memory than the service gives to one")
    if is_disk_full(error):
        return DiskFull("the server has no scratch space left; try again later")
    if getattr(error, "code", None) == 404:
        return NotFound("no such route")
    log.exception("renderer failed")
    return MasqueradeError("the file could not be processed; the server's log says why")
