"""Which addresses an image_url may lead to: every special range, in every disguise."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fetch.addresses import Reach, reach

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def inside(*networks):
    """An address in one of these networks."""
    return st.sampled_from(networks).flatmap(
        lambda n: st.integers(int(n.network_address), int(n.broadcast_address)).map(
            type(n.network_address)
        )
    )


BAD_V4 = inside(
    *map(
        IPv4Network,
        (
            *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
            *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/4"),
            *("240.0.0.0/4", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),
        ),
    )
)
BAD_V6 = inside(
    *map(
        IPv6Network,
        (
            *("::/127", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32"),
            *("2001::/32", "2002::/16", "100::/64", "64:ff9b:1::/48", "::ffff:0:0:0/96"),
            *("::/96", "5f00::/16", "2001:10::/28", "3fff::/20"),
        ),
    )
)


@given(BAD_V4)
def test_no_special_v4_address_is_public(address):
    assert reach(address) is not Reach.PUBLIC


@given(BAD_V6)
def test_no_special_v6_address_is_public(address):
    assert reach(address) is not Reach.PUBLIC


@given(V4)
def test_what_python_calls_special_is_not_public(address):
    if not address.is_global or address.is_multicast:
        assert reach(address) is not Reach.PUBLIC


@given(V6)
def test_v6_what_python_calls_special_is_not_public(address):
    if not address.is_global or address.is_multicast or address.is_site_local:
        assert reach(address) is not Reach.PUBLIC


def disguises(address: IPv4Address) -> list[IPv6Address]:
    """The IPv6 addresses by which some machine on the way may mean this IPv4 address."""
    number = int(address)
    prefixes = ("::ffff:0:0", "::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::")
    found = [IPv6Address(int(IPv6Address(prefix)) + number) for prefix in prefixes]
    found.append(IPv6Address((0x2002 << 112) + (number << 80) + 1))  # 6to4
    teredo = int(IPv6Address("2001:0:53aa:64c::"))
    found.append(IPv6Address(teredo + (number ^ 0xFFFFFFFF)))
    for public in ("2a00:1450:4001::", "fe80::"):
        for isatap in (0x5EFE, 0x02005EFE):
            found.append(IPv6Address(int(IPv6Address(public)) + (isatap << 32) + number))
    return found


@given(BAD_V4)
def test_a_special_address_stays_so_in_every_disguise(address):
    assert all(reach(disguise) is not Reach.PUBLIC for disguise in disguises(address))


@given(V4)
def test_a_mapped_address_is_as_good_as_what_it_names(address):
    assert reach(IPv6Address(f"::ffff:{address}")) is reach(address)
    assert reach(IPv6Address(f"64:ff9b::{address}")) is reach(address)


METADATA = (
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    *("fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254", "fe80::a9fe:a9fe"),
)


@pytest.mark.parametrize("text", METADATA)
def test_metadata_is_never_reached(text):
    assert reach(ip_address(text)) is Reach.NEVER


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_not_even_a_private_host_is_one_of_these(text):
    assert reach(ip_address(text)) is Reach.NEVER


@pytest.mark.parametrize("text", ["127.0.0.1", "10.1.2.3", "::1", "fd12::1", "::ffff:10.0.0.1"])
def test_private_addresses_are_told_apart(text):
    assert reach(ip_address(text)) is Reach.PRIVATE


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_the_internet_is_public(text):
    assert reach(ip_address(text)) is Reach.PUBLIC


def test_a_zone_makes_it_local():
    assert reach(IPv6Address("2606:4700::1111%eth0")) is Reach.NEVER
