"""Batches and real workers: crashes, kills, hand-backs, bursts, and Redis started anew."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import signal
import sys
import time

import pytest

from gateway.jobs import spec
from gateway.jobs.queue import JobQueue
from gateway.storage import Storage
from tests.batch_standin import photo, video
from tests.faulty import Fault, Proxy
from tests.leaks import ENTRY
from tests.servers import as_env, keys, process, redis_server, wait_for


@pytest.fixture
def jobs(settings):
    return JobQueue(settings)


@pytest.fixture
def storage(settings):
    return Storage(settings)


@pytest.fixture
def submit(settings, storage):
    """Put files into the input and submit it as a batch."""

    def submit(jobs, files):
        for name, body in files.items():
            storage.put(f"in/{name}", io.BytesIO(body), "a/b")
        bucket = settings.s3_bucket
        raw = {"pipeline": "blur", "input": f"s3://{bucket}/in/", "output": f"s3://{bucket}/out/"}
        return jobs.batches.submit(spec.parse(raw, settings, storage))[0]

    return submit


@pytest.fixture
def worker(settings, tmp_path):
    """Starts real workers."""
    with contextlib.ExitStack() as stack:

        def start(jobs, *arguments, wait=True, listing="", **changes):
            env = as_env(dataclasses.replace(settings, segment_seconds=10.0, **changes))
            env["PLAYED_LISTING"] = listing
            command = [sys.executable, "-m", "tests.batch_standin", *arguments]
            before = jobs.redis.scard("rq:workers")
            up = lambda: not wait or jobs.redis.scard("rq:workers") > before  # noqa: E731
            log = tmp_path / f"worker{time.monotonic()}.log"
            return stack.enter_context(process(command, up, log, env))

        yield start


def ended(jobs, batch, seconds=40.0):
    wait_for(lambda: not jobs.batches.get(batch.id).live, seconds)
    now = jobs.batches.get(batch.id)
    return now.status, [now.counters[name] for name in ("total", "done", "failed")]


def marks_of(path):
    return path.read_text().splitlines() if path.exists() else []


def alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_workers_do_a_batch_together_and_leave(jobs, submit, worker, storage):
    files = {f"{n}.jpg": photo(seconds=0.1) for n in range(10)}
    batch = submit(jobs, {**files, "long.mp4": video(30, seconds=0.2)})
    burst = [worker(jobs, "--burst", wait=False) for _ in range(2)]
    assert ended(jobs, batch) == ("done", [11, 11, 0])
    assert [one.wait(40) for one in burst] == [0, 0]
    assert jobs.idle()
    assert len([key for key in keys(storage) if key.startswith("out/")]) == 11


def test_a_listing_that_waits_costs_no_attempt(jobs, submit, worker):
    batch = submit(jobs, {f"{n}.jpg": photo() for n in range(12)})
    assert worker(jobs, "--burst", job_retries=0, wait=False, listing="2 3").wait(30) == 0
    assert ended(jobs, batch) == ("done", [12, 12, 0])


def test_a_burst_worker_mends_what_was_lost_before_it_leaves(jobs, submit, worker):
    batch = submit(jobs, {"a.jpg": photo()})
    jobs.batches.rq.empty()
    jobs.redis.set("masquerade:swept:often", 1)  # no sweep does it
    assert worker(jobs, "--burst").wait(30) == 0
    assert ended(jobs, batch) == ("done", [1, 1, 0])


def test_a_work_horse_that_dies_is_followed_by_another(jobs, submit, worker, tmp_path):
    marks = tmp_path / "marks"
    batch = submit(jobs, {"a.jpg": photo(crash=[1], marks=str(marks)), "b.jpg": photo()})
    worker(jobs)
    assert ended(jobs, batch) == ("done", [2, 2, 0])
    assert len(marks_of(marks)) == 2


def test_what_always_kills_its_work_horse_is_a_dead_letter(jobs, submit, worker):
    crash = list(range(9))
    batch = submit(jobs, {"a.jpg": photo(crash=crash), "b.jpg": photo()})
    worker(jobs)
    assert ended(jobs, batch) == ("done", [2, 1, 1])
    (failure,) = jobs.batches.store.ended(batch.id, "failed", 0, 9)
    assert (failure["name"], failure["code"]) == ("a.jpg", "renderer-failed")


def test_an_item_outlives_an_outage_without_spending_attempts(settings, submit, worker, tmp_path):
    jobs = JobQueue(dataclasses.replace(settings, job_retries=0))
    marks = tmp_path / "marks"
    away = {"error": "model-unavailable", "fail_on": [1, 2, 3], "marks": str(marks)}
    batch = submit(jobs, {"a.jpg": photo(**away), "b.jpg": photo()})
    worker(jobs, job_retries=0)
    assert ended(jobs, batch) == ("done", [2, 2, 0])
    assert len(marks_of(marks)) == 4


def test_what_is_away_for_too_long_is_a_dead_letter(jobs, submit, worker):
    batch = submit(jobs, {"a.jpg": photo(error="model-unavailable"), "b.jpg": photo()})
    worker(jobs, job_patience=1.0)
    assert ended(jobs, batch) == ("done", [2, 1, 1])


def test_a_store_that_fails_leaves_no_name_in_a_worker_s_log(
    settings, jobs, submit, worker, tmp_path
):
    """Neither in our lines nor in RQ's, which would show what botocore says: the whole URL."""
    logged = lambda: "".join(log.read_text() for log in tmp_path.glob("worker*.log"))  # noqa: E731
    host, port = settings.s3_endpoint.removeprefix("http://").split(":")
    batch = submit(jobs, {f"{ENTRY}.jpg": photo()})
    with Proxy((host, int(port))) as proxy:
        with proxy.spoiling(Fault(share=0, reset=True), methods={"PUT"}):
            worker(jobs, s3_endpoint=proxy.url)
            wait_for(lambda: "exception raised while executing" in logged(), 60)
        status, (total, _, failed) = ended(jobs, batch)
    assert (status, total, failed) == ("done", 1, 0)
    assert "attempt failed: storage-unavailable" in logged()
    assert "ConnectionClosedError" in logged()
    for secret in (ENTRY, batch.id, f"{settings.s3_bucket}/out"):
        assert secret not in logged()


