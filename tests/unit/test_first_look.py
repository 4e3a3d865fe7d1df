"""What a body begins with, before it is read."""

from __future__ import annotations

import base64
import io
import json
import time

import pytest
import urllib3
from PIL import Image

from gateway.http import first_look
from gateway.media.sniff import is_moving, sniff
from tests.unit.http_fakes import JPEG, MP4, app_of, form, refused, services_of


def multipart(data, **before):
    return urllib3.encode_multipart_formdata({**before, "file": ("a", data)})[0]


def in_json(data, prefix="", **before):
    text = prefix + base64.b64encode(data).decode()
    return json.dumps({**before, "file": text}).encode()


@pytest.mark.parametrize("data", [JPEG, MP4])
@pytest.mark.parametrize(
    "body",
    [
        multipart,
        lambda data: multipart(data, style="solid", scale="1.2"),
        in_json,
        lambda data: in_json(data, prefix="data:image/jpeg;base64,", style="solid"),
        lambda data: in_json(data).replace(b"/", b"\\/"),
    ],
)
def test_the_file_is_found_in_the_first_bytes(body, data):
    seen = first_look._file_in(body(data)[:1000])
    assert seen[:60] == data[:60]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"upload_id": "x"}', multipart(b""), b"\r\n\r\n", b'{"file": "!!!"}']
)
def test_where_there_is_no_file_nothing_is_found(body):
    assert sniff(first_look._file_in(body)) is None


@pytest.mark.parametrize(
    "piece",
    [b"name=file;", b'"file"', b'"file" : ', b'"file":"data:', b'"file":"data:a,', b'"file": "AAA'],
)
def test_long_bodies_take_as_much_more_time_as_they_are_longer(piece):
    """Not the square of it; in processor time, of which the least of several."""

    def seconds(size):
        body = (piece * size)[:size]
        times = []
        for _ in range(5):
            begun = time.process_time()
            first_look._file_in(body)
            times.append(time.process_time() - begun)
        return max(min(times), 1e-5)

    assert seconds(16 * 8192) < 64 * seconds(8192)


def animation(kind, count):
    out = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (40 * n, 0, 0)) for n in range(count)]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_animations_are_told_from_photos(kind):
    assert is_moving(animation(kind, 3)[:4096])
    assert not is_moving(animation(kind, 1)[:4096])


def test_a_gif_may_move_always():
    assert is_moving(animation("GIF", 1)[:4096])
    assert not is_moving(JPEG)


@pytest.fixture
def full(settings):
    """Services with no place for a photo, but for videos."""
    import dataclasses

    services = services_of(dataclasses.replace(settings, max_photos_in_flight=1))
    with services.gates.photos.entered():
        yield services


def test_a_photo_is_refused_unread_and_a_video_goes_on(full):
    client = app_of(full).test_client()
    for wish in ({"data": form(JPEG)}, {"json": {"file": base64.b64encode(JPEG).decode()}}):
        refused(client.post("/v1/blur", **wish), 429, "busy")
    assert full.renderer.calls == []
    assert client.post("/v1/blur", data=form(MP4)).status_code == 202
    text = {"file": base64.b64encode(MP4).decode()}
    assert client.post("/v1/blur", json=text).status_code == 202
    assert [data for _, data in full.renderer.calls] == [MP4, MP4]


def test_no_more_than_the_beginning_is_read(full):
    body = multipart(JPEG + bytes(10**6))
    stream = io.BytesIO(body)
    answer = (
        app_of(full)
        .test_client()
        .post(
            "/v1/blur",
            input_stream=stream,
            content_type="multipart/form-data; boundary=" + body[2:34].decode(),
            headers={"Content-Length": str(len(body))},
        )
    )
    refused(answer, 429, "busy")
    assert stream.tell() <= 64 * 1024


def blank(side):
    """A picture of few bytes and many pixels."""
    out = io.BytesIO()
    Image.new("L", (side, side)).save(out, "PNG")
    return out.getvalue()


def test_a_picture_of_many_pixels_is_large_however_few_its_bytes(settings):
    services, large = services_of(settings), blank(2400)
    seen = []
    services.renderer.during = lambda: seen.append(services.gates.large_photos.working)
    client = app_of(services).test_client()
    assert len(large) < 100_000
    for data, working in ((large, 1), (blank(1000), 0)):
        assert client.post("/v1/blur", data=form(data)).status_code == 200
        assert seen.pop() == working


@pytest.mark.parametrize("size", [900_000, 1_100_000])
def test_base64_is_judged_by_the_file_early_and_late(settings, size):
    """Early by what is declared, late by what came: to the same places."""
    services = services_of(settings)
    client = app_of(services).test_client()
    data = JPEG + bytes(size - len(JPEG))
    gates = services.gates
    right = gates.of_photo(data[:4096], size)
    (wrong,) = {gates.photos, gates.large_photos} - {right}
    with wrong.entered(wrong.most):
        assert client.post("/v1/blur", data=in_json(data), **JSON).status_code == 200
    with right.entered(right.most):
        detail = refused(client.post("/v1/blur", data=in_json(data), **JSON), 429, "busy")
    assert f"too many {right.what} at once" in detail


JSON = {"content_type": "application/json"}


def test_calls_for_drawings_are_refused_unread(settings):
    services = services_of(settings)
    client = app_of(services).test_client()
    most = services.gates.drawings.most
    with services.gates.drawings.entered(most):
        for path in ("/v1/animate", "/v1/rigs", "/v1/motions", "/"):
            refused(client.post(path, data=b"anything"), 429, "busy")
        refused(client.put("/v1/rigs/" + "a" * 32, data=b"anything"), 429, "busy")
