"""Fetching by URL against a hostile server: what comes through, what is refused, and how soon."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import subprocess
import threading
import time
from ipaddress import ip_address

import cv2
import numpy as np
import pytest

from gateway import deadline
from gateway.errors import DeadlineExceeded
from gateway.fetch import connection, faults, lookup
from gateway.fetch.connection import Clock
from gateway.fetch.fetcher import Fetcher, FetchLimits
from gateway.fetch.lookup import system_addresses
from gateway.fetch.urls import Hosts, Policy
from tests.hostile import hostile_server

IMAGE = cv2.imencode(".png", np.random.default_rng(1).integers(0, 255, (60, 60, 3), np.uint8))[
    1
].tobytes()
LIMITS = FetchLimits(bytes=100_000, seconds=1.5, redirects=3)


@pytest.fixture(scope="module")
def server():
    with hostile_server(IMAGE) as running:
        yield running


class Names:
    """A name service that answers what it is told, in turn, and counts."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __call__(self, host, clock):
        self.asked.append(host)
        rows = self.answers[host.replace(".", "_")]
        return [ip_address(text) for text in (rows.pop(0) if len(rows) > 1 else rows[0])]


def fetcher(names=None, *, only="", private="127.0.0.1", limits=LIMITS):
    policy = Policy(Hosts.parse(only), Hosts.parse(private))
    return Fetcher(policy, limits, names or system_addresses)


def fetch(url, **more):
    out = io.BytesIO()
    size = fetcher(**more).fetch(url, out)
    assert size == len(out.getvalue())
    return out.getvalue()


@pytest.mark.parametrize("path", ["image", "lying", "chunked", "hops/3", "to/%2Fimage"])
def test_an_image_comes(server, path):
    assert fetch(server.url(path)) == IMAGE


def test_what_is_asked_and_that_nothing_is_told(server):
    fetch(server.url("image?x=1"))
    head = server.seen[-1].lower()
    assert head.startswith("get /image?x=1 http/1.1")
    assert f"host: 127.0.0.1:{server.port}" in head
    assert "cookie" not in head and "authorization" not in head and "referer" not in head


WRONG = {
    "missing": faults.SourceStatus,
    "status/500": faults.SourceStatus,
    "status/204": faults.SourceStatus,
    "status/304": faults.SourceStatus,
    "nowhere": faults.SourceStatus,
    "page": faults.NotAnImage,
    "gzip": faults.NotAnImage,
    "nothing": faults.NotAnImage,
    "endless": faults.SourceTooLarge,
    "huge": faults.SourceTooLarge,
    "short": faults.SourceBroken,
    "garbage": faults.SourceBroken,
    "hangup": faults.SourceBroken,
    "headers": faults.SourceBroken,
    "silent": faults.SourceTimeout,
    "drip/head": faults.SourceTimeout,
    "drip/headers": faults.SourceTimeout,
    "drip/body": faults.SourceTimeout,
    "interim": faults.SourceTimeout,
    "loop": faults.TooManyRedirects,
    "longer": faults.TooManyRedirects,
    "hops/4": faults.TooManyRedirects,
    "to/http%3A%2F%2F10.0.0.1%2F": faults.ForbiddenAddress,
    "to/http%3A%2F%2F169.254.169.254%2Flatest": faults.ForbiddenAddress,
    "to/http%3A%2F%2F[::1]%2F": faults.ForbiddenAddress,
    "to/http%3A%2F%2F[::ffff:127.0.0.1]%2F": faults.ForbiddenAddress,
    "to/http%3A%2F%2F2130706433%2F": faults.AmbiguousHost,
    "to/http%3A%2F%2Fa%40127.0.0.1%2F": faults.UrlCredentials,
    "to/file%3A%2F%2F%2Fetc%2Fpasswd": faults.BadUrl,
}


@pytest.fixture
def hurried():
    """A request that gives less time than a source may take."""
    deadline.start(0.3)
    yield
    deadline.start(float("inf"))


@pytest.mark.parametrize("path", ["silent", "drip/head", "drip/body", "interim"])
def test_the_end_of_a_requests_own_time_is_no_fault_of_the_sources(server, hurried, path):
    with pytest.raises(DeadlineExceeded):
        fetch(server.url(path))


def test_no_source_is_asked_when_the_time_is_over(server, hurried):
    deadline.start(-0.1)
    seen = len(server.seen)
    with pytest.raises(DeadlineExceeded):
        fetch(server.url("image"))
    assert len(server.seen) == seen


@pytest.mark.parametrize("path", WRONG)
def test_each_wrong_has_its_own_error_in_time(server, path):
    begun = time.monotonic()
    with pytest.raises(faults.SourceError) as caught:
        fetch(server.url(path))
    assert type(caught.value) is WRONG[path]
    assert time.monotonic() - begun < LIMITS.seconds + 1.5