def test_a_killed_worker_is_followed_by_another(jobs, submit, worker, tmp_path):
    marks = tmp_path / "marks"
    batch = submit(jobs, {"a.mp4": video(2, seconds=3, marks=str(marks))})
    first = worker(jobs)
    wait_for(lambda: marks_of(marks))
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: not alive(int(marks_of(marks)[0].split()[0])), 5)
    worker(jobs)
    assert ended(jobs, batch) == ("done", [1, 1, 0])
    assert len(marks_of(marks)) == 2
    assert jobs.batches.get(batch.id).counters["ms"] == 2000


def test_a_worker_that_slept_through_its_lease_disturbs_nobody(jobs, submit, worker, tmp_path):
    marks = tmp_path / "marks"
    batch = submit(jobs, {"a.mp4": video(2, seconds=1, marks=str(marks))})
    first = worker(jobs)
    wait_for(lambda: marks_of(marks))
    asleep = [first.pid, int(marks_of(marks)[0].split()[0])]
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    worker(jobs)
    wait_for(lambda: len(marks_of(marks)) == 2, 60)
    for pid in asleep:
        os.kill(pid, signal.SIGCONT)
    assert ended(jobs, batch) == ("done", [1, 1, 0])
    assert jobs.batches.get(batch.id).counters["ms"] == 2000
    wait_for(jobs.idle)
    assert ended(jobs, submit(jobs, {"b.jpg": photo()})) == ("done", [2, 1, 0])
    assert first.poll() is None


@pytest.mark.parametrize("hang", [False, True])
def test_a_worker_that_is_told_to_stop_hands_its_item_back(jobs, submit, worker, tmp_path, hang):
    marks = tmp_path / "marks"
    first_only = {"hang": True} if hang else {"seconds": 2}
    batch = submit(jobs, {"a.mp4": video(2, marks=str(marks), **first_only)})
    first = worker(jobs, job_retries=0)  # not one attempt to lose
    wait_for(lambda: marks_of(marks))
    begun = time.monotonic()
    first.terminate()
    assert first.wait(15) == 0
    assert time.monotonic() - begun < 10
    assert jobs.batches.depth() == 1
    states = dict(jobs.batches.store.states(batch.id))
    assert [state for key, state in states.items() if key != "list"] == ["queued"]
    if hang:
        return
    worker(jobs, job_retries=0)
    assert ended(jobs, batch) == ("done", [1, 1, 0])
    assert len(marks_of(marks)) == 2


