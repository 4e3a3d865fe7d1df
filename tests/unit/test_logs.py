"""What logs and traces say of failures: kinds and places, nothing that anybody sent."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys

import pytest
from rq.queue import Queue
from rq.serializers import JSONSerializer

from gateway.jobs.queue import JobQueue
from gateway.jobs.worker import JobWorker
from gateway.logs import JsonFormatter
from gateway.object_names import new_token
from gateway.storage import Storage
from tests.leaks import NAME
from tests.servers import free_port
from tests.unit.http_fakes import app_of, services_of


def line(name, message, *args, level=logging.ERROR, error=None):
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, level, "", 1, message, args, info)
    return json.loads(JsonFormatter().format(record))


def chained():
    """Three exceptions in a chain, each of which says too much."""
    try:
        try:
            try:
                raise KeyError(NAME)
            except KeyError:
                raise ValueError(f"no {NAME}")  # noqa: B904
        except ValueError as error:
            raise RuntimeError(NAME) from error
    except RuntimeError as error:
        return error


def test_of_exceptions_kinds_and_places_are_told():
    told = line("gateway.jobs", "attempt failed: %s", "internal", error=chained())
    assert told["message"] == "attempt failed: internal"
    kinds = [one for one in told["exception"].splitlines() if not one.startswith(" ")]
    assert kinds == ["RuntimeError", "from ValueError", "from KeyError"]
    assert told["exception"].count(f"{__file__}:") == 3
    assert NAME not in json.dumps(told)


def test_a_chain_that_is_a_circle_ends():
    error, other = ValueError("a"), KeyError("b")
    error.__cause__, other.__cause__ = other, error
    assert line("gateway", "x", error=error)["exception"] == "ValueError\nfrom KeyError"


@pytest.mark.parametrize(
    ("message", "args", "said"),
    [
        ("Worker (pid:%s) exited with code %s.", (7, 3), "Worker (pid:7) exited with code 3."),
        ("job %s: exception raised (%s)\n%s", (NAME, "f", NAME), "job …: exception raised (…)\n…"),
        ("%(name)s is odd", ({"name": NAME},), "%(name)s is odd"),
        ("%d is no number", (NAME,), "%d is no number"),
        (f"Invalid request from 10.0.0.1: GET /{NAME}", (), "Invalid request from 10.0.0.1"),
        (ValueError(NAME), (), "ValueError"),
    ],
)
def test_a_library_s_complaints_quote_nothing(message, args, said):
    told = line("rq.worker", message, *args, level=logging.WARNING)
    assert told["message"] == said


def test_what_a_library_says_of_itself_is_told_whole():
    told = line("gunicorn.error", "Listening at: %s", "http://a", level=logging.INFO)
    assert told["message"] == "Listening at: http://a"


def test_a_store_that_is_away_is_logged_without_its_addresses(settings, caplog):
    """botocore's words hold the whole URL."""
    away = dataclasses.replace(settings, s3_endpoint=f"http://127.0.0.1:{free_port()}")
    services = dataclasses.replace(services_of(settings), storage=Storage(away, 2.0))
    upload = new_token()
    answer = app_of(services).test_client().post("/v1/blur", json={"upload_id": upload})
    assert answer.json["code"] == "storage-unavailable"
    lines = "".join(map(JsonFormatter().format, caplog.records))
    assert "EndpointConnectionError" in lines
    assert "object store does not answer" in lines
    assert upload not in lines


def test_rq_keeps_no_words_beside_a_failed_message(settings):
    jobs = JobQueue(settings)
    job = jobs.submit("uploads/x", {})
    message = jobs.message(job.id)
    message.retries_left = 0
    queue = Queue(message.origin, connection=jobs.redis, serializer=JSONSerializer)
    try:
        raise chained()
    except RuntimeError:
        JobWorker(settings).handle_job_failure(message, queue, exc_string=str(sys.exc_info()))
    kept = message.latest_result().exc_string
    assert kept.startswith("RuntimeError")
    assert NAME not in kept
