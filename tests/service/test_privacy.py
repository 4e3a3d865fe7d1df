"""The pod's own search for leaks finds what is planted in the pod."""

from __future__ import annotations

import base64
import json
import logging

import pytest
import skimage.data
from PIL import Image
from redis import Redis

from gateway.logs import JsonFormatter
from gateway.object_names import new_token
from tests.leaks import ENTRY, NAME, SECRET
from tests.service import media


@pytest.fixture
def place(bucket):
    """A result's key; what the test puts there is deleted."""
    key = f"results/{new_token()}/blurred.png"
    report = key.replace("blurred.png", "report.json")
    bucket.put(report, json.dumps({"options": {"threshold": 0.2}}).encode())
    yield key
    for each in (key, report):
        bucket.client.delete_object(Bucket=bucket.name, Key=each)


def test_a_bare_face_in_the_bucket(privacy, bucket, place):
    portrait = Image.fromarray(skimage.data.astronaut()[:300])
    bucket.put(place, media.encoded(portrait, "png"))
    (leak,) = privacy.bared()
    assert leak.where == place
    assert leak.what.startswith("a face")


def test_metadata_in_the_bucket(privacy, bucket, place):
    plain = Image.new("RGB", (64, 64))
    bucket.put(place, media.encoded(plain, "png", exif=media.secrets()))
    assert [leak.where for leak in privacy.bared()] == [place]
    assert [leak.what for leak in privacy.leaks()] == [SECRET]


def test_an_upload_in_the_bucket(privacy, bucket, place, api):
    body = media.encoded(Image.new("RGB", (64, 64)), "png")
    api.sent.note(body)
    bucket.put(place, body)
    (leak,) = privacy.leaks()
    assert (leak.what, leak.where.endswith(place)) == ("an upload", True)


@pytest.mark.parametrize("text", [NAME, ENTRY, base64.b64encode(media.photo()).decode()])
def test_a_line_in_a_log(privacy, pod, api, text):
    api.sent.note(media.photo())
    record = logging.LogRecord("gateway", logging.INFO, "", 0, f"took {text}", None, None)
    log = pod.logs / "planted.log"
    log.write_text(JsonFormatter().format(record))
    assert "logs/planted.log" in {leak.where for leak in privacy.leaks()}
    log.unlink()


def test_a_name_in_redis(privacy, pod):
    redis = Redis.from_url(pod.environment()["MASQUERADE_REDIS_URL"])
    redis.hset("planted", "name", NAME)
    found = {(leak.what, leak.where.split(":")[0]) for leak in privacy.leaks()}
    assert (NAME, "Redis") in found
    redis.set("planted", bytes(1024))  # so that it is not at the end of the append-only file
    redis.delete("planted")
    privacy.leaks()  # what the append-only file says of it is told by now


def test_a_spooled_file(privacy, scratch):
    """Which has a name, unlike those that the pod makes."""
    path = scratch.path / "spooled"
    path.write_bytes(media.photo())
    assert "spooled" in {leak.where for leak in privacy.leaks()}
    path.unlink()
