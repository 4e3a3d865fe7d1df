"""A full disk: the pod's temporary folder is a small file system of its own, filled up."""

from __future__ import annotations

import pytest

from tests.service import media
from tests.service.helpers import becomes, eventually, problem

PATIENT = "the temporary folder could not be made a file system of its own (needs mount rights)"


@pytest.fixture
def full(scratch, api):
    """A context manager: no byte of room while entered."""
    if not scratch.own:
        pytest.skip(PATIENT)
    yield scratch.full
    assert api.blur(media.photo()).status_code == 200


def test_nothing_can_be_taken_in(api, bucket, clips, full):
    before = bucket.keys()
    with full():
        problem(api.blur(media.photo()), 503, "disk-full")
        problem(api.blur_base64(media.photo()), 503, "disk-full")
        problem(api.blur(clips.short()), 503, "disk-full")
        assert api.get("/healthz").status_code == 200
        assert api.get("/readyz").status_code == 200
        assert api.get("/metrics").status_code == 200
        upload_id = api.upload(media.photo())  # does not pass through
        ask = {"json": {"upload_id": upload_id}}
        problem(api.call("POST", "/v1/blur", **ask), 503, "disk-full")
    assert bucket.keys("results/") == {key for key in before if key.startswith("results/")}
    assert api.call("POST", "/v1/blur", **ask).status_code == 200  # the upload was kept


def test_a_video_waits_for_room(api, full, clips):
    upload_id = api.upload(clips.short())
    with full():
        answer = api.call("POST", "/v1/blur", json={"upload_id": upload_id})
        assert answer.status_code == 202
        job_id = answer.json()["id"]
        api.until(job_id, lambda v: v["attempts"] == 1 and v["status"] == "queued")
    view = api.ended(job_id)
    assert view["status"] == "done"
    assert view["attempts"] > 1


def test_a_video_that_finds_no_room_fails_with_the_reason(api, bucket, full, clips):
    before = bucket.keys()
    upload_id = api.upload(clips.short())
    with full():
        job_id = api.call("POST", "/v1/blur", json={"upload_id": upload_id}).json()["id"]
        view = api.ended(job_id)
        assert (view["status"], view["error"]["code"]) == ("failed", "disk-full")
        becomes(bucket.keys, before, "objects of the failed job")
        # All processes live, without a place for as much as a byte.
        eventually(api.ready, "the pod is ready")
