"""The fetcher: see the package for its story."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import BinaryIO

from gateway import deadline
from gateway.fetch.connection import Clock, exchange
from gateway.fetch.faults import (
    NotAnImage,
    SourceBroken,
    SourceStatus,
    SourceTimeout,
    SourceTooLarge,
    TooManyRedirects,
)
from gateway.fetch.lookup import Resolver, checked_addresses, system_addresses
from gateway.fetch.urls import Hosts, Policy, Target, parse, redirected
from gateway.media.sniff import HEAD_BYTES, image_format
from gateway.settings import Settings

_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE = 64 * 1024
_MOST_SHOWN = 60  # characters of somebody else's text in a message


@dataclass(frozen=True)
class FetchLimits:
    """What one image may take: bytes of its body, seconds and redirects in all."""

    bytes: int
    seconds: float
    redirects: int


class Fetcher:
    """Fetches images by their URLs. Safe to share between threads."""

    def __init__(
        self, policy: Policy, limits: FetchLimits, resolver: Resolver = system_addresses
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._resolver = resolver

    @classmethod
    def from_settings(cls, settings: Settings) -> Fetcher:
        """With the settings ``fetch_*``."""
        return cls(
            Policy(Hosts.parse(settings.fetch_hosts), Hosts.parse(settings.fetch_private_hosts)),
            FetchLimits(settings.fetch_bytes, settings.fetch_timeout, settings.fetch_redirects),
        )

    def fetch(self, url: str, out: BinaryIO) -> int:
        """Write the image behind a URL to ``out``; answers its size in bytes.

        Raises:
            SourceError: what is wrong, as one of its subclasses.
            DeadlineExceeded: the present request has no more time.
        """
        deadline.check()
        try:
            return self._follow(parse(url), Clock(min(self._limits.seconds, deadline.left())), out)
        except SourceTimeout:
            deadline.check(deadline.EARLY)  # its own end is no fault of the source's
            raise

    def _follow(self, target: Target, clock: Clock, out: BinaryIO) -> int:
        seen = {target.url}
        while True:
            self._policy.check(target)
            addresses = checked_addresses(target, self._policy, clock, self._resolver)
            with exchange(target, addresses, clock) as answer:
                if answer.status not in _REDIRECTS:
                    return self._body(answer, out)
                target = _next(target, answer)
            if target.url in seen or len(seen) > self._limits.redirects:
                raise TooManyRedirects(
                    f"the source redirects in a circle or more than {self._limits.redirects} times"
                )
            seen.add(target.url)

    def _body(self, answer: http.client.HTTPResponse, out: BinaryIO) -> int:
        if answer.status != 200:
            raise SourceStatus(f"the source answers {answer.status} instead of an image")
        declared = answer.length
        if declared is not None:
            self._check_size(declared)
        size, head = 0, b""
        while piece := answer.read(_PIECE):
            size += len(piece)
            self._check_size(size)
            if len(head) < HEAD_BYTES:
                head += piece
                # A page, or a disk image, is not downloaded just to be refused.
                if len(head) >= HEAD_BYTES:
                    _check_image(head, answer)
            out.write(piece)
        if declared is not None and size < declared:
            raise SourceBroken(f"the source broke off after {size} of {declared} bytes")
        _check_image(head, answer)
        return size

    def _check_size(self, size: int) -> None:
        if size > self._limits.bytes:
            raise SourceTooLarge(f"an image behind a URL may have {self._limits.bytes} bytes")


def _next(target: Target, answer: http.client.HTTPResponse) -> Target:
    location = answer.getheader("Location")
    if not location:
        raise SourceStatus(f"the source answers {answer.status} without saying where to go")
    return redirected(target, location)


def _check_image(head: bytes, answer: http.client.HTTPResponse) -> None:
    if image_format(head) is None:
        said = (answer.getheader("Content-Type") or "")[:_MOST_SHOWN]
        raise NotAnImage(
            "the source's answer is no image that we read; JPEG, PNG, WebP, HEIC, AVIF and GIF"
            f" are (it calls it {said!r})"
        )
