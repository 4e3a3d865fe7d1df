"""``POST /v1/jobs`` and what follows, by Flask's client, on a real Redis and a real S3 server."""

from __future__ import annotations

import dataclasses
import io
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3

from gateway.cli.show_jobs import sheet
from gateway.errors import BadOption, LauncherUnavailable
from gateway.http import batches as routes
from gateway.jobs import batch_tasks
from gateway.jobs.attempts import Chances
from gateway.jobs.batch_queue import task_of
from gateway.jobs.batches import item_key
from gateway.launch import Order
from tests import batch_standin
from tests.batch_standin import photo, video
from tests.unit.test_http_jobs import events


@pytest.fixture
def put(services):
    """Put files into the input, by their names."""
    return lambda files: [
        services.storage.put(f"in/{name}", io.BytesIO(body), "a/b") for name, body in files.items()
    ]


@pytest.fixture
def wish(services):
    bucket = services.settings.s3_bucket
    return {"pipeline": "blur", "input": f"s3://{bucket}/in/", "output": f"s3://{bucket}/out/"}


@pytest.fixture
def work(services, monkeypatch):
    """Do what waits in the queue, in this process."""
    for name, module in batch_standin.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    settings = dataclasses.replace(services.settings, segment_seconds=0.0)

    def work(most=1000):
        queue = services.queue.batches
        while queue.depth() and most:
            message = queue.rq.pop_job_id()
            if found := queue.rq.fetch_job(message):
                found.delete()
            batch_id, key = task_of(message)
            batch_tasks.attempt(batch_id, key, settings, queue, services.storage, Chances(0))
            most -= 1

    return work


def test_submitting(client, put, wish):
    put({"a.jpg": photo()})
    answer = client.post("/v1/jobs", json=wish)
    assert answer.status_code == 202
    view = answer.json
    assert answer.headers["Location"] == f"/v1/jobs/{view['id']}"
    assert (view["kind"], view["pipeline"], view["status"]) == ("batch", "blur", "queued")
    assert view["input"] == wish["input"]
    assert view["options"]["style"] == "gaussian"
    assert (view["workers"], view["device"], view["gpus"]) == (0, "cpu", 1)
    assert view["items"] == {
        **{"total": 0, "done": 0, "skipped": 0, "failed": 0, "left": 0},
        **{"workers": 0, "listed": False},
    }
    assert (view["progress"]["stage"], view["progress"]["fraction"]) == ("list", 0.0)
    assert client.post("/v1/jobs", json=wish).json["id"] == view["id"]
    assert client.post("/v1/jobs", json={**wish, "report": True}).status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"pipeline": "grill"}, 422, "bad-option"),
        ({"wat": 1}, 422, "bad-option"),
        ({"options": {"style": "puce"}}, 422, "bad-option"),
        ({"input": "s3://other/x/"}, 403, "forbidden"),
        ({"input": "/etc"}, 403, "forbidden"),
        ({"input": "s3://{own}/nothing/"}, 422, "empty-input"),
        ({"output": "s3://{own}/in/"}, 422, "bad-option"),
        ({"output": 7}, 422, "bad-option"),
        ({"workers": "many"}, 422, "bad-option"),
        ({"options": {"style": "x" * 70_000}}, 413, "too-large"),
    ],
)
def test_what_is_refused(client, put, wish, services, change, status, code):
    put({"a.jpg": photo()})
    own = services.settings.s3_bucket
    change = {k: v.replace("{own}", own) if isinstance(v, str) else v for k, v in change.items()}
    answer = client.post("/v1/jobs", json={**wish, **change})
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert services.queue.batches.depth() == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff"])
def test_what_is_no_submission(client, body):
    answer = client.post("/v1/jobs", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "bad-request")


def test_a_training_is_checked(client):
    wrong = {"pipeline": "train", "model": "rigger", "params": {"no_such": 1}}
    answer = client.post("/v1/jobs", json=wrong)
    assert (answer.status_code, answer.json["code"]) == (422, "bad-option")
    assert "no_such" in answer.json["detail"]
    made = client.post("/v1/jobs", json={"pipeline": "train", "model": "rigger"}).json
    assert (made["kind"], made["model"], made["training"]) == ("training", "rigger", None)
    view = client.get(f"/v1/jobs/{made['id']}").json
    assert view["status"] == "queued"
    assert client.get(f"/v1/jobs/{made['id']}/items").status_code == 404
    assert client.delete(f"/v1/jobs/{made['id']}").json["status"] == "cancelled"


