"""Executions that were given up although they live, in this process and on a real Redis."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from rq.utils import current_timestamp, now

from gateway.jobs import batch_tasks
from gateway.jobs.batches import item_key
from gateway.jobs.leases import may_judge
from gateway.jobs.queue import JobQueue
from gateway.jobs.worker import JobWorker
from tests.servers import wait_for

A = item_key("a.jpg")


@pytest.fixture
def jobs(settings):
    return JobQueue(settings)


@pytest.fixture
def new_worker(settings, monkeypatch):
    monkeypatch.setattr(batch_tasks, "inherited", None)

    def new():
        worker = JobWorker(settings)
        worker.register_birth()
        return worker

    return new


def begin(worker, queue):
    """What worker and work-horse do up to the task itself."""
    message, _ = worker.queue_class.dequeue_any(
        [queue], None, worker.connection, job_class=worker.job_class, serializer=worker.serializer
    )
    execution = worker.prepare_execution(message)
    worker.prepare_job_execution(message)
    return message, execution


def succeed(worker, queue, message, execution):
    worker.handle_execution_ended(message, queue, 60)
    message.started_at = message.ended_at
    worker.handle_job_success(message, queue, queue.started_job_registry, execution)


def abandon(worker, queue):
    """What another worker does once the lease has run out."""
    later = current_timestamp() + 1000
    queue.started_job_registry.cleanup(later, exception_handlers=worker._exc_handlers)


@pytest.fixture
def item(jobs, new_worker):
    """A task, its queue, and the message of it."""
    jobs.batches.ensure("b" * 32, [A])
    return jobs.batches.rq


def test_an_attempt_that_lost_its_lease_leaves_the_waiting_message_alone(new_worker, item):
    worker, other = new_worker(), new_worker()
    message, execution = begin(worker, item)
    abandon(other, item)
    assert item.get_job_ids() == [message.id]
    succeed(worker, item, message, execution)
    assert item.fetch_job(message.id).get_status() == "queued"
    assert item.connection.ttl(message.key) == -1
    assert not item.connection.exists(execution.key)
    taken, _ = begin(other, item)
    assert taken.id == message.id


@pytest.mark.parametrize("how", ["success", "failure"])
def test_an_attempt_that_lost_its_lease_leaves_the_next_one_alone(new_worker, item, how):
    worker, other = new_worker(), new_worker()
    message, execution = begin(worker, item)
    abandon(other, item)
    again, its_execution = begin(other, item)
    if how == "success":
        succeed(worker, item, message, execution)
    else:
        worker.handle_job_failure(message, item, exc_string="x", execution=execution)
    assert item.get_job_ids() == []
    assert again.get_status() == "started"
    assert item.started_job_registry.get_job_and_execution_ids(cleanup=False) == [
        (again.id, its_execution.id)
    ]
    succeed(other, item, again, its_execution)
    assert again.get_status() == "finished"
    assert item.connection.zcard(item.started_job_registry.key) == 0


def test_an_attempt_whose_message_was_removed_leaves_nothing(new_worker, item):
    worker = new_worker()
    message, execution = begin(worker, item)
    item.connection.delete(message.key)
    succeed(worker, item, message, execution)
    assert not item.connection.exists(message.key)
    assert item.connection.zcard(item.started_job_registry.key) == 0


def test_an_attempt_that_lost_its_lease_does_not_settle_the_record(
    new_worker, item, jobs, monkeypatch
):
    settled = []
    monkeypatch.setattr(JobWorker, "_settle", lambda *_, **__: settled.append(1))
    worker, other = new_worker(), new_worker()
    message, _ = begin(worker, item)
    abandon(other, item)
    assert settled == [1]
    begin(other, item)
    worker._horse_died(message)
    worker._attempt_ended(message, ZeroDivisionError)
    assert settled == [1]
    other._attempt_ended(message, ZeroDivisionError)
    assert settled == [1, 1]


def test_a_work_horse_killed_for_its_deadline_is_settled_so(new_worker, item, monkeypatch):
    settled = []
    monkeypatch.setattr(batch_tasks, "settle", lambda *given: settled.append(given[1:]))
    worker = new_worker()
    message, _ = begin(worker, item)
    message.started_at = message.ended_at = now()
    message.ended_at += timedelta(seconds=message.timeout + 60)
    worker._horse_died(message)
    assert settled == [("b" * 32, A, 0, True)]


def test_leases_are_not_judged_right_after_an_outage(jobs):
    redis = jobs.redis
    assert not may_judge(redis, 3)  # nobody has been in contact so far
    assert not may_judge(redis, 3)
    seen = lambda: (time.sleep(0.2), may_judge(redis, 3))[1]  # noqa: E731
    wait_for(seen)
    assert may_judge(redis, 3)
    wait_for(lambda: not redis.exists("masquerade:contact"))
    assert not may_judge(redis, 3)
