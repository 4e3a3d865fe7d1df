"""Videos through the whole pod: jobs, waiting, events, cancelling, what comes out."""

from __future__ import annotations

import threading
import time

import numpy as np
import psutil
import pytest
import requests

from tests import clips as synthetic
from tests.service import media
from tests.service.helpers import becomes, eventually, problem, work_horse

RESULT = {
    *("url", "report_url", "expires_at", "content_type", "width", "height", "frames"),
    *("seconds", "tracks", "faces_detected", "faces_filled", "timings"),
}


def fetched(view: dict) -> bytes:
    assert view["status"] == "done", view
    result = requests.get(view["result"]["url"], timeout=30)
    assert result.status_code == 200
    assert result.headers["Content-Type"] == view["result"]["content_type"] == "video/mp4"
    return result.content


def report_of(view: dict) -> dict:
    return requests.get(view["result"]["report_url"], timeout=30).json()


def test_waiting_for_a_video(api, clips):
    before = clips.short()
    answer = api.blur(before, wait=100)
    assert answer.status_code == 200, answer.text
    view = answer.json()
    assert (view["status"], view["attempts"], view["progress"]["fraction"]) == ("done", 1, 1.0)
    assert set(view["result"]) == RESULT
    after = fetched(view)
    old, new = media.frames(before), media.frames(after)
    assert [frame.shape for frame in new] == [frame.shape for frame in old]
    assert len(new) == view["result"]["frames"] == 30
    assert media.sound(after) == media.sound(before)
    report = report_of(view)
    assert (report["id"], report["kind"], report["frames"]) == (view["id"], "video", 30)
    detected = filled = 0
    for entry in report["per_frame"]:
        a, b = old[entry["frame"]].astype(int), new[entry["frame"]]
        for face in entry["faces"]:
            detected += face["source"] == "detected"
            filled += face["source"] == "filled"
            x1, y1, x2, y2 = (round(v) for v in face["box"])
            # Wholly in the picture, and large enough for its middle to be no even surface.
            if x1 >= 0 <= y1 and x2 <= 640 and y2 <= 360 and x2 - x1 > 30:
                assert np.abs(a - b)[y1:y2, x1:x2].mean() > 4, entry
    assert detected == view["result"]["faces_detected"] > 0
    assert filled == view["result"]["faces_filled"]
    assert len(report["per_frame"]) == 30  # a large face is in every frame


def test_following_a_job_by_its_events(api, clips):
    answer = api.blur(clips.short())
    assert answer.status_code == 202
    view = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{view['id']}"
    assert view["status"] in ("queued", "running")
    seen = list(api.events(view["id"]))
    assert [name for name, _ in seen] == ["progress"] * (len(seen) - 1) + ["done"]
    fractions = [view["progress"]["fraction"] for _, view in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(seen) > 3
    stages = {view["progress"]["stage"] for _, view in seen}
    assert {"analyse", "render"} & stages
    assert seen[-1][1] | {"result": 0} == api.job(view["id"]) | {"result": 0}


def test_a_video_that_was_uploaded_first(api, bucket, clips):
    answer = api.blur_uploaded(clips.short(), style="pixelate", audio="drop")
    assert answer.status_code == 202, answer.text
    view = api.ended(answer.json()["id"])
    after = fetched(view)
    assert len(media.frames(after)) == 30
    assert media.sound(after) == []
    assert view["options"]["style"] == report_of(view)["options"]["style"] == "pixelate"
    assert bucket.keys("uploads/") == set()


def test_nothing_private_comes_out(api, clips):
    before = media.tagged(clips.short())
    assert before.count(media.SECRET.encode()) >= 2
    after = fetched(api.blur(before, wait=100).json())
    assert media.SECRET.encode() not in after
    assert b"+47.11" not in after


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mkv", "libx265", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.mov", "mpeg4", "yuv420p"),
    ],
)
def test_containers_and_codecs(api, tmp_path, name, codec, pix_fmt):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    clip = synthetic.Clip(codec=codec, pix_fmt=pix_fmt, options=options)
    path = synthetic.make(tmp_path / name, clip)
    after = fetched(api.blur(path.read_bytes(), wait=100).json())
    numbers = [synthetic.number(frame.mean(axis=2)) for frame in media.frames(after)]
    assert numbers == list(range(20))


def test_deleting_a_waiting_job(api, clips):
    first, second = api.submit(clips.long()), api.submit(clips.long())
    api.rendering(first)
    assert api.job(second)["status"] == "queued"
    view = api.call("DELETE", f"/v1/jobs/{second}").json()
    assert view["status"] == "cancelled"
    assert api.job(second)["status"] == "cancelled"
    assert list(api.events(second))[-1][0] == "cancelled"
    api.call("DELETE", f"/v1/jobs/{first}")
    assert api.ended(first)["status"] == "cancelled"


def test_deleting_a_running_job_stops_its_work(api, pod, bucket, clips):
    stored = bucket.keys()
    job_id = api.submit(clips.long())
    api.rendering(job_id)
    horse = work_horse(pod)
    assert api.call("DELETE", f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    eventually(lambda: not horse.is_running() or horse.status() == psutil.STATUS_ZOMBIE, "stopped")
    becomes(bucket.keys, stored, "objects of a cancelled job")
    # The worker takes the next one.
    assert api.blur(clips.short(), wait=100).json()["status"] == "done"


def test_deleting_a_finished_job_deletes_its_result(api, bucket, clips):
    stored = bucket.keys()
    view = api.blur(clips.short(), wait=100).json()
    # The original goes right after the job is done.
    eventually(lambda: len(bucket.keys() - stored) == 2, "result and report alone are left")
    assert api.call("DELETE", f"/v1/jobs/{view['id']}").json()["status"] == "done"
    assert bucket.keys() == stored
    assert requests.get(view["result"]["url"], timeout=30).status_code == 404
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        problem(api.call(method, f"/v1/jobs/{view['id']}{path}"), 404, "not-found")


def test_an_upload_belongs_to_one_job(api, clips):
    upload_id = api.upload(clips.long())
    first = api.call("POST", "/v1/blur", json={"upload_id": upload_id})
    second = api.call("POST", "/v1/blur", json={"upload_id": upload_id})
    problem(second, 409, "conflict")
    assert api.ended(first.json()["id"])["status"] == "done"


def test_the_gateway_is_quick_while_a_video_renders(api, clips):
    """A loose bound: the benchmark has the tight one."""
    job_id = api.submit(clips.long())
    api.rendering(job_id)
    over = threading.Event()
    threading.Thread(target=lambda: (api.ended(job_id), over.set())).start()
    times = []
    while not over.is_set():
        begun = time.perf_counter()
        assert api.get("/healthz").status_code == 200
        times.append(time.perf_counter() - begun)
        time.sleep(0.01)
    assert len(times) > 20
    assert np.median(times) < 0.1
    assert max(times) < 1.0
    assert api.job(job_id)["status"] == "done"