def test_the_view_of_a_batch_at_work(client, services, put, wish, work):
    put({"a.mp4": video(3), "b.mp4": video(error="bad-media"), "c.mp4": video(3)})
    job_id = client.post("/v1/jobs", json=wish).json["id"]
    work(most=3)
    store = services.queue.batches.store
    task = store.begin(store.get(job_id), item_key("c.mp4"))
    store.note(task, {"name": "c.mp4", "stage": "render", "fraction": 0.6, "fps": 20.0})
    store.redis.hincrbyfloat(f"masquerade:batch:{job_id}", "started_at", -10)
    view = client.get(f"/v1/jobs/{job_id}").json
    assert view["items"] == {
        **{"total": 3, "done": 1, "skipped": 0, "failed": 1, "left": 1},
        **{"workers": 1, "listed": True},
    }
    assert view["running"] == [{"name": "c.mp4", "stage": "render", "fraction": 0.6, "fps": 20.0}]
    (failure,) = view["failures"]
    assert (failure["name"], failure["code"], failure["status"]) == ("b.mp4", "bad-media", 422)
    assert failure["detail"] == "as the script says"
    progress = view["progress"]
    assert (progress["frames_done"], progress["video_seconds_done"]) == (30, 3.0)
    assert 0 < progress["fraction"] < 1
    assert progress["fps"] > 0 and progress["eta_seconds"] > 0
    assert progress["video_seconds_total"] > 3
    assert sum(p["length"] * p["video_seconds_per_second"] for p in view["pace"]) == pytest.approx(
        3
    )


def test_items_have_links(client, put, wish, work):
    put({f"{n}.jpg": photo() for n in range(5)})
    put({"bad.jpg": b"x"})
    job_id = client.post("/v1/jobs", json=wish).json["id"]
    work()
    page = client.get(f"/v1/jobs/{job_id}/items?limit=3").json
    assert len(page["items"]) == 3
    rest = client.get(page["next"]).json
    assert len(rest["items"]) == 2 and rest["next"] is None
    names = {item["name"] for item in page["items"] + rest["items"]}
    assert names == {f"{n}.jpg" for n in range(5)}
    body = urllib3.request("GET", page["items"][0]["url"]).data
    assert body.startswith(b"blurred ")
    (failure,) = client.get(f"/v1/jobs/{job_id}/items?state=failed").json["items"]
    assert (failure["name"], failure["code"]) == ("bad.jpg", "unsupported-media")
    assert client.get(f"/v1/jobs/{job_id}/items?state=odd").status_code == 422
    assert client.get(f"/v1/jobs/{job_id}/items?limit=x").status_code == 422


def test_retrying(client, put, wish, work):
    put({"a.jpg": photo(), "bad.jpg": b"x"})
    job_id = client.post("/v1/jobs", json=wish).json["id"]
    assert client.post(f"/v1/jobs/{job_id}/retry").status_code == 409
    work()
    assert client.get(f"/v1/jobs/{job_id}").json["status"] == "done"
    put({"bad.jpg": photo()})
    answer = client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json["retried"]) == (202, 1)
    assert answer.json["status"] == "queued"
    assert answer.json["launch"]["reason"].startswith("no worker")
    work()
    view = client.get(f"/v1/jobs/{job_id}").json
    assert (view["items"]["done"], view["failures"]) == (2, [])
    assert (view["progress"]["fraction"], view["progress"]["eta_seconds"]) == (1.0, 0.0)
    assert client.post(f"/v1/jobs/{'a' * 32}/retry").status_code == 404


def test_the_list_is_paged(client, services, put, wish):
    put({"a.jpg": photo()})
    made = []
    for n in range(5):
        time.sleep(0.01)
        out = wish["output"].replace("out", f"out{n}")
        made.append(client.post("/v1/jobs", json={**wish, "output": out}).json["id"])
    services.queue.submit("uploads/x", {})  # a single video is its owner's business
    seen, page = [], "/v1/jobs?limit=2"
    while page:
        answer = client.get(page).json
        seen += [job["id"] for job in answer["jobs"]]
        page = answer["next"]
    assert seen == made[::-1]
    assert "failures" not in answer["jobs"][0]
    assert client.get("/v1/jobs?limit=no").status_code == 422


