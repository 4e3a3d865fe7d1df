"""The search for leaks finds each kind of leak, in each way of writing, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import logging
import random
import zlib

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from gateway.logs import JsonFormatter
from tests import leaks
from tests.leaks import NAME, SECRET, Folder, Leak, Needles, Sent
from tests.service import media
from tests.service.watch import growth

BODY = random.Random(1).randbytes(5000)


@pytest.fixture
def needles():
    sent = Sent()
    sent.note(BODY)
    return Needles(sent)


def logged(message: str) -> bytes:
    record = logging.LogRecord("gateway", logging.INFO, "", 0, message, None, None)
    return JsonFormatter().format(record).encode()


@pytest.mark.parametrize(
    "line",
    [
        f"took in {NAME}.jpg",
        f"took in {NAME!r}",
        f"/tmp/{SECRET}.jpg",
        base64.b64encode(f"x{SECRET}".encode()).decode(),
        base64.b64encode(f"xy{SECRET}z".encode()).decode(),
        f"read {BODY!r}",
        f"read {base64.b64encode(BODY).decode()}",
        f"read {BODY.hex()}",
        "GET /OLGA-0815%20am%20Meer",
    ],
)
def test_a_line_of_a_log_that_tells_too_much(tmp_path, needles, line):
    folder = Folder(tmp_path)
    log = tmp_path / "logs" / "gateway.log"
    log.parent.mkdir()
    log.write_bytes(logged("request") * 100)
    assert list(found(folder, needles)) == []
    with log.open("ab") as file:
        file.write(logged(line))
    assert {leak.where for leak in found(folder, needles)} == {"logs/gateway.log"}
    assert list(found(folder, needles)) == []  # told once


def found(folder, needles):
    return [leak for name, data in folder.new() for leak in needles.in_text(data, name)]


def test_a_temporary_file_with_an_upload(tmp_path, needles):
    folder = Folder(tmp_path)
    (tmp_path / "spooled").write_bytes(b"--boundary\r\n" + BODY)
    assert found(folder, needles) == [Leak("a piece of an upload", "spooled")]


def test_an_object_that_is_an_upload_or_has_its_words(needles):
    assert list(needles.in_object(BODY, "a")) == [Leak("an upload", "a")]
    for kind in ("jpeg", "png", "webp", "gif"):
        assert Leak(SECRET, "b") in list(needles.in_object(media.photo(kind), "b")), kind
    assert list(needles.in_object(BODY[:4000], "sound may be the same")) == []


def test_each_piece_is_found_among_many_wherever_it_stands():
    made = random.Random(2)
    sent = Sent()
    bodies = [made.randbytes(400) for _ in range(40)]
    assert not any(sent.piece_in(body) for body in bodies)
    for body in bodies:
        sent.note(body)
    for number, body in enumerate(bodies):
        for piece in leaks.pieces(body):
            for form in leaks.forms(piece):
                before = made.randbytes(number)
                assert sent.piece_in(before + form)
                assert sent.piece_in(before + form + made.randbytes(number))
                assert not sent.piece_in(before + form[:-1])
                assert not sent.piece_in(form[1:] + before)


def test_redis(redis_url, needles):
    redis = Redis.from_url(redis_url)
    redis.flushall()
    redis.hset("job", mapping={"options": json.dumps({"style": "solid"})})
    assert list(leaks.in_redis(redis, needles)) == []
    redis.set(f"job:{SECRET}", 1)
    redis.hset("a", mapping={"name": NAME})
    redis.hset("b", mapping={NAME: 1})
    redis.rpush("c", zlib.compress(NAME.encode()))
    redis.sadd("d", SECRET)
    redis.zadd("e", {base64.b64encode(BODY): 1})
    redis.xadd("f", {"name": NAME})
    where = {leak.where for leak in leaks.in_redis(redis, needles)}
    assert where == {f"Redis: {key}" for key in (f"job:{SECRET}", *"abcdef")}
    redis.flushall()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "heif"])
def test_metadata_of_pictures(kind):
    assert leaks.metadata(media.photo(kind))
    plain = Image.new("RGB", (32, 32))
    assert leaks.metadata(media.encoded(plain, kind)) == {}


def test_metadata_of_videos(tmp_path):
    clip = media.Clips(tmp_path).short()
    assert SECRET in str(leaks.metadata(clip))
    untold = io.BytesIO()
    Image.new("RGB", (8, 8)).save(untold, "png")
    assert leaks.metadata(untold.getvalue()) == leaks.metadata(b"{}") == {}


def test_memory_that_grows_with_the_files_is_told_from_work_in_hand():
    files = np.arange(250, 250 * 41, 250)
    work = np.random.default_rng(3).uniform(0, 200, len(files))
    assert growth(files, 300 + work) < 10
    assert growth(files, 300 + work + 0.03 * files) > 25
    assert growth(files[:3], [1.0, 1.25, 1.5]) == pytest.approx(1)


def test_next_to_nothing_is_no_leak():
    sent = Sent()
    for body in (b"", b"hello", bytes(5000)):
        sent.note(body)
    assert list(Needles(sent).in_text(b"hello", "a log")) == []
    assert list(Needles(sent).in_text(b"", "an empty log")) == []
    assert list(Needles(sent).in_text(bytes(80), "a hole")) == []
