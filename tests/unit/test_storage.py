"""The object store against a real S3 server: presigned URLs, limits of their life, failures."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import urllib.parse
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
import urllib3
from botocore.stub import Stubber

from gateway import deadline
from gateway.errors import DeadlineExceeded, NotFound, StorageUnavailable
from gateway.object_names import UPLOADS, new_token, upload_key
from gateway.settings import MIB, Settings
from gateway.storage import Storage, may_recover
from tests.faulty import Fault, Proxy
from tests.servers import free_port, keys


@pytest.fixture
def storage(settings):
    return Storage(settings)


def http(method, url, **more):
    return urllib3.request(method, url, retries=False, timeout=10, **more)


def test_tokens_are_long_unique_and_url_safe():
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(upload_key(token) == UPLOADS + token for token in tokens)


@pytest.mark.parametrize("bad", ["", "../results/x", "a" * 31, "a" * 33, "é" * 32, "a" * 31 + "/"])
def test_an_id_that_we_never_gave_is_not_looked_up(bad):
    with pytest.raises(NotFound):
        upload_key(bad)


def test_a_stored_file_comes_back_by_its_link_with_type_and_name(storage):
    body = io.BytesIO(b"picture")
    body.read()  # position does not matter
    storage.put("results/a/blurred.jpg", body, "image/jpeg", "blurred.jpg")
    assert not body.closed
    answer = http("GET", storage.link("results/a/blurred.jpg").url)
    assert answer.data == b"picture"
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Disposition"] == 'inline; filename="blurred.jpg"'


def test_a_file_larger_than_a_part_is_stored_whole(storage):
    body = bytes(range(256)) * (20 * MIB // 256)
    storage.put("uploads/big", io.BytesIO(body), "application/octet-stream")
    out, steps = io.BytesIO(), []
    storage.fetch("uploads/big", out, steps.append)
    assert out.getvalue() == body
    assert steps[-1] == len(body) == storage.size("uploads/big")
    assert storage.head("uploads/big", 10) == body[:10]


def test_the_bucket_is_not_public(storage):
    storage.put("results/a", io.BytesIO(b"x"), "image/jpeg")
    link = storage.link("results/a").url
    plain = link.split("?")[0]
    assert http("GET", plain).status == 403
    assert http("GET", link.replace("results/a", "results/b")).status == 403
    assert http("PUT", link, body=b"y").status == 403


def test_a_put_link_takes_one_file_of_the_promised_size_and_type(storage):
    link = storage.put_link("uploads/u", 5, "video/mp4")
    wrong = http("PUT", link.url, body=b"123456", headers={"Content-Type": "video/mp4"})
    assert wrong.status == 403
    assert http("PUT", link.url, body=b"12345", headers={"Content-Type": "x/y"}).status == 403
    right = http("PUT", link.url, body=b"12345", headers={"Content-Type": "video/mp4"})
    assert right.status == 200
    assert storage.size("uploads/u") == 5


def test_a_put_link_without_promises(storage):
    assert http("PUT", storage.put_link("uploads/u", None, None).url, body=b"any").status == 200


def test_missing_objects(storage):
    for look in (storage.size, lambda key: storage.head(key, 4), lambda k: storage.fetch(k, None)):
        with pytest.raises(NotFound):
            look("uploads/none")
    storage.delete(["uploads/none", "uploads/none"])


def test_listing_and_deleting(storage):
    for name in "abc":
        storage.put(f"uploads/{name}", io.BytesIO(b"x"), "a/b")
    found = list(storage.list(UPLOADS))
    assert [item.key for item in found] == ["uploads/a", "uploads/b", "uploads/c"]
    assert abs(datetime.now(UTC) - found[0].modified) < timedelta(minutes=1)
    storage.delete(item.key for item in found)
    assert keys(storage) == []


def test_uploads_broken_off_are_dropped(storage):
    client, bucket = storage._client, storage._bucket
    client.create_multipart_upload(Bucket=bucket, Key="results/half")
    assert storage.abort_unfinished(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert storage.abort_unfinished(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_uploads_broken_off_are_dropped_from_all_pages(storage):
    """Also where there are more than a page, and only those below the prefix."""
    bucket, then = storage._bucket, datetime.now(UTC) - timedelta(days=2)

    def page(keys, **more):
        uploads = [{"Key": key, "UploadId": key.upper(), "Initiated": then} for key in keys]
        return {"Uploads": uploads, **more}

    with Stubber(storage._client) as stub:
        next_ = {"IsTruncated": True, "NextKeyMarker": "out/a", "NextUploadIdMarker": "OUT/A"}
        asked = {"Bucket": bucket, "Prefix": "out/"}
        stub.add_response("list_multipart_uploads", page(["in/x", "out/a"], **next_), asked)
        stub.add_response("abort_multipart_upload", {}, _upload(bucket, "out/a"))
        marks = {"KeyMarker": "out/a", "UploadIdMarker": "OUT/A"}
        stub.add_response("list_multipart_uploads", page(["out/b"]), asked | marks)
        stub.add_response("abort_multipart_upload", {}, _upload(bucket, "out/b"))
        assert storage.abort_unfinished(datetime.now(UTC), "out/") == 2
        stub.assert_no_pending_responses()


def _upload(bucket, key):
    return {"Bucket": bucket, "Key": key, "UploadId": key.upper()}


def test_a_link_lives_as_long_as_settings_say(settings):
    link = Storage(dataclasses.replace(settings, url_ttl=90)).link("results/a")
    assert expires_in(link.url) == 90
    assert 85 <= (link.expires_at - datetime.now(UTC)).total_seconds() <= 90


def test_a_link_lives_at_most_seven_days(settings):
    link = Storage(dataclasses.replace(settings, url_ttl=30 * 86400)).link("results/a")
    assert expires_in(link.url) == 7 * 86400


class Temporary:
    """Credentials of a role, which end at a known time."""

    def __init__(self, seconds):
        self._expiry_time = datetime.now(UTC) + timedelta(seconds=seconds)

    def get_frozen_credentials(self):
        return None


def test_a_link_is_never_promised_longer_than_the_credentials_live(storage, monkeypatch):
    role = Temporary(600)
    monkeypatch.setattr(storage._session, "get_credentials", lambda: role)
    link = storage.link("results/a")
    assert 595 <= expires_in(link.url) <= 600
    assert link.expires_at <= role._expiry_time


def test_ended_credentials_sign_nothing(storage, monkeypatch):
    monkeypatch.setattr(storage._session, "get_credentials", lambda: Temporary(-5))
    with pytest.raises(StorageUnavailable, match="expired"):
        storage.link("results/a")


@pytest.mark.parametrize("off", [-600, 600])
def test_a_link_of_a_host_whose_clock_is_off_lives_as_long_as_promised(settings, off):
    storage = Storage(dataclasses.replace(settings, url_ttl=1500))
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=off)):
        storage.put("results/a", io.BytesIO(b"x"), "a/b")  # which tells the store's time
        link = storage.link("results/a")
    assert abs(link.expires_at - datetime.now(UTC) - timedelta(seconds=1500)) < timedelta(seconds=5)
    signed = urllib.parse.parse_qs(urllib.parse.urlsplit(link.url).query)["X-Amz-Date"][0]
    ends = datetime.strptime(signed + "+0000", "%Y%m%dT%H%M%SZ%z") + timedelta(
        seconds=expires_in(link.url)
    )
    assert abs(ends - link.expires_at) < timedelta(seconds=2)
    assert http("GET", link.url).status == 200


def test_a_clock_that_the_store_does_not_bear_is_named(storage):
    storage.put("results/a", io.BytesIO(b"x"), "a/b")
    with time_machine.travel(datetime.now(UTC) - timedelta(seconds=1200)):
        with pytest.raises(StorageUnavailable):
            storage.put("results/a", io.BytesIO(b"x"), "a/b")
        told = re.search(r"(\d+) s behind the object store's; set it right", storage.ready())
        assert told and 1170 <= int(told[1]) <= 1200  # the store's answer takes its time
    assert storage.ready() is None
    assert storage._clock.fault() is None


@pytest.mark.parametrize("date", [None, "today", "Mon, 02 Nov 2026 10:00:00"])
def test_a_store_that_tells_no_time_is_not_asked(storage, date):
    storage._clock.look(urllib3.HTTPResponse(headers={"date": date} if date else {}))
    assert storage._clock.fault() is None


def test_links_may_name_another_host_than_the_server_uses(settings):
    public = dataclasses.replace(settings, s3_public_endpoint="https://files.example:9443")
    storage = Storage(public)
    assert storage.link("results/a").url.startswith("https://files.example:9443/")
    assert storage.origin == "https://files.example:9443"
    assert storage.ready() is None


def test_aws_gets_the_bucket_in_the_host_name(s3_endpoint):
    storage = Storage(Settings(s3_bucket="bucket", s3_region="eu-west-1"))
    assert storage.origin == "https://bucket.s3.eu-west-1.amazonaws.com"
    assert storage.link("results/a").url.startswith(storage.origin + "/results/a?")


def test_a_store_that_is_down_is_said_to_be(s3_endpoint):
    storage = Storage(Settings(s3_endpoint=f"http://127.0.0.1:{free_port()}"))
    assert "does not answer" in storage.ready()
    with pytest.raises(StorageUnavailable):
        storage.put("results/a", io.BytesIO(b"x"), "a/b")
    with pytest.raises(StorageUnavailable):
        storage.size("results/a")
    with pytest.raises(StorageUnavailable):
        list(storage.list("results/"))


@pytest.fixture
def hurried():
    """Whatever deadline the test has set is gone afterwards."""
    yield
    deadline.start(float("inf"))


CALLS = {
    "put": lambda storage: storage.put("results/a", io.BytesIO(b"x"), "a/b"),
    "fetch": lambda storage: storage.fetch("uploads/a", io.BytesIO()),
    "head": lambda storage: storage.head("uploads/a", 1),
    "look": lambda storage: storage.look("uploads/a"),
    "size": lambda storage: storage.size("uploads/a"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_request_waits_for_the_store_no_longer_than_it_has(settings, monkeypatch, hurried, name):
    """What is over then is the request's time, not the store's."""
    storage, bounds = Storage(settings, 10.0), []
    storage.put("uploads/a", io.BytesIO(b"x"), "a/b")

    @contextlib.contextmanager
    def too_long(seconds):
        bounds.append(seconds)
        yield
        deadline.start(-1.0)
        raise TimeoutError

    monkeypatch.setattr("gateway.deadline.at_most", too_long)
    deadline.start(5.0)
    with pytest.raises(DeadlineExceeded):
        CALLS[name](storage)
    assert 4 < bounds[0] <= 5
    with pytest.raises(DeadlineExceeded):
        CALLS[name](storage)
    assert len(bounds) == 1


def test_what_a_hurried_request_has_stored_is_deleted_all_the_same(settings, hurried):
    storage = Storage(settings, 10.0)
    storage.put("results/a", io.BytesIO(b"x"), "a/b")
    deadline.start(-1.0)
    storage.delete(["results/a"])
    assert keys(storage) == []


def test_refused_credentials_are_our_fault_not_the_users(settings, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    storage = Storage(settings)
    assert "403" in storage.ready()
    with pytest.raises(StorageUnavailable):
        storage.fetch("uploads/x", io.BytesIO())


@pytest.mark.parametrize(
    ("status", "code", "passes"),
    [
        (400, "ExpiredToken", True),
        (403, "RequestTimeTooSkewed", True),
        (400, "RequestTimeout", True),
        (403, "AccessDenied", False),
        (403, "InvalidAccessKeyId", False),
        (400, "InvalidRequest", False),
    ],
)
def test_what_will_pass_is_told_from_what_will_not(settings, s3_endpoint, status, code, passes):
    """Also by HEAD, whose answers do not say why."""
    host = urllib.parse.urlsplit(s3_endpoint)
    Storage(settings).put("uploads/a", io.BytesIO(b"x"), "a/b")
    with Proxy((host.hostname, host.port)) as proxy:
        storage = Storage(dataclasses.replace(settings, s3_endpoint=proxy.url))
        calls = (
            lambda: storage.size("uploads/a"),
            lambda: storage.look("uploads/a"),
            lambda: storage.fetch("uploads/a", io.BytesIO()),
            lambda: storage.put("results/a", io.BytesIO(b"x"), "a/b"),
        )
        for call in calls:
            refusing = proxy.spoiling(Fault(status=status, code=code))
            with refusing, pytest.raises(StorageUnavailable) as refused:
                call()
            assert may_recover(refused.value) is passes


def test_a_refusal_that_is_over_when_it_is_asked_about(settings, s3_endpoint):
    host = urllib.parse.urlsplit(s3_endpoint)
    Storage(settings).put("uploads/a", io.BytesIO(b"xyz"), "a/b")
    with Proxy((host.hostname, host.port)) as proxy:
        storage = Storage(dataclasses.replace(settings, s3_endpoint=proxy.url))
        with proxy.spoiling(Fault(status=403, code="RequestTimeTooSkewed"), {"HEAD"}, times=1):
            assert storage.size("uploads/a") == 3


def expires_in(url):
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    return int(query["X-Amz-Expires"][0])