def test_cancel_then_forget(client, services, put, wish, work):
    put({f"{n}.jpg": photo() for n in range(4)})
    job_id = client.post("/v1/jobs", json=wish).json["id"]
    work(most=2)
    assert client.delete(f"/v1/jobs/{job_id}").json["status"] == "cancelled"
    work()
    assert client.get(f"/v1/jobs/{job_id}").json["items"]["done"] == 1
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert len(list(services.storage.list("out/"))) == 1


def test_events_follow_a_batch(client, put, wish, work):
    put({f"{n}.jpg": photo(seconds=0.3) for n in range(4)})
    job_id = client.post("/v1/jobs", json=wish).json["id"]
    thread = threading.Thread(target=work)
    thread.start()
    seen = list(events(client.get(f"/v1/jobs/{job_id}/events")))
    thread.join()
    assert [name for name, _ in seen] == ["progress"] * (len(seen) - 1) + ["done"]
    assert len(seen) > 2
    assert seen[-1][1]["items"]["done"] == 4


class Launcher:
    def __init__(self, fault=None):
        self.fault, self.calls, self.launched = fault, [], set()
        self.most = 100

    def check(self, order):
        if order.parallelism > self.most:
            raise BadOption("so many are not to be had")

    def launch(self, batch_id, order):
        self.calls.append(order)
        if self.fault:
            raise self.fault
        self.launched.add(batch_id)

    def cancel(self, batch_id):
        self.calls.append("cancel")
        return True

    def view(self, batch_id):
        return {"name": "masquerade-x", "active": 3} if batch_id in self.launched else None


@pytest.fixture
def launcher(monkeypatch):
    made = Launcher()
    monkeypatch.setattr(routes, "launcher_for", lambda settings: made)
    return made


def test_workers_are_launched_and_removed(client, put, wish, launcher):
    put({"a.jpg": photo()})
    asked = {**wish, "workers": 7, "device": "gpu", "gpus": 2}
    view = client.post("/v1/jobs", json=asked).json
    assert view["launch"] == {"name": "masquerade-x", "active": 3}
    client.delete(f"/v1/jobs/{view['id']}")
    assert launcher.calls == [Order(7, "gpu", 2), "cancel"]


def test_without_workers_there_is_no_batch(client, services, put, wish, launcher):
    put({"a.jpg": photo()})
    launcher.fault = LauncherUnavailable("no quota")
    answer = client.post("/v1/jobs", json=wish)
    assert (answer.status_code, answer.json["code"]) == (503, "launcher-unavailable")
    (job,) = client.get("/v1/jobs").json["jobs"]
    assert job["status"] == "cancelled"


def test_what_the_launcher_cannot_do_is_refused_before_there_is_a_batch(
    client, put, wish, launcher
):
    put({"a.jpg": photo()})
    answer = client.post("/v1/jobs", json={**wish, "workers": 101})
    assert (answer.status_code, answer.json["code"]) == (422, "bad-option")
    assert client.get("/v1/jobs").json["jobs"] == []
    assert launcher.calls == []


def test_a_retry_that_no_workers_can_be_made_for_is_refused_before_anything_waits(
    client, services, put, wish, work, launcher
):
    put({"a.jpg": photo(), "bad.jpg": b"x"})
    job_id = client.post("/v1/jobs", json={**wish, "workers": 7}).json["id"]
    work()
    launcher.most = 6
    answer = client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json["code"]) == (422, "bad-option")
    assert client.get(f"/v1/jobs/{job_id}").json["status"] == "done"
    assert services.queue.batches.depth() == 0


def test_a_device_is_not_to_be_chosen_where_no_workers_are_made(client, put, wish):
    put({"a.jpg": photo()})
    answer = client.post("/v1/jobs", json={**wish, "device": "gpu"})
    assert (answer.status_code, answer.json["code"]) == (422, "bad-option")
    assert "MODEL_DEVICE" in answer.json["detail"]
    training = {"pipeline": "train", "model": "rigger", "device": "gpu"}
    assert client.post("/v1/jobs", json=training).status_code == 202  # it is its script's


def listens(services, name, queue, dead=False):
    """A worker's entry in RQ's lists."""
    redis, key = services.queue.redis, f"rq:worker:{name}"
    redis.sadd(f"rq:workers:{queue}", key)
    if not dead:
        redis.hset(key, "queues", queue)


