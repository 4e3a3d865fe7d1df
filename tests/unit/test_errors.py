"""Errors: stable codes, unique, revived across processes, answered in one shape."""

from __future__ import annotations

import errno

import pytest
from flask import Flask

from gateway import errors
from gateway.errors import Busy, MasqueradeError, TooLarge, by_code, revive
from gateway.fetch import faults as _  # noqa: F401 - part of the list
from gateway.http import problems
from gateway.pipelines import review  # noqa: F401
from gateway.settings import Settings

CODES = {
    "internal": 500,
    "bad-request": 400,
    "empty-upload": 400,
    "not-found": 404,
    "forbidden": 403,
    "unauthorized": 401,
    "length-required": 411,
    "limit-reached": 429,
    "empty-input": 422,
    "method-not-allowed": 405,
    "conflict": 409,
    "too-large": 413,
    "unsupported-media": 415,
    "bad-media": 422,
    "bad-option": 422,
    "bad-drawing": 422,
    "no-figure": 422,
    "bad-motion": 422,
    "busy": 429,
    "client-gone": 499,
    "model-unavailable": 503,
    "storage-unavailable": 503,
    "queue-unavailable": 503,
    "renderer-unavailable": 503,
    "launcher-unavailable": 503,
    "disk-full": 503,
    "renderer-failed": 422,
    "training-failed": 422,
    "deadline-exceeded": 504,
    "cancelled": 409,
    "content_rejected": 422,
    "image-too-small": 422,
    "image-too-narrow": 422,
    "source-failed": 422,
    "bad-url": 422,
    "url-credentials": 422,
    "ambiguous-host": 422,
    "forbidden-host": 422,
    "forbidden-port": 422,
    "forbidden-address": 422,
    "source-unknown-host": 422,
    "source-unreachable": 422,
    "source-untrusted": 422,
    "source-timeout": 422,
    "source-status": 422,
    "source-redirects": 422,
    "source-too-large": 413,
    "source-not-an-image": 415,
    "source-broken": 422,
}


def test_codes_and_statuses_are_stable():
    assert {code: kind.status for code, kind in by_code().items()} == CODES


def test_codes_are_unique():
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    kinds = [k for k in kinds if issubclass(k, MasqueradeError)]
    kinds.remove(errors.ModelFailed)  # which clients see as the model being away
    assert len({kind.code for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("kind", by_code().values(), ids=lambda kind: kind.code)
def test_an_error_survives_a_process_boundary(kind):
    again = revive(kind.code, "why")
    assert type(again) is kind
    assert str(again) == "why"


def test_clients_do_not_see_why_a_model_gave_nothing():
    assert type(revive(errors.ModelFailed.code, "why")) is errors.ModelUnavailable


def test_all_that_ask_to_come_back_say_when():
    for kind in by_code().values():
        assert (kind.retry_after is not None) == (kind.status in (429, 503)), kind.code


@pytest.fixture
def client():
    app = Flask(__name__)
    problems.register(app, Settings())
    faults = {
        "ours": TooLarge("too big"),
        "busy": Busy("wait", retry_after=7),
        "full": OSError(errno.ENOSPC, "/secret/path"),
        "bug": KeyError("secret"),
    }

    @app.get("/<name>")
    def fail(name):
        raise faults[name]

    return app.test_client()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/ours", 413, "too-large"),
        ("/busy", 429, "busy"),
        ("/full", 503, "disk-full"),
        ("/bug", 500, "internal"),
        ("/no/such", 404, "not-found"),
    ],
)
def test_one_shape_for_all(client, path, status, code):
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert set(answer.json) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    assert answer.json["type"] == f"about:blank#{code}"
    assert b"secret" not in answer.data


def test_retry_after_is_told(client):
    assert client.get("/busy").headers["Retry-After"] == "7"


def test_a_wrong_method_is_a_problem_and_says_which_are_right(client):
    answer = client.post("/ours")
    assert answer.status_code == 405
    assert answer.json["code"] == "method-not-allowed"
    assert "GET" in answer.headers["Allow"]
