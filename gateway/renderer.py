"""The renderer: decodes and draws photos and probes videos, one request a process.

Served by gunicorn's sync workers on loopback for the gateway only, so that hostile
files meet a process which may crash, be killed at its deadline or run out of its
memory, and takes nothing but its own request along. Internal routes: ``/image``
(bytes in; JSON of ``X-Meta-Length`` bytes, then the picture, out), ``/probe`` (a path
``/proc/<pid>/fd/<n>`` in; JSON out). An error is JSON ``{code, message}``.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import time
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from gateway import logs
from gateway.errors import (
    BadRequest,
    DeadlineExceeded,
    DiskFull,
    MasqueradeError,
    NotFound,
    TooLarge,
    is_disk_full,
)
from gateway.http.rendering import DEADLINE, META_LENGTH, OPTIONS, REQUEST_ID
from gateway.media.images import ImageLimits
from gateway.media.video import VideoLimits, probe
from gateway.models import FaceDetector
from gateway.pipelines.blur_image import blur_image
from gateway.pipelines.options import BlurOptions
from gateway.settings import Settings

log = logging.getLogger(__name__)

_FILE = re.compile(r"/proc/\d+/fd/\d+")


def create_renderer(settings: Settings, detector: Any = None) -> Flask:
    """The renderer as a WSGI application; ``detector`` stands in for TorchServe in tests."""
    app = Flask(__name__, static_folder=None)
    detector = detector or FaceDetector.from_settings(settings)
    image_limits = ImageLimits(
        bytes=settings.max_image_bytes,
        pixels=settings.max_image_pixels,
        frames=settings.max_image_frames,
    )
    video_limits = VideoLimits(pixels=settings.max_video_pixels, seconds=settings.max_video_seconds)

    @app.before_request
    def check_deadline() -> None:
        logs.request_id.set(request.headers.get(REQUEST_ID, ""))
        if time.time() > float(request.headers.get(DEADLINE, "inf")):
            # Its gateway has given up while it waited; rendering it would delay the others.
            raise DeadlineExceeded("the service was too busy to finish this file in time")

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/image")
    def image() -> Response:
        options = BlurOptions(**json.loads(request.headers[OPTIONS]))
        blurred = blur_image(request.get_data(cache=False), options, detector, image_limits)
        meta = json.dumps(
            {
                "content_type": blurred.content_type,
                "extension": blurred.extension,
                "width": blurred.width,
                "height": blurred.height,
                "frames": blurred.frames,
                "faces": blurred.faces,
                "timings": blurred.timings,
                "report": blurred.report,
            }
        ).encode()
        return Response(
            [meta, blurred.body],
            headers={
                META_LENGTH: str(len(meta)),
                "Content-Length": str(len(meta) + len(blurred.body)),
            },
            mimetype="application/octet-stream",
        )

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

    @app.errorhandler(Exception)
    def report(error: Exception) -> tuple[dict[str, Any], int]:
        public = _public(error)
        return {
            "code": public.code,
            "message": str(public),
            "retry_after": public.retry_after,
        }, public.status

    return app


def limit_memory(extra: int) -> None:
    """Let this process add at most ``extra`` bytes of address space to what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, now + extra))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold a user's picture


def _public(error: Exception) -> MasqueradeError:
    if isinstance(error, MasqueradeError):
        return error
    # OpenCV reports a failed allocation as its own error class, code -4
    if isinstance(error, MemoryError) or getattr(error, "code", None) == -4:
        return TooLarge("this file needs more memory than the service gives to one")
    if is_disk_full(error):
        return DiskFull("the server has no scratch space left; try again later")
    if getattr(error, "code", None) == 404:
        return NotFound("no such route")
    log.exception("renderer failed")
    return MasqueradeError("the file could not be processed; the server's log says why")
