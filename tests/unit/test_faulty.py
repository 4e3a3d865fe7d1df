"""The fault proxy does what it is told, and else nothing; the storage client as its user."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import time

import pytest
import urllib3

from gateway.errors import StorageUnavailable
from gateway.storage import Storage
from tests.faulty import Fault, Proxy
from tests.servers import as_env

BODY = bytes(range(256)) * 800


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Between two tries of botocore's."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.fixture
def proxy(settings):
    host, port = settings.s3_endpoint.removeprefix("http://").split(":")
    with Proxy((host, int(port))) as running:
        yield running


@pytest.fixture
def storage(settings, proxy):
    """By way of the proxy."""
    return Storage(dataclasses.replace(settings, s3_endpoint=proxy.url))


def get(url: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", url, retries=False, timeout=5)


def test_all_passes_unchanged(storage):
    storage.put("results/a", io.BytesIO(BODY), "image/jpeg")
    assert get(storage.link("results/a").url).data == BODY
    assert storage.head("results/a", 300) == BODY[:300]
    assert [item.key for item in storage.list("results/")] == ["results/a"]
    storage.delete(["results/a"])
    assert storage.ready() is None


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503, code="SlowDown"),
        Fault(status=403, code="RequestTimeTooSkewed"),
        Fault(share=0, reset=True),
        Fault(share=0.5),
        Fault(share=0.5, reset=True),
    ],
    ids=str,
)
def test_a_store_that_fails_is_said_to_and_then_works_again(storage, proxy, fault):
    storage.put("uploads/a", io.BytesIO(BODY), "image/jpeg")
    asked = [
        lambda: storage.head("uploads/a", 4096),
        lambda: storage.fetch("uploads/a", io.BytesIO()),
    ]
    if fault != Fault(share=0.5):  # to Python, half of an answer's head is one; it is stored
        asked.append(lambda: storage.put("results/b", io.BytesIO(BODY), "image/jpeg"))
    with proxy.spoiling(fault):
        for ask in asked:
            with pytest.raises(StorageUnavailable):
                ask()
    assert proxy.spoiled >= len(asked)
    assert storage.size("uploads/a") == len(BODY)


def test_one_failure_is_borne(storage, proxy):
    with proxy.spoiling(Fault(status=500), times=1):
        storage.put("results/a", io.BytesIO(BODY), "image/jpeg")
    with proxy.spoiling(Fault(share=0, reset=True), methods={"HEAD"}):
        assert storage.head("results/a", 9) == BODY[:9]
    assert proxy.spoiled == 1


def test_slow_bytes_arrive(storage, proxy):
    storage.put("results/a", io.BytesIO(BODY[:4000]), "image/jpeg")
    link = storage.link("results/a").url
    begun = time.monotonic()
    with proxy.spoiling(Fault(pace=10_000)):
        assert get(link).data == BODY[:4000]
    assert 0.3 < time.monotonic() - begun < 4


def test_silence(storage, proxy):
    link = storage.link("results/a").url
    with proxy.spoiling(Fault(silent=True)), pytest.raises(urllib3.exceptions.ReadTimeoutError):
        urllib3.request("GET", link, retries=False, timeout=0.3)


IMPATIENT = """
from gevent import monkey
monkey.patch_all()
import io, sys, time
from gateway.errors import StorageUnavailable
from gateway.settings import Settings
from gateway.storage import Storage
storage = Storage(Settings.from_env(), patience=0.5)
for ask in (
    lambda: storage.put("results/b", io.BytesIO(b"x"), "image/jpeg"),
    lambda: storage.fetch("uploads/a", io.BytesIO()),
    lambda: storage.size("uploads/a"),
):
    begun = time.monotonic()
    try:
        ask()
    except StorageUnavailable as error:
        print(f"{time.monotonic() - begun:.2f} {error}")
print(storage.ready())
"""


def test_the_gateway_does_not_wait_for_ever(storage, settings, proxy):
    """A byte now and then keeps every socket's time limit from ending it."""
    storage.put("uploads/a", io.BytesIO(BODY), "image/jpeg")
    own = as_env(dataclasses.replace(settings, s3_endpoint=proxy.url))
    with proxy.spoiling(Fault(pace=40)):
        command = [sys.executable, "-c", IMPATIENT]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **own}, timeout=60
        )
    *lines, ready = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all(0.4 < float(line.split()[0]) < 2 for line in lines), lines
    assert "does not answer" in ready
