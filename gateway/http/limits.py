"""How much the holders of a key may ask and send, counted in Redis for all gateways together.

While Redis is away each process counts for itself: photos need no Redis, so limits shall not
stop the service, and an outage shall not lift them. A look at Redis takes a fifth of a second at
most, and one that has failed is not repeated for every request (Flask-Limiter's back-off).
"""

from __future__ import annotations

import contextlib
import math
import time

from flask import Flask, Response, g, request
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded, RequestLimit
from limits.storage.base import SlidingWindowCounterSupport
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from gateway.access.keys import Key
from gateway.access.window import Window
from gateway.errors import LengthRequired, LimitReached, TooLarge
from gateway.http import problems
from gateway.settings import Settings

_REQUESTS, _BYTES = "requests", "bytes"
_MOMENT = 2.0  # seconds
_SOME_TIME = 60  # seconds, where nobody can tell
_IMPATIENT = {
    "socket_connect_timeout": 0.2,
    "socket_timeout": 0.2,
    "retry": Retry(NoBackoff(), 0),
    "key_prefix": "masquerade:limits",
}


def register(app: Flask, settings: Settings) -> None:
    """Hold requests that came with a key (``g.key``) to its limits; after who that is, is known."""

    def rate() -> str:
        return settings.key_rate if g.key.rate is None else g.key.rate

    def day() -> str:
        most = settings.key_day_bytes if g.key.day is None else g.key.day
        return f"{most}/day" if most else ""

    waiting: dict[tuple[str, str], _Wait] = {}

    @app.before_request
    def check_cheaply() -> None:
        """What needs no look at Redis, lest a flood of requests that are over it costs much."""
        if "key" in g:
            wait = waiting.get((g.key.name, rate()))
            if wait and wait.holds:
                g.wait = wait
                raise _refusal(wait.told, wait.seconds)
            _check_size(g.key, counted=bool(day()))

    limiter = Limiter(
        key_func=lambda: g.key.name,
        app=app,
        application_limits=[
            ApplicationLimit(limit_provider=rate, scope=_REQUESTS),
            ApplicationLimit(limit_provider=day, scope=_BYTES, cost=_sent),
        ],
        # Unlike fixed windows it lets nobody have two of them in a row at once, and unlike
        # moving ones it keeps two numbers a key, however many bytes these count.
        strategy="sliding-window-counter",
        storage_uri=settings.redis_url,
        storage_options=_IMPATIENT,  # type: ignore[arg-type]
        in_memory_fallback_enabled=True,
        # A request that was asking Redis while another found it away is let pass.
        swallow_errors=True,
    )
    limiter.request_filter(lambda: "key" not in g)
    app.extensions[__name__] = limiter

    @app.errorhandler(RateLimitExceeded)
    def refused(_: RateLimitExceeded) -> Response:
        told = limiter.current_limit
        assert told is not None
        seconds = _seconds(told, _sent() if _is_bytes(told) else 1)
        if not _is_bytes(told):
            waiting[g.key.name, rate()] = _Wait(told, seconds)
        return problems.answer(_refusal(told, seconds))

    @app.after_request
    def tell(response: Response) -> Response:
        with contextlib.suppress(RedisError):
            _tell(response, limiter.current_limits)
        if "wait" in g:
            _write(response, [(g.wait.told, 0, g.wait.seconds)])
        return response


def count_upload(app: Flask, size: int | None) -> None:
    """Hold what the present key is about to put straight into the bucket to its limits, too.

    Args:
        size: its declared bytes, to which the presigned PUT is bound.

    Raises:
        TooLarge, LengthRequired, LimitReached: it may not.
    """
    if "key" not in g:
        return
    limiter: Limiter = app.extensions[__name__]
    counted = [told for told in limiter.current_limits if _is_bytes(told)]
    _check(g.key, size, counted=bool(counted), how="its 'size'")
    for told in counted:
        with contextlib.suppress(RedisError):  # gone since the request came in
            if not limiter.limiter.hit(told.limit, *told.request_args, cost=size or 0):
                raise _refusal(told, _seconds(told, size or 0))


class _Wait:
    """Who was told to wait is told so again for a moment, until Redis is asked anew."""

    def __init__(self, told: RequestLimit, seconds: int) -> None:
        now = time.monotonic()
        self.told, self._over = told, now + seconds
        self._look_again = now + min(seconds, _MOMENT)

    @property
    def holds(self) -> bool:
        return time.monotonic() < self._look_again

    @property
    def seconds(self) -> int:
        """Left to wait."""
        return max(1, math.ceil(self._over - time.monotonic()))


def _sent() -> int:
    return request.content_length or 0


def _check_size(key: Key, *, counted: bool) -> None:
    if request.content_length is not None or "HTTP_TRANSFER_ENCODING" in request.environ:
        _check(key, request.content_length, counted=counted, how="the header Content-Length")


def _check(key: Key, size: int | None, *, counted: bool, how: str) -> None:
    if size is None and (counted or key.size):
        raise LengthRequired(f"this key's bytes are limited: tell how many come, by {how}")
    if key.size and (size or 0) > key.size:
        raise TooLarge(f"this key may send {key.size} bytes at once")


def _seconds(told: RequestLimit, cost: int) -> int:
    """How long to wait until so much fits again."""
    with contextlib.suppress(RedisError):
        return max(1, math.ceil(_window(told).wait(cost)))
    return _SOME_TIME


def _refusal(told: RequestLimit, seconds: int) -> LimitReached:
    what, window = _name(told)
    verb = "send" if what == _BYTES else "make"
    return LimitReached(
        f"this key may {verb} {told.limit.amount} {what} a {window}; come back in {seconds} s",
        retry_after=seconds,
    )


def _tell(response: Response, limits: list[RequestLimit]) -> None:
    windows = [(told, _window(told)) for told in limits]
    _write(response, [(told, window.left, math.ceil(window.ends)) for told, window in windows])


def _write(response: Response, states: list[tuple[RequestLimit, int, int]]) -> None:
    """``RateLimit`` and ``RateLimit-Policy``, as draft-ietf-httpapi-ratelimit-headers has them:
    of each limit its quota, unit and window (s); what is left, and when this window ends (s).
    """
    policies, left = [], []
    for told, rest, seconds in states:
        name = '"{}/{}"'.format(*_name(told))
        unit = ';qu="content-bytes"' if _is_bytes(told) else ""
        policies.append(f"{name};q={told.limit.amount}{unit};w={told.limit.get_expiry()}")
        left.append(f"{name};r={rest};t={seconds}")
    if states:
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        response.headers["RateLimit"] = ", ".join(left)


def _window(told: RequestLimit) -> Window:
    """How much of a limit is used up. RedisError: that cannot be told now."""
    span = told.limit.get_expiry()
    storage: SlidingWindowCounterSupport = told.limiter.storage  # type: ignore[assignment]
    before, fades, now, life = storage.get_sliding_window(told.key, span)
    return Window(told.limit.amount, span, before, fades, now, max(0.0, life - span))


def _is_bytes(told: RequestLimit) -> bool:
    return _BYTES in told.request_args[1:]  # the first is the key's name


def _name(told: RequestLimit) -> tuple[str, str]:
    """What is counted, and for how long."""
    return _BYTES if _is_bytes(told) else _REQUESTS, told.limit.GRANULARITY.name
