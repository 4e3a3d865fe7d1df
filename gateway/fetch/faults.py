"""What can be wrong with an ``image_url``, each with a code of its own.

All are the asker's to mend (4xx): the URL is theirs, and so is the server behind it. A 5xx
would blame this service, and anyone could set off its alarms with a URL.
"""

from __future__ import annotations

from gateway.errors import MasqueradeError


class SourceError(MasqueradeError):
    """An ``image_url`` from which no image came."""

    status, code, title = 422, "source-failed", "Image not fetched"


class BadUrl(SourceError):
    """Not a URL of http or https that can be understood in one way only."""

    code, title = "bad-url", "Bad URL"


class UrlCredentials(BadUrl):
    """A user name or password before the host, which hides where a URL leads."""

    code, title = "url-credentials", "URL with credentials"


class AmbiguousHost(BadUrl):
    """A number as a host that some programs read as an address: decimal, octal, short."""

    code, title = "ambiguous-host", "Ambiguous host"


class ForbiddenHost(SourceError):
    """A host that is not on this service's list."""

    code, title = "forbidden-host", "Host not allowed"


class ForbiddenPort(SourceError):
    """A port on which something else than a web server listens."""

    code, title = "forbidden-port", "Port not allowed"


class ForbiddenAddress(SourceError):
    """A host with an address that is not of the public internet."""

    code, title = "forbidden-address", "Address not allowed"


class UnknownHost(SourceError):
    """The name does not resolve."""

    code, title = "source-unknown-host", "Unknown host"


class Unreachable(SourceError):
    """No connection came about."""

    code, title = "source-unreachable", "Host not reachable"


class Untrusted(SourceError):
    """TLS failed: a wrong, expired or unknown certificate."""

    code, title = "source-untrusted", "TLS failed"


class SourceTimeout(SourceError):
    """Looking up, connecting and reading took longer than they may together."""

    code, title = "source-timeout", "Source too slow"


class SourceStatus(SourceError):
    """The source answered something else than 200."""

    code, title = "source-status", "Source has no such image"


class TooManyRedirects(SourceError):
    """A chain of redirects that is too long, or runs in a circle."""

    code, title = "source-redirects", "Too many redirects"


class SourceTooLarge(SourceError):
    """More bytes than are taken."""

    status, code, title = 413, "source-too-large", "Image too large"


class NotAnImage(SourceError):
    """The bytes are no image that we read, whatever the source calls them."""

    status, code, title = 415, "source-not-an-image", "Not an image"


class SourceBroken(SourceError):
    """The source does not speak HTTP, or ended before its body did."""

    code, title = "source-broken", "Source broke off"