def test_what_is_handed_back_is_next(jobs, submit, worker, tmp_path):
    marks = tmp_path / "marks"
    files = {f"{n}.jpg": photo(seconds=3 if n == 0 else 0, marks=str(marks)) for n in range(5)}
    batch = submit(jobs, files)
    first = worker(jobs)
    wait_for(lambda: marks_of(marks))
    first.terminate()
    first.wait(15)
    waiting = jobs.batches.rq.get_job_ids()
    assert len(waiting) == 5
    assert waiting[0] not in waiting[1:]
    running = jobs.batches.rq.fetch_job(waiting[0])
    assert jobs.batches.store.input(batch.id, running.args[1])["name"] == "0.jpg"


def test_a_single_video_is_handed_back_too(jobs, storage, worker):
    key = "uploads/" + "a" * 32
    storage.put(key, io.BytesIO(video(1, seconds=30)), "a/b")
    job = jobs.submit(key, {})
    first = worker(jobs, job_retries=0)
    wait_for(lambda: jobs.store.get(job.id).status == "running")
    time.sleep(0.5)
    first.terminate()
    assert first.wait(10) == 0
    assert jobs.store.get(job.id).status == "queued"
    assert jobs.depth() == 1
    assert key in keys(storage)


def test_cancelling_kills_what_runs(jobs, submit, worker, tmp_path):
    marks = tmp_path / "marks"
    batch = submit(jobs, {"a.mp4": video(2, hang=True, marks=str(marks)), "b.jpg": photo()})
    one = worker(jobs)
    wait_for(lambda: marks_of(marks))
    time.sleep(0.5)
    assert jobs.batches.cancel(jobs.batches.get(batch.id))
    wait_for(lambda: not alive(int(marks_of(marks)[0].split()[0])))
    follow_up = submit(jobs, {"a.mp4": video(2)})
    assert ended(jobs, follow_up)[0] == "done"
    assert one.poll() is None
    assert jobs.batches.get(batch.id).status == "cancelled"


def test_no_living_worker_loses_its_item_by_an_outage(settings, submit, worker, tmp_path):
    marks, folder = tmp_path / "marks", tmp_path / "redis"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(redis_server(folder, keep=True))
        own = dataclasses.replace(settings, redis_url=url, job_retries=0)  # nothing to lose
        jobs = JobQueue(own)
        batch = submit(jobs, {f"{n}.jpg": photo(seconds=14, marks=str(marks)) for n in range(3)})
        for _ in range(3):
            worker(jobs, redis_url=url, job_retries=0)
        wait_for(lambda: len(marks_of(marks)) == 3)
        stack.close()
        time.sleep(8)  # longer than a lease
        with redis_server(folder, keep=True, port=int(url.rsplit(":", 1)[1].split("/")[0])):
            assert ended(jobs, batch, 60) == ("done", [3, 3, 0])
            assert len(marks_of(marks)) == 3


def test_redis_is_started_anew_amid_a_batch(settings, submit, worker, tmp_path):
    folder = tmp_path / "redis"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(redis_server(folder, keep=True))
        own = dataclasses.replace(settings, redis_url=url)
        jobs = JobQueue(own)
        files = {f"{n:02}.jpg": photo(seconds=0.3) for n in range(40)}
        batch = submit(jobs, {**files, "long.mp4": video(30, seconds=1)})
        for _ in range(2):
            worker(jobs, redis_url=url)
        wait_for(lambda: jobs.batches.get(batch.id).counters["done"] > 5)
        stack.close()
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        time.sleep(1)
        with redis_server(folder, keep=True, port=port):
            worker(jobs, redis_url=url, wait=False)  # one that died of it, as supervisor does
            assert ended(jobs, batch, 150) == ("done", [41, 41, 0])
            assert jobs.batches.get(batch.id).counters["ms"] == 30_000
