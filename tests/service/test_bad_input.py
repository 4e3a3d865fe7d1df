"""What bad input gets: a problem with a stable code, at once, and nothing is left of it."""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import struct
import time
import zlib

import av
import pytest
import requests
from PIL import Image

from gateway.settings import MIB
from tests import clips as synthetic
from tests.clips import Clip, Sound
from tests.service import media
from tests.service.helpers import PATIENCE, becomes, problem, read_answer


@pytest.fixture(autouse=True)
def the_pod_goes_on(api, bucket):
    """Nothing was stored, and the next photo is blurred."""
    before = bucket.keys()
    yield
    becomes(bucket.keys, before, "objects in the bucket")
    assert api.blur(media.photo()).status_code == 200


WAYS = ("form", "base64", "upload")


def send(api, way: str, body: bytes) -> requests.Response:
    """Hand a file in, on one of the three ways, and wait where it is a video."""
    if way == "form":
        return api.blur(body, wait=100)
    if way == "base64":
        text = base64.b64encode(body).decode()
        return api.call("POST", "/v1/blur?wait=100", json={"file": text})
    ticket = api.call("POST", "/v1/uploads").json()
    assert requests.put(ticket["url"], data=body, timeout=PATIENCE).status_code == 200
    return api.call("POST", "/v1/blur?wait=100", json={"upload_id": ticket["upload_id"]})


# files


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_file(api, way):
    problem(send(api, way, b""), 400, "empty-upload")


NOT_MEDIA = {
    "text": b"not a picture at all",
    "pdf": b"%PDF-1.7\n" + bytes(3000),
    "zip": b"PK\x03\x04" + bytes(3000),
    "html": b"<!doctype html><img src=x onerror=alert(1)>",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "playlist": b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "noise": random.Random(3).randbytes(9000),
    "zeros": bytes(9000),
}


@pytest.mark.parametrize("kind", NOT_MEDIA)
def test_not_media(api, kind):
    for way in WAYS:
        problem(send(api, way, NOT_MEDIA[kind]), 415, "unsupported-media")


