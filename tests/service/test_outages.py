"""Processes that die and servers that go away: who notices, what they are told, what recovers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from tests.service import media
from tests.service.helpers import (
    LIMITS,
    Api,
    becomes,
    drawing_renderer,
    eventually,
    live,
    metrics_of,
    model_server,
    problem,
    work_horse,
)
from tests.service.replica import Replica


def checks(api) -> dict[str, bool]:
    """What /readyz says of each part; an answer may be half a second old."""
    time.sleep(0.6)
    return {name: check["ok"] for name, check in api.get("/readyz").json()["checks"].items()}


def photo_works(api) -> bool:
    return api.blur(media.photo()).status_code == 200


@pytest.fixture
def stopped(pod, api):
    """Stops a program of the pod; starts it again at the end, if the test did not."""
    down = []

    def stop(program: str) -> Callable[[], None]:
        pod.control("stop", program)
        down.append(program)

        def start() -> None:
            down.remove(program)
            pod.control("start", program)

        return start

    yield stop
    for program in list(down):
        pod.control("start", program)
    eventually(api.ready, "the pod is ready again")


# the renderer and the workers


def test_a_renderer_that_dies_takes_only_its_own_request_along(api, pod):
    with ThreadPoolExecutor(2) as pool:
        doomed = pool.submit(api.blur, media.animation(60))
        victim = drawing_renderer(pod)
        other = pool.submit(lambda: [api.blur(media.photo()).status_code for _ in range(5)])
        time.sleep(0.1)  # the others are under way
        victim.kill()
        body = problem(doomed.result(), 422, "renderer-failed")
        assert other.result() == [200] * 5
    assert "died" in body["detail"]
    assert photo_works(api)
    eventually(lambda: len(pod.pids("renderer")) == 5, "the renderer has its processes again")


@pytest.fixture
def hurried(pod, scratch):
    """A replica in which drawings have no more time than photos."""
    time = LIMITS["MASQUERADE_IMAGE_DEADLINE"]
    own = {**LIMITS, "MASQUERADE_DRAWING_DEADLINE": time, "TMPDIR": str(scratch.path)}
    replica = Replica(pod, own)
    try:
        replica.start()
        yield replica
    finally:
        replica.kill()


def test_a_renderer_that_hangs_is_killed_at_its_deadline_alone(api, hurried):
    """Stopped, it neither answers nor dies; gunicorn kills it after the longest deadline."""
    api = Api(hurried.url, api.sent)
    with ThreadPoolExecutor(1) as pool:
        doomed = pool.submit(api.blur, media.animation(60))
        victim = drawing_renderer(hurried)
        victim.suspend()
        for _ in range(3):
            assert photo_works(api)
        assert not doomed.done()
        problem(doomed.result(), 504, "deadline-exceeded")
    eventually(lambda: not victim.is_running(), "the hung renderer is gone")


def test_a_work_horse_killed_amid_a_video_is_replaced(api, pod, clips):
    job_id = api.submit(clips.long())
    api.rendering(job_id)
    work_horse(pod).kill()
    api.until(job_id, lambda v: v["status"] == "queued" or v["attempts"] == 2)
    view = api.ended(job_id)
    assert (view["status"], view["attempts"]) == ("done", 2)
    assert len(media.frames(requests.get(view["result"]["url"], timeout=30).content)) == 90


def test_a_work_horse_that_always_dies_gives_up_with_a_reason(api, pod, bucket, clips):
    stored = bucket.keys()
    job_id = api.submit(clips.long())
    dead: set[int] = set()
    while api.job(job_id)["status"] != "failed":
        for pid in pod.pids("worker")[1:]:
            if pid not in dead and api.job(job_id)["status"] == "running":
                psutil.Process(pid).kill()
                dead.add(pid)
    view = api.job(job_id)
    assert (view["attempts"], view["error"]["code"]) == (3, "renderer-failed")
    assert "died; it may be damaged" in view["error"]["detail"]
    becomes(bucket.keys, stored, "objects of a failed job")


def test_a_worker_killed_amid_a_video_leaves_it_to_the_next(api, pod, clips):
    """The next one learns of it when the job's lease ends, half a minute later."""
    job_id = api.submit(clips.long())
    api.rendering(job_id)
    worker, *horses = (psutil.Process(pid) for pid in pod.pids("worker"))
    worker.kill()
    eventually(lambda: not any(horse.is_running() for horse in horses), "its work-horse is gone")
    view = api.ended(job_id)
    assert (view["status"], view["attempts"]) == ("done", 2)


def test_a_worker_that_is_stopped_hands_its_video_back(api, pod, clips, stopped):
    job_id = api.submit(clips.long())
    api.rendering(job_id)
    begun = time.monotonic()
    start = stopped("worker")
    assert time.monotonic() - begun < 10
    assert api.job(job_id)["status"] == "queued"
    start()
    view = api.ended(job_id)
    assert (view["status"], view["attempts"]) == ("done", 2)


# the model server