def test_loopback_is_forbidden_unless_it_is_named(server):
    before = len(server.seen)
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"):
        with pytest.raises(faults.ForbiddenAddress):
            fetch(server.url("image", host), private="")
    assert len(server.seen) == before


def test_only_the_hosts_of_the_list(server):
    with pytest.raises(faults.ForbiddenHost):
        fetch(server.url("image"), only="example.org", private="")


def test_a_named_host_with_a_private_address(server):
    names = Names(store_internal=[["127.0.0.1"]])
    assert fetch(server.url("image", "store.internal"), names=names, private="store.internal")
    assert f"Host: store.internal:{server.port}" in server.seen[-1]


def test_a_named_host_may_not_turn_into_metadata(server):
    names = Names(store_internal=[["169.254.169.254"]])
    with pytest.raises(faults.ForbiddenAddress):
        fetch(server.url("image", "store.internal"), names=names, private="store.internal")


def test_one_bad_address_spoils_a_name(server):
    before = len(server.seen)
    names = Names(mixed_org=[["93.184.215.14", "127.0.0.1"]])
    with pytest.raises(faults.ForbiddenAddress):
        fetch(server.url("image", "mixed.org"), names=names)
    assert len(server.seen) == before


def test_rebinding_is_in_vain(server, monkeypatch):
    """The name is looked up once, and the connection goes to just that answer."""
    names = Names(rebind_org=[["93.184.215.14"], ["127.0.0.1"]])
    dialled = []

    def connect(_socket, address):
        dialled.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(faults.Unreachable):
        fetch(server.url("image", "rebind.org"), names=names)
    assert names.asked == ["rebind.org"]
    assert dialled == [("93.184.215.14", server.port)]


def test_rebinding_between_redirects_is_seen(server):
    names = Names(rebind_org=[["127.0.0.1"], ["10.0.0.1"]])
    with pytest.raises(faults.ForbiddenAddress):
        fetch(server.url("to/http%3A%2F%2Frebind.org%3A1%2F", "rebind.org"), names=names)


def test_the_next_address_is_tried(server):
    names = Names(two_org=[["::1", "127.0.0.1"]])
    url = server.url("image", "two.org")
    assert fetch(url, names=names, private="two.org") == IMAGE


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(faults.Unreachable):
        fetch(f"http://127.0.0.1:{port}/")


def test_no_tls_on_the_other_side(server, monkeypatch):
    monkeypatch.setattr(server, "to_tls", b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(faults.Untrusted):
        fetch(server.url("garbage").replace("http", "https"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate of our own for images.test."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", file, "-out", file.with_name("cert.pem"), "-subj", "/CN=images.test"]
    try:
        subprocess.run(
            [*command, "-addext", "subjectAltName=DNS:images.test"], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return file, file.with_name("cert.pem")


@pytest.mark.parametrize("host", ["images.test", "other.test"])
def test_tls_goes_by_the_name_not_by_the_address(certificate, monkeypatch, host):
    """SNI and certificate are the name's, though the connection is the checked address's."""
    key, cert = certificate
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    connection._tls.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            client, _ = listening.accept()
            with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as tls:
                tls.recv(4096)
                tls.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + IMAGE)

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://{host}:{listening.getsockname()[1]}/a"
        names = Names(images_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
        if host == "images.test":
            assert fetch(url, names=names, private=host) == IMAGE
        else:
            with pytest.raises(faults.Untrusted):
                fetch(url, names=names, private=host)
    assert asked == [host]
    connection._tls.cache_clear()


def test_a_silent_tls_handshake(server):
    with pytest.raises(faults.SourceTimeout):
        fetch(server.url("silent").replace("http", "https"))


def test_an_unknown_name(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(lookup.socket, "getaddrinfo", unknown)
    with pytest.raises(faults.UnknownHost):
        fetch("http://nowhere.invalid/")
    with pytest.raises(faults.UnknownHost):
        fetch("http://empty.org/", names=Names(empty_org=[[]]))


def test_a_name_service_that_hangs_holds_nobody(monkeypatch):
    """Also not once all the places for lookups are taken by such names."""
    monkeypatch.setattr(lookup, "_LOOKUPS", lookup.threading.BoundedSemaphore(1))
    monkeypatch.setattr(lookup.socket, "getaddrinfo", lambda *_, **__: time.sleep(1.0) or [])
    for _ in range(2):
        begun = time.monotonic()
        with pytest.raises(faults.SourceTimeout):
            system_addresses("slow.example", Clock(0.2))
        assert time.monotonic() - begun < 0.9
