"""Records of jobs in a real Redis, and their progress."""

from __future__ import annotations

import pytest

from gateway.errors import Cancelled, Conflict, QueueUnavailable
from gateway.jobs import tasks
from gateway.jobs.progress import Progress
from gateway.jobs.queue import JobQueue
from gateway.jobs.store import JobStore
from gateway.settings import Settings
from tests.servers import free_port

OPTIONS = {"style": "solid", "shape": "box", "scale": 1.5, "threshold": 0.3, "audio": "drop"}


@pytest.fixture
def store(settings):
    return JobQueue(settings).store


def test_a_new_record(store):
    job = store.create("uploads/a", OPTIONS, 12)
    assert store.get(job.id) == job
    assert (job.status, job.attempts, job.live) == ("queued", 0, True)
    assert job.progress == {"stage": "queued", "frames_total": 12}
    assert store.live_ids() == {job.id}
    assert store.originals() == {"uploads/a": job.id}
    assert store.redis.ttl(f"masquerade:job:{job.id}") == -1


def test_one_original_has_one_live_job(store):
    job = store.create("uploads/a", OPTIONS, 0)
    with pytest.raises(Conflict):
        store.create("uploads/a", OPTIONS, 0)
    assert store.cancel(job.id)
    assert store.create("uploads/a", OPTIONS, 0).id != job.id


def test_the_way_through_to_done(store):
    job = store.create("uploads/a", OPTIONS, 0)
    running = store.begin(job, ("results/x",))
    assert (running.status, running.attempts, running.places) == ("running", 1, ("results/x",))
    assert store.progress(running, {"stage": "render"})
    assert store.finish(running, {"frames": 7, "faces_detected": 3})
    done = store.get(job.id)
    assert (done.status, done.live) == ("done", False)
    assert done.finished_at >= done.started_at >= done.created_at
    assert store.live_ids() == set()
    assert store.originals() == {}
    assert store.redis.ttl(f"masquerade:job:{job.id}") > 80_000
    assert store.counts() == {"submitted": 1, "done": 1, "ms": 0, "frames": 7, "faces": 3}


def test_a_finished_job_cannot_change(store):
    job = store.begin(store.create("uploads/a", OPTIONS, 0), ())
    assert store.cancel(job.id)
    assert not store.finish(job, {})
    assert not store.fail(job, "internal", "x")
    assert not store.requeue(job)
    assert not store.progress(job, {})
    assert store.begin(job, ()) is None
    assert not store.cancel(job.id)
    assert store.get(job.id).status == "cancelled"


def test_an_older_attempt_cannot_write(store):
    first = store.begin(store.create("uploads/a", OPTIONS, 0), ("results/1",))
    second = store.begin(store.get(first.id), ("results/2",))
    assert second.places == ("results/1", "results/2")
    assert not store.progress(first, {})
    assert not store.finish(first, {})
    assert not store.fail(first, "internal", "x")
    assert store.finish(second, {})


def test_a_forgotten_job_is_not_written_back(store):
    job = store.begin(store.create("uploads/a", OPTIONS, 0), ())
    store.forget(job)
    assert not store.progress(job, {"stage": "render"})
    assert store.get(job.id) is None


def test_redis_down_is_an_error_of_ours():
    queue = JobQueue(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    assert "does not answer" in queue.ready()
    for call in (lambda: queue.get("x"), lambda: queue.submit("u", {}), queue.depth):
        with pytest.raises(QueueUnavailable):
            call()


# progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_progress_counts_rates_and_fractions(store):
    clock = Clock()
    job = store.begin(store.create("uploads/a", OPTIONS, 30), ())
    tell = Progress(store, job, clock)
    seen = []
    for stage, total in (("fetch", 1000), ("analyse", 40), ("render", 40), ("store", 1)):
        for step in range(11):
            tell(stage, step * total // 10, total)
            seen.append(store.get(job.id).progress)
            clock.now += 0.5
    fractions = [item["fraction"] for item in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] == 1
    render = seen[32]
    assert render["stage"] == "render"
    assert (render["frames_done"], render["frames_total"], render["fps"]) == (40, 40, 8.0)
    assert seen[5]["frames_done"] == 0 and seen[5]["frames_total"] == 30
    half = seen[16]
    spent = 16 * 0.5
    assert half["eta_seconds"] == pytest.approx(spent / half["fraction"] - spent, rel=0.01)


def test_progress_is_written_four_times_a_second(store):
    clock, job = Clock(), store.begin(store.create("uploads/a", OPTIONS, 0), ())
    tell = Progress(store, job, clock)
    writes = 0
    real = store.progress

    def count(*args):
        nonlocal writes
        writes += 1
        return real(*args)

    store.progress = count
    for frame in range(1000):
        tell("render", frame, 1000)
        clock.now += 0.002
    assert writes <= 9


def test_progress_stops_a_cancelled_job(store):
    clock, job = Clock(), store.begin(store.create("uploads/a", OPTIONS, 0), ())
    tell = Progress(store, job, clock)
    tell("render", 1, 10)
    store.cancel(job.id)
    clock.now += 1
    with pytest.raises(Cancelled):
        tell("render", 2, 10)


def test_progress_outlives_redis():
    away = JobStore(JobQueue(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")).redis, 1)
    job = tasks.Job("x", "running", "uploads/a", {}, 0.0)
    Progress(away, job)("render", 1, 10)
