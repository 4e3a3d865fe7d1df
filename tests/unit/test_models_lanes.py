"""The face detector's clients: within a request's deadline, and videos beside photos."""

from __future__ import annotations

import time

import pytest

from gateway import deadline
from gateway.errors import DeadlineExceeded
from gateway.models import FaceDetector, PatientDetector
from tests.played_pod import PlayedModel


@pytest.fixture
def model():
    played = PlayedModel()
    yield played
    played.server.shutdown()
    played.server.server_close()


def test_no_call_outlasts_the_time_that_its_request_has(model):
    model.delay = 1.5
    begun = time.monotonic()
    try:
        deadline.start(0.2)
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                FaceDetector(model.url, model.url).detect_encoded(b"x", 0.2)
    finally:
        deadline.start(float("inf"))
    assert time.monotonic() - begun < 1
    assert model.asked == ["/predictions/face_detector"]


@pytest.mark.parametrize("there", [True, False])
def test_videos_ask_the_copy_that_yields_to_photos_where_there_is_one(model, there):
    model.missing = "" if there else "_jobs"
    detector = PatientDetector(model.url, model.url)
    for _ in range(2):
        assert len(detector.detect_encoded(b"x", 0.2)) == 1
    copy, plain = "/predictions/face_detector_jobs", "/predictions/face_detector"
    assert model.asked == ([copy, copy] if there else [copy, plain, plain])


@pytest.mark.parametrize("there", [True, False])
def test_it_is_as_ready_as_the_one_that_it_asks(model, there):
    model.missing = "" if there else "_jobs"
    assert PatientDetector(model.url, model.url).ready() is None


def test_a_copy_that_comes_later_is_looked_at(model):
    detector = PatientDetector(model.url, model.url)
    model.missing = ("_detector", "_jobs")
    assert detector.ready() == "the model server answers 404"
    model.missing = "_jobs"
    assert detector.ready() is None
    model.missing = "_detector"
    assert detector.ready() is None
