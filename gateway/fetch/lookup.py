"""A host's addresses, looked up once, each of them checked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import ip_address

from gateway.fetch.addresses import Address, Reach, reach
from gateway.fetch.connection import Clock
from gateway.fetch.faults import ForbiddenAddress, UnknownHost
from gateway.fetch.urls import Policy, Target

Resolver = Callable[[str, Clock], list[Address]]

# A lookup cannot be broken off. This many may hang before the next ones wait: the system's
# resolver is shared with the connections to the bucket and the queue.
_LOOKUPS = threading.BoundedSemaphore(6)


def checked_addresses(
    target: Target, policy: Policy, clock: Clock, resolver: Resolver
) -> list[Address]:
    """The addresses to connect to, at least one; nobody may look the name up again.

    One bad address spoils them all: a name that leads here and elsewhere is an attack.

    Raises:
        UnknownHost, ForbiddenAddress, SourceTimeout.
    """
    addresses = [target.address] if target.address else resolver(target.host, clock)
    if not addresses:
        raise UnknownHost(f"{target.host} has no address")
    allowed = {Reach.PUBLIC, Reach.PRIVATE} if target in policy.private else {Reach.PUBLIC}
    if any(reach(address) not in allowed for address in addresses):
        raise ForbiddenAddress(f"{target.host} is not an address of the public internet")
    return addresses


def system_addresses(host: str, clock: Clock) -> list[Address]:
    """What the system's resolver says, each address once, in its order.

    Raises:
        UnknownHost, SourceTimeout.
    """
    places = _LOOKUPS
    if not places.acquire(timeout=clock.left()):
        raise clock.over()
    found: Future[list[Address]] = Future()

    def look() -> None:
        try:
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(ip_address(row[4][0]) for row in rows)))
        except Exception as error:
            found.set_exception(error)
        finally:
            places.release()

    threading.Thread(target=look, daemon=True).start()
    try:
        return found.result(clock.left())
    except TimeoutError:
        raise clock.over() from None
    except (OSError, ValueError) as error:
        raise UnknownHost(f"{host} is not known to the name service") from error
