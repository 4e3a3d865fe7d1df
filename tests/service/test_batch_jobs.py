"""Batches through the whole pod: a prefix of photos and videos, one of them long, one broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid

import numpy as np
import pytest

from deploy.local.pod import ROOT
from tests.leaks import ENTRY
from tests.service import media
from tests.service.helpers import FINAL, PATIENCE, becomes, problem, work_horse

LONG_PATIENCE = 3 * PATIENCE


@pytest.fixture
def place(bucket):
    """Prefixes of the test's own for input and output."""
    name = f"batch-{ENTRY}-{uuid.uuid4().hex[:8]}"
    return f"{name}/in/", f"{name}/out/"


@pytest.fixture
def submit(api, bucket, place):
    def submit(files, **more):
        for name, body in files.items():
            bucket.put(place[0] + name, body)
        source, target = (f"s3://{bucket.name}/{prefix}" for prefix in place)
        answer = api.call(
            "POST", "/v1/jobs", json={"pipeline": "blur", "input": source, "output": target, **more}
        )
        assert answer.status_code == 202, answer.text
        assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
        return answer.json()["id"]

    return submit


def ended(api, job_id):
    return api.until(job_id, lambda view: view["status"] in FINAL, LONG_PATIENCE)


def test_a_prefix_with_a_long_video_and_a_broken_one(api, bucket, place, submit, clips):
    long, photo = clips.minute(), media.photo()
    files = {
        "a.jpg": photo,
        "deep/b.mp4": clips.short(),
        "long.mp4": long,
        f"{ENTRY}.mp4": long[:40_000],
    }
    job_id = submit(files, report=True)
    view = ended(api, job_id)
    assert view["status"] == "done"
    counted = {name: view["items"][name] for name in ("total", "done", "failed", "left")}
    assert counted == {"total": 4, "done": 3, "failed": 1, "left": 0}
    (failure,) = view["failures"]
    assert (failure["name"], failure["code"]) == (f"{ENTRY}.mp4", "bad-media")
    found = {key.removeprefix(place[1]) for key in bucket.keys(place[1])}
    done = {"a.jpg", "deep/b.mp4", "long.mp4"}
    assert found == done | {f"{name}.report.json" for name in done}
    becomes(lambda: bucket.keys("work/"), set(), "parts of the long video")

    difference = media.change(photo, bucket.read(place[1] + "a.jpg"))
    assert difference[media.FACE].mean() > 5 > 2 > difference[media.SUIT].mean()
    whole = bucket.read(place[1] + "long.mp4")
    old, new = media.frames(long), media.frames(whole)
    assert len(old) == len(new) == 720
    assert media.sound(whole) == media.sound(long)
    report = json.loads(bucket.read(place[1] + "long.mp4.report.json"))
    assert "join_ms" in report["timings"]  # it was done in pieces
    assert report["frames"] == 720
    faced = {entry["frame"] for entry in report["per_frame"]}
    assert len(faced) > 700
    x1, y1, x2, y2 = (round(v) for v in report["per_frame"][200]["faces"][0]["box"])
    frame = report["per_frame"][200]["frame"]
    change = np.abs(old[frame].astype(int) - new[frame])[max(y1, 0) : y2, max(x1, 0) : x2]
    assert change.mean() > 4

    again = ended(api, submit({}, report=True))
    assert (again["items"]["skipped"], again["items"]["failed"]) == (3, 1)


def test_a_work_horse_is_killed_amid_a_batch(api, bucket, place, submit, clips, pod):
    job_id = submit({f"{n}.mp4": clips.long() for n in range(2)})
    api.until(job_id, lambda view: any(r["stage"] == "render" for r in view["running"]))
    os.kill(work_horse(pod).pid, signal.SIGKILL)
    view = ended(api, job_id)
    assert (view["status"], view["items"]["done"]) == ("done", 2)
    assert view["progress"]["video_seconds_done"] == 6.0
    assert len(bucket.keys(place[1])) == 2


def test_cancelling_amid_a_batch(api, bucket, place, submit, clips):
    job_id = submit({f"{n}.mp4": clips.long() for n in range(3)})
    api.until(job_id, lambda view: any(r["stage"] == "render" for r in view["running"]))
    assert api.call("DELETE", f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    events = list(api.events(job_id))
    assert [name for name, _ in events] == ["cancelled"]
    assert len(bucket.keys(place[1])) < 3
    assert api.call("DELETE", f"/v1/jobs/{job_id}").status_code == 200
    problem(api.get(f"/v1/jobs/{job_id}"), 404, "not-found")


def test_what_is_refused(api, bucket, place):
    own = f"s3://{bucket.name}"
    for source, status, code in (
        (f"{own}/{place[0]}", 422, "empty-input"),
        (f"{own}/uploads/", 403, "forbidden"),
        ("s3://somebody-elses/in/", 403, "forbidden"),
        ("/etc/", 403, "forbidden"),
    ):
        wish = {"pipeline": "blur", "input": source, "output": f"{own}/{place[1]}"}
        problem(api.call("POST", "/v1/jobs", json=wish), status, code)


def test_the_command_watches_to_the_end(api, bucket, place, pod):
    bucket.put(f"{place[0]}a.jpg", media.photo())
    source, target = (f"s3://{bucket.name}/{prefix}" for prefix in place)
    command = [sys.executable, "-m", "gateway.cli", "jobs", "submit", source, target, "--watch"]
    done = subprocess.run(
        [*command, "--url", pod.url], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert "1 total, 1 done, 0 skipped, 0 failed, 0 left" in done.stdout
    assert bucket.keys(place[1]) == {f"{place[1]}a.jpg"}


def test_a_burst_worker_helps_and_leaves(api, bucket, place, submit, pod):
    job_id = submit({f"{n}.jpg": media.photo() for n in range(4)})
    environment = {**os.environ, **pod.environment()}
    command = [sys.executable, "-m", "gateway.cli", "worker", "--burst"]
    assert subprocess.run(command, env=environment, cwd=ROOT, timeout=PATIENCE).returncode == 0
    view = ended(api, job_id)
    assert view["items"]["done"] == 4
