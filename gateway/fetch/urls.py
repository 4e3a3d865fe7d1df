"""An ``image_url`` taken apart in the one way in which it can be read; pure.

Whatever two URL parsers read differently (userinfo, backslashes, numbers as hosts, control
characters) is refused instead of interpreted. Sources: RFC 3986, RFC 6874, and the WHATWG
URL standard's "ends in a number" check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin, urlsplit

from gateway.fetch.addresses import Address
from gateway.fetch.faults import AmbiguousHost, BadUrl, ForbiddenHost, ForbiddenPort, UrlCredentials

LONGEST = 4096
"""Characters of a URL; presigned ones have up to two thousand."""

_PORTS = {"http": 80, "https": 443}
_FIRST_USER_PORT = 1024  # below, other protocols than the web's have theirs
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNRESERVED = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True)
class Target:
    """Where a request goes.

    host: lower case, ASCII, no trailing dot; without brackets where it is an IPv6 address.
    address: the host as an address, where it is one. path: with the query, never empty.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None

    @property
    def url(self) -> str:
        """The URL in its one spelling."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class Hosts:
    """A list of hosts as a setting writes it, with commas: ``example.org``, ``*.example.org``,
    ``127.0.0.1:9000``; without a port, any port."""

    entries: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Hosts:
        """The list. ValueError: an entry is neither a host nor a host with a port."""
        entries = [entry.strip().lower() for entry in text.split(",") if entry.strip()]
        for entry in entries:
            host, port = _apart(entry)
            if port and not (port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f"{entry!r} has no port")
            bare = host.removeprefix("*.")
            if not _NAME.fullmatch(bare) and _as_v6(host) is None:
                raise ValueError(f"{entry!r} is no host")
        return cls(frozenset(entries))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __contains__(self, target: object) -> bool:
        if not isinstance(target, Target):
            return False
        host = f"[{target.host}]" if ":" in target.host else target.host
        names = {host}
        if target.address is None:
            labels = host.split(".")
            names |= {"*." + ".".join(labels[n:]) for n in range(1, len(labels))}
        return any({name, f"{name}:{target.port}"} & self.entries for name in names)


@dataclass(frozen=True)
class Policy:
    """Which hosts may be asked at all: ``only`` these, unless it is empty; and which of them
    may have ``private`` addresses."""

    only: Hosts = Hosts(frozenset())
    private: Hosts = Hosts(frozenset())

    def check(self, target: Target) -> None:
        """Refuse a host or a port by its name, before anything is looked up.

        Raises:
            ForbiddenHost, ForbiddenPort.
        """
        if target in self.private:
            return
        if self.only and target not in self.only:
            raise ForbiddenHost(f"images are not fetched from {target.host} here")
        if target.port not in _PORTS.values() and target.port < _FIRST_USER_PORT:
            raise ForbiddenPort(f"port {target.port} is not one of web servers")


def parse(url: str) -> Target:
    """A URL as somebody sent it.

    Raises:
        BadUrl: also as UrlCredentials or AmbiguousHost.
    """
    if len(url) > LONGEST:
        raise BadUrl(f"an image_url may have {LONGEST} characters")
    if re.search(r"[\x00-\x20\x7f\\\ud800-\udfff]", url):  # the last are halves of characters
        raise BadUrl("an image_url must not have spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl("this image_url is no valid URL") from None
    if parts.scheme not in _PORTS:
        raise BadUrl("an image_url must begin with http:// or https://")
    if "@" in parts.netloc:
        raise UrlCredentials("an image_url must not have a user name or password in it")
    if port == 0:
        raise BadUrl("port 0 is none")
    host, address = _host(parts.netloc)
    path = quote(parts.path or "/", _UNRESERVED)
    if parts.query:
        path += "?" + quote(parts.query, _UNRESERVED)
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path, address)


def redirected(source: Target, location: str) -> Target:
    """Where a redirect leads, relative or not.

    Raises:
        BadUrl: as :func:`parse` does.
    """
    try:
        return parse(urljoin(source.url, location))
    except ValueError:
        raise BadUrl("the source redirects to something that is no URL") from None


def _host(netloc: str) -> tuple[str, Address | None]:
    text, port = _apart(netloc)
    if text.startswith("["):
        address = _as_v6(text)
        if address is None or netloc not in (text, f"{text}:{port}"):
            raise BadUrl("the host of this image_url is no address")
        return str(address), address
    try:
        # Full-width digits and dots become plain ones here, so numbers are looked for after.
        host = text.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        raise BadUrl("the host of this image_url is no name") from None
    if not host or len(host) > 253 or not _NAME.fullmatch(host):
        raise BadUrl("the host of this image_url is no name")
    if not _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        return host, None
    try:
        return host, IPv4Address(host)  # four plain decimal numbers only
    except ValueError:
        raise AmbiguousHost(
            "a number as a host must be an IPv4 address such as 203.0.113.7"
        ) from None


def _apart(netloc: str) -> tuple[str, str]:
    """Host and port of ``host[:port]``, the brackets of an IPv6 address left on."""
    if netloc.startswith("["):
        host, bracket, rest = netloc.partition("]")
        return host + bracket, rest.removeprefix(":")
    host, _, port = netloc.partition(":")
    return host, port


def _as_v6(host: str) -> IPv6Address | None:
    if not (host.startswith("[") and host.endswith("]")) or "%" in host:
        return None
    try:
        return IPv6Address(host[1:-1])
    except ValueError:
        return None