def test_the_model_server_s_starter_dies(api, pod):
    """Java would live on and keep the ports from its successor."""
    java = model_server(pod)
    psutil.Process(pod.pids("torchserve")[0]).kill()
    eventually(lambda: not java.is_running(), "the old server is gone")
    eventually(lambda: model_server(pod).is_running() and api.ready(), "the new one is ready")
    assert photo_works(api)


def test_no_model_server(api, stopped):
    start = stopped("torchserve")
    becomes(
        lambda: checks(api),
        {"model": False, "storage": True, "queue": True, "renderer": True},
        "what is ready",
    )
    for answer in (api.blur(media.photo()), api.blur_base64(media.photo("png"))):
        problem(answer, 503, "model-unavailable")
    upload_id = api.upload(media.photo())
    ask = {"json": {"upload_id": upload_id}}
    problem(api.call("POST", "/v1/blur", **ask), 503, "model-unavailable")
    assert api.get("/healthz").status_code == 200
    start()
    eventually(api.ready, "the model is back")
    assert api.call("POST", "/v1/blur", **ask).status_code == 200  # the upload was kept


# the renderer, the object store and the queue as a whole


def test_no_renderer(api, stopped, clips):
    start = stopped("renderer")
    becomes(
        lambda: checks(api),
        {"model": True, "storage": True, "queue": True, "renderer": False},
        "what is ready",
    )
    problem(api.blur(media.photo()), 503, "renderer-unavailable")
    problem(api.blur(clips.short()), 503, "renderer-unavailable")
    start()
    eventually(lambda: photo_works(api), "photos work again")


def test_no_object_store(api, stopped, clips):
    start = stopped("s3")
    becomes(
        lambda: checks(api),
        {"model": True, "storage": False, "queue": True, "renderer": True},
        "what is ready",
    )
    begun = time.monotonic()
    problem(api.blur(media.photo()), 503, "storage-unavailable")
    assert time.monotonic() - begun < 20
    problem(api.blur(clips.short()), 503, "storage-unavailable")
    problem(api.call("POST", "/v1/blur", json={"upload_id": "a" * 32}), 503, "storage-unavailable")
    start()
    eventually(lambda: photo_works(api), "photos work again")


def test_no_queue(api, stopped, clips):
    start = stopped("redis")
    expected = {"model": True, "storage": True, "queue": False, "renderer": True}
    becomes(lambda: checks(api), expected, "what is ready")
    assert api.get("/readyz").status_code == 503
    assert api.get("/readyz?exclude=queue&exclude=storage").status_code == 200  # the kubelet's
    assert photo_works(api)
    problem(api.blur(clips.short()), 503, "queue-unavailable")
    ask = {"json": {"upload_id": api.upload(clips.short())}}
    problem(api.call("POST", "/v1/blur", **ask), 503, "queue-unavailable")
    problem(api.get("/v1/jobs/" + "a" * 32), 503, "queue-unavailable")
    problem(api.call("DELETE", "/v1/jobs/" + "a" * 32), 503, "queue-unavailable")
    assert "masquerade_queue_up 0.0" in api.get("/metrics").text
    start()
    answer = api.call("POST", "/v1/blur?wait=100", **ask)  # the upload was kept
    assert answer.json()["status"] == "done"


def answers(api) -> bool:
    try:
        return bool(api.get("/healthz", timeout=5).status_code == 200)
    except requests.RequestException:
        return False


def test_a_gateway_process_dies(api, pod):
    master, *workers = (psutil.Process(pid) for pid in pod.pids("gateway"))
    workers[0].kill()
    eventually(lambda: len(pod.pids("gateway")) == 1 + len(workers), "it is replaced")
    counters = metrics_of(master)
    master.kill()
    eventually(lambda: not any(worker.is_running() for worker in workers[1:]), "all are gone")
    eventually(lambda: answers(api), "a new gateway answers")
    assert photo_works(api)
    if counters.exists():  # the old gateway's processes outlived the new one's start
        pod.control("restart", "gateway")
        eventually(lambda: answers(api), "the gateway answers again")
    assert not counters.exists()


def test_the_gateway_stops_at_once_though_clients_hold_on(api, pod, clips, stopped):
    job_id = api.submit(clips.long())
    with ThreadPoolExecutor(2) as pool, requests.Session() as session:
        assert session.get(f"{api.url}/healthz").status_code == 200  # and is kept alive
        events = pool.submit(lambda: list(api.events(job_id)))
        waiting = pool.submit(api.blur, clips.long(), wait=60)
        eventually(lambda: live(api) == 2, "two jobs are there")
        begun = time.monotonic()
        start = stopped("gateway")
        assert time.monotonic() - begun < 8
        assert events.result()[-1][0] == "progress"
        assert waiting.result().status_code == 202
    start()
    eventually(lambda: answers(api), "the gateway answers again")
    for each in (job_id, waiting.result().json()["id"]):
        assert api.ended(each)["status"] == "done"


def test_the_gateway_restarts_without_losing_a_video(api, pod, clips):
    job_id = api.submit(clips.long())
    api.rendering(job_id)
    pod.control("restart", "gateway")
    eventually(lambda: answers(api), "the gateway answers again")
    view = api.ended(job_id)
    assert (view["status"], view["attempts"]) == ("done", 1)
