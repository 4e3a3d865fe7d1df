"""The one boundary that turns exceptions into ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NoRoute

from gateway.errors import (
    BadRequest,
    DiskFull,
    MasqueradeError,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnsupportedMedia,
    is_disk_full,
)
from gateway.http.intake import too_large
from gateway.http.views import problem
from gateway.logs import request_id
from gateway.settings import Settings

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_KNOWN: dict[int, tuple[type[MasqueradeError], str]] = {
    400: (BadRequest, "the request is malformed"),
    404: (NotFound, "no such route"),
    405: (MethodNotAllowed, "this route does not take that method"),
    413: (TooLarge, "the request is too large"),
    415: (UnsupportedMedia, "this content type is not taken"),
}


def register(app: Flask, settings: Settings) -> None:
    """Answer every error of the application as a problem."""

    @app.errorhandler(MasqueradeError)
    def ours(error: MasqueradeError) -> Response:
        if error.status >= 500:
            log.warning("%s: %s", error.code, error, exc_info=error.__cause__)
        return answer(error)

    @app.errorhandler(HTTPException)
    def werkzeugs(error: HTTPException) -> Response:
        if isinstance(error, RequestEntityTooLarge):
            return answer(too_large(request, settings))
        status = error.code or 500
        if status < 400:
            return Response(headers=error.get_headers(), status=status)
        if status not in _KNOWN:
            return _problem(status, error.name.lower().replace(" ", "-"), error.name, error.name)
        kind, message = _KNOWN[status]
        response = answer(kind(message))
        if status == 405:
            response.allow.update(getattr(error, "valid_methods", None) or ())
        if isinstance(error, NoRoute):
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> Response:
        if is_disk_full(error):
            return answer(DiskFull("the server has no scratch space left; try again later"))
        log.exception("unexpected")
        return answer(MasqueradeError("something went wrong on the server; its log says what"))


def answer(error: MasqueradeError) -> Response:
    """The answer for one of our errors, with ``Retry-After`` where it makes sense."""
    response = _problem(error.status, error.code, error.title, str(error))
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _problem(status: int, code: str, title: str, detail: str) -> Response:
    body = problem(status, code, title, detail, request_id.get())
    return Response(json.dumps(body), status, content_type=MEDIA_TYPE)
