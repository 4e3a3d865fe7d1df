"""Hostile JSON where small JSON is expected: refused, and not read to its end."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import replace

import pytest

from gateway.settings import MIB
from tests.unit.http_fakes import JPEG, app_of, page, refused, services_of

HUGE = int("9" * 400)  # more than a float holds


@pytest.fixture
def client(settings):
    return app_of(services_of(settings)).test_client()


@pytest.fixture
def rig(client):
    answer = client.post("/v1/rigs", data={"file": (io.BytesIO(page()), "monster.png")})
    return f"/v1/rigs/{answer.json['rig_id']}"


def test_brackets_in_brackets_are_a_bad_request(client, rig):
    for method, path in (("PUT", rig), ("POST", "/v1/jobs"), ("POST", "/v1/uploads")):
        body = b'{"joints":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
        kind = "application/json"
        refused(client.open(path, method=method, data=body, content_type=kind), 400, "bad-request")


@pytest.mark.parametrize(
    ("path", "most"), [("/v1/jobs", 64 * 1024), ("/v1/rigs/" + "a" * 32, 8 * 1024**2)]
)
def test_a_body_of_undeclared_length_is_read_up_to_its_limit(client, rig, path, most):
    body = io.BytesIO(b" " * (most + 4 * 1024**2))
    method = "POST" if path == "/v1/jobs" else "PUT"
    answer = client.open(
        path if method == "POST" else rig,
        method=method,
        input_stream=body,
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": "", "wsgi.input_terminated": True},
    )
    refused(answer, 413, "too-large")
    assert body.tell() <= most + 1024**2


@pytest.mark.parametrize("path", ["/v1/blur", "/v1/animate", "/v1/rigs", "/", "/v1/classify"])
def test_a_file_in_json_of_undeclared_length_is_read_up_to_its_limit(settings, path):
    client = app_of(services_of(replace(settings, max_image_bytes=MIB))).test_client()
    body = io.BytesIO(b'{"file": "' + b"A" * 8 * MIB + b'"}')
    answer = client.post(
        path,
        input_stream=body,
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": "", "wsgi.input_terminated": True},
    )
    refused(answer, 413, "too-large")
    assert body.tell() < 4 * MIB


def test_the_json_of_an_upload_is_small(client):
    answer = client.post("/v1/uploads", data=b" " * 70_000, content_type="application/json")
    refused(answer, 413, "too-large")


def test_whole_numbers_beyond_every_float_are_out_of_range(client, rig):
    refused(client.put(rig, json={"joints": {"neck": [HUGE, 5]}}), 422, "bad-option")
    photo = {"file": base64.b64encode(JPEG).decode(), "scale": HUGE}
    refused(client.post("/v1/blur", json=photo), 422, "bad-option")
    refused(client.post("/v1/uploads", json={"size": HUGE}), 413, "too-large")


def test_a_pipeline_that_is_no_text_is_unknown(client):
    refused(client.post("/v1/jobs", json={"pipeline": ["blur"]}), 422, "bad-option")


@pytest.mark.parametrize("value", [b"[]", b"{}", b'"joints":1'])
def test_millions_of_values_are_not_parsed(client, rig, value):
    inner = b",".join([value] * (2_000_000 // len(value)))
    body = b"{" + inner + b"}" if b":" in value else b'{"joints":[' + inner + b"]}"
    begun = time.process_time()
    answer = client.put(rig, data=body, content_type="application/json")
    assert time.process_time() - begun < 0.05
    refused(answer, 413, "too-large")
