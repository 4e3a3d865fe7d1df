"""Web pages of other origins: none may call the service but those that the settings allow.

The bare Fetch standard's headers on every answer, errors included. Keys travel in a header that
a page must set itself, never in cookies, so credentials are not allowed for.
"""

from __future__ import annotations

from flask import Flask, Response, request

from gateway.errors import Forbidden
from gateway.settings import Settings, origins_of

_ASK = (
    "Authorization, Content-Type, X-API-Key, X-Request-Id, X-Request-Timeout,"
    " traceparent, tracestate"
)
_SHOW = "Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"
_METHODS = "GET, POST, PUT, DELETE"
_REMEMBERED = "600"  # seconds that a browser may go by one preflight's answer
_SAFE = ("GET", "HEAD", "OPTIONS")


def register(app: Flask, settings: Settings) -> None:
    """Answer browsers on behalf of the origins that are allowed."""
    allowed = origins_of(settings.cors_origins)

    def is_allowed() -> bool:
        return "*" in allowed or request.headers.get("Origin") in allowed

    @app.before_request
    def refuse_strangers() -> None:
        """A foreign page could not read the answer, but would have had the work done."""
        if request.method not in _SAFE and _is_foreign() and not is_allowed():
            raise Forbidden("web pages of this origin may not call the service; see README, Access")

    @app.after_request
    def tell(response: Response) -> Response:
        if not allowed:
            return response
        headers = response.headers
        response.vary.add("Origin")
        if not is_allowed():
            return response
        headers["Access-Control-Allow-Origin"] = (
            "*" if "*" in allowed else request.headers["Origin"]
        )
        headers["Access-Control-Expose-Headers"] = _SHOW
        if "Access-Control-Request-Method" in request.headers:
            headers["Access-Control-Allow-Methods"] = _METHODS
            headers["Access-Control-Allow-Headers"] = _ASK
            headers["Access-Control-Max-Age"] = _REMEMBERED
        return response


def _is_foreign() -> bool:
    """Whether a page of another origin calls. Browsers say so, but only where the service has
    HTTPS or is on their own machine; else the page's origin must be where the call goes to.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("cross-site", "same-site")
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2].lower() != request.host.lower()
