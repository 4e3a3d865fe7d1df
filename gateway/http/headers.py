"""What every answer tells browsers not to do, errors included."""

from __future__ import annotations

from flask import Response, request

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": (
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=(),"
        " browsing-topics=()"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_UNLESS_SET = {
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}
_TLS_ONLY = "max-age=31536000"  # a year; not for subdomains, which may be somebody else's


def secure(response: Response) -> None:
    """Set the headers; a page's own policy stays."""
    for name, value in _ALWAYS.items():
        response.headers[name] = value
    for name, value in _UNLESS_SET.items():
        response.headers.setdefault(name, value)
    if request.is_secure or request.headers.get("X-Forwarded-Proto") == "https":
        response.headers["Strict-Transport-Security"] = _TLS_ONLY
