"""Around every request: its id, its log line, its metrics, security headers, its unread body."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import socket
import time
import uuid
from typing import Any

from flask import Flask, Response, g, request

from gateway import deadline, logs, metrics, traces
from gateway.carry import REQUEST_ID
from gateway.http import hangups
from gateway.http.headers import secure
from gateway.http.intake import check_declared_length
from gateway.http.receiving import BEHIND, Pace, ReceivedBody, Receiving
from gateway.settings import MIB, Settings

log = logging.getLogger("gateway.requests")

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{4,80}")
_QUIET = ("/healthz", "/readyz", "/metrics")
LARGE_BODY = MIB  # bytes; a request with more to say gets a connection of its own
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 32 * MIB


def register(app: Flask, settings: Settings, receiving: Receiving) -> None:
    """Hook into an application; call it before any other ``before_request``."""

    @app.before_request
    def begin() -> None:
        g.begun = time.perf_counter()
        given = request.headers.get(REQUEST_ID, "")
        logs.request_id.set(given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex)
        g.entered = contextlib.ExitStack()
        if _route() not in _QUIET:
            g.span = g.entered.enter_context(
                traces.span(
                    f"{request.method} {_route()}",
                    "server",
                    parent=dict(request.headers),
                    **{"http.request.method": request.method, "http.route": _route()},
                )
            )
        client = request.environ.get("gunicorn.socket")
        if client is not None:
            client.settimeout(settings.receive_timeout)
        hangups.connection.set(client)
        deadline.start(math.inf)  # a connection's next request is in the same context
        deadline.start(deadline.asked(dict(request.headers)))
        check_declared_length(request, settings)
        held = g.entered.enter_context(receiving.take_in(_body_size()))
        pace = Pace(settings.receive_rate, min(BEHIND, settings.receive_timeout))
        request.environ["wsgi.input"] = ReceivedBody(request.environ["wsgi.input"], held, pace)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers[REQUEST_ID] = logs.request_id.get()
        secure(response)
        _mind_unread_body(response)
        seconds = time.perf_counter() - g.begun
        route = _route()
        if g.get("span"):
            g.span.set_attribute("http.response.status_code", response.status_code)
        metrics.request(route, request.method, response.status_code, seconds)
        log.log(
            logging.DEBUG if route in _QUIET and response.status_code < 400 else logging.INFO,
            "request",
            extra={
                "method": request.method,
                "route": route,
                "status": response.status_code,
                "ms": round(1000 * seconds, 1),
                **({"key": g.key.name} if "key" in g else {}),
            },
        )
        return response

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        g.entered.close()


def _body_size() -> int | None:
    """Bytes of the request's body; None when it does not say."""
    return None if "HTTP_TRANSFER_ENCODING" in request.environ else request.content_length or 0


def _route() -> str:
    """The request's route as a pattern, which holds no ids."""
    return request.url_rule.rule if request.url_rule else "unmatched"


def _mind_unread_body(response: Response) -> None:
    """Close a connection whose request body was refused unread, or never came, without losing
    the answer.

    Closing at once would reset the connection, and a client that still sends would
    see the reset instead of the answer; so for a moment the rest is read and dropped.
    """
    body = request.environ["wsgi.input"]
    read, slow = (body.count, body.slow) if isinstance(body, ReceivedBody) else (0, False)
    if "HTTP_TRANSFER_ENCODING" in request.environ:
        if response.status_code < 400:
            return
    else:
        rest = (request.content_length or 0) - read
        if not slow and rest < LARGE_BODY and (_is_kept_alive() or not rest):
            return  # gunicorn itself reads such a rest and keeps the connection
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        response.call_on_close(lambda: _linger(connection))


def _is_kept_alive() -> bool:
    wish = request.headers.get("Connection", "").lower()
    return wish != "close" and (request.environ["SERVER_PROTOCOL"] != "HTTP/1.0" or bool(wish))


def _linger(connection: Any) -> None:
    until, left = time.monotonic() + _LINGER_SECONDS, _LINGER_BYTES
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while left > 0 and (remaining := until - time.monotonic()) > 0:
            connection.settimeout(remaining)
            data = connection.recv(256 * 1024)
            if not data:
                return
            left -= len(data)
        connection.shutdown(socket.SHUT_RDWR)
