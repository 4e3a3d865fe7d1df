"""Messages that are lost, or put twice, between a record and its queue; and their order."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.jobs import batch_tasks, sweep
from gateway.jobs.attempts import Chances
from gateway.jobs.batch_queue import message_id, task_of
from gateway.jobs.batches import item_key, join_key, segment_keys
from gateway.jobs.queue import JobQueue
from tests.batch_standin import numbers, photo, video


@pytest.fixture
def jobs(settings):
    return JobQueue(settings)


def waiting(queue):
    """The tasks that wait, the next one first."""
    return [task_of(message)[1] for message in queue.rq.get_job_ids()]


def lose(queue, batch, key):
    """As if the process had died right before it put the message."""
    queue.rq.fetch_job(message_id(batch.id, key)).delete()


def test_what_is_submitted_again_is_queued_where_its_message_was_lost(queue, submit, put):
    put({"a.jpg": photo()})
    batch = submit()
    lose(queue, batch, "list")
    assert submit().id == batch.id
    assert waiting(queue) == ["list"]


def test_what_is_submitted_again_is_not_queued_where_somebody_has_it(queue, submit, put):
    put({"a.jpg": photo()})
    batch = submit()
    assert submit().id == batch.id
    assert waiting(queue) == ["list"]
    queue.rq.fetch_job(queue.rq.pop_job_id()).set_status("started")
    assert submit().id == batch.id
    assert waiting(queue) == []


def test_what_is_submitted_again_is_not_listed_again(queue, submit, put, work):
    put({"a.jpg": photo(), "b.jpg": photo()})
    batch = submit()
    work(most=2)
    assert submit().id == batch.id
    assert waiting(queue)[0] == "list"
    work()
    assert numbers(queue, batch)[1] == {"total": 2, "done": 2, "skipped": 0, "failed": 0}


def test_a_join_is_queued_when_its_segments_are_done(queue, submit, put, work):
    put({"a.mp4": video(30)})
    submit()
    work(most=2, segment_seconds=10.0)
    item = item_key("a.mp4")
    assert waiting(queue) == segment_keys(item, 3)
    work(most=3, segment_seconds=10.0)
    assert waiting(queue) == [join_key(item)]


def test_a_segment_that_dies_before_it_queues_the_join_queues_it_again(
    queue, submit, put, work, settings, storage, monkeypatch
):
    put({"a.mp4": video(30)})
    batch = submit()
    work(most=4, segment_seconds=10.0)
    (last,) = waiting(queue)
    own = dataclasses.replace(settings, segment_seconds=10.0)
    real = queue.ensure

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(queue, "ensure", dies)
    queue.rq.pop_job_id()
    with pytest.raises(KeyboardInterrupt):
        batch_tasks.attempt(batch.id, last, own, queue, storage, Chances(2))
    monkeypatch.setattr(queue, "ensure", real)
    batch_tasks.settle(queue, batch.id, last, 1)
    batch_tasks.attempt(batch.id, last, own, queue, storage, Chances(1))
    assert waiting(queue) == [join_key(item_key("a.mp4"))]
    work(segment_seconds=10.0)
    assert numbers(queue, batch)[1]["done"] == 1


def test_what_is_lost_is_found_while_others_wait(queue, jobs, settings, submit, put, work):
    put({"a.jpg": photo(), "b.jpg": photo(), "c.jpg": photo()})
    batch = submit()
    work(most=1)
    lose(queue, batch, item_key("b.jpg"))
    assert sweep.lost_tasks(jobs, settings) == 1
    assert sweep.lost_tasks(jobs, settings) == 0
    assert sorted(waiting(queue)) == sorted(item_key(f"{n}.jpg") for n in "abc")


def test_many_tasks_are_looked_at_a_part_at_a_time(queue, jobs, settings, submit, put, monkeypatch):
    monkeypatch.setattr(sweep, "_ROUND", 1)
    put({"a.jpg": photo()})
    for n in range(2):
        batch = submit(output=f"s3://{settings.s3_bucket}/out{n}/")
        queue.store.add(batch.id, [{"name": f"{i}.jpg", "size": 1} for i in range(2500)])
    rounds = []
    while sum(rounds) < 5000:
        rounds.append(sweep.lost_tasks(jobs, settings))
        assert len(rounds) < 100
    assert max(rounds) < 2500
    assert queue.depth() == 5002
    assert sum(sweep.lost_tasks(jobs, settings) for _ in range(10)) == 0


def test_two_that_find_the_same_task_missing_queue_it_once(queue, settings, submit, put):
    put({"a.jpg": photo()})
    batch = submit()
    other, look = JobQueue(settings).batches, queue._known

    def known(batch_id, keys):
        found = look(batch_id, keys)
        other.ensure(batch_id, keys)
        return found

    queue._known = known
    queue.ensure(batch.id, ["i-a", "i-b"])
    assert waiting(queue) == ["list", "i-a", "i-b"]


# whose turn it is


def test_a_video_that_was_begun_goes_before_those_that_wait(queue, submit, put, work):
    put({"a.mp4": video(30), "b.mp4": video(30)})
    submit()
    work(most=2, segment_seconds=10.0)
    a, b = item_key("a.mp4"), item_key("b.mp4")
    first, second = (a, b) if waiting(queue)[-1] == b else (b, a)
    assert waiting(queue) == [*segment_keys(first, 3), second]
    work(most=3, segment_seconds=10.0)
    assert waiting(queue) == [join_key(first), second]


def test_what_goes_first_does_not_hide_who_waits_longest(queue, jobs, submit, put, work):
    put({"a.mp4": video(30), "b.mp4": video(30)})
    batch = submit()
    work(most=2, segment_seconds=10.0)
    message = f"rq:job:{message_id(batch.id, waiting(queue)[-1])}"
    queue.redis.hset(message, "enqueued_at", "2020-01-01T00:00:00.000000Z")
    assert jobs.load()["batch"].oldest > 1e8


def test_a_second_batch_is_listed_before_the_first_is_done(queue, settings, submit, put, work):
    put({f"{n}.jpg": photo() for n in range(3)})
    submit()
    work(most=1)
    submit(output=f"s3://{settings.s3_bucket}/other/")
    assert waiting(queue)[0] == "list"
    assert len(waiting(queue)) == 4
