"""``/v1/uploads`` by Flask's client: tickets, and what becomes of a file that came so."""

from __future__ import annotations

import dataclasses

import pytest
import urllib3

from gateway.errors import BadMedia, ModelUnavailable, RendererFailed
from gateway.object_names import UPLOADS, new_token
from tests.servers import keys
from tests.unit.http_fakes import (
    JPEG,
    MP4,
    fetched,
    no_spool_left,
    refused,
    services_of,
)


@pytest.fixture
def services(settings):
    return services_of(
        dataclasses.replace(
            settings, max_upload_bytes=3 * 1024**2, max_image_bytes=1024**2, max_photos_in_flight=2
        )
    )


@pytest.fixture(autouse=True)
def nothing_stays_open():
    with no_spool_left():
        yield


def put(client, data, **asked):
    ticket = client.post("/v1/uploads", json=asked).json
    answer = urllib3.request(
        ticket["method"], ticket["url"], body=data, headers=ticket["headers"], retries=False
    )
    assert answer.status == 200, answer.data
    return ticket["upload_id"]


def test_a_ticket_for_an_upload(client):
    answer = client.post("/v1/uploads", json={"size": 1000, "content_type": "video/mp4"})
    assert answer.status_code == 201
    ticket = answer.json
    assert list(ticket) == ["upload_id", "method", "url", "headers", "expires_at", "max_bytes"]
    assert (ticket["method"], ticket["max_bytes"]) == ("PUT", 1000)
    assert ticket["headers"] == {"Content-Type": "video/mp4"}
    assert client.post("/v1/uploads").json["max_bytes"] == 3 * 1024**2


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"size": 5 * 1024**3}, 413, "too-large"),
        ({"size": 0}, 400, "bad-request"),
        ({"size": True}, 400, "bad-request"),
        ({"size": "9"}, 400, "bad-request"),
        ({"content_type": "a\r\nX: y/z"}, 400, "bad-request"),
        ({"content_type": 3}, 400, "bad-request"),
        ([], 400, "bad-request"),
    ],
)
def test_a_ticket_refused(client, asked, status, code):
    refused(client.post("/v1/uploads", json=asked), status, code)


@pytest.mark.parametrize("as_form", [True, False])
def test_an_uploaded_photo_is_blurred_and_forgotten(client, services, as_form):
    body = {"upload_id": put(client, JPEG, size=len(JPEG)), "style": "solid"}
    answer = client.post("/v1/blur", **({"data": body} if as_form else {"json": body}))
    assert answer.status_code == 200
    assert fetched(answer.json["url"]).data == b"blurred " + JPEG
    assert not [key for key in keys(services.storage) if key.startswith(UPLOADS)]
    refused(client.post("/v1/blur", json=body), 404, "not-found")


def test_an_uploaded_video_is_queued_where_it_lies(client, services):
    upload = put(client, MP4)
    answer = client.post("/v1/blur", json={"upload_id": upload})
    assert answer.status_code == 202
    assert services.queue.get(answer.json["id"]).original == UPLOADS + upload
    again = client.post("/v1/blur", json={"upload_id": upload})
    refused(again, 409, "conflict")
    assert keys(services.storage) == [UPLOADS + upload]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "empty-upload"),
        (b"text" * 100, 415, "unsupported-media"),
        (JPEG + bytes(2 * 1024**2), 413, "too-large"),
        (MP4 + bytes(4 * 1024**2), 413, "too-large"),
    ],
)
def test_a_bad_upload_is_refused_and_deleted(client, services, data, status, code):
    upload = put(client, data)
    refused(client.post("/v1/blur", json={"upload_id": upload}), status, code)
    assert keys(services.storage) == []


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (BadMedia("truncated"), False),
        (RendererFailed("died"), False),
        (RuntimeError("bug"), False),
        (ModelUnavailable("down"), True),
    ],
)
def test_an_upload_stays_only_where_asking_again_can_help(client, services, fault, kept):
    upload = put(client, JPEG)
    services.renderer.fault = fault
    assert client.post("/v1/blur", json={"upload_id": upload}).status_code >= 400
    assert keys(services.storage) == ([UPLOADS + upload] if kept else [])


def test_an_unknown_upload(client):
    refused(client.post("/v1/blur", json={"upload_id": new_token()}), 404, "not-found")