@pytest.mark.parametrize(
    ("wanted", "queue"), [("blur", "{}-batch"), ("train", "{}-train")], ids=["batch", "training"]
)
def test_a_job_that_nobody_begins_says_why(client, services, put, wish, wanted, queue):
    put({"a.jpg": photo()})
    body = wish if wanted == "blur" else {"pipeline": "train", "model": "rigger"}
    queue = queue.format(services.settings.queue_name)
    listens(services, "other", services.settings.queue_name)
    listens(services, "killed", queue, dead=True)
    job_id = client.post("/v1/jobs", json=body).json["id"]
    view = client.get(f"/v1/jobs/{job_id}").json
    assert view["launch"]["reason"].startswith("no worker")
    assert ("MASQUERADE_TRAIN_PYTHON" in view["launch"]["reason"]) == (wanted == "train")
    assert view["launch"]["reason"] in sheet(view)
    listens(services, "right", queue)
    assert client.get(f"/v1/jobs/{job_id}").json["launch"] is None


def test_a_second_submission_does_not_cancel_the_first(client, put, wish, launcher):
    put({"a.jpg": photo()})
    first = client.post("/v1/jobs", json=wish).json["id"]
    launcher.fault = LauncherUnavailable("no quota")
    launcher.launched.clear()  # nor does it where nobody can tell of its workers
    assert client.post("/v1/jobs", json=wish).status_code == 503
    assert client.get(f"/v1/jobs/{first}").json["status"] == "queued"


def test_the_same_submitted_at_once_is_one(client, services, put, wish, launcher):
    put({"a.jpg": photo()})
    at_once = threading.Barrier(8)

    def submit(_):
        at_once.wait(30)
        answer = client.application.test_client().post("/v1/jobs", json=wish)
        return answer.status_code, answer.json["id"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(8)))
    ((status, job_id),) = set(answers)
    assert status == 202
    assert [job["id"] for job in client.get("/v1/jobs").json["jobs"]] == [job_id]
    assert services.queue.batches.depth() == 1


def test_a_submission_without_luck_does_not_cancel_its_like(client, put, wish, launcher):
    """The first makes the batch and gets no workers; the second, meanwhile, gets some."""
    put({"a.jpg": photo()})
    begun, go_on = threading.Event(), threading.Event()
    real = launcher.launch

    def launch(batch_id, order):
        launcher.launch = real
        begun.set()
        go_on.wait(30)
        raise LauncherUnavailable("no quota")

    launcher.launch = launch
    with ThreadPoolExecutor(1) as pool:
        other = client.application.test_client()
        unlucky = pool.submit(lambda: other.post("/v1/jobs", json=wish))
        assert begun.wait(30)
        lucky = client.post("/v1/jobs", json=wish)
        go_on.set()
        assert (unlucky.result().status_code, lucky.status_code) == (503, 202)
    assert client.get(f"/v1/jobs/{lucky.json['id']}").json["status"] == "queued"


def test_a_training_waits_in_a_queue_of_its_own(client, services, launcher):
    client.post("/v1/jobs", json={"pipeline": "train", "model": "rigger"})
    queue = f"{services.settings.queue_name}-train"
    assert launcher.calls == [Order(training=True, queue=queue)]
    assert services.queue.redis.llen(f"rq:queue:{queue}") == 1
    assert services.queue.batches.depth() == 1


def test_metrics_of_batches(client, put, wish, work):
    put({"a.mp4": video(3), "b.mp4": video(error="bad-media"), "c.mp4": video()})
    client.post("/v1/jobs", json=wish)
    work(most=3)
    time.sleep(0.2)
    text = client.get("/metrics").get_data(as_text=True)
    for line in (
        'masquerade_queue_waiting{kind="batch"} 1.0',
        'masquerade_batches_total{status="submitted"} 1.0',
        'masquerade_batch_items_total{outcome="done"} 1.0',
        'masquerade_batch_items_total{outcome="failed"} 1.0',
        "masquerade_dead_letters 1.0",
        "masquerade_video_seconds_total 3.0",
        "masquerade_video_frames_total 30.0",
    ):
        assert line in text, line
    (oldest,) = [row for row in text.splitlines() if 'oldest_seconds{kind="batch"}' in row]
    assert float(oldest.split()[1]) > 0.1
