"""An image_url is read in one way, or refused; lists of hosts."""

from __future__ import annotations

from ipaddress import IPv4Address
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MasqueradeError
from gateway.fetch.faults import (
    AmbiguousHost,
    BadUrl,
    ForbiddenHost,
    ForbiddenPort,
    UrlCredentials,
)
from gateway.fetch.urls import LONGEST, Hosts, Policy, parse, redirected


def test_a_plain_url():
    target = parse("https://Images.Example.ORG./a%20b.jpg?size=1&x=é#top")
    assert (target.scheme, target.host, target.port) == ("https", "images.example.org", 443)
    assert target.path == "/a%20b.jpg?size=1&x=%C3%A9"
    assert target.authority == "images.example.org"
    assert target.address is None


def test_addresses_and_ports():
    assert parse("http://203.0.113.7:8080/").address == IPv4Address("203.0.113.7")
    target = parse("http://[2001:DB8::0:1]:81/x")
    assert (target.host, target.authority) == ("2001:db8::1", "[2001:db8::1]:81")


REFUSED = {
    BadUrl: [
        *("", "a.jpg", "//example.org/a", "ftp://example.org/a", "file:///etc/passwd"),
        *("gopher://example.org:70/x", "data:image/png;base64,AAAA", "javascript:alert(1)"),
        *("http:///a", "http://", "http://./", "http://a..b/", "http://exa mple.org/"),
        *("http://example.org\\@127.0.0.1/", "http://example.org/\r\nX: 1", "\thttp://a.org/"),
        *("http://example.org:99999/", "http://example.org:x/", "http://example.org:0/"),
        *("http://%31%32%37.0.0.1/", "http://[::1/", "http://[fe80::1%25eth0]/", "http://[x]/"),
        *("http://-a.org/", "http://a/" + "x" * LONGEST, "http://127.0.0.1:80:90/"),
        *("http://a.org/\ud800", "http://a.org/?\udfff", "http://[::1]x/", "http://[::1]80/"),
        *("http://a,b/", "http://a<b/", "http://" + "a" * 64 + ".org/"),
    ],
    UrlCredentials: [
        *("http://user@example.org/", "http://u:p@127.0.0.1/", "https://example.org@10.0.0.1/"),
        *("http://@127.0.0.1/", "http://a@b@c/"),
    ],
    AmbiguousHost: [
        *("http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/"),
        *("http://0x7f.0.0.1/", "http://127.0.0.1.0/", "http://1/", "http://017700000001/"),
        *("http://127.0.0.256/", "http://0x/", "http://evil.1/", "http://①②⑦.1/"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "url"), [(kind, url) for kind, urls in REFUSED.items() for url in urls]
)
def test_refused(kind, url):
    with pytest.raises(BadUrl) as caught:
        parse(url)
    assert type(caught.value) is kind


def test_wide_digits_are_an_address_like_any_other():
    assert parse("http://１２７。０。０。１/").address == IPv4Address("127.0.0.1")


@given(st.text(max_size=60).map("http://".__add__) | st.text(max_size=60))
def test_whatever_is_taken_is_read_alike_again(url):
    try:
        target = parse(url)
    except MasqueradeError:
        return
    assert parse(target.url) == target
    again = urlsplit(target.url)
    assert again.hostname == target.host
    assert again.username is None
    assert target.path.isascii()
    assert not set(target.path) & set(" \r\n")


@given(st.integers(0, 2**32 - 1))
def test_an_address_has_one_spelling(number):
    octets = number.to_bytes(4, "big")
    plain = ".".join(map(str, octets))
    assert parse(f"http://{plain}/").address == IPv4Address(number)
    others = [
        str(number),
        hex(number),
        oct(number).replace("o", ""),
        ".".join(map(hex, octets)),
        f"{octets[0]}.{int.from_bytes(octets[1:], 'big')}",
        f"{octets[0]}.{octets[1]}.{int.from_bytes(octets[2:], 'big')}",
    ]
    for other in others:
        with pytest.raises(AmbiguousHost):
            parse(f"http://{other}/")


def test_redirects_are_read_as_urls_are():
    source = parse("https://example.org/a/b?c")
    assert redirected(source, "d").url == "https://example.org/a/d"
    assert redirected(source, "//other.org:8443/").host == "other.org"
    with pytest.raises(BadUrl):
        redirected(source, "file:///etc/passwd")
    with pytest.raises(UrlCredentials):
        redirected(source, "//u@other.org/")
    with pytest.raises(BadUrl):
        redirected(source, "http://[oops/")


def test_lists_of_hosts():
    hosts = Hosts.parse("example.org, *.cdn.example ,127.0.0.1:9000,[::1]")
    taken = ("http://example.org/", "https://example.org:8443/", "http://a.b.cdn.example/")
    taken += ("http://127.0.0.1:9000/", "http://[::1]:1234/")
    assert all(parse(url) in hosts for url in taken)
    others = ("http://cdn.example/", "http://a.example.org/", "http://127.0.0.1/")
    others += ("http://badcdn.example/", "http://cdn.example.evil.org/")
    assert not any(parse(url) in hosts for url in others)


@pytest.mark.parametrize("text", ["http://a.org", "a b", "a:port", "a:0", "*", "[::1", "a/b"])
def test_no_hosts(text):
    with pytest.raises(ValueError):
        Hosts.parse(text)


def test_the_policy():
    policy = Policy(Hosts.parse("example.org"), Hosts.parse("store.internal:90"))
    policy.check(parse("http://example.org:8080/"))
    policy.check(parse("http://store.internal:90/"))
    with pytest.raises(ForbiddenHost):
        policy.check(parse("http://other.org/"))
    with pytest.raises(ForbiddenHost):
        policy.check(parse("http://store.internal/"))
    with pytest.raises(ForbiddenPort):
        policy.check(parse("http://example.org:25/"))
    Policy().check(parse("http://anyone.org/"))
