"""One HTTP exchange with one address that was checked before: no lookup, no redirect, no proxy.

The connection goes to the address that it is given; the name is used for the Host header
and for TLS (SNI and certificate) only. A watchdog shuts the connection down at the
deadline, so that a source that drips bytes, in whichever phase, ends with it.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import cache

from gateway.fetch.addresses import Address
from gateway.fetch.faults import (
    SourceBroken,
    SourceError,
    SourceTimeout,
    Unreachable,
    Untrusted,
)
from gateway.fetch.urls import Target

_CONNECT_SECONDS = 4.0  # for one address; the next one gets its chance
_MOST_ADDRESSES = 4
_HEADERS = {
    "User-Agent": "masquerade",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class Clock:
    """The time that one image may take, from the first lookup to the last byte."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds that remain, maybe none."""
        return max(0.0, self._end - time.monotonic())

    def left(self) -> float:
        """Seconds that remain.

        Raises:
            SourceTimeout: none do.
        """
        if not self.remaining:
            raise self.over()
        return self.remaining

    def over(self) -> SourceTimeout:
        """The error for a source that was too slow."""
        return SourceTimeout(f"the source took longer than the {self._seconds:g} s that it may")


@contextlib.contextmanager
def exchange(
    target: Target, addresses: list[Address], clock: Clock
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET, its body unread, while the block runs.

    Raises:
        SourceTimeout, Unreachable, Untrusted, SourceBroken: also where the block's reading
        fails.
    """
    plain = _connect(target, addresses, clock)
    late = threading.Event()
    # A second handle: wrapping in TLS takes the first one away.
    handle = plain.dup()

    def end() -> None:
        late.set()
        with contextlib.suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)

    watchdog = threading.Timer(clock.remaining, end)
    watchdog.daemon = True
    try:
        watchdog.start()  # waits a little, where it may be given up already
        with plain, _secured(target, plain) as connected:
            yield _ask(target, connected)
    except TimeoutError:
        raise clock.over() from None
    except SourceError:
        if late.is_set():  # the body ended there, which its reader may have found wrong
            raise clock.over() from None
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        if late.is_set():
            raise clock.over() from None
        if isinstance(error, ssl.SSLError):
            raise Untrusted(f"there is no trusted TLS connection to {target.host}") from error
        raise SourceBroken("the source broke off, or does not speak HTTP") from error
    finally:
        watchdog.cancel()
        handle.close()
        plain.close()
    if late.is_set():  # a body without a length ends at the shutdown as if it were whole
        raise clock.over()


def _connect(target: Target, addresses: list[Address], clock: Clock) -> socket.socket:
    for address in addresses[:_MOST_ADDRESSES]:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        connected = socket.socket(family, socket.SOCK_STREAM)
        try:
            connected.settimeout(min(clock.left(), _CONNECT_SECONDS))
            connected.connect((str(address), target.port))
            connected.settimeout(clock.left())
            return connected
        except OSError:
            connected.close()
        except BaseException:
            connected.close()
            raise
    clock.left()
    raise Unreachable(f"{target.host} does not accept connections on port {target.port}")


def _secured(target: Target, plain: socket.socket) -> socket.socket:
    if target.scheme == "http":
        return plain
    return _tls().wrap_socket(plain, server_hostname=target.host)


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _ask(target: Target, connected: socket.socket) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = connected
    connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": target.authority, **_HEADERS}.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()
