"""Which network addresses an ``image_url`` may lead to; pure.

Some IPv6 addresses carry an IPv4 address inside, which a translator on the way may unpack:
mapped and NAT64 ones are judged by it, compatible, 6to4, Teredo and ISATAP ones never taken.
A NAT64 prefix of a network's own cannot be told from other addresses.

Sources: IANA's special-purpose registries (RFC 6890), RFC 4291, 6052, 8215, 3056, 4380, 5214;
the clouds' documentation for their metadata services.
"""

from __future__ import annotations

import enum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Reach(enum.Enum):
    """Where an address leads."""

    PUBLIC = "public"
    PRIVATE = "private"
    """Loopback or a private network: only where the operator has named the host."""
    NEVER = "never"
    """Metadata, link-local, multicast, unspecified, reserved or translated."""


_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google and most others
        "169.254.170.2",  # AWS, credentials of containers
        "169.254.170.23",
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
        "fd00:42::42",  # Scaleway
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "168.63.129.16",  # Azure's host agent, on an address that looks public
    )
)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


_PRIVATE = _networks(
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"),
    "100.64.0.0/10",  # carrier-grade NAT, also inside clouds
    *("::1/128", "fc00::/7"),
)
_NEVER = _networks(
    "0.0.0.0/8",  # "this host"; Linux connects to itself
    "169.254.0.0/16",  # link-local
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",  # 6to4 relays
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved and broadcast
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that IANA gives out for the internet
_NEVER_V6 = _networks(
    "2001::/23",  # protocol assignments, with Teredo, ORCHID and benchmarks
    "2001:db8::/32",
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",
    "3fff::/20",
)
_NAT64 = IPv6Network("64:ff9b::/96")
_MAPPED = IPv6Network("::ffff:0:0/96")
_ISATAP = (0x00005EFE, 0x02005EFE)


def reach(address: Address) -> Reach:
    """Where this address leads, in the worst case."""
    if address in _METADATA:
        return Reach.NEVER
    if isinstance(address, IPv4Address):
        return _reach_v4(address)
    if address.scope_id is not None:
        return Reach.NEVER
    plain = _same_host(address)
    if plain is not None:
        return reach(plain)
    return _reach_v6(address)


def _reach_v4(address: IPv4Address) -> Reach:
    if any(address in network for network in _PRIVATE if network.version == 4):
        return Reach.PRIVATE
    if any(address in network for network in _NEVER):
        return Reach.NEVER
    return Reach.PUBLIC


def _reach_v6(address: IPv6Address) -> Reach:
    if any(address in network for network in _PRIVATE if network.version == 6):
        return Reach.PRIVATE
    if address not in _GLOBAL_UNICAST or any(address in network for network in _NEVER_V6):
        return Reach.NEVER
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return Reach.NEVER
    return Reach.PUBLIC


def _same_host(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 host that an address names under another form, where the system dials just that.

    Mapped addresses, and NAT64's well-known prefix, by which hosts of a network without
    IPv4 see all of it; both are as good or bad as what they name.
    """
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
