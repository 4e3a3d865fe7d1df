"""Jobs against a real Redis and a real RQ worker: retries, kills, cancels, sweeps."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from gateway.errors import (
    BadMedia,
    Busy,
    DiskFull,
    ModelFailed,
    QueueUnavailable,
    StorageUnavailable,
)
from gateway.jobs import attempts, sweep, tasks
from gateway.jobs.attempts import Chances
from gateway.jobs.queue import JobQueue
from gateway.object_names import UPLOADS, new_token
from gateway.storage import Storage
from tests import worker_standin
from tests.servers import as_env, free_port, keys, process, wait_for

OPTIONS = {
    "style": "solid",
    "shape": "box",
    "scale": 1.5,
    "threshold": 0.3,
    "audio": "drop",
    "subtitles": "drop",
}


@pytest.fixture
def queue(settings):
    return JobQueue(settings)


@pytest.fixture
def store(queue):
    return queue.store


@pytest.fixture
def storage(settings):
    return Storage(settings)


@pytest.fixture
def submit(queue, storage):
    """Put a script for the played pipeline into the bucket and queue it."""

    def submit(**script):
        key = UPLOADS + new_token()
        storage.put(key, io.BytesIO(json.dumps(script).encode()), "application/octet-stream")
        return queue.submit(key, OPTIONS, script.get("frames", 4))

    return submit


@pytest.fixture
def worker(settings, queue, tmp_path):
    """Starts real workers."""
    with contextlib.ExitStack() as stack:

        def start(**changes):
            env = as_env(dataclasses.replace(settings, **changes))
            command = [sys.executable, "-m", "tests.worker_standin"]
            before = queue.redis.scard("rq:workers")
            up = lambda: queue.redis.scard("rq:workers") > before  # noqa: E731
            log = tmp_path / f"worker{time.monotonic()}.log"
            return stack.enter_context(process(command, up, log, env))

        yield start


def ended(store, job, seconds=20.0):
    wait_for(lambda: not store.get(job.id).live, seconds)
    return store.get(job.id)


def pids(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


# attempts, in this process


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setitem(sys.modules, "gateway.pipelines.blur_video", worker_standin)


def test_an_attempt_that_works(played, settings, store, storage, submit):
    job = submit(frames=6)
    tasks.attempt(job.id, settings, store, storage, Chances(0))
    done = store.get(job.id)
    assert done.status == "done"
    assert (done.result["frames"], done.result["width"], done.result["tracks"]) == (6, 64, 1)
    assert set(done.result["timings"]) == {"fetch_ms", "decode_ms", "store_ms", "total_ms"}
    assert keys(storage) == sorted(done.places)
    out = io.BytesIO()
    storage.fetch(done.result["key"], out)
    assert json.loads(out.getvalue().removeprefix(b"blurred ")) == OPTIONS
    report = io.BytesIO()
    storage.fetch(done.result["report_key"], report)
    assert json.loads(report.getvalue())["per_frame"] == []


@pytest.mark.parametrize(
    ("script", "code"),
    [({"error": "bad-media"}, "bad-media"), ({"bug": 1}, "internal"), ({"error": "busy"}, "busy")],
)
def test_an_attempt_that_fails_for_good(played, settings, store, storage, submit, script, code):
    job = submit(**script)
    tasks.attempt(job.id, settings, store, storage, Chances(0))
    failed = store.get(job.id)
    assert (failed.status, failed.error["code"]) == ("failed", code)
    assert "secret" not in failed.error["message"]
    assert keys(storage) == []


def test_what_the_user_did_wrong_is_not_tried_again(played, settings, store, storage, submit):
    job = submit(error="bad-media")
    tasks.attempt(job.id, settings, store, storage, Chances(2))
    assert store.get(job.id).status == "failed"


def test_what_passes_is_tried_again(played, settings, store, storage, submit):
    job = submit(error="model-unavailable")
    with pytest.raises(attempts.TryAgain):
        tasks.attempt(job.id, settings, store, storage, Chances(1))
    assert store.get(job.id).status == "queued"
    assert keys(storage) == [job.original]
    tasks.attempt(job.id, settings, store, storage, Chances(0))
    assert store.get(job.id).error["code"] == "model-unavailable"
    assert keys(storage) == []


def test_what_is_away_is_waited_for_at_no_attempts_expense(
    played, settings, store, storage, submit
):
    job = submit(error="model-unavailable")
    pauses, waited = [], 0.0
    while waited < 100:
        with pytest.raises(attempts.TryAgain) as away:
            tasks.attempt(job.id, settings, store, storage, Chances(0, 100.0, waited))
        assert store.get(job.id).status == "queued"
        pauses.append(away.value.pause)
        waited += pauses[-1]
    assert pauses == [2, 2, 4, 8, 16, 32, 36]
    tasks.attempt(job.id, settings, store, storage, Chances(0, 100.0, waited))
    assert store.get(job.id).error["code"] == "model-unavailable"


def test_what_is_not_away_is_not_waited_for():
    patient = Chances(0, 100.0)

    def refused(status):
        error = StorageUnavailable("x")
        answer = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        error.__cause__ = ClientError(answer, "GetObject")
        return error

    ours = (DiskFull("x"), BadMedia("x"), Busy("x"), ModelFailed("x"))
    for error in (*ours, refused(403), refused(400)):
        assert attempts.try_again(error, patient) is None
    for error in (refused(503), QueueUnavailable("x")):
        again = attempts.try_again(error, patient)
        assert (again.free, again.first, again.pause) == (True, True, 2)
    for error in (refused(403), ModelFailed("x")):
        again = attempts.try_again(error, Chances(1, 100.0))
        assert (again.free, again.first, again.pause) == (False, None, 0)


def test_a_cancel_while_it_renders(played, settings, store, storage, submit, monkeypatch):
    job = submit(frames=20, seconds=0.05)
    real = storage.fetch

    def fetch_and_cancel(*args):
        real(*args)
        store.cancel(job.id)

    monkeypatch.setattr(storage, "fetch", fetch_and_cancel)
    tasks.attempt(job.id, settings, store, storage, Chances(2))
    assert store.get(job.id).status == "cancelled"
    assert keys(storage) == []


def test_an_original_that_is_gone(played, settings, store, storage, submit):
    job = submit()
    storage.delete([job.original])
    tasks.attempt(job.id, settings, store, storage, Chances(2))
    assert store.get(job.id).error["code"] == "not-found"


def test_a_job_cancelled_before_its_turn_loses_its_original(settings, store, storage, submit):
    job = submit()
    store.cancel(job.id)
    tasks.attempt(job.id, settings, store, storage, Chances(2))
    assert keys(storage) == []


# real workers


def test_a_worker_does_a_job(worker, submit, store, storage, queue):
    job = submit(frames=3)
    worker()
    done = ended(store, job)
    assert (done.status, done.attempts) == ("done", 1)
    wait_for(lambda: keys(storage) == sorted(done.places))
    assert queue.depth() == 0


def test_a_killed_work_horse_is_retried_then_done(worker, submit, store, storage, tmp_path):
    marks = tmp_path / "marks"
    job = submit(frames=3, crash=[1], marks=str(marks))
    worker()
    done = ended(store, job)
    assert (done.status, done.attempts) == ("done", 2)
    assert len(set(pids(marks))) == 2
    wait_for(lambda: keys(storage) == sorted(done.places[2:]))


def test_a_work_horse_that_always_dies_fails_clearly(worker, submit, store, storage, tmp_path):
    job = submit(crash=[1, 2, 3, 4], marks=str(tmp_path / "marks"))
    worker(job_retries=2)
    failed = ended(store, job, 30)
    # the message was queued with the test's own settings, which allow two retries
    assert (failed.status, failed.attempts) == ("failed", 3)
    assert failed.error["code"] == "renderer-failed"
    assert failed.error["message"].endswith("died; it may be damaged")
    wait_for(lambda: keys(storage) == [])


def test_a_passing_fault_is_retried_by_the_worker(worker, submit, store, tmp_path):
    job = submit(error="model-unavailable", fail_on=[1], marks=str(tmp_path / "marks"))
    worker()
    done = ended(store, job)
    assert (done.status, done.attempts) == ("done", 2)


def test_a_hung_work_horse_dies_of_a_cancel(worker, submit, store, storage, queue, tmp_path):
    marks = tmp_path / "marks"
    job = submit(hang=True, marks=str(marks))
    worker()
    wait_for(lambda: store.get(job.id).progress.get("stage") == "render")
    time.sleep(0.5)
    assert queue.cancel(store.get(job.id))
    wait_for(lambda: not alive(pids(marks)[0]))
    wait_for(lambda: keys(storage) == [])
    assert store.get(job.id).status == "cancelled"
    follow_up = submit()
    assert ended(store, follow_up).status == "done"
    assert len(pids(marks)) == 1


def test_a_job_over_its_deadline(worker, settings, submit, store, storage, queue):
    queue._settings = dataclasses.replace(settings, video_deadline=1)
    job = submit(frames=100, seconds=0.05)
    worker()
    failed = ended(store, job)
    assert (failed.error["code"], failed.attempts) == ("deadline-exceeded", 1)
    wait_for(lambda: keys(storage) == [])


def test_a_killed_worker_takes_its_work_horse_along_and_another_takes_over(
    worker, submit, store, storage, tmp_path
):
    marks = tmp_path / "marks"
    job = submit(frames=40, seconds=0.05, marks=str(marks))
    first = worker()
    wait_for(lambda: pids(marks))
    os.kill(first.pid, signal.SIGKILL)  # not its group: the work-horse must die by itself
    wait_for(lambda: not alive(pids(marks)[0]), 5)
    killed = time.monotonic()
    worker()
    done = ended(store, job, 40)
    assert time.monotonic() - killed < 30
    assert (done.status, done.attempts) == ("done", 2)
    wait_for(lambda: keys(storage) == sorted(done.places[2:]))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# cancelling what waits, sweeping


def test_a_waiting_job_is_taken_out_of_the_queue(submit, store, queue):
    job = submit()
    assert queue.depth() == 1
    assert queue.cancel(job)
    assert queue.depth() == 0
    assert queue.message(job.id) is None
    assert not queue.cancel(job)


def test_a_forgotten_job_leaves_nothing_in_redis(submit, store, queue):
    job = submit()
    queue.cancel(job)
    queue.forget(job)
    left = {key.decode() for key in queue.redis.keys("*")}
    assert not [key for key in left if job.id in key]


def test_old_uploads_are_swept_unless_a_job_needs_them(submit, storage, queue, store):
    job = submit()
    storage.put("uploads/lost", io.BytesIO(b"x"), "a/b")
    assert sweep.old_uploads(queue, storage, timedelta(hours=1)) == 0
    assert sweep.old_uploads(queue, storage, timedelta(0) - timedelta(seconds=5)) == 1
    assert keys(storage) == [job.original]


def test_old_results_are_swept(storage):
    storage.put("results/a/blurred.jpg", io.BytesIO(b"x"), "a/b")
    assert sweep.old_results(storage, timedelta(hours=1)) == 0
    assert sweep.old_results(storage, timedelta(0)) == 0
    assert sweep.old_results(storage, timedelta(seconds=-5)) == 1


def test_old_motions_and_rigs_are_swept_a_rig_as_a_whole(storage, monkeypatch):
    for key in ("motions/m", "rigs/a/1-mask.png", "rigs/a/rig.json", "rigs/b/rig.json"):
        storage.put(key, io.BytesIO(b"x"), "a/b")
    assert sweep.old_drawings(storage, timedelta(hours=1)) == 0
    assert sweep.old_drawings(storage, timedelta(0)) == 0
    listed = list(storage.list(""))

    def aged(prefix):  # but the JSON of one rig, which was corrected just now
        for item in listed:
            if item.key.startswith(prefix):
                days = 0 if item.key == "rigs/a/rig.json" else 9
                yield dataclasses.replace(item, modified=item.modified - timedelta(days=days))

    monkeypatch.setattr(storage, "list", aged)
    assert sweep.old_drawings(storage, timedelta(days=7)) == 2
    monkeypatch.undo()
    assert keys(storage) == ["rigs/a/1-mask.png", "rigs/a/rig.json"]


def test_a_job_whose_message_was_lost_fails(submit, storage, queue, store, monkeypatch):
    job = submit()
    queue.message(job.id).delete()
    sweep.lost_jobs(queue, storage)
    assert store.get(job.id).live  # too young to be judged
    monkeypatch.setattr(sweep, "_SETTLING", -1)
    sweep.lost_jobs(queue, storage)
    assert store.get(job.id).status == "failed"
    assert keys(storage) == []


def test_the_sweep_leaves_live_jobs_alone(submit, settings, storage, queue, store, monkeypatch):
    monkeypatch.setattr(sweep, "_SETTLING", -1)
    job = submit()
    sweep.sweep(queue, storage, settings)
    assert store.get(job.id).status == "queued"
    assert keys(storage) == [job.original]


def test_the_sweep_bears_a_store_that_is_down(settings, queue):
    down = Storage(dataclasses.replace(settings, s3_endpoint=f"http://127.0.0.1:{free_port()}"))
    sweep.sweep(queue, down, settings)


def test_what_the_store_would_not_delete_is_deleted_later(submit, settings, storage, queue, store):
    job = submit()
    queue.cancel(job)
    down = Storage(dataclasses.replace(settings, s3_endpoint=f"http://127.0.0.1:{free_port()}"))
    tasks.clean(store, down, job, ("results/a",))
    sweep.sweep(queue, down, settings)
    assert store.unwanted() == {"results/a", job.original}
    assert sweep.unwanted(queue, storage) == 2
    assert keys(storage) == []


def test_what_is_written_after_it_was_given_up_is_deleted_too(storage, queue, store, monkeypatch):
    store.unwant(["results/a"])
    sweep.unwanted(queue, storage)
    storage.put("results/a", io.BytesIO(b"late"), "text/plain")
    sweep.unwanted(queue, storage)
    assert keys(storage) == []
    monkeypatch.setattr(sweep, "_LATE", -1)
    sweep.unwanted(queue, storage)
    assert store.unwanted() == set()