@pytest.mark.parametrize("kind", media.FORMATS)
def test_a_truncated_photo(api, kind):
    body = media.photo(kind)
    for way in WAYS:
        problem(send(api, way, body[: len(body) // 3]), 422, "bad-media")


@pytest.mark.parametrize("way", WAYS)
def test_a_truncated_video(api, way, clips):
    body = clips.short()
    problem(send(api, way, body[: len(body) // 2]), 422, "bad-media")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size, with next to no pixels in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_decompression_bomb(api, way):
    begun = time.monotonic()
    problem(send(api, way, png_header(60_000, 60_000)), 413, "too-large")
    assert time.monotonic() - begun < 5


def test_too_many_pixels(api):
    large = media.encoded(Image.new("L", (5000, 4000)), "png")
    problem(api.blur(large), 413, "too-large")


def test_too_long(api, tmp_path):
    path = synthetic.make(tmp_path / "a.mp4", Clip(frames=80, rate=1))
    problem(send(api, "form", path.read_bytes()), 413, "too-large")


def sound_only(path) -> bytes:
    both = synthetic.make(path.with_name("both.mp4"), Clip(sounds=[Sound()]))
    with av.open(str(both)) as good, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(good.streams.audio[0])
        for packet in good.demux(audio=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return path.read_bytes()


def no_frames(path) -> bytes:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()
    return path.read_bytes()


def unknown_codec(path) -> bytes:
    body = synthetic.make(path, Clip()).read_bytes()
    return body.replace(b"avc1\x00", b"zzz9\x00")


def unread_codec(path) -> bytes:
    return synthetic.make(path, Clip(codec="ffv1")).read_bytes()


def scrambled(path) -> bytes:
    """A video whose index is whole and whose frames are not."""
    synthetic.make(path, Clip(frames=60, options={"g": "1"}))
    body = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    for pos, size in places:
        body[pos + 4 : pos + size] = bytes(size - 4)
    return bytes(body)


BAD_VIDEOS = {
    "sound only": (sound_only, "a.mp4", 422, "bad-media"),
    "zero frames": (no_frames, "a.mkv", 422, "bad-media"),
    "unknown codec": (unknown_codec, "a.mp4", 415, "unsupported-media"),
    "a codec that is not read": (unread_codec, "a.mkv", 415, "unsupported-media"),
    "scrambled frames": (scrambled, "a.mp4", 422, "bad-media"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_a_bad_video(api, tmp_path, way, kind):
    make, name, status, code = BAD_VIDEOS[kind]
    problem(send(api, way, make(tmp_path / name)), status, code)


def test_a_failed_job_tells_the_same_story_everywhere(api, tmp_path):
    answer = api.blur_uploaded(sound_only(tmp_path / "a.mp4"))
    assert answer.status_code == 202
    job_id = answer.json()["id"]
    name, last = list(api.events(job_id))[-1]
    assert name == last["status"] == "failed"
    assert last["error"]["code"] == "bad-media"
    assert last["error"]["status"] == 422
    assert "no video" in last["error"]["detail"]
    assert api.job(job_id) == last
    assert api.call("DELETE", f"/v1/jobs/{job_id}").status_code == 200


# sizes


def test_a_declared_length_of_5_gb_is_refused_unread(api):
    begun = time.monotonic()
    head = (
        "POST /v1/blur HTTP/1.1\nHost: pod\nContent-Type: multipart/form-data; boundary=b\n"
        f"Content-Length: {5 * 1024 * MIB}\n\n"
    )
    with api.raw(head) as connection:
        problem(read_answer(connection), 413, "too-large")
        assert time.monotonic() - begun < 2
        assert connection.recv(1) == b""  # and the connection is closed


def test_a_client_that_asks_first_is_told_before_it_sends(api):
    head = (
        "POST /v1/blur HTTP/1.1\nHost: pod\nContent-Type: multipart/form-data; boundary=b\n"
        f"Content-Length: {5 * 1024 * MIB}\nExpect: 100-continue\n\n"
    )
    with api.raw(head) as connection:
        data = connection.recv(4096)
        assert b"413" in data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n") + connection.recv(4096)


@pytest.mark.parametrize("way", ["form", "base64", "upload"])
def test_a_file_over_the_limit(api, way):
    body = media.photo() + bytes(25 * MIB)
    if way == "upload":
        answer = api.call("POST", "/v1/uploads", json={"size": len(body)})
    else:
        answer = send(api, way, body)
    problem(answer, 413, "too-large")


@pytest.mark.parametrize("way", WAYS)
def test_a_photo_over_the_limit_of_photos(api, way):
    problem(send(api, way, media.photo() + bytes(13 * MIB)), 413, "too-large")


def test_an_upload_that_grew_over_the_limit(api):
    problem(send(api, "upload", media.photo() + bytes(25 * MIB)), 413, "too-large")


def test_an_endless_body_is_cut_off(api):
    head = (
        "POST /v1/blur HTTP/1.1\nHost: pod\nContent-Type: multipart/form-data; boundary=b\n"
        "Transfer-Encoding: chunked\n\n"
    )
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    sent = 0
    with api.raw(head, b"%x\r\n%b\r\n" % (len(part), part)) as connection:
        piece = b"%x\r\n%b\r\n" % (MIB, media.photo()[:100].ljust(MIB))
        with contextlib.suppress(OSError):  # it stops listening at some point
            while sent < 100:
                connection.sendall(piece)
                sent += 1
        problem(read_answer(connection), 413, "too-large")


# requests


@pytest.mark.parametrize(
    "options",
    [
        {"style": "blurry"},
        {"shape": "star"},
        {"scale": "0.5"},
        {"scale": "9"},
        {"scale": "nan"},
        {"threshold": "high"},
        {"threshold": "0"},
        {"audio": "louder"},
        {"colour": "red"},
        {"scale": ""},
    ],
)
def test_wrong_options(api, options):
    for call in (api.blur, api.blur_base64, api.blur_uploaded):
        body = problem(call(media.photo(), **options), 422, "bad-option")
        assert next(iter(options)) in body["detail"]


@pytest.mark.parametrize("wait", ["-1", "long", "nan", ""])
def test_a_wrong_wait(api, wait):
    problem(api.blur(media.photo(), wait=wait), 422, "bad-option")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b"hello"),
        ("application/octet-stream", b"\xff\xd8\xff"),
        ("image/jpeg", b"\xff\xd8\xff"),
        ("application/xml", b"<file/>"),
        ("", b"x"),
        ("", b""),
    ],
)
def test_a_wrong_content_type(api, kind, body):
    headers = {"Content-Type": kind} if kind else {}
    problem(api.call("POST", "/v1/blur", data=body, headers=headers), 415, "unsupported-media")


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b""),
        (FORM, b"no part at all"),
        (FORM, b"--b--\r\n"),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ncut off'),
        ({"Content-Type": "multipart/form-data"}, b"--b\r\n"),
        ({"Content-Type": "application/json"}, b"{"),
        ({"Content-Type": "application/json"}, b"[]"),
        ({"Content-Type": "application/json"}, b"null"),
        ({"Content-Type": "application/json"}, b'{"file": 7}'),
        ({"Content-Type": "application/json"}, b'{"file": "%%%"}'),
        ({"Content-Type": "application/json"}, b'{"file": "abcde"}'),
        ({"Content-Type": "application/json"}, b'{"upload_id": ["x"]}'),
        ({"Content-Type": "application/json"}, b"\xff\xfe"),
        ({"Content-Type": "application/json"}, b"[" * 50_000),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"style=solid"),
    ],
)
def test_a_malformed_body(api, headers, body):
    problem(api.call("POST", "/v1/blur", data=body, headers=headers), 400, "bad-request")


def test_no_body_as_json(api):
    answer = api.call("POST", "/v1/blur", json={})
    problem(answer, 400, "empty-upload")


def test_two_files_and_a_file_with_an_upload(api):
    file = ("file", ("a.jpg", media.photo()))
    problem(api.call("POST", "/v1/blur", files=[file, file]), 400, "bad-request")
    both = api.call("POST", "/v1/blur", files=[file], data={"upload_id": "a" * 32})
    problem(both, 400, "bad-request")


def test_too_many_parts(api):
    parts = [(f"field{n}", (None, "x")) for n in range(200)]
    problem(api.call("POST", "/v1/blur", files=parts), 413, "too-large")


@pytest.mark.parametrize("upload_id", ["a" * 32, "nope", "../results/x", "", "%00", "é" * 32])
def test_an_unknown_upload(api, upload_id):
    answer = api.call("POST", "/v1/blur", json={"upload_id": upload_id})
    if upload_id:
        problem(answer, 404, "not-found")
    else:
        problem(answer, 400, "empty-upload")


@pytest.mark.parametrize("size", [0, -1, "5", 1.5, True])
def test_a_wrong_upload_size(api, size):
    problem(api.call("POST", "/v1/uploads", json={"size": size}), 400, "bad-request")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("job_id", ["nope", "a" * 32, "%2e%2e", "%00", "é", "a" * 500])
def test_an_unknown_job(api, method, job_id):
    problem(api.call(method, f"/v1/jobs/{job_id}"), 404, "not-found")
    problem(api.get(f"/v1/jobs/{job_id}/events"), 404, "not-found")


def test_what_is_no_http_is_turned_away(api):
    for garbage in (b"\x16\x03\x01 TLS?\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 9000 + b"\r\n"):
        with socket.create_connection(api.address, timeout=30) as connection:
            connection.sendall(garbage)
            assert connection.recv(4096).startswith(b"HTTP/1.1 4")
