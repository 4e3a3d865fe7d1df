"""Who is let in: the API key that came with a request, where keys are asked for."""

from __future__ import annotations

import logging

from flask import Flask, Response, current_app, g, request

from gateway.access.keys import KeyRing
from gateway.access.owner import owner
from gateway.errors import Unauthorized
from gateway.http import limits
from gateway.settings import PREFIX, Settings

log = logging.getLogger(__name__)

HEADER = "X-API-Key"
_OPEN = "ops"  # the blueprint: for machines that run the service, and people who read about it
_CHALLENGE = 'Bearer realm="masquerade"'


def register(app: Flask, settings: Settings) -> None:
    """Ask for keys and hold their owners to their limits; neither where no key is configured."""
    ring = KeyRing(settings)

    @app.before_request
    def admit() -> None:
        owner.set("")
        if not ring.asked_for or _is_open():
            return
        presented = _presented()
        if not presented:
            raise Unauthorized("this service needs an API key: 'Authorization: Bearer KEY'")
        key = ring.find(presented)
        if key is None:
            raise Unauthorized("this API key is unknown, or not valid any more; ask for a new one")
        g.key = key
        owner.set(key.name)

    @app.after_request
    def challenge(response: Response) -> Response:
        if response.status_code == Unauthorized.status:
            wrong = ', error="invalid_token"' if _presented() else ""
            response.headers["WWW-Authenticate"] = _CHALLENGE + wrong
        return response

    if ring.asked_for:
        limits.register(app, settings)


def count_upload(size: int | None) -> None:
    """As :func:`gateway.http.limits.count_upload`."""
    limits.count_upload(current_app, size)


def announce(settings: Settings) -> None:
    """Say at the start who may use the service.

    Raises:
        SettingsError: the keys are not as they should be.
    """
    ring = KeyRing(settings)
    if not ring.asked_for:
        log.warning(
            "no API key is configured: whoever reaches this address may use the service"
            f" ({PREFIX}API_KEYS; see README, Access)"
        )
    elif not ring.names:
        log.warning(f"{PREFIX}API_KEYS_FILE holds no key yet: nobody is let in")
    else:
        log.info("API keys are asked for; known are those of %s", ", ".join(ring.names))


def _is_open() -> bool:
    """Routes without a key; preflights, which browsers send without one; and no routes at all."""
    return request.blueprint in (_OPEN, None) or request.method == "OPTIONS"


def _presented() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or request.headers.get(HEADER, "").strip()
